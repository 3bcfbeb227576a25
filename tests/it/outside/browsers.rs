//! Requests of browsers: what a page of another origin may have them do with a person's login.

use serde_json::json;

use super::{REPOSITORIES, Scene};
use crate::support::{ADMIN, ALICE, Curl, Login, Portcullis, Registry, Response};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const UI: &str = "https://ui.example.com";

fn shared() -> Scene {
    Scene::with(|config| {
        config["registries"][0]["cors"] = json!({ "origins": [UI, "http://localhost:3000"] });
    })
}

fn cors_headers(answer: &Response) -> Vec<&str> {
    let names = answer.headers.iter().map(|(name, _)| name.as_str());
    names.filter(|name| name.starts_with("access-control-")).collect()
}

/// As a browser sends it where a page of `site` fetches with the person's credentials.
fn fetched(curl: &Curl, site: &str, origin: Option<&str>) -> Response {
    let curl = curl
        .clone()
        .header(&format!("Sec-Fetch-Site: {site}"))
        .header("Sec-Fetch-Mode: cors")
        .header("Sec-Fetch-Dest: empty")
        .header(&format!("Accept: {MANIFEST}"));
    origin.map_or_else(|| curl.clone(), |origin| curl.clone().header(&format!("Origin: {origin}"))).send()
}

#[test]
fn pages_elsewhere_can_do_nothing_with_a_persons_login() {
    let scene = Scene::new();
    let manifest = format!("/v2/{}/manifests/{}", REPOSITORIES[0], scene.images[0].digest);
    let upload = format!("/v2/{}/blobs/uploads/", REPOSITORIES[0]);
    let requests = scene.registry.acted().len();
    for (method, path) in [
        ("DELETE", manifest.as_str()),
        ("GET", &manifest),
        ("POST", &upload),
        ("GET", "/v2/_catalog"),
        ("GET", "/v2/"),
        ("GET", "/token?scope=repository:secret/app:pull"),
        ("GET", "/app.js"),
        ("GET", "/"),
    ] {
        for site in ["cross-site", "same-site", "Same-Origin", "nonsense", ""] {
            for origin in [None, Some("https://evil.test"), Some("null"), Some(scene.gate.url("").as_str())] {
                let site = if site.is_empty() { "same-origin, cross-site" } else { site };
                let answer = fetched(&scene.curl(path).method(method).user(ADMIN), site, origin);
                assert_eq!((answer.status, answer.code().as_str()), (403, "DENIED"), "{method} {path} {site}");
                assert!(cors_headers(&answer).is_empty() && answer.header("vary").is_none(), "{:?}", answer.headers);
            }
        }
    }
    assert_eq!(scene.registry.acted().len(), requests);
    assert!(scene.asked().is_empty());
    // The person, and the registry's own pages.
    for site in ["same-origin", "none"] {
        assert_eq!(fetched(&scene.curl("/v2/_catalog").user(ADMIN), site, None).status, 200);
        let own = scene.gate.url("");
        assert_eq!(fetched(&scene.curl(&manifest).method("DELETE").user(ADMIN), site, Some(&own)).status / 100, 2);
        let pushed = scene.curl(&manifest).method("PUT").argument("--data-binary").argument("{}");
        assert_eq!(fetched(&pushed.user(ALICE), site, Some(&own)).status, 400, "the registry's own word on it");
        scene.registry.hold(&[]);
        crate::support::Skopeo::logged_in(scene.gate.pki(), &scene.gate.host(), ADMIN)
            .copy(&scene.images[0].reference(), &scene.gate.image(REPOSITORIES[0]))
            .succeeded();
    }
    let refused = "cross_site";
    assert!(scene.gate.log().contains(refused) && scene.gate.admin("/metrics").text().contains(refused));
}

#[test]
fn a_link_from_elsewhere_leads_to_a_page() {
    let scene = Scene::new();
    let follow = |path: &str, method: &str, dest: &str| {
        let curl = scene.curl(path).method(method).user(ALICE).header("Sec-Fetch-Site: cross-site");
        curl.header("Sec-Fetch-Mode: navigate").header(&format!("Sec-Fetch-Dest: {dest}")).send().status
    };
    assert_eq!(follow("/", "GET", "document"), 200);
    assert_eq!(follow("/docs/", "GET", "document"), 200);
    assert_eq!(follow("/v2/", "GET", "document"), 303);
    for (path, method, dest) in [
        ("/", "GET", "iframe"),
        ("/", "GET", "object"),
        ("/v2/", "GET", "frame"),
        ("/v2/", "POST", "document"),
        ("/v2/team-a/app/manifests/v1", "GET", "document"),
        ("/v2/team-a/app/blobs/uploads/", "POST", "document"),
        ("/token?service=localhost", "GET", "document"),
        ("/token", "POST", "document"),
    ] {
        let expected: &[u16] = if path == "/v2/" && method == "POST" { &[405] } else { &[403] };
        assert!(expected.contains(&follow(path, method, dest)), "{method} {path} {dest}");
    }
    let landing = Portcullis::start(&Registry::start());
    let link = landing.curl("/").header("Sec-Fetch-Site: cross-site").header("Sec-Fetch-Mode: navigate");
    assert_eq!(link.clone().header("Sec-Fetch-Dest: document").send().status, 200);
    assert_eq!(link.header("Sec-Fetch-Dest: iframe").send().status, 403);
}

/// Browsers without `Sec-Fetch-Site` say `Origin` with what changes something.
#[test]
fn an_old_browser_says_where_a_change_comes_from() {
    let scene = Scene::new();
    let manifest = format!("/v2/{}/manifests/{}", REPOSITORIES[0], scene.images[0].digest);
    let upload = format!("/v2/{}/blobs/uploads/", REPOSITORIES[0]);
    let own = scene.gate.url("");
    let from = |origin: &str, method: &str, path: &str| {
        let curl = scene.curl(path).method(method).user(ADMIN).header(&format!("Origin: {origin}"));
        if method == "GET" { curl.send() } else { curl.header("Content-Length: 0").send() }
    };
    let other_port = "https://localhost:1";
    for origin in ["https://evil.test", "null", "http://localhost", other_port, &own.replace("https", "http"), ""] {
        for (method, path) in [("DELETE", manifest.as_str()), ("POST", &upload), ("PUT", &manifest), ("POST", "/token")]
        {
            if origin.is_empty() {
                continue;
            }
            let answer = from(origin, method, path);
            assert_eq!((answer.status, answer.code().as_str()), (403, "DENIED"), "{method} {path} {origin}");
        }
        let read = scene.curl("/v2/_catalog").user(ADMIN).header(&format!("Origin: {origin}")).send();
        assert_eq!((read.status, cors_headers(&read).len()), (200, 0), "unreadable for the page");
    }
    let two = scene.curl(&manifest).method("DELETE").user(ADMIN).header(&format!("Origin: {own}"));
    assert_eq!(two.header("Origin: https://evil.test").send().status, 403);
    assert_eq!(from(&own, "POST", &upload).status, 202);
    assert_eq!(from(&own, "DELETE", &manifest).status, 202);
}

#[test]
fn an_allowed_origin_is_told_before_a_login_what_it_may() {
    let scene = shared();
    let ask = |path: &str, origin: &str, method: &str| {
        scene
            .curl(path)
            .method("OPTIONS")
            .header(&format!("Origin: {origin}"))
            .header(&format!("Access-Control-Request-Method: {method}"))
            .header("Access-Control-Request-Headers: authorization,accept")
            .header("Sec-Fetch-Site: cross-site")
            .header("Sec-Fetch-Mode: cors")
            .send()
    };
    for (path, methods) in [
        ("/v2/", "HEAD, GET, OPTIONS, DELETE"),
        ("/v2/_catalog?n=10", "HEAD, GET, OPTIONS, DELETE"),
        ("/v2/team-a/app/tags/list", "HEAD, GET, OPTIONS, DELETE"),
        ("/v2/secret/app/manifests/v1", "HEAD, GET, OPTIONS, DELETE"),
        ("/v2/no/such/blobs/uploads/", "HEAD, GET, OPTIONS, DELETE"),
        ("/token?scope=x", "GET, POST, OPTIONS"),
    ] {
        for origin in [UI, "http://localhost:3000"] {
            let answer = ask(path, origin, "DELETE");
            assert_eq!(answer.status, 204, "{path}");
            for (name, value) in [
                ("access-control-allow-origin", origin),
                ("access-control-allow-credentials", "true"),
                ("access-control-allow-methods", methods),
                ("access-control-allow-headers", "Authorization, Accept, Cache-Control, Content-Type"),
                ("access-control-max-age", "3600"),
                ("vary", "Origin"),
            ] {
                assert_eq!(answer.header(name), Some(value), "{path} {name}");
            }
            assert_eq!((answer.header("content-length"), answer.header("www-authenticate")), (None, None));
        }
        for origin in ["https://evil.test", "null", "https://ui.example.com:8443", "http://ui.example.com", "*"] {
            let answer = ask(path, origin, "DELETE");
            assert_eq!((answer.status, answer.code().as_str()), (405, "UNSUPPORTED"), "{path} {origin}");
            assert!(answer.header("allow").is_some() && cors_headers(&answer).is_empty());
            assert_eq!(answer.header("vary"), Some("Origin"));
        }
        let unasked = scene.curl(path).method("OPTIONS").header(&format!("Origin: {UI}")).send();
        assert_eq!(unasked.status, 405, "no preflight: {path}");
    }
    for (path, status) in [("/", 405), ("/app.js", 405), ("/v2/nothing", 404), ("/v2/a%2fb/tags/list", 400)] {
        assert_eq!(ask(path, UI, "GET").status, status, "{path}");
    }
    assert_eq!(scene.registry.acted().iter().filter(|acted| acted.method == "OPTIONS").count(), 0);
    assert!(scene.asked().is_empty());

    let alone = Portcullis::start(&Registry::start());
    let preflight = alone.curl("/v2/").method("OPTIONS").header(&format!("Origin: {UI}"));
    let answer = preflight.header("Access-Control-Request-Method: GET").send();
    assert_eq!((answer.status, answer.header("vary"), cors_headers(&answer).len()), (405, None, 0));
}

#[test]
fn an_allowed_origin_looks_and_deletes_under_the_persons_grants() {
    let scene = shared();
    let manifest = |index: usize| format!("/v2/{}/manifests/{}", REPOSITORIES[index], scene.images[index].digest);
    let as_user = |path: &str, method: &str, login: Option<Login>| {
        let curl = scene.curl(path).method(method);
        let curl = login.map_or_else(|| curl.clone(), |login| curl.clone().user(login));
        fetched(&curl, "cross-site", Some(UI))
    };
    for (path, method, login, status) in [
        ("/v2/_catalog".to_owned(), "GET", Some(ALICE), 200),
        ("/v2/_catalog".to_owned(), "GET", None, 401),
        ("/v2/_catalog".to_owned(), "GET", Some(Login::new("alice", "wrong")), 401),
        (manifest(0), "GET", Some(ALICE), 200),
        (manifest(0), "HEAD", Some(ALICE), 200),
        (manifest(1), "GET", Some(ALICE), 403),
        (manifest(0), "DELETE", Some(ALICE), 403),
        ("/v2/team-a/app/manifests/none".to_owned(), "GET", Some(ALICE), 404),
        ("/v2/nothing".to_owned(), "GET", Some(ALICE), 404),
        ("/token?service=localhost&scope=repository:team-a/app:pull".to_owned(), "GET", Some(ALICE), 200),
        (manifest(1), "DELETE", Some(ADMIN), 202),
    ] {
        let answer = as_user(&path, method, login);
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        assert_eq!(answer.header("access-control-allow-origin"), Some(UI), "{method} {path}");
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
        let exposed = answer.header("access-control-expose-headers").unwrap();
        for name in ["Docker-Content-Digest", "Link", "WWW-Authenticate", "Docker-Distribution-Api-Version"] {
            assert!(exposed.split(", ").any(|exposed| exposed == name), "{name}");
        }
        assert_eq!(answer.header("vary"), Some("Origin"));
    }
    // A page looks and deletes; pushing is for clients, whoever asks.
    let before = scene.registry.acted().len();
    for (method, path) in [("POST", "/v2/team-a/app/blobs/uploads/"), ("PUT", "/v2/team-a/app/manifests/v1")] {
        assert_eq!(as_user(path, method, Some(ADMIN)).status, 403, "{method} {path}");
    }
    assert_eq!(scene.registry.acted().len(), before);
    // No origin, or another one: no page may read the answer, and caches keep them apart.
    let unsaid = scene.curl("/v2/_catalog").user(ALICE).send();
    assert_eq!((unsaid.status, unsaid.header("vary"), cors_headers(&unsaid).len()), (200, Some("Origin"), 0));
    let other = fetched(&scene.curl("/v2/_catalog").user(ALICE), "cross-site", Some("https://evil.test"));
    assert_eq!((other.status, other.header("vary"), cors_headers(&other).len()), (403, Some("Origin"), 0));
}
