//! Clients that leave: the upstream's connection goes with them, and half an upload is never a whole one.

use std::sync::{Arc, Mutex};

use h2::Reason;

use super::{Http2, MIB, before, blob, finish, get, head, http1, http2, milliseconds, read_head, read_some, session};
use crate::support::{Caller, Ear, Portcullis, Signal, Tls, eventually};

/// Sends a blob without end, and tells when the gate hangs up.
fn endless(gone: &Signal) -> impl Fn(&mut Caller) + Send + Sync + use<> {
    let gone = gone.clone();
    move |caller: &mut Caller| {
        let Some(request) = caller.request() else { return };
        if request.target.contains("manifests") {
            caller.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
            return;
        }
        caller.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1_u64 << 40));
        let piece = vec![b'x'; 64 * 1024];
        while caller.say(&piece) {}
        gone.raise();
    }
}

/// Nothing of the aborted requests is left, and the next one is served.
fn is_clean(gate: &Portcullis, ear: &Ear) {
    eventually("no request is under way", || super::gauge(gate, "portcullis_requests_in_flight") == 0);
    eventually("all upstream connections are closed", || ear.open() == 0);
    assert_eq!(super::fetch(gate, "--http1.1", &super::tag("v1")), Ok((200, b"{}".to_vec())));
}

#[test]
fn row_client_abort_mid_download_http1() {
    let gone = Signal::default();
    let ear = Ear::following(endless(&gone));
    let gate = before(&ear);
    for round in 1..=3 {
        let mut client = http1(&gate);
        client.send(get(&gate, &blob()));
        assert!(read_head(&mut client).starts_with("HTTP/1.1 200"));
        read_some(&mut client, 2 * MIB);
        drop(client);
        assert!(gone.wait_for(round), "the upstream still sends");
    }
    is_clean(&gate, &ear);
}

#[test]
fn row_client_abort_mid_download_http2() {
    let gone = Signal::default();
    let ear = Ear::following(endless(&gone));
    let gate = before(&ear);
    http2::run(async {
        let mut client = Http2::connect(&gate).await;
        for round in 1..=3 {
            let mut body = client.get(&blob()).await.unwrap().into_body();
            http2::read_some(&mut body, 2 * MIB).await;
            // Dropping the stream resets it; the connection goes on.
            drop(body);
            assert!(gone.wait_for(round), "the upstream still sends");
        }
        let mut body = client.get(&blob()).await.unwrap().into_body();
        http2::read_some(&mut body, MIB).await;
        client.driver.abort();
        assert!(gone.wait_for(4), "the upstream still sends");
    });
    is_clean(&gate, &ear);
}

/// Hears an upload to its end.
struct Upload {
    ear: Ear,
    begun: Signal,
    broken: Signal,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Upload {
    fn new() -> Self {
        let (begun, broken, heard) = (Signal::default(), Signal::default(), Arc::<Mutex<Vec<u8>>>::default());
        let ear = Ear::following({
            let (begun, broken, heard) = (begun.clone(), broken.clone(), Arc::clone(&heard));
            move |caller| {
                let Some(request) = caller.request() else { return };
                if request.method == "GET" {
                    caller.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
                    return;
                }
                let Some(mut all) = caller.exactly(1000) else { return };
                begun.raise();
                let Some(mut rest) = caller.until_closed() else { return };
                all.append(&mut rest);
                *heard.lock().unwrap() = all;
                broken.raise();
            }
        });
        Self { ear, begun, broken, heard }
    }

    /// The upstream must be told that this is not all.
    #[track_caller]
    fn is_broken(&self, gate: &Portcullis) {
        assert!(self.broken.wait(), "the upstream still waits for the rest");
        let heard = self.heard.lock().unwrap().clone();
        assert!(heard.len() < 300_000, "more than was sent");
        assert!(!heard.ends_with(b"0\r\n\r\n"), "half a body ended like a whole one");
        assert_eq!(self.ear.heard().len(), 1, "sent again");
        is_clean(gate, &self.ear);
    }
}

/// Sends the first part of an upload over HTTP/1.1 and leaves: without a word, with TLS's own end, with a reset.
fn leave_http1(framing: &str, body: &[u8]) {
    let says_end = |mut client: Tls| client.close();
    let resets = |client: Tls| socket2::SockRef::from(client.socket()).set_linger(Some(milliseconds(0))).unwrap();
    type Way<'a> = (&'a str, fn(&Portcullis) -> String, &'a dyn Fn(Tls));
    let ways: [Way<'_>; 3] = [("PATCH", session, &drop), ("PATCH", session, &says_end), ("PUT", finish, &resets)];
    for (method, path, leave) in ways {
        let upload = Upload::new();
        let gate = before(&upload.ear);
        let mut client = http1(&gate);
        client.send(head(&gate, method, &path(&gate), framing));
        client.send(body);
        assert!(upload.begun.wait(), "the body's beginning is not passed on");
        leave(client);
        upload.is_broken(&gate);
    }
}

#[test]
fn row_client_abort_mid_upload_http1_content_length() {
    leave_http1("Content-Length: 1000000\r\n", &[b'x'; 100_000]);
}

#[test]
fn row_client_abort_mid_upload_http1_chunked() {
    let whole_chunk = format!("{:x}\r\n{}\r\n", 100_000, "x".repeat(100_000));
    leave_http1("Transfer-Encoding: chunked\r\n", whole_chunk.as_bytes());
    let half_a_chunk = format!("{:x}\r\n{}", 200_000, "x".repeat(100_000));
    leave_http1("Transfer-Encoding: chunked\r\n", half_a_chunk.as_bytes());
    let no_last_line = format!("{whole_chunk}0\r\n");
    leave_http1("Transfer-Encoding: chunked\r\n", no_last_line.as_bytes());
}

/// Sends the first part of an upload over HTTP/2 and leaves.
fn leave_http2(headers: &[(&str, &str)], whole_connection: bool) {
    let upload = Upload::new();
    let gate = before(&upload.ear);
    http2::run(async {
        let mut client = Http2::connect(&gate).await;
        let (_response, mut body) = client.send("PATCH", &session(&gate), headers, false).await.unwrap();
        http2::write(&mut body, vec![b'x'; 100_000], false).await.unwrap();
        assert!(upload.begun.wait(), "the body's beginning is not passed on");
        if whole_connection {
            client.driver.abort();
        } else {
            body.send_reset(Reason::CANCEL);
        }
        assert!(upload.broken.wait(), "the upstream still waits for the rest");
    });
    upload.is_broken(&gate);
}

#[test]
fn row_client_abort_mid_upload_http2_content_length() {
    leave_http2(&[("content-length", "1000000")], false);
    leave_http2(&[("content-length", "1000000")], true);
}

#[test]
fn row_client_abort_mid_upload_http2_unknown_length() {
    leave_http2(&[], false);
    leave_http2(&[], true);
}

#[test]
fn row_http2_upload_that_ends_before_its_length_is_no_upload() {
    let upload = Upload::new();
    let gate = before(&upload.ear);
    http2::run(async {
        let mut client = Http2::connect(&gate).await;
        let (_response, mut body) =
            client.send("PATCH", &session(&gate), &[("content-length", "1000000")], false).await.unwrap();
        http2::write(&mut body, vec![b'x'; 100_000], false).await.unwrap();
        assert!(upload.begun.wait(), "the body's beginning is not passed on");
        let _ = body.send_data(bytes::Bytes::new(), true);
        assert!(upload.broken.wait(), "the upstream still waits for the rest");
    });
    upload.is_broken(&gate);
}

/// Takes a whole request and says nothing, until the gate hangs up.
fn silent(asked: &Signal, gone: &Signal) -> Ear {
    let (asked, gone) = (asked.clone(), gone.clone());
    Ear::following(move |caller| {
        let Some(request) = caller.request() else { return };
        if request.target.ends_with("/v1") {
            caller.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
            return;
        }
        if request.method != "GET" && caller.body(&request).is_none() {
            return;
        }
        asked.raise();
        if caller.until_closed().is_some() {
            gone.raise();
        }
    })
}

#[test]
fn row_client_leaves_while_upstream_is_silent_http1() {
    let (asked, gone) = (Signal::default(), Signal::default());
    let ear = silent(&asked, &gone);
    let gate = before(&ear);
    let upload = head(&gate, "PATCH", &session(&gate), "Content-Length: 4\r\n") + "body";
    for (round, request) in [(1, get(&gate, &blob())), (2, upload)] {
        let mut client = http1(&gate);
        client.send(request);
        assert!(asked.wait_for(round));
        drop(client);
        assert!(gone.wait_for(round), "the upstream still works for nobody");
    }
    is_clean(&gate, &ear);
}

#[test]
fn row_client_leaves_while_upstream_is_silent_http2() {
    let (asked, gone) = (Signal::default(), Signal::default());
    let ear = silent(&asked, &gone);
    let gate = before(&ear);
    http2::run(async {
        let mut client = Http2::connect(&gate).await;
        let (_response, mut stream) = client.send("GET", &blob(), &[], true).await.unwrap();
        assert!(asked.wait_for(1));
        stream.send_reset(Reason::CANCEL);
        assert!(gone.wait_for(1), "the upstream still works for nobody");

        let (_response, mut stream) = client.send("PATCH", &session(&gate), &[], false).await.unwrap();
        http2::write(&mut stream, &b"body"[..], true).await.unwrap();
        assert!(asked.wait_for(2));
        stream.send_reset(Reason::CANCEL);
        assert!(gone.wait_for(2), "the upstream still works for nobody");

        let (_response, _stream) = client.send("GET", &blob(), &[], true).await.unwrap();
        assert!(asked.wait_for(3));
        client.driver.abort();
        assert!(gone.wait_for(3), "the upstream still works for nobody");
    });
    is_clean(&gate, &ear);
}

#[test]
fn row_client_leaves_with_its_request_stream_still_open_http2() {
    let (asked, gone) = (Signal::default(), Signal::default());
    let ear = silent(&asked, &gone);
    let gate = before(&ear);
    http2::run(async {
        let mut client = Http2::connect(&gate).await;
        let (_response, mut stream) = client.send("GET", &blob(), &[], false).await.unwrap();
        assert!(asked.wait());
        stream.send_reset(Reason::CANCEL);
        assert!(gone.wait(), "the upstream still works for nobody");
    });
    is_clean(&gate, &ear);
}

#[test]
fn row_client_leaves_with_its_body_still_to_come_http1() {
    let (asked, gone) = (Signal::default(), Signal::default());
    let ear = silent(&asked, &gone);
    let gate = before(&ear);
    for (round, framing) in [(1, "Content-Length: 10\r\nExpect: 100-continue\r\n"), (2, "Content-Length: 10\r\n")] {
        let mut client = http1(&gate);
        client.send(head(&gate, "GET", &blob(), framing));
        assert!(asked.wait_for(round));
        drop(client);
        assert!(gone.wait_for(round), "the upstream still works for nobody");
    }
    is_clean(&gate, &ear);
}
