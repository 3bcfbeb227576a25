//! The index, and the laws of a union, against grants made at random.

use proptest::{collection::vec, prelude::*, sample::subsequence};

use super::*;
use crate::access::{Holders, Holding, Whence, grant::is_subject};

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

/// A configuration with grants at random that are often contained in another one, or barren.
fn any_configuration() -> impl Strategy<Value = String> {
    let words =
        |words: Vec<&'static str>, most| vec(prop::sample::select(words), 1..=most).prop_map(|words| words.join(", "));
    let patterns = || {
        let known = ["a", "a/b", "a/*", "a/**", "*/b", "**", "**/b", "$user", "a/$user", "$user/**", "b/**", "*/**"];
        words(known.map(|known| known).to_vec(), 2)
            .prop_map(|list| list.split(", ").map(|pattern| format!("\"{pattern}\"")).collect::<Vec<_>>().join(", "))
    };
    let optional = |key: &'static str, list: BoxedStrategy<String>| {
        prop::option::of(list).prop_map(move |list| list.map_or_else(String::new, |list| format!(", {key}: [{list}]")))
    };
    let to = words(vec!["anyone", "authenticated", "\"user:a\"", "\"user:B\"", "\"group:g\"", "\"group:h\""], 2);
    let from = optional("from", words(vec!["10.0.0.0/8", "10.1.0.0/16", "\"::/0\""], 2).boxed());
    let registries = optional("registries", words(vec!["r.test", "s.test", "\"192.0.2.1\""], 2).boxed());
    let grant = (patterns(), optional("except", patterns().boxed()), words(vec!["pull", "push"], 2), to, from, registries)
        .prop_map(|(repositories, except, actions, to, from, registries)| {
            format!("    - {{ repositories: [{repositories}], actions: [{actions}], to: [{to}]{except}{from}{registries} }}\n")
        });
    vec(grant, 1..5).prop_map(|grants| {
        "version: 1\nlisten: {}\ntls: { certificates: [{ certificate_file: c, key_file: k }] }\nregistries:\n  \
         - { hosts: [r.test, \"192.0.2.1\"], upstream: { servers: [{ url: \"http://r:1\" }] } }\n  \
         - { hosts: [s.test], upstream: { servers: [{ url: \"http://s:1\" }] } }\n\
         identity: { groups: { g: [a, c] }, providers: [htpasswd: { file: h }] }\naccess:\n  grants:\n"
            .to_owned()
            + &grants.concat()
    })
}

/// The lines of the grants of which `check` says that they add or allow nothing.
fn useless(config: &Config) -> Vec<usize> {
    let told = |text: &str| text.contains(" adds nothing to ") || text.contains(" allows nothing: ");
    config.warnings.iter().filter(|warning| told(&warning.message)).map(|warning| warning.line).collect()
}

proptest! {
    /// No false alarm: what `check` calls useless can be taken out, and no question is answered otherwise.
    #[test]
    fn what_is_called_useless_is_useless(text in any_configuration()) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("portcullis.yml");
        std::fs::write(&file, text).unwrap();
        let config = Config::load(&file).unwrap();
        let useless = useless(&config);
        let rest = config.access.grants.iter().filter(|grant| !useless.contains(&grant.line)).cloned().collect();
        let (all, rest) = (Policy::compile(&config.access), Policy::compile(&Access { grants: rest }));
        let names: &[Option<&str>] = &[None, Some("a"), Some("b"), Some("B"), Some("c")];
        for (name, groups) in names.iter().flat_map(|name| [&[] as &[&str], &["h"]].map(|groups| (*name, groups))) {
            // As the configuration has it, and a directory might.
            let own: &[&str] = if matches!(name, Some("a" | "c")) { &["g"] } else { &[] };
            let principal = name.map_or_else(Principal::anonymous, |name| user(name, &[own, groups].concat()));
            for (hosts, client) in [(&["r.test", "192.0.2.1"] as &[&str], "10.1.2.3"), (&["s.test"], "10.2.2.2"), (&["s.test"], "192.0.2.9")] {
                let place = Place::new(hosts, client);
                for text in ["a", "b", "c", "a/a", "a/b", "b/b", "c/b", "a/c", "a/b/c", "b/a/b", "a/a/b"] {
                    let asker = place.asker(&principal);
                    prop_assert_eq!(all.allowed(asker, &repository(text)), rest.allowed(asker, &repository(text)), "{:?} {}", name, text);
                }
            }
        }
    }

    /// `acl list` says of a caller, and of a repository, what the gate does.
    #[test]
    fn what_is_listed_is_what_is_allowed(text in any_configuration()) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("portcullis.yml");
        std::fs::write(&file, text).unwrap();
        let policy = Policy::compile(&Config::load(&file).unwrap().access);
        let callers: &[(Option<&str>, &[&str])] =
            &[(None, &[]), (Some("a"), &["g"]), (Some("b"), &[]), (Some("b"), &["h"]), (Some("B"), &["g"]), (Some("c"), &[])];
        for (hosts, client) in [(&["r.test", "192.0.2.1"] as &[&str], "10.1.2.3"), (&["s.test"], "10.2.2.2"), (&["s.test"], "192.0.2.9")] {
            let place = Place::new(hosts, client);
            for (name, groups) in callers {
                let principal = name.map_or_else(Principal::anonymous, |name| user(name, groups));
                let asker = place.asker(&principal);
                let whence = Whence { hosts: Some(asker.hosts), client: Some(asker.client) };
                let given: Vec<_> =
                    policy.given(&principal, whence).into_iter().filter_map(|given| given.filled(*name)).collect();
                for text in ["a", "b", "c", "a/a", "a/b", "b/b", "c/b", "a/c", "a/b/c", "b/a/b", "a/a/b"] {
                    let repository = repository(text);
                    let is_in = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(&repository, None));
                    for action in Action::ALL {
                        let allowed = policy.allowed(asker, &repository).contains(action);
                        let of_caller = given
                            .iter()
                            .any(|given| given.actions.contains(action) && is_in(&given.repositories) && !is_in(&given.except));
                        prop_assert_eq!(of_caller, allowed, "{:?} {} {:?}", name, text, action);
                        let holds = |holding: &Holding| {
                            let is_named = |names: &[String]| name.is_some_and(|name| names.iter().any(|other| other == name));
                            let is_one = match &holding.holders {
                                Holders::Everybody { but } => !is_named(but),
                                Holders::Only(users) => is_named(users),
                            };
                            is_one && holding.given.to.iter().any(|subject| is_subject(subject, &principal))
                        };
                        let of_repository = policy.holdings(&repository, Some(action), whence).iter().any(holds);
                        prop_assert_eq!(of_repository, allowed, "{} {:?} {:?}", text, action, name);
                    }
                }
            }
        }
    }

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
