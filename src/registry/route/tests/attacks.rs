//! Spellings that would have another repository judged than the one acted on.

use super::*;

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
