//! Where one request ends and the next begins, and heads that are none.

use std::{
    io::{ErrorKind, Read},
    time::Duration,
};

use super::{MANIFEST, Scene, basic};
use crate::support::{ADMIN, ALICE, Tls};

impl Scene {
    /// The statuses of all answers until the gate closes or is silent, and whether it closed.
    fn statuses(&self, request: impl AsRef<[u8]>) -> (Vec<u16>, bool) {
        let mut connection = Tls::connect(self.gate.pki(), self.gate.port(), "localhost");
        connection.patience(Duration::from_millis(1500));
        // It may close on what it has read so far.
        let _ = connection.try_send(request);
        let (mut all, mut piece) = (Vec::new(), [0; 4096]);
        let closed = loop {
            match connection.read(&mut piece) {
                Ok(0) => break true,
                Ok(count) => all.extend_from_slice(&piece[..count]),
                Err(error) => break !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            }
        };
        (statuses(&String::from_utf8_lossy(&all)), closed)
    }
}

/// The statuses of all answers in a row of bytes, by their status lines.
fn statuses(bytes: &str) -> Vec<u16> {
    bytes.match_indices("HTTP/1.1 ").filter_map(|(at, word)| bytes[at + word.len()..].get(..3)?.parse().ok()).collect()
}

/// What may be made of a request with a second one behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The first is refused, and nothing after it is looked at.
    Refused,
    /// The first may be served, but nothing after it (RFC 9112 §6.3: chunks outweigh a length, and the connection ends).
    Alone,
    /// The first may be served; what is behind it is judged as a request of its own, which has no login.
    Parted,
}

#[test]
fn ambiguous_framing_hides_no_request() {
    use Fate::{Alone, Parted, Refused};
    let scene = Scene::new();
    let before = scene.touched();
    let smuggled = format!("GET /v2/secret/app/manifests/v1 HTTP/1.1\r\nHost: {}\r\n\r\n", scene.gate.host());
    let length = smuggled.len();
    let last = format!("0\r\n\r\n{smuggled}");
    let chunk = format!("{length:x}\r\n{smuggled}\r\n0\r\n\r\n");
    for (id, fate, framing) in [
        ("S1 §8.13", Alone, "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG".to_owned()),
        ("S1 §8.13", Alone, format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n{last}", last.len())),
        ("S2 §8.13", Alone, format!("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n{chunk}")),
        ("S2", Parted, format!("Transfer-Encoding: chunked\r\n\r\n{chunk}")),
        ("S2", Parted, format!("Transfer-Encoding: chunked\r\n\r\n{last}")),
        ("S3", Refused, format!("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n{last}")),
        ("S3", Refused, format!("Transfer-Encoding: identity\r\n\r\n{last}")),
        ("S3", Refused, format!("Transfer-Encoding: xchunked\r\n\r\n{last}")),
        ("S3", Refused, format!("Transfer-Encoding: chunked, chunked\r\n\r\n{last}")),
        ("S3", Refused, format!("Transfer-Encoding: gzip, chunked\r\n\r\n{last}")),
        ("S3", Refused, format!("Transfer-Encoding: \u{b}chunked\r\n\r\n{last}")),
        ("S4", Refused, format!("Transfer-Encoding : chunked\r\n\r\n{last}")),
        ("S4", Refused, format!("Content-Length : 0\r\n\r\n{smuggled}")),
        ("S6 §8.13", Refused, format!("Transfer-Encoding:\r\n chunked\r\n\r\n{last}")),
        ("S6 §8.13", Refused, format!("Content-Length: 0\r\nX-Long: a\r\n b\r\n\r\n{smuggled}")),
        ("S7", Parted, format!("Content-Length: 0\r\nContent-Length: 0\r\n\r\n{smuggled}")),
        ("S8", Refused, format!("Content-Length: 0\r\nContent-Length: {length}\r\n\r\n{smuggled}")),
        ("S8", Refused, format!("Content-Length: {length}\r\nContent-Length: 0\r\n\r\n{smuggled}")),
        ("S8", Refused, format!("Content-Length: 0, {length}\r\n\r\n{smuggled}")),
        ("S8", Refused, format!("Content-Length: +0\r\n\r\n{smuggled}")),
        ("S8", Refused, format!("Content-Length: -1\r\n\r\n{smuggled}")),
        ("S8", Refused, format!("Content-Length: 0x0\r\n\r\n{smuggled}")),
        ("S8", Refused, format!("Content-Length: 0 0\r\n\r\n{smuggled}")),
        ("S8", Refused, format!("Content-Length: 99999999999999999999\r\n\r\n{smuggled}")),
        ("S8", Refused, format!("Content-Length: \r\n\r\n{smuggled}")),
    ] {
        let path = scene.open_upload("team-a/app");
        let (statuses, closed) = scene.statuses(format!("PATCH {path} HTTP/1.1\r\n{}{framing}", scene.head(ALICE)));
        let refused = |status: &u16| matches!(status, 400 | 501);
        let fits = match fate {
            Refused => closed && statuses.len() <= 1 && statuses.iter().all(refused),
            Alone => closed && (statuses.is_empty() || statuses == [202]),
            Parted => statuses.first() == Some(&202) && statuses[1..].iter().all(|status| *status == 401),
        };
        assert!(
            fits || closed && statuses.len() == 1 && refused(&statuses[0]),
            "{id} {framing:?}: {statuses:?}, closed: {closed}"
        );
        // Nothing of it is left on a connection to the registry.
        let next = scene.ask("GET", "/v2/team-a/app/tags/list", "");
        assert!(next.status == 200 && next.text().contains("team-a/app"), "{id} {framing:?}: {}", next.text());
    }
    assert_eq!(scene.touched(), before);
}

#[test]
fn s10_a_request_in_a_body_is_no_request() {
    let scene = Scene::new();
    let before = scene.touched();
    let inner = format!("GET /v2/secret/app/tags/list HTTP/1.1\r\n{}\r\n", scene.head(ADMIN));
    for method in ["GET", "HEAD", "DELETE"] {
        let request = format!(
            "{method} /v2/team-a/app/manifests/v1 HTTP/1.1\r\n{}Content-Length: {}\r\n\r\n{inner}",
            scene.head(ALICE),
            inner.len()
        );
        assert_eq!(scene.statuses(request).0.len(), 1, "S10 {method}");
    }
    assert_eq!(scene.touched(), before, "S10");
}

#[test]
fn s12_a_body_that_breaks_off_is_never_whole() {
    let scene = Scene::new();
    // The registry keeps an index of nothing without asking for a blob.
    let body = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    let kind = "application/vnd.oci.image.index.v1+json";
    let length = body.len();
    for (number, framing) in [
        format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}"),
        format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n"),
        format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n"),
        format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}0\r\n\r\n"),
        format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}xx0\r\n\r\n"),
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", length - 5),
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}", length + 5),
        format!("Transfer-Encoding: chunked\r\n\r\n-{length:x}\r\n{body}\r\n0\r\n\r\n"),
        format!("Transfer-Encoding: chunked\r\n\r\nffffffffffffffff{length:x}\r\n{body}\r\n0\r\n\r\n"),
        format!("Content-Length: {}\r\n\r\n{body}", length + 1),
    ]
    .into_iter()
    .enumerate()
    {
        let target = format!("/v2/team-a/app/manifests/broken-{number}");
        let head = scene.head(ALICE);
        let mut connection = Tls::connect(scene.gate.pki(), scene.gate.port(), "localhost");
        connection.send(format!("PUT {target} HTTP/1.1\r\n{head}Content-Type: {kind}\r\n{framing}"));
        connection.close();
        let answer = connection.answer(false);
        assert!(answer.as_ref().is_none_or(|answer| answer.status >= 400), "S12 {framing:?}: {answer:?}");
        let accept = format!("Accept: {kind}\r\nAccept: {MANIFEST}\r\n");
        assert_eq!(scene.ask("GET", &target, &accept).status, 404, "S12 {framing:?}");
    }
    let answer = scene.submit("PUT", "/v2/team-a/app/manifests/whole", kind, body);
    assert_eq!(answer.status, 201, "S12: the same when it is whole: {}", answer.text());
}

#[test]
fn s14_s15_s16_malformed_heads_are_refused() {
    let scene = Scene::new();
    let before = scene.registry.acted().len();
    let (host, login) = (scene.gate.host(), basic(ALICE));
    let tags = "/v2/team-a/app/tags/list";
    for (id, request) in [
        ("S14 §8.13", format!("GET {tags} HTTP/1.1\r\nHost: {host}\r\nX: a\rX-Y: b\r\n{login}\r\n")),
        ("S14 §8.13", format!("GET {tags} HTTP/1.1\rHost: {host}\r{login}\r\r")),
        ("S14", format!("GET {tags} HTTP/1.1\r\nHost: {host}\r\nX: a\0b\r\n{login}\r\n")),
        ("S14", format!("GET {tags} HTTP/1.1\r\nHost: {host}\r\nX Y: a\r\n{login}\r\n")),
        ("S14", format!("GET {tags} HTTP/1.1\r\nHost: {host}\r\nno colon\r\n{login}\r\n")),
        ("S14", format!("GET {tags} HTTP/1.1\r\nHost: {host}\r\n: empty\r\n{login}\r\n")),
        ("S14 S6", format!("GET {tags} HTTP/1.1\r\n Host: {host}\r\n{login}\r\n")),
        ("S15", format!("GET {tags} HTTP/1.1\r\n{login}\r\n")),
        ("S15", format!("GET {tags} HTTP/1.1\r\nHost:\r\n{login}\r\n")),
        ("S15", format!("GET {tags} HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n{login}\r\n")),
        ("S15", format!("GET {tags} HTTP/1.1\r\nHost: {host}\r\nHost: evil.test\r\n{login}\r\n")),
        ("S15", format!("GET {tags} HTTP/1.1\r\nHost: a/b\r\n{login}\r\n")),
        ("S15", format!("GET {tags} HTTP/1.1\r\nHost: a b\r\n{login}\r\n")),
        ("S15", format!("GET {tags} HTTP/1.1\r\nHost: {host},evil.test\r\n{login}\r\n")),
        ("S15", format!("GET {tags} HTTP/1.1\r\nHost: \"{host}\"\r\n{login}\r\n")),
        ("S16", format!("GET {tags}\r\n")),
        ("S16", format!("GET {tags}\r\n\r\n")),
        ("S16", format!("GET {tags} HTTP/0.9\r\nHost: {host}\r\n{login}\r\n")),
        ("S16", format!("GET {tags} HTTP/2.0\r\nHost: {host}\r\n{login}\r\n")),
        ("S16", format!("GET {tags} HTTP/3.0\r\nHost: {host}\r\n{login}\r\n")),
        ("S16", format!("GET {tags} http/1.1\r\nHost: {host}\r\n{login}\r\n")),
        ("S16", format!("GET {tags} HTTP/1.2\r\nHost: {host}\r\n{login}\r\n")),
        ("S16", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
        ("A15", format!("GET\t{tags}\tHTTP/1.1\r\nHost: {host}\r\n{login}\r\n")),
        ("A12", format!("GET {tags} x HTTP/1.1\r\nHost: {host}\r\n{login}\r\n")),
        ("A50", format!("GET {tags} HTTP/1.1\r\nHost: {host}\r\n{login}{login}\r\n")),
        ("A15", format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n{login}\r\n")),
    ] {
        let (statuses, _) = scene.statuses(&request);
        let refusals = statuses.iter().all(|status| matches!(status, 400 | 401 | 404 | 405 | 421 | 501 | 505));
        assert!(statuses.len() <= 1 && refusals, "{id} {request:?}: {statuses:?}");
    }
    assert_eq!(scene.registry.acted().len(), before);
}

#[test]
fn s22_a_huge_head_costs_one_connection() {
    let scene = Scene::new();
    for (id, request) in [
        ("S22 A23", format!("GET /v2/{} HTTP/1.1\r\n{}\r\n", "a".repeat(70_000), scene.head(ALICE))),
        ("S22", format!("GET /v2/ HTTP/1.1\r\n{}X: {}\r\n\r\n", scene.head(ALICE), "a".repeat(1 << 20))),
        ("S22", format!("GET /v2/ HTTP/1.1\r\n{}{}\r\n", scene.head(ALICE), "X: y\r\n".repeat(10_000))),
        ("S22", format!("GET /v2/ HTTP/1.1\r\n{}X: {}", scene.head(ALICE), "a".repeat(8 << 20))),
    ] {
        let (statuses, _) = scene.statuses(&request);
        assert!(statuses.len() <= 1 && statuses.iter().all(|status| (400..500).contains(status)), "{id} {statuses:?}");
    }
    assert_eq!(scene.gate.curl("/v2/").user(ALICE).send().status, 200);
    assert!(scene.gate.peak_memory() < 200 << 10, "S22: {} KiB", scene.gate.peak_memory());
}

#[test]
fn s17_s18_each_request_of_a_connection_is_judged_alone() {
    let scene = Scene::new();
    let host = scene.gate.host();
    let mut connection = Tls::connect(scene.gate.pki(), scene.gate.port(), "localhost");
    let get = |path: &str, login: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{login}\r\n");
    connection.send(
        get("/v2/team-a/app/tags/list", &basic(ALICE))
            + &get("/v2/secret/app/tags/list", &basic(ALICE))
            + &get("/v2/team-a/app/tags/list", "")
            + &get("/v2/secret/app/tags/list", &basic(ADMIN)),
    );
    let statuses: Vec<_> = (0..4).map_while(|_| connection.answer(false)).map(|answer| answer.status).collect();
    // A server may close before it has read what was sent ahead, but it may not answer out of order.
    assert!([200, 403, 401, 200].starts_with(&statuses), "S17 {statuses:?}");
    assert!(!statuses.is_empty());

    // S18: one after the other, the connection remembers nobody.
    let mut connection = Tls::connect(scene.gate.pki(), scene.gate.port(), "localhost");
    for (login, status) in [(basic(ALICE), 200), (String::new(), 401), (basic(ADMIN), 200), (String::new(), 401)] {
        connection.send(get("/v2/team-a/app/tags/list", &login));
        assert_eq!(connection.answer(false).map(|answer| answer.status), Some(status), "S18");
    }
}

#[test]
fn s20_a_body_is_not_asked_for_before_it_is_allowed() {
    let scene = Scene::new();
    let host = scene.gate.host();
    for (id, login, expectation, expected) in [
        ("S20", basic(ALICE), "100-continue", 403),
        ("S20", String::new(), "100-continue", 401),
        ("S20", basic(ALICE), "200-maybe", 417),
    ] {
        let answers = scene.send(format!(
            "PUT /v2/secret/app/manifests/v2 HTTP/1.1\r\nHost: {host}\r\n{login}Expect: {expectation}\r\nContent-Length: 1000000\r\nConnection: close\r\n\r\n"
        ));
        assert_eq!(statuses(&answers), [expected], "{id}: {answers}");
    }
}
