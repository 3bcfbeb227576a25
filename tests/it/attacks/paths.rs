//! A repository by another spelling, and what is no repository at all.

use serde_json::json;

use super::{MANIFEST, Scene};
use crate::support::{ADMIN, ALICE, Portcullis, Registry, Tls};

/// Ways to write what alice may not have, or what nobody may.
pub(crate) const SPELLINGS: &[(&str, &str)] = &[
    ("A1", "/v2/secret/app/manifests/v1"),
    ("A1 §8.4", "/v2/secret%2Fapp/manifests/v1"),
    ("A1 §8.4", "/v2/secret%2fapp/manifests/v1"),
    ("A1 §8.4", "/v2/secret%2fapp%2fmanifests%2fv1"),
    ("A1 §8.4", "/v2/team-a/app%2f..%2f..%2fsecret%2fapp/manifests/v1"),
    ("A2 §8.4", "/v2/%73ecret/app/manifests/v1"),
    ("A2 §8.4", "/%762/secret/app/manifests/v1"),
    ("A2 §8.4", "/v2/secret/app/%6danifests/v1"),
    ("A4 §8.4", "/v2/secret%252Fapp/manifests/v1"),
    ("A5 §8.5", "/v2/team-a/../secret/app/manifests/v1"),
    ("A5 §8.5", "/v2/team-a/%2e%2e/secret/app/manifests/v1"),
    ("A5 §8.5", "/v2/team-a/..%2fsecret/app/manifests/v1"),
    ("A5 §8.5", "/v2/./secret/app/manifests/v1"),
    ("A6 §8.5", "/v2/team-a/app/manifests/../../../secret/app/manifests/v1"),
    ("A7 §8.5", "//v2/secret/app/manifests/v1"),
    ("A7 §8.5", "/v2//secret/app/manifests/v1"),
    ("A7 §8.5", "/v2/secret//app/manifests/v1"),
    ("A7 §8.5", "/v2/secret/app/manifests/v1/"),
    ("A8", "/v2/secret\\app/manifests/v1"),
    ("A8", "/v2/secret/app;x=y/manifests/v1"),
    ("A9 §8.8", "/V2/secret/app/manifests/v1"),
    ("A9 §8.8", "/v2/Secret/App/manifests/v1"),
    ("A9 §8.8", "/v2/secret/app/Manifests/v1"),
    ("A10", "/v2/secret%c0%afapp/manifests/v1"),
    ("A10", "/v2/secret%e0%80%afapp/manifests/v1"),
    ("A10", "/v2/secret%ef%bc%8fapp/manifests/v1"),
    ("A10", "/v2/secret%zzapp/manifests/v1"),
    ("A10", "/v2/secret/app/manifests/v1%"),
    ("A12", "/v2/secret/app/manifests/v1%00"),
    ("A12", "/v2/secret/app/manifests/v1%0d%0aX:y"),
    ("A12", "/v2/secret/app%09/manifests/v1"),
    ("A12", "/v2/secret/app%20/manifests/v1"),
    ("A12", "/v2/team-a/app/tags/list?last=%0d%0aX:secret"),
    ("A13", "/v2/secret/app/manifests/v1#fragment"),
    ("A13", "/v2/team-a/app/tags/list#/../../secret/app"),
    ("A13", "/v2/team-a?/../secret/app/manifests/v1"),
    ("A14 §8.15", "http://evil.test/v2/secret/app/manifests/v1"),
    ("A14 §8.15", "https://localhost@evil.test/v2/secret/app/manifests/v1"),
    ("A15", "v2/secret/app/manifests/v1"),
    ("A15", "*"),
    ("A43", "/token/../v2/secret/app/manifests/v1"),
    ("A43", "/auth/../v2/secret/app/manifests/v1"),
];

#[test]
fn no_spelling_of_a_path_reaches_another_repository() {
    let scene = Scene::new();
    let before = scene.touched();
    for (id, target) in SPELLINGS {
        let answer = scene.ask("GET", target, &format!("Accept: {MANIFEST}\r\n"));
        assert!((400..500).contains(&answer.status), "{id} {target}: {} {}", answer.status, answer.text());
        assert!(!answer.text().contains("schemaVersion"), "{id} {target}");
        assert_eq!(answer.header("location"), None, "{id} {target}");
    }
    assert_eq!(scene.touched(), before, "the registry acted on it: {:?}", scene.registry.acted());
}

#[test]
fn a12_nothing_asked_breaks_a_line_of_the_log() {
    let scene = Scene::new();
    scene.ask("GET", "/v2/team-a/app/manifests/v1", "User-Agent: a\"},{\"forged\":1\\n\\u000a\u{9b}31m\r\n");
    scene.ask("GET", "/v2/team-a/app/manifests/v1%0a%7b%22forged%22:1%7d", "");
    let log = scene.gate.log();
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        assert!(line["forged"].is_null(), "{line}");
    }
}

#[test]
fn a14_an_absolute_target_is_judged_like_a_path() {
    let scene = Scene::new();
    let (host, port) = (scene.gate.host(), scene.gate.port());
    let before = scene.touched();
    for (target, status) in [
        (format!("https://{host}/v2/team-a/app/tags/list"), 200),
        (format!("http://{host}/v2/team-a/app/tags/list"), 200),
        (format!("https://{host}/v2/secret/app/tags/list"), 403),
        (format!("https://{host}/v2/team-a/../secret/app/tags/list"), 400),
        (format!("https://evil.test:{port}/v2/team-a/app/tags/list"), 421),
        (format!("https://alice@{host}/v2/team-a/app/tags/list"), 400),
    ] {
        // Whatever `Host` says beside it.
        let answer = scene.ask("GET", &target, "");
        assert!(answer.status == status || status != 200 && answer.status == 400, "A14 {target}: {}", answer.status);
    }
    let login =
        format!("GET https://{host}/v2/team-a/app/tags/list HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    assert!(scene.send(login).starts_with("HTTP/1.1 401"), "A14 without a login");
    assert_eq!(scene.touched(), before);
}

#[test]
fn a15_nobody_gets_a_tunnel() {
    let scene = Scene::new();
    let host = scene.gate.host();
    for target in [host.as_str(), "evil.test:443", "/v2/team-a/app/tags/list"] {
        let mut connection = Tls::connect(scene.gate.pki(), scene.gate.port(), "localhost");
        connection.send(format!("CONNECT {target} HTTP/1.1\r\n{}\r\n", scene.head(ADMIN)));
        let status = connection.answer(false).map(|answer| answer.status);
        assert!(matches!(status, None | Some(400 | 404 | 405 | 421)), "A15 {target}: {status:?}");
    }
}

#[test]
fn a19_a20_a_repository_may_be_called_like_a_route() {
    let scene = Scene::new();
    for (id, target, status) in [
        ("A20 §8.6", "/v2/team-a/manifests/x/manifests/v1", 404),
        ("A19 §8.6", "/v2/team-a/tags/list/tags/list", 404),
        ("A19 §8.6", "/v2/manifests/manifests/manifests/manifests", 403),
        ("A19 §8.6", "/v2/secret/blobs/uploads/manifests/v1", 403),
        ("A19 §8.6", "/v2/team-a/blobs/uploads/../../../secret/manifests/v1", 400),
    ] {
        let answer = scene.ask("GET", target, "");
        assert_eq!(answer.status, status, "{id} {target}: {}", answer.text());
    }
    assert_eq!(
        scene.registry.acted_on("team-a/manifests/x").len(),
        1,
        "judged by the last keyword, as the registry reads it"
    );
    // §8.7: as if the slash were there, and no redirect.
    let opened = scene.ask("POST", "/v2/team-a/blobs/uploads/blobs/uploads", "Content-Length: 0\r\n");
    assert_eq!(opened.status, 202, "§8.7");
    assert!(opened.header("location").unwrap().contains("/v2/team-a/blobs/uploads/blobs/uploads/"), "§8.6");
}

#[test]
fn a20_a21_a22_a_pattern_says_what_it_says_and_no_more() {
    let registry = Registry::start();
    let gate = Portcullis::before(&registry)
        .with(|config| {
            let grant = |patterns: &[&str]| {
                json!({ "name": patterns[0], "repositories": patterns, "actions": ["pull"], "to": ["user:alice"] })
            };
            config["access"]["grants"] =
                json!([grant(&["exact"]), grant(&["one/*"]), grant(&["any/**"]), grant(&["a.b/*"])]);
        })
        .start();
    for (id, repository, status) in [
        ("A20", "exact", 404),
        ("A20", "exact/manifests/x", 403),
        ("A20", "exact/tags/list", 403),
        ("A21", "one", 403),
        ("A21", "one/app", 404),
        ("A21", "one/a/b", 403),
        ("A21", "onex/app", 403),
        ("A21", "one-secret", 403),
        ("A21", "one-secret/app", 403),
        ("A21", "one/", 400),
        ("A21", "x/one/app", 403),
        ("A21", "any", 404),
        ("A21", "any/a", 404),
        ("A21", "any/a/b/c", 404),
        ("A21", "anyx/a", 403),
        ("A21", "any-secret", 403),
        ("A22", "a.b/app", 404),
        ("A22", "a-b/app", 403),
        ("A22", "axb/app", 403),
        ("A22", "one/[a]", 400),
        ("A22", "*/app", 400),
        ("A22", "one/*", 400),
        ("A22", "any/**", 400),
        ("A22", "a.b/$user", 400),
    ] {
        let answer = gate.curl(&format!("/v2/{repository}/manifests/v1")).user(ALICE).send();
        assert_eq!(answer.status, status, "{id} {repository}: {}", answer.text());
    }
}

#[test]
fn a23_a24_a25_names_tags_and_digests_are_bounded() {
    // With its descriptor cache registry 2.8 adds `docker.io/` before it counts, and fails on names it may have.
    let registry = Registry::setup().with(|config| {
        config["storage"].as_object_mut().unwrap().remove("cache");
    });
    let scene = Scene::with(registry.start());
    let name = |length: usize| format!("team-a/{}", "a".repeat(length - 7));
    let many = vec!["a"; 124].join("/");
    for (id, target, status) in [
        ("A23", format!("/v2/{}/manifests/v1", name(255)), 404),
        ("A23", format!("/v2/{}/manifests/v1", name(256)), 400),
        ("A23", format!("/v2/{}/manifests/v1", name(60_000)), 400),
        ("A23", format!("/v2/team-a/{many}/manifests/v1"), 404),
        ("A24", format!("/v2/team-a/app/manifests/{}", "t".repeat(128)), 404),
        ("A24", format!("/v2/team-a/app/manifests/{}", "t".repeat(129)), 404),
        ("A25", format!("/v2/team-a/app/blobs/{}", scene.public.layer), 200),
        ("A25", format!("/v2/team-a/app/blobs/{}", scene.public.layer.replace(':', "%3A")), 200),
        ("A25", format!("/v2/team-a/app/blobs/{}", scene.public.layer.replace("sha", "SHA")), 404),
        ("A25", format!("/v2/team-a/app/blobs/sha256:{}", scene.public.layer[7..].to_uppercase()), 400),
        ("A25", format!("/v2/team-a/app/blobs/{}", scene.secret.layer), 404),
        ("A25", format!("/v2/secret/app/blobs/{}", scene.secret.layer.replace(':', "%3a")), 403),
    ] {
        let answer = scene.ask("GET", &target, "");
        assert!(
            answer.status == status || status == 400 && answer.status == 414,
            "{id} {target}: {} {}",
            answer.status,
            answer.text()
        );
    }
    let long: Vec<_> =
        scene.registry.acted().into_iter().filter(|acted| acted.target.len() > 400 || acted.status >= 500).collect();
    assert!(long.is_empty(), "A23: {long:?}");
}

#[test]
fn a3_the_catalog_is_asked_for_by_its_name_and_filtered() {
    let scene = Scene::new();
    for target in ["/v2/_catalog", "/v2/_catalog?n=1&last=a", "/v2/_catalog?n=1000", "/v2/_catalog?last=secret"] {
        let answer = scene.ask("GET", target, "");
        assert_eq!(answer.status, 200, "A3 {target}");
        assert!(!answer.text().contains("secret/app"), "A3 {target}: {}", answer.text());
    }
    for target in ["/v2/%5fcatalog", "/v2/_catalog/", "/v2/_catalog/x", "/v2//_catalog", "/v2/_Catalog"] {
        let answer = scene.ask("GET", target, "");
        assert!(matches!(answer.status, 400 | 404), "A3 {target}: {}", answer.status);
    }
    assert_eq!(scene.gate.curl("/v2/_catalog").send().status, 401, "A3 without a login");
}

#[test]
fn a42_a43_only_the_registry_api_is_public() {
    let scene = Scene::new();
    let before = scene.registry.acted().len();
    for (id, target) in [
        ("A42", "/metrics"),
        ("A42", "/debug/vars"),
        ("A42", "/debug/pprof/"),
        ("A42", "/debug/health"),
        ("A42", "/readyz"),
        ("A42", "/status"),
        ("A43", "/v1/_ping"),
        ("A43", "/v1/search?q=a"),
        ("A43", "/favicon.ico"),
        ("A43", "/index.html"),
        ("A3", "/v2/_catalog/x"),
    ] {
        let answer = scene.ask("GET", target, "");
        assert_eq!(answer.status, 404, "{id} {target}");
    }
    let landing = scene.ask("GET", "/", "");
    assert!(landing.status == 200 && !landing.text().contains(env!("CARGO_PKG_VERSION")), "{}", landing.text());
    assert_eq!(scene.registry.acted().len(), before);
}

#[test]
fn a44_a_scope_names_a_repository_as_it_is_written() {
    let scene = Scene::new();
    for name in [
        "secret//app",
        "secret/app/",
        "/secret/app",
        "Secret/app",
        "secret%2Fapp",
        "team-a/../secret/app",
        "secret/*",
        "**",
    ] {
        let token = scene.gate.token(Some(ADMIN), &format!("repository:{}:pull", name.replace('%', "%25")));
        let answer = scene.gate.curl("/v2/secret/app/tags/list").bearer(&token).send();
        assert!(answer.challenge().contains("insufficient_scope"), "A44 {name}: {}", answer.challenge());
    }
}

#[test]
fn a40_a41_methods_are_what_they_are() {
    let scene = Scene::new();
    let before = scene.registry.acted().len();
    let blob = format!("/v2/team-a/app/blobs/{}", scene.public.layer);
    for (id, method, target, status) in [
        ("A40", "DELETE", "/v2/team-a/app/manifests/v1", 403),
        ("A40", "DELETE", blob.as_str(), 403),
        ("A40", "HEAD", "/v2/secret/app/manifests/v1", 403),
        ("A40 §8.9", "OPTIONS", "/v2/team-a/app/manifests/v1", 405),
        ("A40 §8.9", "TRACE", "/v2/secret/app/manifests/v1", 405),
        ("A40 §8.9", "FOO", "/v2/secret/app/manifests/v1", 405),
        ("A40 §8.9", "get", "/v2/secret/app/manifests/v1", 405),
        ("A40 §8.9", "PROPFIND", "/v2/secret/app/tags/list", 405),
        ("A40 §8.9", "POST", "/v2/secret/app/manifests/v1", 405),
    ] {
        assert_eq!(scene.ask(method, target, "Content-Length: 0\r\n").status, status, "{id} {method} {target}");
    }
    assert_eq!(scene.registry.acted().len(), before, "A40");

    let form = "application/x-www-form-urlencoded";
    let inner = format!("GET /v2/secret/app/tags/list HTTP/1.1\r\nHost: {}\r\n\r\n", scene.gate.host());
    for (method, body) in [("GET", "from=secret/app"), ("GET", inner.as_str()), ("HEAD", inner.as_str())] {
        let answer = scene.submit(method, "/v2/team-a/app/manifests/nothing", form, body);
        assert!(matches!(answer.status, 400 | 404), "A41 {method}: {}", answer.status);
    }
    let seen = scene.registry.acted();
    assert!(seen[before..].iter().all(|acted| acted.target == "/v2/team-a/app/manifests/nothing"), "A41: {seen:?}");
}
