//! Uploads whose pieces arrive at awkward moments.

use std::{thread::sleep, time::Duration};

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
