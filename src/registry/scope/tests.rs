use super::*;
use proptest::prelude::*;

fn read(text: &str) -> Option<String> {
    Scope::parse(text).map(|scope| scope.to_string())
}

fn requested(text: &str) -> String {
    let mut set = ScopeSet::default();
    set.add_requested(text);
    set.to_string()
}

#[test]
fn scopes_as_clients_send_them() {
    for (id, text, expected) in [
        ("T2", "repository:a/b:push,pull", Some("repository:a/b:pull,push")),
        ("T5", "repository:a/b:push,pull,delete", Some("repository:a/b:pull,push,delete")),
        ("T6", "repository:a/b:*", Some("repository:a/b:pull,push,delete")),
        ("T10", "registry:catalog:*", Some("registry:catalog:*")),
        ("T10", "registry:catalog:pull", None),
        ("T10", "registry:other:*", None),
        ("T10", "registry::*", None),
        ("T25", "repository:h:5000/foo:pull", None),
        ("T26", "repository(plugin):foo/bar:pull", Some("repository:foo/bar:pull")),
        ("T26", "repository(image):foo/bar:pull", None),
        ("T26", "repository(plugin:foo/bar:pull", None),
        ("T27", "repository:a:", None),
        ("T27", "repository::pull", None),
        ("T27", "repository:a", None),
        ("T27", ":::", None),
        ("T27", "", None),
        ("T29", "whatever:foo:pull", None),
        ("T29", "Repository:foo:pull", None),
        ("T30", "repository:A/b:pull", None),
        ("T30", "repository:a/../b:pull", None),
        ("T30", "repository:a%2Fb:pull", None),
        ("T30", "repository:a//b:pull", None),
        ("T30", "repository:/a:pull", None),
        ("T30", "repository:a/:pull", None),
        ("T30", "repository:a/*:pull", None),
        ("T30", "repository:*:pull", None),
        ("T32", "repository:a:pull,pull,PULL,*x", Some("repository:a:pull")),
        ("T32", "repository:a:PULL", None),
        ("T32", "repository:a:*x", None),
        ("T32", "repository:a:pull ", None),
    ] {
        assert_eq!(read(text).as_deref(), expected, "{id}: {text:?}");
    }
}

#[test]
fn t5_t13_the_same_repository_twice_is_a_union() {
    assert_eq!(requested("repository:n:pull repository:n:pull,push"), "repository:n:pull,push");
    assert_eq!(
        requested("repository:a:push repository:b:pull repository:a:pull"),
        "repository:a:pull,push repository:b:pull"
    );
}

#[test]
fn t27_t28_empty_pieces_and_unreadable_entries_are_passed_over() {
    assert_eq!(requested("  repository:a:pull   x:y:z ::: repository:b:push "), "repository:a:pull repository:b:push");
    assert_eq!(requested(" "), "");
    assert_eq!(requested("repository:a:pull\trepository:b:pull"), "");
}

#[test]
fn t31_the_number_of_entries_is_bounded_and_merging_goes_on() {
    let text: Vec<_> = (0..1000).map(|n| format!("repository:r{n}:pull")).collect();
    let mut set = ScopeSet::default();
    set.add_requested(&text.join(" "));
    assert_eq!(set.iter().count(), ScopeSet::MAX);
    set.add_requested("repository:r0:push repository:r999:push");
    assert_eq!(set.actions_on(&RepositoryName::parse("r0").unwrap()), Actions::from_iter([Action::Pull, Action::Push]));
    assert_eq!(set.actions_on(&RepositoryName::parse("r999").unwrap()), Actions::NONE);
}

#[test]
fn a_scope_without_actions_is_not_kept() {
    let mut set = ScopeSet::default();
    set.add(Scope::repository(RepositoryName::parse("a").unwrap(), Actions::NONE));
    assert!(set.is_empty());
}

#[test]
fn claims_are_read_literally() {
    let claim =
        |kind: &str, name: &str, actions: &[&str]| Scope::from_claim(kind, name, actions).map(|s| s.to_string());
    for (id, kind, name, actions, expected) in [
        ("J19", "repository", "a/b", &["*"][..], Some("repository:a/b:pull,push,delete")),
        ("J20", "repository", "a/b", &["pull,push"], None),
        ("J20", "repository", "a/b", &["PULL"], None),
        ("J20", "repository", "*", &["pull"], None),
        ("J20", "repository", "secret/*", &["pull"], None),
        ("J20", "repository", "secret/app/", &["pull"], None),
        ("J20", "repository", "Secret/App", &["pull"], None),
        ("J20", "repository", "secret%2Fapp", &["pull"], None),
        ("J20", "repository", "pub/../secret/app", &["pull"], None),
        ("J21", "registry", "a/b", &["*"], None),
        ("J21", "repository(plugin)", "a/b", &["pull"], None),
        ("A44", "repository", "secret//app", &["pull"], None),
        ("claim", "repository", "catalog", &["*"], Some("repository:catalog:pull,push,delete")),
        ("claim", "registry", "catalog", &["*"], Some("registry:catalog:*")),
        ("claim", "registry", "catalog", &["pull", "push", "delete"], None),
        ("claim", "repository", "a", &[], None),
        ("claim", "", "", &[], None),
    ] {
        assert_eq!(claim(kind, name, actions).as_deref(), expected, "{id}: {kind} {name} {actions:?}");
    }
}

#[test]
fn the_catalog_is_no_repository() {
    let mut set = ScopeSet::default();
    set.add(Scope::catalog());
    assert_eq!(set.actions_on(&RepositoryName::parse("catalog").unwrap()), Actions::NONE);
}

fn any_scope() -> impl Strategy<Value = Scope> {
    let repository = ("[a-z0-9]{1,3}(/[a-z]{1,3}){0,2}", 1u8..8).prop_map(|(name, bits)| {
        let actions =
            Action::ALL.into_iter().enumerate().filter(|(n, _)| bits & (1 << n) != 0).map(|(_, action)| action);
        Scope::repository(RepositoryName::parse(&name).unwrap(), actions.collect())
    });
    prop_oneof![4 => repository, 1 => Just(Scope::catalog())]
}

proptest! {
    #[test]
    fn printing_and_reading_agree(scope in any_scope()) {
        prop_assert_eq!(Scope::parse(&scope.to_string()), Some(scope.clone()));
        prop_assert_eq!(Scope::from_claim(scope.kind(), scope.name(), scope.action_words()), Some(scope));
    }

    #[test]
    fn a_set_survives_its_own_text(scopes in prop::collection::vec(any_scope(), 0..20)) {
        let mut set = ScopeSet::default();
        scopes.into_iter().for_each(|scope| set.add(scope));
        let mut again = ScopeSet::default();
        again.add_requested(&set.to_string());
        prop_assert_eq!(again, set);
    }

    #[test]
    fn never_panics(text in "[a-z:,*() /A%é]{0,40}") {
        requested(&text);
    }
}
