//! Uploads whose pieces arrive at awkward moments.

use std::{fs, thread::sleep, time::Duration};

use serde_json::json;

use crate::support::{ALICE, Portcullis, Registry, Tls};

/// Longer than the gate waits before it passes on what a slow client has sent so far.
const PAUSE: Duration = Duration::from_millis(120);

/// Opens an upload session and gives the path to send to.
fn session(gate: &Portcullis) -> String {
    let opened = gate.curl("/v2/team-a/app/blobs/uploads/").user(ALICE).method("POST").send();
    assert_eq!(opened.status, 202, "{}", opened.text());
    opened.header("location").unwrap().replace(&gate.url(""), "")
}

/// A head that is followed by the pieces, each after a pause; the answer's status.
fn send_slowly(gate: &Portcullis, framing: &str, pieces: &[&[u8]]) -> Option<u16> {
    let token = gate.token(Some(ALICE), "repository:team-a/app:pull,push");
    let path = session(gate);
    let mut client = Tls::connect(gate.pki(), gate.port(), "localhost");
    client.send(format!(
        "PATCH {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n{framing}\r\n\r\n",
        gate.host()
    ));
    for piece in pieces {
        sleep(PAUSE);
        client.send(piece);
    }
    client.answer(false).map(|answer| answer.status)
}

#[test]
fn an_end_that_comes_by_itself_ends_the_upload() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    assert_eq!(send_slowly(&gate, "Transfer-Encoding: chunked", &[b"5\r\nhello\r\n", b"0\r\n\r\n"]), Some(202));
    assert_eq!(send_slowly(&gate, "Transfer-Encoding: chunked", &[b"0\r\n\r\n"]), Some(202));
    assert_eq!(send_slowly(&gate, "Content-Length: 10", &[b"hello", b"world"]), Some(202));
}

#[test]
fn bodies_of_every_size_end() {
    const FRAME: usize = 256 * 1024;
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    for size in [1, 16 * 1024, FRAME - 1, FRAME, FRAME + 1, 2 * FRAME, 3 * FRAME + 17] {
        let file = gate.dir().join("body");
        fs::write(&file, vec![7; size]).unwrap();
        for version in ["--http1.1", "--http2"] {
            let sent =
                gate.curl(&session(&gate)).user(ALICE).method("PATCH").chunked_file(&file).argument(version).send();
            assert_eq!(sent.status, 202, "{size} bytes, {version}: {}", sent.text());
            let range = sent.header("range").unwrap().to_owned();
            assert_eq!(range, format!("0-{}", size.saturating_sub(1)), "{version}");
        }
    }
}

#[test]
fn a_blobs_limit_counts_all_requests_of_its_session() {
    let registry = Registry::start();
    let gate = Portcullis::before(&registry).with(|config| config["limits"] = json!({ "upload": "1MiB" })).start();
    let part = gate.dir().join("part");
    fs::write(&part, vec![7; 600_000]).unwrap();
    let patch = |path: &str, chunked: bool| {
        let curl = gate.curl(path).user(ALICE).method("PATCH");
        if chunked { curl.chunked_file(&part).send() } else { curl.body_file(&part).send() }
    };
    for chunked in [false, true] {
        let first = patch(&session(&gate), chunked);
        assert_eq!(first.status, 202, "{}", first.text());
        let path = first.header("location").unwrap().replace(&gate.url(""), "");
        let second = patch(&path, chunked);
        assert_eq!(second.status, 413, "chunked: {chunked}: {}", second.text());
    }
}
