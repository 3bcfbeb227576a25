//! The catalog, filtered.

mod upstreams;

use std::{cmp::Ordering, collections::BTreeSet, thread::sleep, time::Duration};

use serde_json::{Value, json};

use crate::support::{ADMIN, ALICE, BOB, CI, Image, Login, Portcullis, Registry, Response, Skopeo};

/// P21
#[test]
fn the_catalog_shows_what_one_may_pull() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let admin = Skopeo::logged_in(gate.pki(), &gate.host(), ADMIN);
    let image = Image::new(61, &[100]);
    for repository in ["library/a", "team-a/b", "home/bob/c", "other/d"] {
        admin.copy(&image.reference(), &gate.image(repository)).succeeded();
    }
    let shown = |login: Login| gate.curl("/v2/_catalog").user(login).send().json()["repositories"].clone();
    assert_eq!(shown(ADMIN), json!(["home/bob/c", "library/a", "other/d", "team-a/b"]));
    assert_eq!(shown(ALICE), json!(["library/a", "team-a/b"]));
    assert_eq!(shown(BOB), json!(["home/bob/c", "library/a"]));
    assert_eq!(shown(CI), json!(["library/a"]));
}

/// Some hundred repositories in namespaces that byte order and distribution's order sort differently.
fn repositories() -> Vec<String> {
    let spaces = ["home/bob", "home/bobby", "library", "team-a", "team-a-x", "team-a.y", "team-b", "team", "z/0/deep"];
    let names = ["app", "app-1", "app.1", "app_1", "app/nested", "public", "secret", "secret/inner"];
    let mut all: Vec<String> = ["team-a", "team-a/app/public", "solo", "library"].map(str::to_owned).to_vec();
    for space in spaces {
        all.extend(names.iter().map(|name| format!("{space}/{name}")));
        all.extend((0..25).map(|number| format!("{space}/many/x{number:02}")));
    }
    all
}

/// A registry that holds them in pages of a hundred, and a gate whose users have grants of every kind.
fn scene() -> (Registry, Portcullis) {
    let registry = Registry::setup().with(|config| config["catalog"] = json!({ "maxentries": 100 })).start();
    registry.hold(&repositories());
    let gate = Portcullis::before(&registry).with(|config| config["access"]["grants"] = grants()).start();
    (registry, gate)
}

fn grants() -> Value {
    json!([
        { "name": "images", "repositories": ["library/**"], "actions": ["pull"], "to": ["anyone"] },
        { "name": "team", "repositories": ["team-a/**"], "actions": ["pull", "push"], "to": ["group:team-a"] },
        { "name": "some", "repositories": ["team-a/**"], "except": ["team-a/secret/**"], "actions": ["pull"], "to": ["user:bob"] },
        { "name": "homes", "repositories": ["home/$user/**"], "actions": ["pull"], "to": ["authenticated"] },
        { "name": "drop", "repositories": ["team-b/**"], "actions": ["push"], "to": ["authenticated"] },
        { "name": "wild", "repositories": ["**/public", "solo", "team/app"], "actions": ["pull"], "to": ["user:ci"] },
        { "name": "all", "repositories": ["**"], "actions": ["pull"], "to": ["user:admin"] },
    ])
}

/// What the grants above show, said another way.
fn sees(login: Login, name: &str) -> bool {
    let within = |space: &str| name == space || name.starts_with(&format!("{space}/"));
    within("library")
        || match login {
            ADMIN => true,
            ALICE => within("team-a"),
            BOB => within("team-a") && !within("team-a/secret") || within("home/bob"),
            _ => name.rsplit('/').next() == Some("public") || name == "solo" || name == "team/app",
        }
}

/// The registry's own catalog, whole.
fn direct(registry: &Registry) -> Vec<String> {
    let mut all = Vec::new();
    let mut target = "/v2/_catalog?n=100".to_owned();
    loop {
        let page = crate::support::http_get(registry.port(), &target).unwrap();
        all.extend(names(&page));
        match link(&page) {
            Some(next) => target = next,
            None => return all,
        }
    }
}

fn names(page: &Response) -> Vec<String> {
    assert_eq!(page.status, 200, "{}", page.text());
    serde_json::from_value(page.json()["repositories"].clone()).unwrap()
}

fn link(page: &Response) -> Option<String> {
    let target = page.header("link")?.strip_prefix('<')?.split_once('>')?;
    assert_eq!(target.1, r#"; rel="next""#);
    Some(target.0.to_owned())
}

/// distribution's order.
fn order(a: &str, b: &str) -> Ordering {
    a.replace('/', "\0").cmp(&b.replace('/', "\0"))
}

/// A catalog that could not be read in time is asked for again when the answer says, as clients do.
fn page(gate: &Portcullis, login: Login, target: &str) -> Response {
    let answer = ask(gate, login, target);
    match answer.header("retry-after").map(|seconds| seconds.parse().unwrap()) {
        Some(seconds) if answer.status == 503 => {
            sleep(Duration::from_secs(seconds));
            ask(gate, login, target)
        }
        _ => answer,
    }
}

fn ask(gate: &Portcullis, login: Login, target: &str) -> Response {
    gate.curl(target).user(login).send()
}

#[test]
fn every_page_is_that_of_the_filtered_reference() {
    let (registry, gate) = scene();
    let reference = direct(&registry);
    assert_eq!(reference.iter().collect::<BTreeSet<_>>(), repositories().iter().collect::<BTreeSet<_>>());
    for login in [ALICE, BOB, CI, ADMIN] {
        let visible: Vec<&String> = reference.iter().filter(|name| sees(login, name)).collect();
        for n in [3, 40, 1000] {
            let mut rest = visible.as_slice();
            let mut target = format!("/v2/_catalog?n={n}");
            loop {
                let page = page(&gate, login, &target);
                let (now, later) = rest.split_at(n.min(rest.len()));
                assert_eq!(names(&page).iter().collect::<Vec<_>>(), now, "{} {target}", login.name);
                let last = now.last().map(|last| last.replace('/', "%2F"));
                let next = last.filter(|_| !later.is_empty()).map(|last| format!("/v2/_catalog?n={n}&last={last}"));
                assert_eq!(link(&page), next, "{} {target}", login.name);
                rest = later;
                match next {
                    Some(next) => target = next,
                    None => break,
                }
            }
            assert!(rest.is_empty(), "{} {n}", login.name);
        }
    }
}

#[test]
fn any_text_is_a_place_to_go_on_from() {
    let (registry, gate) = scene();
    let reference = direct(&registry);
    let lasts = [
        "",
        "0",
        "home",
        "home/bob",
        "home/bobby/app",
        "library",
        "library/",
        "library/app",
        "library/app/",
        "solo",
        "team-a",
        "team-a-",
        "team-a-x/secret",
        "team-a/app/nestee",
        "team-a/secret",
        "team-a/zzz",
        "team.",
        "~",
        "Z/..",
    ];
    for login in [ALICE, BOB, CI, ADMIN] {
        for last in lasts {
            let after = |name: &&String| sees(login, name) && order(name, last) == Ordering::Greater;
            let expected: Vec<&String> = reference.iter().filter(after).take(5).collect();
            let page = page(&gate, login, &format!("/v2/_catalog?n=5&last={last}"));
            assert_eq!(names(&page).iter().collect::<Vec<_>>(), expected, "{} after {last:?}", login.name);
        }
    }
}

#[test]
fn sizes_of_pages() {
    let (_registry, gate) = scene();
    let count = |target: &str| names(&page(&gate, ADMIN, target)).len();
    assert_eq!(count("/v2/_catalog"), 100);
    assert_eq!(count("/v2/_catalog?n=0"), 0);
    let all = repositories().len();
    assert!(all < 1000);
    assert_eq!(count("/v2/_catalog?n=1000"), all);
    assert_eq!(count("/v2/_catalog?n=1001"), all);
    let head = gate.curl("/v2/_catalog?n=5").user(ADMIN).argument("--head").send();
    let get = page(&gate, ADMIN, "/v2/_catalog?n=5");
    assert_eq!((head.status, head.header("link")), (200, get.header("link")));
    assert_eq!(head.header("content-length"), get.header("content-length"));
}

#[test]
fn only_what_grants_reach_is_asked_for() {
    let (registry, gate) = scene();
    let asked = || registry.acted().into_iter().filter(|acted| acted.status == 200).map(|acted| acted.target).collect();
    let targets: Vec<String> = asked();
    assert!(targets.is_empty(), "{targets:?}");
    page(&gate, ALICE, "/v2/_catalog?n=1000");
    let targets: Vec<String> = asked();
    let lasts = ["home%2Falicd~", "home%2Falice%2F", "librarx~", "team-_~", "team-a%2F"];
    assert!(targets.len() <= lasts.len(), "{targets:?}");
    assert!(targets.iter().all(|target| target.contains("last=")), "{targets:?}");
    // What follows is in memory, for everybody who asks the same.
    for target in ["/v2/_catalog?n=1", "/v2/_catalog?n=2&last=library%2Fapp", "/v2/_catalog?n=1000"] {
        page(&gate, ALICE, target);
    }
    let after: Vec<String> = asked();
    assert_eq!(after, targets);
}

#[test]
fn a_shared_walk_shows_each_caller_its_own() {
    let registry = Registry::start();
    registry.hold(&["team-a/app", "team-a/secret/plan", "team-a/web"].map(str::to_owned));
    let gate = Portcullis::before(&registry)
        .with(|config| {
            config["access"]["grants"] = json!([
                { "name": "team", "repositories": ["team-a/**"], "actions": ["pull"], "to": ["user:alice"] },
                { "name": "some", "repositories": ["team-a/**"], "except": ["team-a/secret/**"], "actions": ["pull"], "to": ["user:bob"] },
            ]);
        })
        .start();
    let shown = |login| names(&page(&gate, login, "/v2/_catalog"));
    assert_eq!(shown(ALICE), ["team-a/app", "team-a/secret/plan", "team-a/web"]);
    let asked = registry.acted().len();
    assert_eq!(shown(BOB), ["team-a/app", "team-a/web"]);
    assert_eq!(names(&page(&gate, BOB, "/v2/_catalog?n=1&last=team-a/secret/plan")), ["team-a/web"]);
    assert_eq!(registry.acted().len(), asked, "{:?}", registry.acted());
    assert!(shown(CI).is_empty());
}

#[test]
fn a_grant_revoked_between_pages_ends_the_list() {
    let (_registry, mut gate) = scene();
    let first = page(&gate, ALICE, "/v2/_catalog?n=60");
    let next = link(&first).unwrap();
    assert!(names(&first).last().unwrap().starts_with("team-a/"));
    gate.restart_with(|config| {
        config["access"]["grants"].as_array_mut().unwrap().retain(|grant| grant["name"] != "team");
    });
    let rest = page(&gate, ALICE, &next);
    assert_eq!((names(&rest), link(&rest)), (Vec::new(), None));
}
