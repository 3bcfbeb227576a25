mod properties;
mod visit;

use http::Method;

use super::*;
use crate::{
    access::fixtures::{
        DIGEST, Place, access, grant, group_subject, host, patterns, repository, route, user, user_subject, with_token,
    },
    config::{Access, Config, Grant as Written, Subject},
    registry::{Read, Span, TokenVerb, UploadVerb},
};

use Action::{Delete, Pull, Push};

fn example() -> Access {
    let mut team = grant("team-a works in its namespace", &["team-a/**"], &[Pull, Push], &[group_subject("team-a")]);
    team.except = patterns(&["team-a/release/**"]);
    team.from = vec!["10.0.0.0/8".parse().unwrap()];
    team.registries = vec![host("registry.example.com")];
    access(vec![
        grant("public images", &["library/**"], &[Pull], &[Subject::Anyone]),
        team,
        grant("releases", &["team-a/release/**"], &[Push, Pull], &[user_subject("release-bot")]),
        grant("everybody has a home", &["home/$user/**"], &[Pull, Push, Delete], &[Subject::Authenticated]),
        grant("named star", &["star/**"], &[Pull], &[user_subject("*")]),
    ])
}

fn allowed(access: &Access, place: &Place, principal: &Principal, name: &str) -> String {
    Policy::compile(access).allowed(place.asker(principal), &repository(name)).to_string()
}

#[test]
fn principal_by_action_by_repository() {
    let anonymous = Principal::anonymous();
    let alice = user("alice", &["team-a"]);
    let bob = user("bob", &["team-b"]);
    let bot = user("release-bot", &[]);
    let star = user("*", &["*"]);
    #[rustfmt::skip]
    let table: &[(&str, [&str; 5])] = &[
        // repository           anonymous alice               bob                 release-bot  *
        ("library/nginx",      ["pull",   "pull",             "pull",             "pull",      "pull"]),
        ("library/a/b",        ["pull",   "pull",             "pull",             "pull",      "pull"]),
        ("library2/nginx",     ["",       "",                 "",                 "",          ""]),
        ("team-a/app",         ["",       "pull,push",        "",                 "",          ""]),
        ("team-a/app/deep/er", ["",       "pull,push",        "",                 "",          ""]),
        ("team-a/release/app", ["",       "",                 "",                 "pull,push", ""]),
        ("team-ab/app",        ["",       "",                 "",                 "",          ""]),
        ("home/alice/x",       ["",       "pull,push,delete", "",                 "",          ""]),
        ("home/bob/x/y",       ["",       "",                 "pull,push,delete", "",          ""]),
        ("home/user/x",        ["",       "",                 "",                 "",          ""]),
        ("star/x",             ["",       "",                 "",                 "",          "pull"]),
        ("elsewhere",          ["",       "",                 "",                 "",          ""]),
    ];
    let place = Place::default();
    for (name, expected) in table {
        for (principal, expected) in [&anonymous, &alice, &bob, &bot, &star].into_iter().zip(expected) {
            let found = allowed(&example(), &place, principal, name);
            assert_eq!(found, *expected, "{:?} on {name}", principal.name());
        }
    }
}

#[test]
fn networks_and_registries_tie_a_grant() {
    let alice = user("alice", &["team-a"]);
    let on = |hosts: &[&str], client: &str| allowed(&example(), &Place::new(hosts, client), &alice, "team-a/app");
    assert_eq!(on(&["registry.example.com"], "10.0.0.1"), "pull,push");
    assert_eq!(on(&["registry.example.com"], "::ffff:10.0.0.1"), "pull,push");
    assert_eq!(on(&["registry.example.com"], "11.0.0.1"), "");
    assert_eq!(on(&["registry.example.com"], "::1"), "");
    assert_eq!(on(&["hub.example.com"], "10.0.0.1"), "");
    assert_eq!(on(&["hub.example.com", "registry.example.com"], "10.0.0.1"), "pull,push");
}

#[test]
fn user_in_a_pattern_is_nobody_without_a_user() {
    let grants = access(vec![grant("homes", &["$user/**", "x/$user"], &[Pull], &[Subject::Anyone])]);
    let place = Place::default();
    assert_eq!(allowed(&grants, &place, &user("alice", &[]), "alice/x"), "pull");
    assert_eq!(allowed(&grants, &place, &user("alice", &[]), "x/alice"), "pull");
    assert_eq!(allowed(&grants, &place, &Principal::anonymous(), "alice/x"), "");
    assert_eq!(allowed(&grants, &place, &user("**", &[]), "alice/x"), "");
    assert_eq!(allowed(&grants, &place, &user("a/b", &[]), "a/b/x"), "");
}

fn ask(principal: &Principal, route: Route) -> Result<Permit, Denial> {
    Policy::compile(&example()).authorize(Place::default().asker(principal), route)
}

fn challenge_for(scope: &str, narrow: bool) -> Denial {
    Denial::Challenge { scope: Some(scope.to_owned()), narrow }
}

#[test]
fn caller_routes_need_a_caller() {
    for (target, scope) in [("/v2/", None), ("/v2/_catalog", Some("registry:catalog:*".to_owned()))] {
        let denial = ask(&Principal::anonymous(), route(&Method::GET, target)).unwrap_err();
        assert_eq!(denial, Denial::Challenge { scope, narrow: false });
        for caller in [with_token(Principal::anonymous(), &[]), with_token(user("bob", &[]), &[]), user("bob", &[])] {
            let permit = ask(&caller, route(&Method::GET, target)).unwrap();
            assert_eq!((permit.grant(), permit.action()), (None, None));
            assert_eq!(*permit.route(), route(&Method::GET, target));
        }
    }
}

/// What the log says of a grant, and of one that is for another network.
#[test]
fn whom_a_grant_is_for_and_which_one_is_near() {
    let mut inside = grant("inside", &["a/**"], &[Pull], &[group_subject("g")]);
    inside.from = vec!["192.0.2.0/24".parse().unwrap()];
    let to = [user_subject("alice"), group_subject("g"), Subject::Authenticated];
    let policy = Policy::compile(&access(vec![inside, grant("here", &["b/**"], &[Push], &to)]));
    let place = Place::default();
    let push = |principal: &Principal| {
        let permit = policy.authorize(place.asker(principal), route(&Method::PUT, "/v2/b/c/manifests/v1")).unwrap();
        permit.subject().unwrap().to_string()
    };
    assert_eq!(push(&user("alice", &["g"])), "user:alice", "the first in the file");
    assert_eq!(push(&user("bob", &["g"])), "group:g");
    assert_eq!(push(&user("bob", &[])), "authenticated");
    let near = |principal: &Principal, repository: &str, action| {
        let repository = RepositoryName::parse(repository).unwrap();
        policy.allows_elsewhere(place.asker(principal), &repository, action).map(|grant| grant.to_string())
    };
    assert_eq!(near(&user("bob", &["g"]), "a/b", Pull).as_deref(), Some("inside"));
    assert_eq!(near(&user("bob", &["g"]), "a/b", Push), None, "nor from there");
    assert_eq!(near(&user("bob", &[]), "a/b", Pull), None, "for others");
    assert_eq!(near(&user("bob", &["g"]), "b/c", Push), None, "it is allowed from anywhere");
}

#[test]
fn open_routes_need_nothing() {
    let _ = ask(&Principal::anonymous(), Route::Landing(Read::Get)).unwrap();
    let _ = ask(&Principal::anonymous(), Route::Token(TokenVerb::Query)).unwrap();
}

#[test]
fn what_the_policy_allows_anyone_needs_no_token() {
    let permit = ask(&Principal::anonymous(), route(&Method::GET, "/v2/library/x/tags/list")).unwrap();
    assert_eq!((permit.grant().map(|grant| &**grant), permit.action()), (Some("public images"), Some(Pull)));
}

#[test]
fn what_the_policy_forbids_is_a_challenge_for_nobody_and_final_for_somebody() {
    let pull = || route(&Method::GET, "/v2/team-a/app/manifests/latest");
    let scope = pull().challenge_scope().unwrap();
    let bare = ask(&Principal::anonymous(), pull()).unwrap_err();
    assert_eq!(bare, challenge_for(&scope, false));
    let token = with_token(Principal::anonymous(), &[("team-a/app", &[Pull])]);
    assert_eq!(ask(&token, pull()).unwrap_err(), challenge_for(&scope, true));
    let forbidden = Denial::Forbidden { action: Pull, repository: repository("team-a/app") };
    assert_eq!(ask(&user("bob", &[]), pull()).unwrap_err(), forbidden);
    let token = with_token(user("bob", &[]), &[("team-a/app", &[Pull])]);
    assert_eq!(ask(&token, pull()).unwrap_err(), forbidden);
}

#[test]
fn a_token_narrows() {
    let alice = || user("alice", &["team-a"]);
    let push = || route(&Method::PUT, "/v2/team-a/app/manifests/latest");
    let scope = push().challenge_scope().unwrap();
    for narrow in [
        with_token(alice(), &[]),
        with_token(alice(), &[("team-a/app", &[Pull, Delete])]),
        with_token(alice(), &[("team-a/other", &[Pull, Push])]),
    ] {
        assert_eq!(ask(&narrow, push()).unwrap_err(), challenge_for(&scope, true));
    }
    let permit = ask(&with_token(alice(), &[("team-a/app", &[Push])]), push()).unwrap();
    assert_eq!(
        (permit.grant().map(|grant| &**grant), permit.action()),
        (Some("team-a works in its namespace"), Some(Push))
    );
    let _ = ask(&alice(), push()).unwrap();
}

#[test]
fn a_token_never_widens() {
    let wide = with_token(user("alice", &["team-a"]), &[("library/x", &[Pull, Push, Delete])]);
    let delete = route(&Method::DELETE, &format!("/v2/library/x/manifests/{DIGEST}"));
    let forbidden = Denial::Forbidden { action: Delete, repository: repository("library/x") };
    assert_eq!(ask(&wide, delete).unwrap_err(), forbidden);
}

fn mount(from: &str) -> Route {
    route(&Method::POST, &format!("/v2/team-a/app/blobs/uploads/?mount={DIGEST}&from={from}"))
}

fn is_start(permit: &Permit) -> bool {
    matches!(permit.route(), Route::Upload { verb: UploadVerb::Start, repository } if repository.as_str() == "team-a/app")
}

#[test]
fn a_mount_from_what_the_caller_may_read_is_a_mount() {
    let alice = || user("alice", &["team-a"]);
    let both = with_token(alice(), &[("team-a/app", &[Push, Pull]), ("library/x", &[Pull])]);
    for caller in [alice(), both] {
        let permit = ask(&caller, mount("library/x")).unwrap();
        assert_eq!(*permit.route(), mount("library/x"));
        assert_eq!(permit.action(), Some(Push));
    }
}

#[test]
fn a_mount_from_what_the_policy_hides_is_an_upload() {
    let alice = || user("alice", &["team-a"]);
    let whole = with_token(alice(), &[("team-a/app", &[Push]), ("team-a/release/x", &[Pull])]);
    for caller in [alice(), with_token(alice(), &[("team-a/app", &[Push])]), whole] {
        assert!(is_start(&ask(&caller, mount("team-a/release/x")).unwrap()));
    }
}

#[test]
fn a_mount_beyond_the_token_asks_for_both_scopes() {
    let alice = || user("alice", &["team-a"]);
    let scope = mount("library/x").challenge_scope().unwrap();
    assert!(scope.contains("repository:team-a/app:") && scope.contains("repository:library/x:"), "{scope}");
    for scopes in [&[("team-a/app", &[Push] as &[Action])], &[("library/x", &[Pull] as &[Action])]] {
        let denial = ask(&with_token(alice(), scopes), mount("library/x")).unwrap_err();
        assert_eq!(denial, challenge_for(&scope, true));
    }
}

#[test]
fn a_mount_without_push_is_refused() {
    let bob = user("bob", &[]);
    let forbidden = Denial::Forbidden { action: Push, repository: repository("team-a/app") };
    assert_eq!(ask(&bob, mount("library/x")).unwrap_err(), forbidden);
    let scope = mount("library/x").challenge_scope().unwrap();
    assert_eq!(ask(&Principal::anonymous(), mount("library/x")).unwrap_err(), challenge_for(&scope, false));
}

#[test]
fn an_anonymous_mount_between_open_repositories() {
    let open = access(vec![
        grant("drop", &["team-a/**"], &[Push], &[Subject::Anyone]),
        grant("read", &["library/**"], &[Pull], &[Subject::Anyone]),
    ]);
    let (place, nobody) = (Place::default(), Principal::anonymous());
    let ask = |route| Policy::compile(&open).authorize(place.asker(&nobody), route).unwrap();
    assert_eq!(*ask(mount("library/x")).route(), mount("library/x"));
    assert!(is_start(&ask(mount("secret/x"))));
}

#[test]
fn a_catalog_permit_turns_pages_and_no_other_does() {
    let page = Page { n: Some(100), last: Some("m".to_owned()) };
    let catalog = ask(&user("bob", &[]), route(&Method::GET, "/v2/_catalog")).unwrap();
    let next = catalog.catalog_page(page.clone()).unwrap();
    assert_eq!(*next.route(), Route::Catalog { read: Read::Get, page: page.clone() });
    let tags = ask(&user("bob", &[]), route(&Method::GET, "/v2/library/x/tags/list")).unwrap();
    assert!(tags.catalog_page(page).is_none());
}

#[test]
fn a_permit_knows_whom_it_was_made_for() {
    let bob = user("bob", &[]);
    let upload = "/v2/home/bob/x/blobs/uploads/id?digest=";
    for line in ["/v2/", "/v2/_catalog", "/v2/library/x/tags/list", "/token"] {
        let asked = |principal: &Principal| {
            ask(principal, route(&Method::GET, line)).ok().map(|permit| permit.caller().map(str::to_owned))
        };
        assert_eq!(asked(&bob), Some(Some("bob".to_owned())), "{line}");
        assert_eq!(asked(&with_token(bob.clone(), &[("library/x", &[Pull])])), asked(&bob), "{line}");
        assert_eq!(asked(&with_token(Principal::anonymous(), &[("library/x", &[Pull])])), Some(None), "{line}");
    }
    let catalog = ask(&bob, route(&Method::GET, "/v2/_catalog")).unwrap();
    assert_eq!(catalog.catalog_page(Page::default()).unwrap().caller(), Some("bob"));
    let finish = ask(&bob, route(&Method::PUT, &format!("{upload}{DIGEST}"))).unwrap();
    assert_eq!(finish.caller(), Some("bob"));
    assert_eq!(finish.session_status().unwrap().caller(), Some("bob"));
    let degraded = ask(&user("alice", &["team-a"]), mount("secret/x")).unwrap();
    assert!(is_start(&degraded));
    assert_eq!(degraded.caller(), Some("alice"));
}

#[test]
fn the_catalog_shows_what_may_be_pulled_whatever_the_token_says() {
    let policy = Policy::compile(&example());
    let place = Place::default();
    let token = with_token(user("bob", &[]), &[("team-a/app", &[Pull])]);
    assert!(policy.shows(place.asker(&token), &repository("library/x")));
    assert!(policy.shows(place.asker(&token), &repository("home/bob/x")));
    assert!(!policy.shows(place.asker(&token), &repository("team-a/app")));
}

#[test]
fn the_ranges_of_a_caller_follow_the_grants_that_hold() {
    let mut grants = example().grants;
    grants.push(grant("push only", &["drop/**"], &[Push], &[Subject::Anyone]));
    grants.push(grant("one of each", &["apps/*/web", "apps/shop/web", "library/x"], &[Pull], &[user_subject("carol")]));
    grants.push(grant("anywhere", &["**/public"], &[Pull], &[user_subject("dora")]));
    let policy = Policy::compile(&Access { grants });
    let here = Place::default();
    let elsewhere = Place::new(&["other.example.com"], "10.1.2.3");
    let outside = Place::new(&["registry.example.com"], "203.0.113.9");
    for (place, principal, expected) in [
        (&here, Principal::anonymous(), &["library", "library/"][..]),
        (&here, user("alice", &["team-a"]), &["home/alice", "home/alice/", "library", "library/", "team-a", "team-a/"]),
        (&elsewhere, user("alice", &["team-a"]), &["home/alice", "home/alice/", "library", "library/"]),
        (&outside, user("alice", &["team-a"]), &["home/alice", "home/alice/", "library", "library/"]),
        (&here, user("carol", &[]), &["apps/", "home/carol", "home/carol/", "library", "library/"]),
        (&here, user("Carol@example", &[]), &["library", "library/"]),
        (&here, user("dora", &[]), &[""]),
        (
            &here,
            user("release-bot", &[]),
            &["home/release-bot", "home/release-bot/", "library", "library/", "team-a/release", "team-a/release/"],
        ),
    ] {
        let ranges = policy.ranges(place.asker(&principal));
        let shown: Vec<&str> = ranges.spans().iter().map(shown).collect();
        assert_eq!(shown, expected, "{principal:?}");
    }
}

fn shown(span: &Span) -> &str {
    match span {
        Span::All => "",
        Span::Name(text) | Span::Under(text) => text,
    }
}

#[test]
fn a_name_meets_only_grants_on_its_path() {
    let team = |number| {
        let pattern = format!("acme/team-{number}/**");
        grant("team", &[&pattern], &[Pull], &[Subject::Authenticated])
    };
    let mut grants: Vec<Written> = (0..10_000).map(team).collect();
    grants.push(grant("open", &["*/public/**"], &[Pull], &[Subject::Anyone]));
    let policy = Policy::compile(&access(grants));
    let met = |name: &str| policy.candidates(&repository(name)).count();
    assert_eq!(met("acme/team-77/app"), 2);
    assert_eq!(met("acme/unknown/app"), 1);
    assert_eq!(met(&vec!["a"; 120].join("/")), 1);
    let bob = user("bob", &[]);
    assert!(policy.allowed(Place::default().asker(&bob), &repository("acme/team-77/app")).contains(Pull));
}
