use super::*;

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
        ("/token", "GET"),
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
fn a1_a2_a4_a10_a12_escapes_in_the_path_are_refused() {
    for line in [
        "GET /v2/secret%2Fapp/manifests/v1",
        "GET /v2/secret%2fapp/manifests/v1",
        "GET /v2/%73ecret/app/manifests/v1",
        "GET /v2/secret%252Fapp/manifests/v1",
        "GET /v2/secret%c0%afapp/manifests/v1",
        "GET /v2/secret%e0%80%afapp/manifests/v1",
        "GET /v2/secret%ef%bc%8fapp/manifests/v1",
        "GET /v2/a/manifests/%zz",
        "GET /v2/a/manifests/v1%",
        "GET /v2/a%0d%0a/manifests/v1",
        "GET /v2/a/manifests/v1%0d%0ax",
        "GET /v2/a%09/tags/list",
        "GET /v2/a%20b/tags/list",
        "GET /v2/a/tags%2flist",
        "GET /v2/a%2fblobs%2f{D}",
        "GET /v2/a/blobs/sha256%253A00",
        "GET /v2/a%3Ab/tags/list",
        "GET /v2/a%3A/manifests/v1",
        "GET /v2/a/%6danifests/v1",
        "GET /v2/a/blobs/uploads/u%3Av",
        "GET /v2/a/x%3Ay",
        "GET /v2/%3A",
        "GET /v2/a/tags%3A/list",
        "POST /v2/a/blobs/uploads%2f",
        "GET /v2/a/manifests/sha256%3Ax%41",
        "GET /v2/a%00/tags/list",
        "GET /v2/a%5cb/tags/list",
    ] {
        assert!(bad(line), "{line}: {:?}", parse(line));
    }
    assert_eq!(parse("GET /%762/secret/app/manifests/v1"), Err(RouteError::NotFound), "A2");
    assert_eq!(parse("GET /v2%2fsecret/manifests/v1"), Err(RouteError::NotFound), "A2");
}

#[test]
fn a3_the_catalog_is_told_apart_from_names() {
    assert_eq!(leaves("GET /v2/_catalog?n=1&last=a").as_deref(), Ok("GET /v2/_catalog?n=1&last=a"));
    assert!(bad("GET /v2/%5fcatalog"), "A3");
    assert_eq!(parse("GET /v2/_catalog/"), Err(RouteError::NotFound), "A3");
    assert_eq!(parse("GET /v2/_Catalog"), Err(RouteError::NotFound), "A3");
    assert_eq!(parse("GET /v2/_catalog/tags/list"), Err(RouteError::InvalidName), "A3");
}

#[test]
fn a5_a6_dot_segments_are_refused() {
    for line in [
        "GET /v2/pub/../secret/app/manifests/v1",
        "GET /v2/pub/%2e%2e/secret/app/manifests/v1",
        "GET /v2/pub/..%2fsecret/app/manifests/v1",
        "GET /v2/./secret/app/manifests/v1",
        "GET /v2/pub/app/manifests/../../../secret/app/manifests/v1",
        "GET /v2/../v2/a/tags/list",
        "GET /v2/a/manifests/..",
        "GET /v2/a/manifests/.",
        "GET /v2/a/blobs/uploads/..",
        "GET /v2/..",
        "GET /v2/.",
        "GET /v2/a/tags/list/.",
    ] {
        assert!(bad(line), "{line}");
    }
    assert_eq!(parse("GET /auth/../v2/a/tags/list"), Err(RouteError::NotFound), "A43");
}

#[test]
fn a7_empty_segments_and_trailing_slashes_are_no_routes() {
    for line in [
        "GET /v2//",
        "GET /v2//secret/app/manifests/v1",
        "GET /v2/secret//app/manifests/v1",
        "GET /v2/a/manifests//v1",
        "POST /v2/a/blobs/uploads//",
        "GET /v2/a//tags/list",
    ] {
        assert!(bad(line), "{line}");
    }
    for line in [
        "GET //v2/secret/app/manifests/v1",
        "GET //",
        "GET /v2/a/manifests/v1/",
        "GET /v2/a/manifests/",
        "GET /v2/a/tags/list/",
        "GET /v2/a/blobs/{D}/",
        "GET /v2/a/blobs/uploads/u/",
        "GET /v2/a/referrers/{D}/",
        "GET /token/",
        "GET /v2/a/",
        "GET /v2/a/blobs/",
    ] {
        assert_eq!(parse(line), Err(RouteError::NotFound), "{line}");
    }
}

#[test]
fn a8_a12_a13_foreign_separators_and_controls_are_refused() {
    for path in [
        "/v2/secret\\app/manifests/v1",
        "/v2/secret/app;x=y/manifests/v1",
        "/v2/a/manifests/v1;x",
        "/v2/a/manifests/v1#frag",
        "/v2/a b/tags/list",
        "/v2/a\tb/tags/list",
        "/v2/a\r\nb/tags/list",
        "/v2/a\u{7f}/tags/list",
        "/v2/a\0/tags/list",
        "/v2/é/tags/list",
        "/v2/a\u{ff0f}b/tags/list",
        "/v2/#",
    ] {
        assert!(matches!(Route::parse(&Method::GET, path, None, "/token"), Err(RouteError::BadRequest(_))), "{path:?}");
    }
    for query in [
        "last=%0d%0a",
        "last=%09",
        "x=%00",
        "last=a b",
        "last=\t",
        "last=a#b",
        "last=%",
        "last=%zz",
        "last=%ff",
        "a;b",
        "n=1;last=b",
    ] {
        let answer = Route::parse(&Method::GET, "/v2/a/tags/list", Some(query), "/token");
        assert!(matches!(answer, Err(RouteError::BadRequest(_))), "{query:?}");
    }
}

#[test]
fn a9_upper_case_is_another_path_or_no_name() {
    assert_eq!(parse("GET /V2/a/manifests/v1"), Err(RouteError::NotFound), "A9");
    assert_eq!(parse("GET /V2/"), Err(RouteError::NotFound), "A9");
    assert_eq!(parse("GET /v2/secret/app/Manifests/v1"), Err(RouteError::NotFound), "A9");
    assert_eq!(parse("GET /v2/Secret/App/manifests/v1"), Err(RouteError::InvalidName), "A9");
    assert_eq!(parse("GET /Token"), Err(RouteError::NotFound), "A9");
}

#[test]
fn a15_other_request_forms_are_no_paths() {
    for line in ["CONNECT h:443", "OPTIONS *", "GET v2/", "GET "] {
        assert!(bad(line), "{line}");
    }
}

#[test]
fn a17_parameters_do_not_change_the_method() {
    let route = parse("GET /v2/a/manifests/v1?_method=DELETE&access_token=x").unwrap();
    assert_eq!((route.method(), route.to_upstream().as_str()), (Method::GET, "/v2/a/manifests/v1"));
}

#[test]
fn a19_a20_the_last_keyword_decides() {
    for (line, label, name) in [
        ("GET /v2/manifests/manifests/manifests/manifests", "manifest", "manifests/manifests"),
        ("GET /v2/pub/app/tags/list/tags/list", "tags", "pub/app/tags/list"),
        ("GET /v2/a/blobs/uploads/manifests/v1", "manifest", "a/blobs/uploads"),
        ("POST /v2/a/blobs/uploads/blobs/uploads/", "upload", "a/blobs/uploads"),
        ("POST /v2/a/blobs/uploads/blobs/uploads", "upload", "a/blobs/uploads"),
        ("PATCH /v2/a/blobs/uploads/blobs/uploads/u", "upload", "a/blobs/uploads"),
        ("PATCH /v2/a/blobs/uploads/uploads", "upload", "a"),
        ("GET /v2/a/blobs/uploads/list", "upload", "a"),
        ("GET /v2/a/blobs/uploads/tags/list", "tags", "a/blobs/uploads"),
        ("GET /v2/a/blobs/uploads/blobs/{D}", "blob", "a/blobs/uploads"),
        ("POST /v2/a/manifests/blobs/uploads/", "upload", "a/manifests"),
        ("GET /v2/blobs/blobs/{D}", "blob", "blobs"),
        ("GET /v2/tags/list/tags/list", "tags", "tags/list"),
        ("GET /v2/tags/tags/list", "tags", "tags"),
        ("GET /v2/a/manifests/list", "manifest", "a"),
        ("GET /v2/a/manifests/uploads", "manifest", "a"),
        ("GET /v2/a/uploads/manifests/uploads", "manifest", "a/uploads"),
        ("GET /v2/pub/manifests/x/manifests/v1", "manifest", "pub/manifests/x"),
        ("GET /v2/referrers/referrers/{D}", "referrers", "referrers"),
    ] {
        let route = parse(line).unwrap();
        assert_eq!(
            (route.label(), route.repository().map(RepositoryName::as_str)),
            (label, Some(name)),
            "A19/A20: {line}"
        );
    }
    for line in [
        "GET /v2/tags/list",
        "GET /v2/manifests/v1",
        "GET /v2/blobs/{D}",
        "POST /v2/blobs/uploads/",
        "POST /v2/blobs/uploads",
        "GET /v2/blobs/uploads/u",
        "GET /v2/uploads/u",
        "GET /v2/a/uploads/u",
        "GET /v2/a/tags/v1",
        "GET /v2/a",
        "GET /v2/a/b",
        "GET /v2/a/b/c",
        "GET /v2x",
        "GET /v2x/a/tags/list",
        "GET /v1/_ping",
        "GET /favicon.ico",
        "GET /metrics",
        "GET /debug/vars",
        "GET /tokenx",
    ] {
        assert_eq!(parse(line), Err(RouteError::NotFound), "{line}");
    }
}

#[test]
fn a23_names_are_bounded() {
    let name = |length| format!("GET /v2/{}/tags/list", "a".repeat(length));
    assert!(parse(&name(255)).is_ok(), "A23");
    assert_eq!(parse(&name(256)), Err(RouteError::InvalidName), "A23");
    assert_eq!(parse(&name(64 * 1024)), Err(RouteError::InvalidName), "A23");
    assert!(parse(&format!("GET /v2/{}/tags/list", vec!["a"; 128].join("/"))).is_ok(), "A23");
}

#[test]
fn a24_tags_are_bounded() {
    assert!(parse(&format!("GET /v2/a/manifests/{}", "t".repeat(128))).is_ok(), "A24");
    assert_eq!(parse(&format!("GET /v2/a/manifests/{}", "t".repeat(129))), Err(RouteError::UnknownReference), "A24");
}

#[test]
fn a25_digests() {
    let plain = parse("GET /v2/a/blobs/{D}").unwrap();
    for colon in ["%3A", "%3a"] {
        assert_eq!(parse(&format!("GET /v2/a/blobs/sha256{colon}{HEX}")), Ok(plain.clone()), "A25");
        assert!(parse(&format!("GET /v2/a/manifests/sha256{colon}{HEX}")).is_ok(), "A25");
        assert!(parse(&format!("GET /v2/a/referrers/sha256{colon}{HEX}")).is_ok(), "A25");
    }
    let upper = HEX.to_uppercase();
    for (line, error) in [
        (format!("GET /v2/a/blobs/SHA256:{HEX}"), RouteError::NotFound),
        (format!("GET /v2/a/blobs/SHA256%3A{HEX}"), RouteError::NotFound),
        (format!("GET /v2/a/manifests/SHA256:{HEX}"), RouteError::UnknownReference),
        (format!("GET /v2/a/blobs/sha256:{upper}"), RouteError::InvalidDigest),
        (format!("GET /v2/a/manifests/sha256:{upper}"), RouteError::InvalidDigest),
        ("GET /v2/a/blobs/sha256:abc".to_owned(), RouteError::InvalidDigest),
        ("GET /v2/a/blobs/sha256:".to_owned(), RouteError::InvalidDigest),
        ("GET /v2/a/blobs/latest".to_owned(), RouteError::NotFound),
        ("GET /v2/a/manifests/v1%3A".to_owned(), RouteError::UnknownReference),
        ("GET /v2/a/manifests/.INVALID".to_owned(), RouteError::UnknownReference),
        ("GET /v2/a/referrers/latest".to_owned(), RouteError::InvalidDigest),
        ("GET /v2/a/referrers/sha256:abc".to_owned(), RouteError::InvalidDigest),
    ] {
        assert_eq!(parse(&line), Err(error), "A25: {line}");
    }
}

#[test]
fn a26_a32_a34_a_mount_needs_its_source() {
    for line in [
        "POST /v2/pub/x/blobs/uploads/?mount={D}&from=secret/app",
        "POST /v2/pub/x/blobs/uploads/?mount={D}&%66rom=secret%2fapp",
        "POST /v2/pub/x/blobs/uploads/?mount={D}&from=%73ecret%2fapp",
        "POST /v2/pub/x/blobs/uploads?mount={D}&from=secret/app",
        "POST /v2/pub/x/blobs/uploads/?digest={D}&mount={D}&from=secret/app",
    ] {
        let route = parse(line).unwrap();
        let (target, source) = (RepositoryName::parse("pub/x").unwrap(), RepositoryName::parse("secret/app").unwrap());
        let needs = Needs::Repository { repository: &target, action: Action::Push, source: Some(&source) };
        assert_eq!(route.needs(), needs, "{line}");
        assert_eq!(
            route.to_upstream(),
            format!("/v2/pub/x/blobs/uploads/?mount=sha256%3A{HEX}&from=secret%2Fapp"),
            "{line}"
        );
        let degraded = route.degraded();
        assert_eq!(degraded.needs(), Needs::Repository { repository: &target, action: Action::Push, source: None });
        assert_eq!(degraded.to_upstream(), "/v2/pub/x/blobs/uploads/");
    }
}

#[test]
fn a33_what_is_no_mount_is_an_ordinary_upload() {
    for query in [
        "mount={D}",
        "from=pub/app",
        "mount={D}&from=+secret/app",
        "mount={D}&from=%20secret/app",
        "mount={D}&From=secret/app",
        "mount={D}&from=",
        "mount={D}&from",
        "Mount={D}&from=secret/app",
        "mount={D}&from=Secret/App",
        "mount={D}&from=secret//app",
        "mount={D}&from=secret/../app",
        "mount={D}&from=secret%252fapp",
        "ns=docker.io",
        "",
        "&&",
    ] {
        assert_eq!(
            leaves(&format!("POST /v2/pub/x/blobs/uploads/?{query}")).as_deref(),
            Ok("POST /v2/pub/x/blobs/uploads/"),
            "A33: {query}"
        );
    }
    for query in [
        "mount={D};from=secret/app",
        "mount={D}&from=a&from=secret/app",
        "mount={D}&from=a&%66rom=secret",
        "mount={D}&mount={D}&from=a",
        "digest={D}&digest={D}",
        "from=a&from=a",
    ] {
        assert!(bad(&format!("POST /v2/pub/x/blobs/uploads/?{query}")), "A33: {query}");
    }
    for query in ["mount=sha256:0&from=a", "mount=&from=a", "mount=x&from=a", "digest=", "digest=sha256:0", "digest=x"]
    {
        assert_eq!(
            parse(&format!("POST /v2/pub/x/blobs/uploads/?{query}")),
            Err(RouteError::InvalidDigest),
            "A33: {query}"
        );
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
    assert_eq!(parse("GET /token?scope=a;b"), Ok(Route::Token));
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
