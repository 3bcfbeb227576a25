use super::*;

mod attacks;
mod beside;

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// `{D}` in a line stands for a digest. The query begins at the first `?`.
fn parse(line: &str) -> Result<Route, RouteError> {
    let line = line.replace("{D}", &format!("sha256:{HEX}"));
    let (method, target) = line.split_once(' ').unwrap();
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    Route::parse(&method.parse().unwrap(), path, query, "/token")
}

/// What leaves for a request line: `METHOD canonical-line`.
fn leaves(line: &str) -> Result<String, RouteError> {
    parse(line).map(|route| format!("{} {}", route.method(), route.to_upstream()))
}

fn bad(line: &str) -> bool {
    matches!(parse(line), Err(RouteError::BadRequest(_)))
}

#[test]
fn each_route_of_the_spec_leaves_as_it_came() {
    for line in [
        "GET /v2/",
        "HEAD /v2/",
        "GET /v2/_catalog",
        "GET /v2/_catalog?n=5&last=a%2Fb",
        "GET /v2/a/b/tags/list",
        "HEAD /v2/a/tags/list?n=0",
        "GET /v2/a/manifests/v1",
        "HEAD /v2/a/manifests/v1",
        "PUT /v2/a/manifests/v1",
        "DELETE /v2/a/manifests/v1",
        "GET /v2/a/manifests/{D}",
        "PUT /v2/a/manifests/{D}?tag=a&tag=b",
        "GET /v2/a/blobs/{D}",
        "HEAD /v2/a/blobs/{D}",
        "DELETE /v2/a/blobs/{D}",
        "POST /v2/a/blobs/uploads/",
        "GET /v2/a/blobs/uploads/u-1",
        "HEAD /v2/a/blobs/uploads/u-1",
        "PATCH /v2/a/blobs/uploads/u-1?_state=eyJ_-w%3D%3D",
        "DELETE /v2/a/blobs/uploads/u-1",
        "GET /v2/a/referrers/{D}",
        "GET /v2/a/referrers/{D}?artifactType=application%2Fvnd.example%2Bjson",
        "GET /",
    ] {
        assert_eq!(leaves(line), Ok(line.replace("{D}", &format!("sha256:{HEX}"))));
    }
    for (line, expected) in [
        ("GET /v2", "GET /v2/".to_owned()),
        ("GET /v2/?ns=docker.io", "GET /v2/".to_owned()),
        ("POST /v2/a/blobs/uploads", "POST /v2/a/blobs/uploads/".to_owned()),
        ("POST /v2/a/blobs/uploads/?digest={D}", format!("POST /v2/a/blobs/uploads/?digest=sha256%3A{HEX}")),
        (
            "PUT /v2/a/blobs/uploads/u?digest={D}&_state=x",
            format!("PUT /v2/a/blobs/uploads/u?_state=x&digest=sha256%3A{HEX}"),
        ),
        (
            "POST /v2/a/blobs/uploads/?from=pub%2Fapp&mount={D}&origin=localhost%3A16610",
            format!("POST /v2/a/blobs/uploads/?mount=sha256%3A{HEX}&from=pub%2Fapp"),
        ),
    ] {
        assert_eq!(leaves(line), Ok(expected), "{line}");
    }
}

#[test]
fn methods_are_listed_per_route() {
    for (path, allow) in [
        ("/", "GET, HEAD"),
        ("/v2/", "GET, HEAD"),
        ("/token", "GET, POST"),
        ("/v2/_catalog", "GET, HEAD"),
        ("/v2/a/tags/list", "GET, HEAD"),
        ("/v2/a/manifests/v1", "GET, HEAD, PUT, DELETE"),
        ("/v2/a/blobs/{D}", "GET, HEAD, DELETE"),
        ("/v2/a/blobs/uploads/", "POST"),
        ("/v2/a/blobs/uploads/u", "GET, HEAD, PATCH, PUT, DELETE"),
        ("/v2/a/referrers/{D}", "GET, HEAD"),
    ] {
        for method in
            ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "FOO", "get", "GET,"]
        {
            let Ok(_) = method.parse::<Method>() else { continue };
            let answer = parse(&format!("{method} {path}?digest={{D}}"));
            if allow.split(", ").any(|known| known == method) {
                assert_eq!(answer.map(|route| route.method().to_string()), Ok(method.to_owned()), "{method} {path}");
            } else {
                assert_eq!(answer, Err(RouteError::Method { allow }), "{method} {path}");
            }
        }
    }
}

#[test]
fn faults_are_told_in_order() {
    for (line, error) in [
        ("FOO /v2/A/nothing/x", RouteError::NotFound),
        ("FOO /v2/A/manifests/x:y?n=;", RouteError::Method { allow: "GET, HEAD, PUT, DELETE" }),
        ("GET /v2/A/manifests/sha256:0?;", RouteError::InvalidName),
        ("GET /v2/a/manifests/sha256:0?;", RouteError::InvalidDigest),
        ("GET /v2/a/manifests/.x?;", RouteError::UnknownReference),
        ("GET /v2/a/manifests/x?;", RouteError::BadRequest("the query holds a semicolon")),
        ("PATCH /v2/a/blobs/uploads/~?;", RouteError::UnknownUpload),
    ] {
        assert_eq!(parse(line), Err(error), "{line}");
    }
}

#[test]
fn sessions_keep_their_state_and_finish_with_a_digest() {
    for (query, expected) in [
        ("_state=eyJ_-w==", "?_state=eyJ_-w%3D%3D"),
        ("_state=eyJ_-w%3d%3D", "?_state=eyJ_-w%3D%3D"),
        ("_state=a%2Bb/c", "?_state=a%2Bb%2Fc"),
        ("_state=", "?_state="),
        ("state=x&_State=y", ""),
    ] {
        assert_eq!(
            leaves(&format!("PATCH /v2/a/blobs/uploads/u?{query}")),
            Ok(format!("PATCH /v2/a/blobs/uploads/u{expected}")),
            "{query}"
        );
    }
    for query in ["", "?_state=x", "?digest=", "?digest=sha256:0", "?Digest={D}"] {
        assert_eq!(parse(&format!("PUT /v2/a/blobs/uploads/u{query}")), Err(RouteError::InvalidDigest), "{query}");
    }
    assert!(bad("PATCH /v2/a/blobs/uploads/u?_state=a&_state=b"));
    assert!(bad("PUT /v2/a/blobs/uploads/u?digest={D}&digest={D}"));
    assert_eq!(parse("PATCH /v2/a/blobs/uploads/u~"), Err(RouteError::UnknownUpload));
}

#[test]
fn pages_are_decimal_and_bounded() {
    for n in ["+1", "-1", "", "%201", "+", "1x", "0x1", "4294967296", "1.0", "%D9%A1"] {
        assert_eq!(parse(&format!("GET /v2/a/tags/list?n={n}")), Err(RouteError::InvalidPage), "{n}");
        assert_eq!(parse(&format!("GET /v2/_catalog?n={n}")), Err(RouteError::InvalidPage), "{n}");
    }
    for (query, expected) in [
        ("n=0", "?n=0"),
        ("n=4294967295", "?n=4294967295"),
        ("n=007", "?n=7"),
        ("last=", ""),
        ("last=v1&n=2", "?n=2&last=v1"),
        ("N=x", ""),
    ] {
        assert_eq!(
            leaves(&format!("GET /v2/a/tags/list?{query}")),
            Ok(format!("GET /v2/a/tags/list{expected}")),
            "{query}"
        );
    }
    assert!(bad("GET /v2/a/tags/list?n=1&n=1"));
    assert!(parse(&format!("GET /v2/a/tags/list?last={}", "a".repeat(255))).is_ok());
    assert!(bad(&format!("GET /v2/a/tags/list?last={}", "a".repeat(256))));
}

#[test]
fn other_parameters_are_checked() {
    assert!(bad("PUT /v2/a/manifests/{D}?tag=a&tag=.b"));
    assert!(bad("PUT /v2/a/manifests/{D}?tag="));
    assert_eq!(leaves("GET /v2/a/manifests/v1?tag=.b").as_deref(), Ok("GET /v2/a/manifests/v1"));
    assert!(bad("GET /v2/a/referrers/{D}?artifactType=%C3%A9"));
    assert!(bad("GET /v2/a/referrers/{D}?artifactType=a&artifactType=b"));
    assert!(bad(&format!("GET /v2/a/referrers/{{D}}?artifactType={}", "a".repeat(256))));
    assert!(bad("GET /v2/?a;b"));
    assert!(bad("GET /v2/a/blobs/{D}?x=%zz"));
    assert_eq!(parse("GET /token?scope=a;b"), Ok(Route::Token(TokenVerb::Query)));
}

#[test]
fn the_seal_of_a_session_is_read_and_stays_here() {
    let route = parse("PATCH /v2/a/blobs/uploads/u?_state=s&_seal=abc-_9").unwrap();
    let (repository, session) = route.upload_session().unwrap();
    assert_eq!((repository.as_str(), session.seal.as_ref().map(UploadSeal::as_str)), ("a", Some("abc-_9")));
    assert_eq!(route.to_upstream(), "/v2/a/blobs/uploads/u?_state=s");
    assert!(bad("PATCH /v2/a/blobs/uploads/u?_seal=a&_seal=b"));
    for none in
        ["PATCH /v2/a/blobs/uploads/u?_seal=%2e", "PATCH /v2/a/blobs/uploads/u?_seal=", "PATCH /v2/a/blobs/uploads/u"]
    {
        assert_eq!(parse(none).unwrap().upload_session().unwrap().1.seal, None, "{none}");
    }
    assert!(parse("POST /v2/a/blobs/uploads/?_seal=abc").unwrap().upload_session().is_none());
}

#[test]
fn the_token_endpoint_takes_a_query_or_a_form() {
    assert_eq!(parse("POST /token"), Ok(Route::Token(TokenVerb::Form)));
    for method in ["HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        assert_eq!(parse(&format!("{method} /token")), Err(RouteError::Method { allow: "GET, POST" }), "{method}");
    }
}

#[test]
fn challenges_name_what_clients_need() {
    for (id, line, scope) in [
        ("C1", "GET /v2/", None),
        ("C1", "GET /", None),
        ("C1", "GET /token", None),
        ("C3", "HEAD /v2/n/manifests/t", Some("repository:n:pull")),
        ("C4", "GET /v2/n/tags/list", Some("repository:n:pull")),
        ("C4", "GET /v2/n/referrers/{D}", Some("repository:n:pull")),
        ("C4", "GET /v2/n/blobs/{D}", Some("repository:n:pull")),
        ("C5", "POST /v2/n/blobs/uploads/", Some("repository:n:pull,push")),
        ("C5", "POST /v2/n/blobs/uploads/?digest={D}", Some("repository:n:pull,push")),
        ("C5", "PUT /v2/n/manifests/t", Some("repository:n:pull,push")),
        ("C5", "GET /v2/n/blobs/uploads/u", Some("repository:n:pull,push")),
        ("C5", "DELETE /v2/n/blobs/uploads/u", Some("repository:n:pull,push")),
        ("C5", "PATCH /v2/n/blobs/uploads/u", Some("repository:n:pull,push")),
        ("C5", "PUT /v2/n/blobs/uploads/u?digest={D}", Some("repository:n:pull,push")),
        ("C6", "POST /v2/n/blobs/uploads/?mount={D}&from=m", Some("repository:n:pull,push repository:m:pull")),
        ("C6", "POST /v2/n/blobs/uploads/?mount={D}&from=n", Some("repository:n:pull,push")),
        ("C7", "DELETE /v2/n/manifests/{D}", Some("repository:n:delete")),
        ("C7", "DELETE /v2/n/blobs/{D}", Some("repository:n:delete")),
        ("C8", "GET /v2/_catalog", Some("registry:catalog:*")),
    ] {
        assert_eq!(parse(line).unwrap().challenge_scope().as_deref(), scope, "{id}: {line}");
    }
}

/// What docker-registry was seen to ask for, by method.
#[test]
fn what_a_registry_that_verifies_tokens_asks_for() {
    for (line, scopes) in [
        ("GET /v2/", ""),
        ("GET /v2/_catalog", "registry:catalog:*"),
        ("HEAD /v2/_catalog", "registry:catalog:*"),
        ("GET /v2/n/tags/list", "repository:n:pull"),
        ("HEAD /v2/n/manifests/t", "repository:n:pull"),
        ("GET /v2/n/manifests/{D}", "repository:n:pull"),
        ("PUT /v2/n/manifests/t", "repository:n:pull,push"),
        ("DELETE /v2/n/manifests/{D}", "repository:n:delete"),
        ("GET /v2/n/blobs/{D}", "repository:n:pull"),
        ("HEAD /v2/n/blobs/{D}", "repository:n:pull"),
        ("DELETE /v2/n/blobs/{D}", "repository:n:delete"),
        ("GET /v2/n/referrers/{D}", "repository:n:pull"),
        ("POST /v2/n/blobs/uploads/", "repository:n:pull,push"),
        ("POST /v2/n/blobs/uploads/?digest={D}", "repository:n:pull,push"),
        ("POST /v2/n/blobs/uploads/?mount={D}&from=m", "repository:n:pull,push repository:m:pull"),
        ("POST /v2/n/blobs/uploads/?mount={D}&from=n", "repository:n:pull,push"),
        ("POST /v2/n/blobs/uploads/?mount={D}", "repository:n:pull,push"),
        ("GET /v2/n/blobs/uploads/u", "repository:n:pull"),
        ("HEAD /v2/n/blobs/uploads/u", "repository:n:pull"),
        ("PATCH /v2/n/blobs/uploads/u", "repository:n:pull,push"),
        ("PUT /v2/n/blobs/uploads/u?digest={D}", "repository:n:pull,push"),
        ("DELETE /v2/n/blobs/uploads/u", "repository:n:delete"),
    ] {
        assert_eq!(parse(line).unwrap().upstream_scopes().to_string(), scopes, "{line}");
    }
    let mount = parse("POST /v2/n/blobs/uploads/?mount={D}&from=m").unwrap();
    assert_eq!(mount.degraded().upstream_scopes().to_string(), "repository:n:pull,push");
}

#[test]
fn a40_needs_follow_the_method() {
    let name = RepositoryName::parse("n").unwrap();
    for (line, action) in [
        ("GET /v2/n/tags/list", Action::Pull),
        ("HEAD /v2/n/manifests/t", Action::Pull),
        ("PUT /v2/n/manifests/t", Action::Push),
        ("DELETE /v2/n/manifests/t", Action::Delete),
        ("HEAD /v2/n/blobs/{D}", Action::Pull),
        ("DELETE /v2/n/blobs/{D}", Action::Delete),
        ("POST /v2/n/blobs/uploads/", Action::Push),
        ("GET /v2/n/blobs/uploads/u", Action::Push),
        ("HEAD /v2/n/blobs/uploads/u", Action::Push),
        ("PATCH /v2/n/blobs/uploads/u", Action::Push),
        ("DELETE /v2/n/blobs/uploads/u", Action::Push),
        ("GET /v2/n/referrers/{D}", Action::Pull),
    ] {
        let needs = Needs::Repository { repository: &name, action, source: None };
        assert_eq!(parse(line).unwrap().needs(), needs, "A40: {line}");
    }
    for (line, needs) in [
        ("GET /", Needs::Nothing),
        ("GET /token", Needs::Nothing),
        ("GET /v2/", Needs::Caller),
        ("GET /v2/_catalog", Needs::Caller),
    ] {
        assert_eq!(parse(line).unwrap().needs(), needs, "{line}");
    }
}

#[test]
fn x15_the_state_of_a_session_is_not_shown() {
    let route = parse("PATCH /v2/a/blobs/uploads/u?_state=geheim").unwrap();
    assert!(!format!("{route:?}").contains("geheim"));
}
