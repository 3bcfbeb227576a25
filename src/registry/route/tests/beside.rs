//! What is served beside a registry: web UI, trust data, preflights.

use super::*;
use crate::registry::{KeyRole, OwnHosts, Surface, TrustFile, TrustVerb};

/// With all of it configured.
fn whole(line: &str) -> Result<Route, RouteError> {
    let own = OwnHosts::new([("registry.test".to_owned(), None)]);
    let surface = Surface { token_path: "/auth/token", ui: true, trust: Some(&own), preflights: true };
    let line = line.replace("{D}", &format!("sha256:{HEX}")).replace("{HEX}", HEX);
    let (method, target) = line.split_once(' ').unwrap();
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    Route::parse(&method.parse().unwrap(), path, query, surface)
}

fn to_ui(line: &str) -> bool {
    matches!(whole(line), Ok(Route::Ui { .. }))
}

#[test]
fn the_ui_has_what_is_nobody_elses_without_its_query() {
    for (line, leaves) in [
        ("GET /", "/"),
        ("HEAD /index.html", "/index.html"),
        ("GET /assets/app.js?v=1", "/assets/app.js"),
        ("GET /?url=a;b%zz#", "/"),
        ("GET /auth/", "/auth/"),
        ("GET /auth/tokens", "/auth/tokens"),
        ("GET /token", "/token"),
        ("GET /v3/", "/v3/"),
        ("GET /metrics", "/metrics"),
    ] {
        let route = whole(line).unwrap();
        assert!(matches!(route, Route::Ui { .. }), "{line}");
        assert_eq!(route.to_upstream(), leaves, "{line}");
        assert_eq!(route.method(), line.split(' ').next().unwrap().parse::<Method>().unwrap());
        assert_eq!((route.needs(), route.challenge_scope(), route.repository()), (Needs::Visit, None, None));
    }
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO"] {
        assert_eq!(whole(&format!("{method} /x")), Err(RouteError::Method { allow: "GET, HEAD" }), "{method}");
    }
}

#[test]
fn what_is_somebody_elses_in_any_spelling_is_not_the_uis() {
    for line in [
        "GET /auth/token/",
        "GET /auth/token/x",
        "GET /Auth/Token",
        "GET /AUTH/TOKEN/x",
        "GET /V2/",
        "GET /V2/secret/app/manifests/v1",
        "GET /v1/_ping",
        "GET /v2.",
        "GET /v2~/secret",
        "GET /.git/config",
        "GET //v2/secret/app/manifests/v1",
        "GET /./v2/",
        "GET /x/../v2/",
        "GET /%762/secret/app/manifests/v1",
        "GET /v2%2fsecret",
        "GET /auth%2ftoken",
        "GET /a\\b",
        "GET /a;b",
    ] {
        let answer = whole(line);
        assert!(matches!(answer, Err(RouteError::NotFound | RouteError::BadRequest(_))), "{line}: {answer:?}");
    }
    // Routes of the registry, whatever is wrong with them.
    for line in
        ["GET /v2/", "GET /v2/x", "GET /v2/a/b", "GET /v2/_catalog/", "GET /v2/secret%2fapp/tags/list", "GET /v2"]
    {
        assert!(!to_ui(line), "{line}");
    }
    assert_eq!(parse("GET /index.html"), Err(RouteError::NotFound), "without a UI");
    assert_eq!(parse("GET /"), Ok(Route::Landing(Read::Get)), "without a UI");
}

#[test]
fn trust_data_is_read_from_the_right() {
    let push = Action::Push;
    for (line, leaves, repository, action) in [
        ("GET /v2/registry.test/a/b/_trust/tuf/root.json", "", "a/b", Action::Pull),
        ("GET /v2/registry.test:5000/a/b/_trust/tuf/root.{HEX}.json", "", "a/b", Action::Pull),
        ("HEAD /v2/a/_trust/tuf/timestamp.json", "", "a", Action::Pull),
        ("GET /v2/docker.io/library/a/_trust/tuf/3.root.json", "", "docker.io/library/a", Action::Pull),
        ("GET /v2/registry.test/registry.test/a/_trust/tuf/targets/x.json", "", "registry.test/a", Action::Pull),
        ("POST /v2/registry.test/a/_trust/tuf/", "", "a", push),
        ("DELETE /v2/registry.test/a/_trust/tuf/", "", "a", Action::Delete),
        ("GET /v2/registry.test/a/_trust/tuf/snapshot.key", "", "a", push),
        ("POST /v2/registry.test/a/_trust/tuf/timestamp.key", "", "a", push),
        (
            "GET /v2/registry.test/a/_trust/changefeed?records=-5&change_id=7",
            "?change_id=7&records=-5",
            "a",
            Action::Pull,
        ),
        ("GET /v2/a/_trust/tuf/root.json?gun=secret", "", "a", Action::Pull),
        ("GET /v2/blobs/uploads/_trust/tuf/root.json", "", "blobs/uploads", Action::Pull),
    ] {
        let route = whole(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let (method, target) = line.split_once(' ').unwrap();
        let path = target.split('?').next().unwrap().replace("{HEX}", HEX);
        assert_eq!(route.to_upstream(), format!("{path}{leaves}"));
        assert_eq!(route.method().as_str(), method);
        let repository = RepositoryName::parse(repository).unwrap();
        assert_eq!(route.needs(), Needs::Repository { repository: &repository, action, source: None }, "{line}");
        assert_eq!(route.change() == Change::None, action == Action::Pull, "{line}");
        assert_eq!(route.label(), "notary");
    }
    assert_eq!(
        whole("POST /v2/registry.test/a/_trust/tuf/").unwrap().challenge_scope().as_deref(),
        Some("repository:a:pull,push")
    );
    let key = whole("POST /v2/a/_trust/tuf/snapshot.key");
    assert!(matches!(key, Ok(Route::Notary { verb: TrustVerb::Rotate { role: KeyRole::Snapshot }, .. })));
    assert!(
        TrustFile::parse("root.json").is_some() && parse("GET /v2/a/_trust/tuf/root.json").is_err(),
        "without notary"
    );
}

#[test]
fn what_is_not_in_the_trust_servers_book_is_nothing() {
    for line in [
        "GET /v2/_trust/changefeed",
        "GET /v2/_trust/tuf/root.json",
        "GET /v2/a/_trust/",
        "GET /v2/a/_trust/tuf",
        "GET /v2/a/_trust/tuf/x.json",
        "GET /v2/a/_trust/tuf/root.key",
        "GET /v2/a/_trust/tuf/root.json/",
        "GET /v2/a/_trust/changefeed/",
        "GET /v2/a/_trust/tuf/targets/_trust/x.json",
        "GET /v2/a/_trust/manifests/x",
        "GET /v2/a/_Trust/tuf/root.json",
        "GET /_notary_server/health?",
    ] {
        let answer = whole(line);
        assert!(matches!(answer, Err(RouteError::NotFound) | Ok(Route::Ui { .. })), "{line}: {answer:?}");
        assert!(!matches!(answer, Ok(Route::Ui { .. })) || line.contains("/_notary_server"), "{line}");
    }
    for line in [
        "GET /v2/other.test:5000/a/_trust/tuf/root.json",
        "GET /v2/registry.test/_trust/tuf/root.json?",
        "GET /v2/A/_trust/tuf/root.json",
        "GET /v2/a/_trust/tuf/targets/_trust/tuf/root.json",
        "GET /v2/a/_trust/tuf/root.json/_trust/tuf/root.json",
        "GET /v2/_trust/_trust/tuf/root.json",
    ] {
        // A host's name alone is a repository's too.
        let expected = if line.contains("/registry.test/_trust") { None } else { Some(RouteError::InvalidName) };
        assert_eq!(whole(line).err(), expected, "{line}");
    }
    for line in [
        "GET /v2/registry.test%3A5000/a/_trust/tuf/root.json",
        "GET /v2/a/_trust/tuf/root%3Ajson",
        "GET /v2/a/_trust%2ftuf/root.json",
        "GET /v2/a//_trust/tuf/root.json",
        "GET /v2/a/../b/_trust/tuf/root.json",
        "GET /v2/a/_trust/tuf/targets/../root.json",
        "GET /v2/a/_trust/tuf/root.json?a;b",
        "GET /v2/a/_trust/changefeed?records=1&records=2",
    ] {
        assert!(matches!(whole(line), Err(RouteError::BadRequest(_))), "{line}: {:?}", whole(line));
    }
    assert_eq!(whole("GET /v2/a/_trust/changefeed?records=x"), Err(RouteError::InvalidPage));
    for (path, allow) in [
        ("/v2/a/_trust/tuf/", "POST, DELETE"),
        ("/v2/a/_trust/tuf/root.json", "GET, HEAD"),
        ("/v2/a/_trust/tuf/snapshot.key", "GET, POST"),
        ("/v2/a/_trust/changefeed", "GET, HEAD"),
    ] {
        for method in ["PUT", "PATCH", "OPTIONS", "FOO"] {
            assert_eq!(whole(&format!("{method} {path}")), Err(RouteError::Method { allow }), "{method} {path}");
        }
    }
}

#[test]
fn browsers_may_ask_first_about_the_registry_and_the_token_endpoint() {
    for (path, allow, token_endpoint) in [
        ("/v2/", "GET, HEAD", false),
        ("/v2/_catalog", "GET, HEAD", false),
        ("/v2/a/manifests/v1", "GET, HEAD, PUT, DELETE", false),
        ("/v2/a/blobs/uploads/", "POST", false),
        ("/auth/token", "GET, POST", true),
    ] {
        let route = whole(&format!("OPTIONS {path}")).unwrap();
        assert_eq!(route, Route::Preflight { allow, token_endpoint }, "{path}");
        assert_eq!((route.needs(), route.change(), route.method()), (Needs::Nothing, Change::None, Method::OPTIONS));
        assert_eq!(whole(&format!("FOO {path}")), Err(RouteError::Method { allow }), "{path}");
    }
    for path in ["/v2/a", "/v2/a//tags/list", "/v2/a%2fb/tags/list"] {
        assert!(whole(&format!("OPTIONS {path}")).is_err(), "{path}");
    }
    assert_eq!(parse("OPTIONS /v2/"), Err(RouteError::Method { allow: "GET, HEAD" }), "without allowed origins");
}
