//! The index, and the laws of a union, against grants made at random.

use proptest::{collection::vec, prelude::*, sample::subsequence};

use super::*;

/// What a list of grants says, in the plainest words.
fn reference(grants: &[Written], principal: &Principal, name: &RepositoryName) -> Actions {
    let mut found = Actions::NONE;
    for grant in grants {
        let listed = grant.repositories.iter().any(|pattern| pattern.matches(name, principal.name()));
        let excepted = grant.except.iter().any(|pattern| pattern.matches(name, principal.name()));
        let named = grant.to.iter().any(|subject| match subject {
            Subject::Anyone => true,
            Subject::Authenticated => principal.as_user().is_some(),
            Subject::User(name) => principal.name() == Some(name),
            Subject::Group(name) => {
                principal.as_user().is_some_and(|user| user.groups.iter().any(|group| **group == **name))
            }
        });
        if listed && !excepted && named {
            found = found.union(grant.actions);
        }
    }
    found
}

fn any_pattern() -> impl Strategy<Value = Pattern> {
    let segment = prop::sample::select(vec!["a", "b", "c", "*", "**", "$user"]);
    vec(segment, 1..4).prop_filter_map("a pattern", |segments| Pattern::parse(&segments.join("/")).ok())
}

fn any_subject() -> impl Strategy<Value = Subject> {
    prop_oneof![
        Just(Subject::Anyone),
        Just(Subject::Authenticated),
        prop::sample::select(vec!["a", "b", "*"]).prop_map(user_subject),
        prop::sample::select(vec!["g", "h"]).prop_map(group_subject),
    ]
}

fn any_grant() -> impl Strategy<Value = Written> {
    let actions = subsequence(Action::ALL.to_vec(), 1..=3);
    (vec(any_pattern(), 1..3), vec(any_pattern(), 0..2), actions, vec(any_subject(), 1..3), 1..99_usize).prop_map(
        |(repositories, except, actions, to, line)| Written {
            name: format!("grant at {line}"),
            repositories,
            except,
            actions: actions.into_iter().collect(),
            to,
            from: Vec::new(),
            registries: Vec::new(),
            line,
        },
    )
}

fn any_principal() -> impl Strategy<Value = Principal> {
    let groups = subsequence(vec!["g", "h"], 0..=2);
    let name = prop::option::of(prop::sample::select(vec!["a", "b", "c", "*"]));
    (name, groups).prop_map(|(name, groups)| name.map_or_else(Principal::anonymous, |name| user(name, &groups)))
}

fn any_repository() -> impl Strategy<Value = RepositoryName> {
    vec(prop::sample::select(vec!["a", "b", "c", "d"]), 1..5).prop_map(|segments| repository(&segments.join("/")))
}

proptest! {
    #[test]
    fn the_index_finds_what_a_linear_walk_finds(
        grants in vec(any_grant(), 0..12), principal in any_principal(), name in any_repository()
    ) {
        let expected = reference(&grants, &principal, &name);
        let policy = Policy::compile(&Access { grants });
        let place = Place::default();
        let asker = place.asker(&principal);
        prop_assert_eq!(policy.allowed(asker, &name), expected);
        for action in Action::ALL {
            let explanation = policy.explain(asker, action, &name);
            prop_assert_eq!(explanation.allowed(), expected.contains(action));
            prop_assert!(explanation.near_misses.iter().all(|miss| !miss.obstacles.is_empty()));
        }
        prop_assert_eq!(policy.shows(asker, &name), expected.contains(Pull));
        prop_assert!(!policy.shows(asker, &name) || policy.ranges(asker).contains(name.as_str()));
    }

    #[test]
    fn a_grant_only_widens(
        grants in vec(any_grant(), 0..8), more in any_grant(), principal in any_principal(), name in any_repository()
    ) {
        let place = Place::default();
        let before = Policy::compile(&Access { grants: grants.clone() }).allowed(place.asker(&principal), &name);
        let grants = grants.into_iter().chain([more]).collect();
        let after = Policy::compile(&Access { grants }).allowed(place.asker(&principal), &name);
        prop_assert!(after.is_superset(before));
    }

    #[test]
    fn order_means_nothing(
        (grants, shuffled) in vec(any_grant(), 0..8).prop_flat_map(|grants| (Just(grants.clone()), Just(grants).prop_shuffle())),
        principal in any_principal(), name in any_repository()
    ) {
        let place = Place::default();
        let one = Policy::compile(&Access { grants }).allowed(place.asker(&principal), &name);
        let other = Policy::compile(&Access { grants: shuffled }).allowed(place.asker(&principal), &name);
        prop_assert_eq!(one, other);
    }
}
