use http::{Method, Response};

use super::super::{
    asking::Asking,
    ids::{RequestId, Trace},
};
use super::*;
use crate::{config::Host, identity::Credentials};

fn head() -> RequestHead {
    RequestHead {
        id: RequestId::given(&client(&[("x-request-id", "0123456789abcdef")])).unwrap(),
        trace: None,
        method: Method::GET,
        target: http::uri::PathAndQuery::from_static("/"),
        host: Host::parse("registry.test:8443").unwrap(),
        host_header: HeaderValue::from_static("registry.test:8443"),
        sni: None,
        client: "192.0.2.7".parse().unwrap(),
        client_header: Some(HeaderValue::from_static("192.0.2.7")),
        credentials: Credentials::None,
        asking: Asking::default(),
        expects_continue: false,
        content_length: None,
        user_agent: None,
        protocol: "HTTP/1.1",
    }
}

fn route(method: &Method, path: &str, query: Option<&str>) -> Route {
    Route::parse(method, path, query, "/token").unwrap()
}

fn seal(_: &RepositoryName, id: &UploadId) -> Option<UploadSeal> {
    UploadSeal::parse(&format!("sealed-{}", id.as_str()))
}

fn client(headers: &[(&str, &str)]) -> HeaderMap {
    headers.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect()
}

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn a_trace_leaves_with_the_request() {
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let sent = client(&[("traceparent", PARENT), ("tracestate", "a=1")]);
    let head = RequestHead { trace: Trace::of(&sent), ..head() };
    let leaving = request_headers(&sent, &head, &route(&Method::GET, "/v2/a/b/tags/list", None));
    let parent = leaving["traceparent"].to_str().unwrap();
    assert!(
        parent.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && parent.ends_with("-01") && parent != PARENT,
        "{parent}"
    );
    assert_eq!(
        (&leaving["tracestate"], &leaving["x-request-id"]),
        (&"a=1".parse().unwrap(), &"0123456789abcdef".parse().unwrap())
    );
}

#[test]
fn only_listed_headers_leave_and_the_addresses_are_ours() {
    let sent = client(&[
        ("authorization", "Bearer secret"),
        ("cookie", "a=b"),
        ("forwarded", "host=evil.test;proto=gopher"),
        ("x-forwarded-host", "evil.test"),
        ("x-forwarded-proto", "gopher"),
        ("x-forwarded-for", "203.0.113.9"),
        ("x-real-ip", "203.0.113.9"),
        ("x-original-url", "/v2/secret/app/tags/list"),
        ("x-rewrite-url", "/v2/secret/app/tags/list"),
        ("x-http-method-override", "DELETE"),
        ("x-forwarded-user", "admin"),
        ("x-request-id", "another's"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("tracestate", "a=1"),
        ("remote-user", "admin"),
        ("upgrade", "websocket"),
        ("connection", "upgrade, x-smuggled"),
        ("x-smuggled", "1"),
        ("te", "trailers"),
        ("expect", "100-continue"),
        ("accept-encoding", "gzip"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("content-length", "7"),
        ("transfer-encoding", "chunked"),
        ("accept", "application/vnd.oci.image.index.v1+json"),
        ("accept", "application/vnd.oci.image.manifest.v1+json"),
        ("user-agent", "docker/20.10 UpstreamClient(Docker-Client/28.2.2 \\(linux\\))"),
        ("range", "bytes=0-9"),
    ]);
    let leaving = request_headers(&sent, &head(), &route(&Method::GET, &format!("/v2/a/b/blobs/{DIGEST}"), None));
    let mut names: Vec<&str> = leaving.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "accept",
            "host",
            "range",
            "user-agent",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-request-id"
        ]
    );
    assert_eq!(leaving.get_all("accept").iter().count(), 2);
    assert_eq!(leaving["x-forwarded-for"], "192.0.2.7");
    assert_eq!(leaving["x-forwarded-host"], "registry.test:8443");
    assert_eq!(leaving["x-forwarded-proto"], "https");
    assert_eq!(leaving["host"], "registry.test:8443");
}

#[test]
fn an_upload_never_keeps_the_clients_type() {
    for form in
        ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json", "text/plain"]
    {
        let sent = client(&[("content-type", form)]);
        for (method, path) in [
            (Method::POST, "/v2/a/b/blobs/uploads/".to_owned()),
            (Method::PATCH, "/v2/a/b/blobs/uploads/id".to_owned()),
        ] {
            let leaving = request_headers(&sent, &head(), &route(&method, &path, None));
            assert_eq!(leaving["content-type"], "application/octet-stream");
        }
    }
}

#[test]
fn a_manifest_keeps_its_type_unless_it_is_a_form() {
    let put = route(&Method::PUT, "/v2/a/b/manifests/v1", None);
    let oci = "application/vnd.oci.image.manifest.v1+json";
    assert_eq!(request_headers(&client(&[("content-type", oci)]), &head(), &put)["content-type"], oci);
    for form in
        ["application/x-www-form-urlencoded", "Multipart/Form-Data; boundary=x", " application/X-WWW-form-urlencoded"]
    {
        let leaving = request_headers(&client(&[("content-type", form)]), &head(), &put);
        assert!(!leaving.contains_key("content-type"), "{form}");
    }
}

/// P4
#[test]
fn a_chunk_keeps_its_range() {
    let sent = client(&[("content-range", "0-232")]);
    let chunk = route(&Method::PATCH, "/v2/a/b/blobs/uploads/id", None);
    assert_eq!(request_headers(&sent, &head(), &chunk)["content-range"], "0-232");
}

fn answered(status: u16, headers: &[(&str, &str)]) -> Result<Parts, upstream::Error> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    let public = Public {
        origin: PublicOrigin::new("registry.test", 443),
        token_path: "/token",
        pass_redirects: false,
        seal: &seal,
    };
    response_head(&response.body(()).unwrap().into_parts().0, &blob(), public)
}

fn blob() -> Route {
    route(&Method::GET, &format!("/v2/a/b/blobs/{DIGEST}"), None)
}

/// P22
#[test]
fn a_blobs_redirect_passes_only_where_configured() {
    let upstream = Response::builder().status(307).header("location", "https://bucket.test/x?sig=1").body(()).unwrap();
    let parts = upstream.into_parts().0;
    let public = Public {
        origin: PublicOrigin::new("registry.test", 443),
        token_path: "/token",
        pass_redirects: true,
        seal: &seal,
    };
    assert_eq!(response_head(&parts, &blob(), public).unwrap().headers["location"], "https://bucket.test/x?sig=1");
    let manifest = route(&Method::GET, "/v2/a/b/manifests/v1", None);
    assert!(response_head(&parts, &manifest, public).is_err());
    assert!(response_head(&parts, &blob(), Public { pass_redirects: false, ..public }).is_err());
}

/// P1
#[test]
fn locations_come_back_on_the_public_origin_with_their_state_untouched() {
    let state = "_state=aGVsbG8_-x%3D%3D";
    for inner in [
        format!("/v2/a/b/blobs/uploads/id?{state}"),
        format!("http://10.0.0.5:5000/v2/a/b/blobs/uploads/id?{state}"),
        format!("gopher://evil.test/v2/a/b/blobs/uploads/id?{state}"),
    ] {
        let head = answered(202, &[("location", &inner)]).unwrap();
        let expected = format!("https://registry.test/v2/a/b/blobs/uploads/id?{state}&_seal=sealed-id");
        assert_eq!(head.headers["location"], expected.as_str());
    }
    let stateless = answered(202, &[("location", "/v2/a/b/blobs/uploads/id")]).unwrap();
    assert_eq!(stateless.headers["location"], "https://registry.test/v2/a/b/blobs/uploads/id?_seal=sealed-id");
    let blob = format!("/v2/a/b/blobs/{DIGEST}");
    let made = answered(201, &[("location", &blob)]).unwrap();
    assert_eq!(made.headers["location"], format!("https://registry.test{blob}").as_str(), "no session, no seal");
    assert!(
        answered(202, &[("location", "/v2/a/b/blobs/uploads/id?_seal=AAAA")]).is_err(),
        "seals are made here alone"
    );
}

#[test]
fn a_location_that_is_no_registry_address_is_refused() {
    for inner in ["http://evil.test/", "/v2/", "/token", "/v2/a/b/../c/blobs/uploads/id", "//evil.test", "x y"] {
        assert!(answered(202, &[("location", inner)]).is_err(), "{inner}");
    }
}

/// P21
#[test]
fn links_come_back_relative() {
    let page = "/v2/a/b/tags/list?n=2&last=v2";
    for inner in [page.to_owned(), format!("http://10.0.0.5:5000{page}")] {
        let head = answered(200, &[("link", &format!("<{inner}>; rel=\"next\""))]).unwrap();
        assert_eq!(head.headers["link"], format!("<{page}>; rel=\"next\"").as_str());
    }
}

#[test]
fn answers_that_betray_a_wrong_set_up_are_not_passed_on() {
    for status in [301, 302, 303, 307, 308] {
        assert!(answered(status, &[("location", "https://bucket.test/x")]).is_err());
    }
    for status in [200, 206, 304, 400, 403, 404, 405, 413, 416, 500, 503] {
        assert!(answered(status, &[]).is_ok(), "{status}");
    }
}

#[test]
fn unlisted_response_headers_stay_behind() {
    let head = answered(
        200,
        &[
            ("server", "nginx"),
            ("set-cookie", "a=b"),
            ("connection", "close, x-secret"),
            ("x-secret", "1"),
            ("transfer-encoding", "chunked"),
            ("docker-content-digest", DIGEST),
            ("oci-subject", DIGEST),
            ("warning", "299 - \"soon\""),
        ],
    )
    .unwrap();
    let mut names: Vec<&str> = head.headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["docker-content-digest", "oci-subject", "warning"]);
}
