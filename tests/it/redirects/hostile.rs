//! Redirects that no storage would give, and answers that no storage would.

use serde_json::json;

use super::{errors, get};
use crate::support::{ALICE, Ear, Portcullis, Registry};

const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn blob() -> String {
    format!("/v2/team-a/app/blobs/{DIGEST}")
}

/// What stands for the registry says `head`; followed is what leads to `storage`.
fn gate(head: &str, storage: &Ear) -> (Ear, Portcullis) {
    let registry = Ear::answering(format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n"));
    let (url, listed) = (registry.url(), storage.url());
    let gate = Portcullis::before(&Registry::start())
        .with_upstream(|upstream| {
            upstream["servers"] = json!([{ "url": url }]);
            upstream["redirect_hosts"] = json!([listed]);
            upstream["timeouts"] = json!({ "connect": "1s", "idle": "1s" });
        })
        .with(|config| config["log"] = json!({ "level": "trace" }))
        .start();
    (registry, gate)
}

fn storage() -> Ear {
    Ear::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
}

/// §8.16
#[test]
fn only_what_is_needed_reaches_storage() {
    for (status, method) in [
        ("301 Moved Permanently", "GET"),
        ("302 Found", "HEAD"),
        ("303 See Other", "GET"),
        ("307 Temporary Redirect", "HEAD"),
        ("308 Permanent Redirect", "GET"),
    ] {
        let storage = storage();
        let target = format!("{}/bucket/a%2Fb~c?X-Signature=s%2Bx%2F&y={{z}}", storage.url());
        let (registry, gate) = gate(&format!("{status}\r\nLocation: {target}\r\nSet-Cookie: a=b"), &storage);
        let curl = gate.curl(&blob()).user(ALICE).method(method);
        let curl = ["Cookie: c=d", "Range: bytes=1-2", "If-None-Match: \"x\"", "X-Amz-Date: 1", "User-Agent: spy/1"]
            .iter()
            .fold(curl, |curl, line| curl.header(line));
        let answer = curl.send();
        assert_eq!((answer.status, answer.header("set-cookie")), (200, None), "{status} {answer:?}");
        let (line, heard) = storage.only_request();
        assert_eq!(line, format!("{method} /bucket/a%2Fb~c?X-Signature=s%2Bx%2F&y={{z}} HTTP/1.1"), "{status}");
        let mut names: Vec<&str> = heard.headers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "host", "range", "user-agent", "x-request-id"], "{status}");
        assert_eq!(heard.header("host"), storage.url().strip_prefix("http://"), "{status}");
        assert_eq!((heard.header("range"), heard.header("user-agent")), (Some("bytes=1-2"), Some("portcullis")));
        let id = format!("x-request-id: {}\r\n", heard.header("x-request-id").unwrap());
        assert!(registry.heard().iter().any(|heard| heard.contains(&id)), "{status}: {id}");
        assert!(!gate.log().contains("X-Signature"), "{status}");
    }
}

/// §8.16, §8.17
#[test]
fn a_location_that_is_not_plain_is_not_followed() {
    let storage = storage();
    let url = storage.url();
    let host = url.strip_prefix("http://").unwrap().to_owned();
    let long = format!("{url}/{}", "a".repeat(20_000));
    for location in [
        format!("Location: http://user@{host}/secret"),
        format!("Location: http://user:pass@{host}/secret"),
        format!("Location: http://example.com@{host}/secret"),
        format!("Location: http://{host}@example.com/secret"),
        format!("Location: http://{host}\\@example.com/secret"),
        format!("Location: {url}\\secret"),
        format!("Location: {url}/secret#fragment"),
        format!("Location: {url}#/secret"),
        format!("Location: {url}/sec ret"),
        format!("Location: {url}/sec\tret"),
        format!("Location: {url}/secr\u{e9}t"),
        format!("Location: ftp://{host}/secret"),
        format!("Location: gopher://{host}/secret"),
        format!("Location: javascript://{host}/secret"),
        format!("Location: https://{host}/secret"),
        format!("Location: //{host}/secret"),
        "Location: /secret".to_owned(),
        "Location: secret".to_owned(),
        "Location:".to_owned(),
        "X-Location: none".to_owned(),
        format!("Location: {url}/secret\r\nLocation: {url}/secret"),
        format!("Location: {url}/secret\r\nLocation: http://example.com/secret"),
        format!("Location: http://{}/secret", host.replace("127.0.0.1", "127.0.0.1.")),
        format!("Location: http://{}/secret", host.replace("127.0.0.1", "2130706433")),
        format!("Location: http://{}/secret", host.replace("127.0.0.1", "127.1")),
        format!("Location: http://{}/secret", host.replace("127.0.0.1", "localhost")),
        format!("Location: http://{}/secret", host.replace("127.0.0.1", "[::1]")),
        format!("Location: {url}0/secret"),
        format!("Location: {url}:80/secret"),
        "Location: http://169.254.169.254/secret".to_owned(),
        format!("Location: {long}"),
        format!("Location: {url}/secret\0"),
        format!("Location: {url}/secret\rX: y"),
    ] {
        let (_registry, gate) = gate(&format!("307 Temporary Redirect\r\n{location}"), &storage);
        let answer = get(&gate, &blob());
        assert_eq!((answer.status, answer.header("location")), (502, None), "{location:?}");
        assert!(!answer.text().contains("secret"), "{location:?}");
        let log = gate.log();
        assert!(!log.contains("secret") && !log.contains("pass@"), "{location:?}: {log}");
    }
    assert_eq!(storage.heard(), Vec::<String>::new());
}

#[test]
fn what_is_no_redirect_of_a_blob_is_not_followed() {
    let storage = storage();
    for status in ["300 Multiple Choices", "304 Not Modified", "305 Use Proxy", "306 Switch Proxy", "201 Created"] {
        let (_registry, gate) = gate(&format!("{status}\r\nLocation: {}/v2/a/blobs/x", storage.url()), &storage);
        let answer = get(&gate, &blob());
        assert_eq!((answer.status, answer.header("location")), (502, None), "{status}");
    }
    let (_registry, gate) = gate(&format!("307 Temporary Redirect\r\nLocation: {}/x", storage.url()), &storage);
    for (method, path) in [
        ("GET", "/v2/team-a/app/manifests/v1"),
        ("GET", "/v2/team-a/app/tags/list"),
        ("POST", "/v2/team-a/app/blobs/uploads/"),
        ("DELETE", "/v2/home/alice/app/manifests/v1"),
    ] {
        let answer = gate.curl(path).user(ALICE).method(method).send();
        assert_eq!((answer.status, answer.header("location")), (502, None), "{method} {path}");
    }
    assert_eq!(storage.heard(), Vec::<String>::new());
}

#[test]
fn redirects_in_a_circle_end() {
    let storage = Ear::following(|caller| {
        while let Some(request) = caller.request() {
            let next = format!("http://{}{}x", request.header("host").unwrap_or_default(), request.target);
            caller.say(format!("HTTP/1.1 307 Again\r\nLocation: {next}\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    let (_registry, gate) = gate(&format!("307 Temporary Redirect\r\nLocation: {}/x", storage.url()), &storage);
    assert_eq!(get(&gate, &blob()).status, 502);
    assert_eq!(errors(&gate), ["3 redirects in a row, and another one"]);
    assert_eq!((storage.heard().len(), storage.connections()), (3, 1));
}

#[test]
fn an_answer_of_storage_is_a_blob_or_an_error() {
    for (head, words) in [
        ("206 Partial Content\r\nContent-Range: bytes 0-1/9", "answered 206 Partial Content"),
        ("416 Range Not Satisfiable\r\nContent-Range: bytes */9", "answered 416 Range Not Satisfiable"),
        ("204 No Content", "answered 204 No Content"),
        ("304 Not Modified", "answered 304 Not Modified"),
        ("300 Multiple Choices", "answered 300 Multiple Choices"),
        ("403 Forbidden\r\nX-Amz-Error: secret", "answered 403 Forbidden"),
        ("404 Not Found", "answered 404 Not Found"),
        ("503 Slow Down", "answered 503 Service Unavailable"),
        ("401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"", "it asks for credentials"),
        ("200 OK\r\nDocker-Content-Digest: sha256:b", "gave another blob than the one asked for"),
    ] {
        let storage = Ear::answering(format!("HTTP/1.1 {head}\r\nContent-Length: 2\r\n\r\nno"));
        let (_registry, gate) = gate(&format!("307 Temporary Redirect\r\nLocation: {}/x", storage.url()), &storage);
        let answer = get(&gate, &blob());
        assert_eq!((answer.status, answer.header("www-authenticate")), (502, None), "{head}");
        assert!(errors(&gate).concat().contains(words), "{head}: {:?}", errors(&gate));
        // Once more, in case another signature helps.
        assert_eq!(storage.heard().len(), 2, "{head}");
    }
    for answer in
        ["", "HTTP/1.1 200", "no HTTP\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"]
    {
        let storage = Ear::answering(answer);
        let (_registry, gate) = gate(&format!("307 Temporary Redirect\r\nLocation: {}/x", storage.url()), &storage);
        assert_eq!(get(&gate, &blob()).status, 502, "{answer:?}");
    }
}

#[test]
fn the_head_of_a_blob_holds_nothing_that_storage_made_up() {
    let storage = Ear::answering(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: aws-chunked\r\nLocation: /x\r\nLink: </x>\r\n\
         Set-Cookie: a=b\r\nCache-Control: private\r\nWarning: 299 - x\r\nOCI-Subject: x\r\nX-Amz-Id: 1\r\n\
         ETag: \"e-1\"\r\nContent-Length: 2\r\n\r\nok",
    );
    let (_registry, gate) = gate(&format!("307 Temporary Redirect\r\nLocation: {}/x", storage.url()), &storage);
    let answer = get(&gate, &blob());
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    let said = ["content-type", "docker-content-digest", "etag", "content-length"].map(|name| answer.header(name));
    assert_eq!(said, [Some("application/octet-stream"), Some(DIGEST), Some("\"e-1\""), Some("2")]);
    for name in
        ["content-encoding", "location", "link", "set-cookie", "cache-control", "warning", "oci-subject", "x-amz-id"]
    {
        assert_eq!(answer.header(name), None, "{name}");
    }
}

/// A body that is cut is cut for the client too.
#[test]
fn a_body_that_breaks_off_is_no_whole_one() {
    let storage = Ear::answering("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it");
    let (_registry, gate) = gate(&format!("307 Temporary Redirect\r\nLocation: {}/x", storage.url()), &storage);
    for version in ["--http1.1", "--http2"] {
        assert!(gate.curl(&blob()).user(ALICE).argument(version).attempt().is_err(), "{version}");
    }
}
