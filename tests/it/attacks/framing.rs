//! Where one request ends and the next begins, and heads that are none.

use super::{Scene, basic};
use crate::support::{ADMIN, ALICE, Tls};

impl Scene {
    /// The status, or `None` where the gate closes, maybe while the request is still on its way.
    fn gate_answer(&self, request: &str) -> Option<u16> {
        let mut connection = Tls::connect(self.gate.pki(), self.gate.port(), "localhost");
        connection.try_send(request).ok()?;
        connection.answer(false).map(|answer| answer.status)
    }
}

/// The statuses of all answers in a row of bytes, by their status lines.
fn statuses(bytes: &str) -> Vec<u16> {
    bytes.match_indices("HTTP/1.1 ").filter_map(|(at, word)| bytes[at + word.len()..].get(..3)?.parse().ok()).collect()
}

#[test]
fn ambiguous_framing_is_one_request_or_none() {
    let scene = Scene::new();
    let before = scene.touched();
    let head = scene.head(ALICE);
    let smuggled = format!("GET /v2/secret/app/manifests/v1 HTTP/1.1\r\nHost: {}\r\n\r\n", scene.gate.host());
    let length = smuggled.len();
    let uploads = "POST /v2/team-a/app/blobs/uploads/ HTTP/1.1\r\n";
    for framing in [
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n{length:x}\r\n{smuggled}\r\n0\r\n\r\n"),
        format!("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Content-Length: 0\r\nContent-Length: {length}\r\n\r\n{smuggled}"),
        format!("Content-Length: 0, {length}\r\n\r\n{smuggled}"),
        format!("Content-Length: +0\r\n\r\n{smuggled}"),
        format!("Content-Length: -1\r\n\r\n{smuggled}"),
        format!("Content-Length: 0x0\r\n\r\n{smuggled}"),
        format!("Content-Length: 00000000000000000000{length}\r\n\r\n{smuggled}"),
        format!("Content-Length: 99999999999999999999\r\n\r\n{smuggled}"),
    ] {
        // The smuggled request is without credentials: were it served as a second request, it would be a 401.
        let answers = scene.send(format!("{uploads}{head}Connection: close\r\n{framing}"));
        let statuses = statuses(&answers);
        assert!(statuses.iter().all(|status| *status < 500 || *status == 501), "{framing:?}: {answers}");
        assert!(statuses.len() <= 1, "{framing:?}: {answers}");
    }
    assert_eq!(scene.touched(), before);
}

#[test]
fn malformed_heads_are_refused() {
    let scene = Scene::new();
    let before = scene.registry.acted().len();
    let (host, login) = (scene.gate.host(), basic(ALICE));
    for request in [
        format!("GET /v2/ HTTP/1.1\r\n{login}\r\n"),
        format!("GET /v2/ HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n{login}\r\n"),
        format!("GET /v2/ HTTP/1.1\r\nHost: {host}\r\nHost: evil.test\r\n{login}\r\n"),
        format!("GET /v2/ HTTP/1.1\r\nHost: a/b\r\n{login}\r\n"),
        format!("GET /v2/ HTTP/1.1\r\nHost: a b\r\n{login}\r\n"),
        format!("GET /v2/ HTTP/1.1\r\nHost: {host},evil.test\r\n{login}\r\n"),
        format!("GET /v2/ HTTP/1.1\r\nHost: \"{host}\"\r\n{login}\r\n"),
        format!("GET /v2/ HTTP/1.1\r\nHost: {host}\r\nX: a\0b\r\n{login}\r\n"),
        format!("GET /v2/ HTTP/1.1\r\nHost: {host}\r\nX Y: a\r\n{login}\r\n"),
        format!("GET /v2/ HTTP/1.1\r\nHost: {host}\r\n{login}{login}\r\n"),
        format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n{login}\r\n"),
        format!("GET /v2/ HTTP/3.0\r\nHost: {host}\r\n{login}\r\n"),
    ] {
        let mut connection = Tls::connect(scene.gate.pki(), scene.gate.port(), "localhost");
        connection.send(&request);
        if let Some(answer) = connection.answer(false) {
            assert!((400..=505).contains(&answer.status), "{request:?}: {}", answer.status);
            assert!(!matches!(answer.status, 500 | 502 | 503 | 504), "{request:?}: {}", answer.status);
        }
    }
    assert_eq!(scene.registry.acted().len(), before);
}

#[test]
fn a_huge_head_costs_one_connection() {
    let scene = Scene::new();
    for request in [
        format!("GET /v2/{} HTTP/1.1\r\n{}\r\n", "a".repeat(70_000), scene.head(ALICE)),
        format!("GET /v2/ HTTP/1.1\r\n{}X: {}\r\n\r\n", scene.head(ALICE), "a".repeat(1 << 20)),
        format!("GET /v2/ HTTP/1.1\r\n{}{}\r\n", scene.head(ALICE), "X: y\r\n".repeat(10_000)),
    ] {
        let answer = scene.gate_answer(&request);
        assert!(answer.is_none_or(|status| (400..500).contains(&status)), "{answer:?}");
    }
    assert_eq!(scene.gate.curl("/v2/").user(ALICE).send().status, 200);
}

#[test]
fn each_request_of_a_connection_is_judged_alone() {
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
    assert!([200, 403, 401, 200].starts_with(&statuses), "{statuses:?}");
    assert!(!statuses.is_empty());
}

#[test]
fn a_body_is_not_asked_for_before_it_is_allowed() {
    let scene = Scene::new();
    let head = format!("Host: {}\r\n{}", scene.gate.host(), basic(ALICE));
    let answers = scene.send(format!(
        "PUT /v2/secret/app/manifests/v2 HTTP/1.1\r\n{head}Expect: 100-continue\r\nContent-Length: 1000000\r\nConnection: close\r\n\r\n"
    ));
    assert_eq!(statuses(&answers), [403], "{answers}");
}
