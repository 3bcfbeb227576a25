//! HTTP/2 requests that would be another request, or more than one, in HTTP/1.1.

use std::time::Duration;

use super::{
    Scene, basic,
    frames::{DATA, END_STREAM, Http2, Outcome, frame},
};
use crate::support::ALICE;

const TAGS: &str = "/v2/team-a/app/tags/list";

impl Scene {
    /// The value of alice's `Authorization`.
    pub(super) fn login() -> String {
        basic(ALICE).trim_start_matches("Authorization: ").trim_end().to_owned()
    }
}

#[test]
fn s26_a_request_that_is_none_in_http_1_is_none_here() {
    let scene = Scene::new();
    let (host, login) = (scene.gate.host(), Scene::login());
    let good = [(":method", "GET"), (":scheme", "https"), (":path", TAGS), (":authority", host.as_str())];
    let with_login = |fields: &[(&'static str, &str)]| {
        let fields: Vec<(String, String)> =
            fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        [fields, vec![("authorization".to_owned(), login.clone())]].concat()
    };
    let ask = |fields: &[(String, String)]| {
        let mut http2 = Http2::connect(&scene.gate);
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let stream = http2.open(&fields, END_STREAM);
        http2.outcome(stream)
    };
    assert_eq!(ask(&with_login(&good)), Outcome::Status(200), "S26: the same when it is right");

    let before = scene.registry.acted().len();
    let replaced = |name: &str, value: &str| {
        let mut fields = with_login(&good);
        fields.iter_mut().filter(|(known, _)| known == name).for_each(|(_, old)| *old = value.to_owned());
        fields
    };
    let added = |name: &str, value: &str| {
        let mut fields = with_login(&good);
        fields.push((name.to_owned(), value.to_owned()));
        fields
    };
    let without = |name: &str| {
        let mut fields = with_login(&good);
        fields.retain(|(known, _)| known != name);
        fields
    };
    let smuggled = format!("a\r\n\r\nGET /v2/secret/app/tags/list HTTP/1.1\r\nHost: {host}\r\n\r\n");
    for (id, fields) in [
        ("S26", added("accept", &smuggled)),
        ("S26", added("accept", "a\nb: c")),
        ("S26", added("accept", "a\rb: c")),
        ("S26", added("accept", "a\0b")),
        ("S26", added("a\r\nb", "c")),
        ("S26", added("a b", "c")),
        ("S26", added("a:b", "c")),
        ("S26", added("", "c")),
        ("S26", added("Accept", "upper case")),
        ("S26", added("transfer-encoding", "chunked")),
        ("S26", added("connection", "close")),
        ("S26", added("keep-alive", "1")),
        ("S26", added("proxy-connection", "close")),
        ("S26", added("upgrade", "websocket")),
        ("S26", added("te", "gzip")),
        ("S26", added("content-length", "5")),
        ("S26", added("content-length", "x")),
        ("S26", added(":path", TAGS)),
        ("S26", added(":path", "/v2/secret/app/tags/list")),
        ("S26", added(":method", "GET")),
        ("S26", added(":status", "200")),
        ("S26", added(":unknown", "x")),
        ("S26", replaced(":path", "v2/team-a/app/tags/list")),
        ("S26", replaced(":path", "")),
        ("S26", replaced(":path", "*")),
        ("S26", replaced(":path", "https://evil.test/v2/team-a/app/tags/list")),
        ("S26 A12", replaced(":path", "/v2/team-a/app/tags/list HTTP/1.1\r\nx: y")),
        ("S26 A12", replaced(":path", "/v2/team-a/app/tags/list x")),
        ("S26 A1", replaced(":path", "/v2/secret%2fapp/tags/list")),
        ("S26 A5", replaced(":path", "/v2/team-a/../secret/app/tags/list")),
        ("S26", replaced(":path", "/v2/team-a/app/tags/list\u{e9}")),
        ("S26", replaced(":method", "GET ")),
        ("S26", replaced(":method", "GET /v2/secret/app/tags/list HTTP/1.1\r\nx:")),
        ("S26", replaced(":method", "")),
        ("S26 A15", replaced(":method", "CONNECT")),
        ("S26", replaced(":authority", "")),
        ("S26 A51", replaced(":authority", "evil.test")),
        ("S26", replaced(":authority", &format!("{host}/x"))),
        ("S26", replaced(":authority", &format!("alice@{host}"))),
        ("S26", without(":path")),
        ("S26", without(":method")),
        ("S26", without(":scheme")),
        ("S26", without(":authority")),
        ("A52 §8.13", added("host", "evil.test")),
        ("A52 §8.13", added("host", "registry.test")),
    ] {
        let outcome = ask(&fields);
        let refused = match outcome {
            Outcome::Status(status) => (400..500).contains(&status),
            Outcome::Reset(_) | Outcome::Closed => true,
        };
        assert!(refused, "{id} {fields:?}: {outcome:?}");
    }
    let seen = scene.registry.acted();
    assert_eq!(seen.len(), before, "{:?}", &seen[before..]);
}

#[test]
fn a13_a_fragment_is_neither_judged_nor_sent() {
    let scene = Scene::new();
    let (host, login, path) = (scene.gate.host(), Scene::login(), format!("{TAGS}#/../../../secret/app/tags/list"));
    let mut http2 = Http2::connect(&scene.gate);
    let fields = [(":method", "GET"), (":scheme", "https"), (":path", &path), (":authority", &host)];
    let stream = http2.open(&[&fields[..], &[("authorization", &login)]].concat(), END_STREAM);
    assert!(matches!(http2.outcome(stream), Outcome::Status(200 | 400) | Outcome::Reset(_)), "A13");
    assert!(scene.registry.acted().iter().all(|acted| !acted.target.contains('#')), "A13");
}

#[test]
fn s26_a_body_is_as_long_as_it_is_said_to_be() {
    let scene = Scene::new();
    let (host, login) = (scene.gate.host(), Scene::login());
    let body = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    let kind = "application/vnd.oci.image.index.v1+json";
    let exact = body.len().to_string();
    let (less, more) = ((body.len() - 1).to_string(), (body.len() + 1).to_string());
    for (number, (length, ends, expected)) in [
        (Some(&exact), true, true),
        (None, true, true),
        (Some(&less), true, false),
        (Some(&more), true, false),
        (Some(&more), false, false),
        (None, false, false),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/v2/team-a/app/manifests/length-{number}");
        let mut http2 = Http2::connect(&scene.gate);
        let mut fields = vec![
            (":method", "PUT"),
            (":scheme", "https"),
            (":path", path.as_str()),
            (":authority", host.as_str()),
            ("authorization", login.as_str()),
            ("content-type", kind),
        ];
        fields.extend(length.map(|length| ("content-length", length.as_str())));
        let stream = http2.open(&fields, 0);
        http2.send(&frame(DATA, if ends { END_STREAM } else { 0 }, stream, body.as_bytes()));
        if ends {
            let outcome = http2.outcome(stream);
            assert_eq!(outcome == Outcome::Status(201), expected, "S26 {length:?}: {outcome:?}");
        } else {
            // Gone before the end of the body was told.
            http2.drain(Duration::from_millis(300));
            drop(http2);
        }
        let kept = scene.ask("GET", &path, &format!("Accept: {kind}\r\n")).status;
        assert_eq!(kept, if expected { 200 } else { 404 }, "S26 {length:?} {ends}");
    }
}
