//! Clients that stand still, and what an error must not do.

use super::{
    Http2, MIB, answer, blob, get, head, http1, http2, impatient_before, in_chunks, is_closed, narrow, session, tag,
};
use crate::support::{Ear, Signal, eventually};

/// Breaks off in the middle, when the client has stopped reading.
#[test]
fn trap_05_the_end_of_a_stalled_connection_has_a_limit() {
    let ear = Ear::following(|caller| {
        if caller.request().is_some() {
            let body = in_chunks(&vec![b'x'; 32 * MIB], 65_536);
            caller.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            caller.say(&body[..body.len() - 5]);
        }
    });
    let gate = impatient_before(&ear);
    let mut client = http1(&gate);
    client.send(get(&gate, &blob()));
    eventually("the request is under way", || super::gauge(&gate, "portcullis_requests_in_flight") == 1);
    eventually("the request is given up", || super::gauge(&gate, "portcullis_requests_in_flight") == 0);
    eventually("the connection is closed", || super::gauge(&gate, "portcullis_connections") == 0);
    let (all, _) = super::read_to_end(&mut client);
    assert!(!all.ends_with(b"0\r\n\r\n"), "a false end");
}

/// Hears an upload and tells when it ends, and how.
fn hearing(ended: &Signal) -> Ear {
    let ended = ended.clone();
    Ear::following(move |caller| {
        let Some(request) = caller.request() else { return };
        if caller.body(&request).is_some() {
            caller.say(answer(b"{}"));
        } else {
            ended.raise();
        }
    })
}

#[test]
fn trap_07_an_upload_that_stands_still_is_ended_http1() {
    let ended = Signal::default();
    let ear = hearing(&ended);
    let gate = impatient_before(&ear);
    for (round, framing) in [(1, "Content-Length: 1000\r\n"), (2, "Transfer-Encoding: chunked\r\n")] {
        let mut client = http1(&gate);
        client.send(head(&gate, "PATCH", &session(&gate), framing) + "3e8\r\nhalf");
        assert!(ended.wait_for(round), "the upstream waits for ever");
        // A client that still listens is told.
        assert!(client.answer(false).is_none_or(|answer| answer.status == 408));
        assert!(is_closed(&mut client));
    }
    eventually("no request is under way", || super::gauge(&gate, "portcullis_requests_in_flight") == 0);
}

#[test]
fn trap_07_an_upload_that_stands_still_is_ended_http2() {
    let ended = Signal::default();
    let ear = hearing(&ended);
    let gate = impatient_before(&ear);
    http2::run(async {
        let mut client = Http2::connect(&gate).await;
        let (response, mut body) = client.send("PATCH", &session(&gate), &[], false).await.unwrap();
        http2::write(&mut body, &b"half"[..], false).await.unwrap();
        match http2::soon("an end", response).await {
            Ok(answer) => assert_eq!(answer.status(), 408),
            Err(error) => assert!(error.is_reset(), "{error}"),
        }
        assert!(ended.wait(), "the upstream waits for ever");
        // The connection and its other streams go on.
        let (response, mut body) = client.send("PATCH", &session(&gate), &[], false).await.unwrap();
        http2::write(&mut body, &b"whole"[..], true).await.unwrap();
        assert_eq!(http2::soon("an answer", response).await.unwrap().status(), 200);
    });
}

/// Bodies are written under a time limit; heads and ends must be, too.
#[test]
fn trap_07_who_asks_and_never_reads_is_ended_http1() {
    let long_tag = format!("ETag: \"{}\"\r\n", "x".repeat(16 * 1024));
    for (status, rest) in [
        ("200 OK", "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
        ("200 OK", "Content-Length: 2\r\n\r\n{}"),
        ("304 Not Modified", "\r\n"),
    ] {
        let said = format!("HTTP/1.1 {status}\r\n{long_tag}{rest}");
        let ear = Ear::following(move |caller| while caller.request().is_some() && caller.say(&said) {});
        let gate = impatient_before(&ear);
        let mut client = narrow(&gate);
        client.socket().set_write_timeout(Some(super::milliseconds(300))).unwrap();
        // Their answers are more than the buffers on the way hold.
        let requests = get(&gate, &tag("v1")).repeat(100);
        for _ in 0..60 {
            if client.try_send(&requests).is_err() {
                break;
            }
        }
        eventually("the connection is closed", || super::gauge(&gate, "portcullis_connections") == 0);
    }
}

#[test]
fn trap_07_a_stalled_stream_is_ended_and_the_others_go_on_http2() {
    let ear = Ear::following(|caller| {
        while let Some(request) = caller.request() {
            let size = if request.target.contains("/blobs/") { 32 * MIB } else { 2 };
            if !caller.say(answer(&vec![b'x'; size])) {
                return;
            }
        }
    });
    let gate = impatient_before(&ear);
    http2::run(async {
        let mut client = Http2::with_windows(&gate, 65_535, 65_535).await;
        let stalled = client.get(&blob()).await.unwrap().into_body();
        // The connection's window is taken up by the stalled stream: others get heads alone.
        eventually("it is given up", || super::gauge(&gate, "portcullis_requests_in_flight") == 0);
        http2::read(stalled).await.expect_err("it was cut");
        let next = client.get(&tag("v1")).await.unwrap();
        assert_eq!(http2::read(next.into_body()).await.unwrap(), b"xx");
    });
}

#[test]
fn trap_08_what_one_client_can_make_the_gate_hold_is_bounded() {
    // Heads are taken, bodies are not.
    let stop = Signal::default();
    let ear = Ear::following({
        let stop = stop.clone();
        move |caller| {
            caller.request();
            stop.wait();
        }
    });
    let gate = super::before(&ear);
    let begun = gate.peak_memory();
    http2::run(async {
        let mut client = Http2::connect(&gate).await;
        let mut streams = Vec::new();
        let much = bytes::Bytes::from(vec![b'x'; 16 * MIB]);
        for _ in 0..100 {
            let much = much.clone();
            let (response, mut body) = client.send("PATCH", &session(&gate), &[], false).await.unwrap();
            let write = tokio::spawn(async move { http2::write(&mut body, much, true).await });
            streams.push((response, write));
        }
        tokio::time::sleep(super::milliseconds(1500)).await;
        assert!(streams.iter().all(|(_, write)| !write.is_finished()), "1.6 GiB were taken");
        let counted = super::gauge(&gate, "portcullis_buffer_bytes");
        assert!(counted > 6 << 20, "the window is as large as it gets: {counted}");
    });
    stop.raise();
    let grown = gate.peak_memory() - begun;
    // At most 16 MiB, of which bodies are the larger part, and what a build without optimizations adds to a hundred tasks.
    assert!((1 << 10..24 << 10).contains(&grown), "{grown} KiB");
}
