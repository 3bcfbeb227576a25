//! Bodies that are asked for, and answers that come before a body is through.

use std::fs;

use super::{
    Http2, MIB, PROTOCOLS, before, finish, head, http1, http2, impatient_before, milliseconds, pattern, read_head,
    session, tag,
};
use crate::support::{ALICE, Ear, Portcullis, Request, Signal, eventually};

const ACCEPTED: &str = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";

/// Takes uploads and keeps them.
fn taking(check: impl Fn(&Request, &[u8]) -> bool + Send + Sync + 'static) -> Ear {
    Ear::following(move |caller| {
        while let Some(request) = caller.request() {
            let Some(body) = caller.body(&request) else { return };
            let right = check(&request, &body);
            caller.say(if right { ACCEPTED } else { "HTTP/1.1 400 Wrong\r\nContent-Length: 0\r\n\r\n" });
        }
    })
}

#[test]
fn row_expect_100_continue_http1() {
    let ear = taking(|request, body| request.header("expect").is_none() && body == b"0123456789");
    let gate = before(&ear);
    let mut client = http1(&gate);
    for framing in ["Content-Length: 10\r\n", "Transfer-Encoding: chunked\r\n"] {
        client.send(head(&gate, "PATCH", &session(&gate), &format!("Expect: 100-continue\r\n{framing}")));
        assert!(read_head(&mut client).starts_with("HTTP/1.1 100 "), "the body is not asked for");
        client.send(if framing.contains("chunked") { "a\r\n0123456789\r\n0\r\n\r\n" } else { "0123456789" });
        // On the same connection: the interim answer was no end.
        assert_eq!(client.answer(false).unwrap().status, 202);
    }
}

#[test]
fn row_expect_100_continue_http1_with_curl() {
    let body = pattern(3 * MIB);
    let ear = taking({
        let body = body.clone();
        move |_, sent| sent == body
    });
    let gate = before(&ear);
    let file = gate.dir().join("body");
    fs::write(&file, &body).unwrap();
    for expectation in ["Expect: 100-continue", "Expect:"] {
        for protocol in PROTOCOLS {
            let upload = gate.curl(&session(&gate)).user(ALICE).method("PATCH").body_file(&file);
            let answer = upload.header(expectation).argument(protocol).send();
            assert_eq!(answer.status, 202, "{protocol} {expectation}");
        }
    }
}

#[test]
fn row_expect_100_continue_http2() {
    let ear = taking(|request, body| request.header("expect").is_none() && body == b"0123456789");
    let gate = before(&ear);
    http2::run(async {
        let mut client = Http2::connect(&gate).await;
        let (response, mut body) =
            client.send("PATCH", &session(&gate), &[("expect", "100-continue")], false).await.unwrap();
        http2::write(&mut body, &b"0123456789"[..], true).await.unwrap();
        assert_eq!(http2::soon("an answer", response).await.unwrap().status(), 202);
    });
}

#[test]
fn row_an_upload_whose_end_comes_alone() {
    let ear = taking(|_, body| body == b"0123456789");
    let gate = before(&ear);
    let mut client = http1(&gate);
    client.send(head(&gate, "PATCH", &session(&gate), "Transfer-Encoding: chunked\r\n") + "a\r\n0123456789\r\n");
    // All of it has been passed on by now but the end.
    std::thread::sleep(milliseconds(200));
    client.send("0\r\n\r\n");
    assert_eq!(client.answer(false).expect("an answer").status, 202);
    http2::run(async {
        let mut client = Http2::connect(&gate).await;
        let (response, mut body) = client.send("PATCH", &session(&gate), &[], false).await.unwrap();
        http2::write(&mut body, &b"0123456789"[..], false).await.unwrap();
        tokio::time::sleep(milliseconds(200)).await;
        body.send_data(bytes::Bytes::new(), true).unwrap();
        assert_eq!(http2::soon("an answer", response).await.unwrap().status(), 202);
    });
}

/// The time that a registry takes to put a blob in its place is no silence in the middle of a transfer.
#[test]
fn row_a_commit_may_take_longer_than_silence() {
    let ear = Ear::following(|caller| {
        let Some(request) = caller.request() else { return };
        if caller.body(&request).is_some() {
            std::thread::sleep(milliseconds(1000));
            caller.say(ACCEPTED);
        }
    });
    let timeouts = serde_json::json!({ "idle": "300ms", "first_byte": "300ms", "commit": "10s" });
    let gate = Portcullis::before_url(&ear.url()).with_upstream(|upstream| upstream["timeouts"] = timeouts).start();
    for (framing, body) in [
        ("Content-Length: 4\r\n", "body"),
        ("Transfer-Encoding: chunked\r\n", "4\r\nbody\r\n0\r\n\r\n"),
        ("Content-Length: 0\r\n", ""),
    ] {
        let mut client = http1(&gate);
        client.send(head(&gate, "PUT", &finish(&gate), framing) + body);
        assert_eq!(client.answer(false).expect("an answer").status, 202, "{framing}");
    }
}

/// An upload that is answered before its end, again and again.
fn arrives(gate: &Portcullis, protocol: &str, size: usize, tries: usize, status: u16) {
    let file = gate.dir().join("body");
    fs::write(&file, vec![b'x'; size]).unwrap();
    let mut upload = gate.curl(&finish(gate)).header("Expect:").argument("-T").argument(&file).argument(protocol);
    if status != 401 {
        upload = upload.user(ALICE);
    }
    for attempt in 1..=tries {
        let answer = upload.attempt().unwrap_or_else(|error| panic!("{protocol} try {attempt}: {error}"));
        assert_eq!(answer.status, status, "{protocol} try {attempt}: {}", answer.text());
        assert!(answer.text().contains("errors"), "{protocol} try {attempt}: the answer's body is lost");
    }
}

#[test]
fn row_early_401_http1() {
    let ear = taking(|_, _| true);
    let gate = before(&ear);
    arrives(&gate, "--http1.1", 3 * MIB, 20, 401);
    arrives(&gate, "--http1.1", 40 * MIB, 5, 401);
    assert!(ear.heard().is_empty());
}

#[test]
fn row_early_401_http2() {
    let ear = taking(|_, _| true);
    let gate = before(&ear);
    arrives(&gate, "--http2", 3 * MIB, 20, 401);
    assert!(ear.heard().is_empty());
}

/// Answers 413 after the first 100 kB. The body of the answer comes later than its head.
fn refusing() -> Ear {
    Ear::following(|caller| {
        if caller.request().is_none() || caller.exactly(100_000).is_none() {
            return;
        }
        let body = r#"{"errors":[{"code":"SIZE_INVALID","message":"too much"}]}"#;
        caller.say(format!("HTTP/1.1 413 Too Large\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len()));
        std::thread::sleep(milliseconds(30));
        caller.say(body);
        caller.until_closed();
    })
}

#[test]
fn row_early_upstream_413_mid_upload_http1() {
    let ear = refusing();
    let gate = before(&ear);
    arrives(&gate, "--http1.1", 3 * MIB, 20, 413);
}

#[test]
fn row_early_upstream_413_mid_upload_http2() {
    let ear = refusing();
    let gate = before(&ear);
    arrives(&gate, "--http2", 3 * MIB, 20, 413);
}

#[test]
fn row_early_upstream_413_while_the_client_pauses() {
    let ear = refusing();
    let gate = before(&ear);
    let mut client = http1(&gate);
    client.send(head(&gate, "PATCH", &session(&gate), "Content-Length: 1000000\r\n"));
    client.send(vec![b'x'; 150_000]);
    let answer = client.answer(false).expect("an answer, though the body is not through");
    assert_eq!((answer.status, answer.code().as_str()), (413, "SIZE_INVALID"));
    http2::run(async {
        let mut client = Http2::connect(&gate).await;
        let (response, mut body) = client.send("PATCH", &session(&gate), &[], false).await.unwrap();
        http2::write(&mut body, vec![b'x'; 150_000], false).await.unwrap();
        let answer = http2::soon("an answer", response).await.unwrap();
        assert_eq!(answer.status(), 413);
        assert!(String::from_utf8(http2::read(answer.into_body()).await.unwrap()).unwrap().contains("SIZE_INVALID"));
    });
}

#[test]
fn trap_06_who_goes_on_sending_is_not_heard_for_ever() {
    let ear = taking(|_, _| true);
    let gate = before(&ear);
    let mut client = http1(&gate);
    client.send(format!("PUT {} HTTP/1.1\r\nHost: {}\r\nContent-Length: 1000000\r\n\r\n", finish(&gate), gate.host()));
    assert_eq!(client.answer(false).unwrap().status, 401);
    // A byte now and then, and never the end.
    eventually("the connection is closed", || {
        std::thread::sleep(milliseconds(50));
        client.try_send("x").is_err()
    });
    http2::run(async {
        let mut client = Http2::connect(&gate).await;
        let (response, mut body) = client.send("PUT", &tag("denied"), &[("authorization", "x")], false).await.unwrap();
        assert_eq!(http2::soon("an answer", response).await.unwrap().status(), 401);
        let reset = std::future::poll_fn(|context| body.poll_reset(context));
        http2::soon("the stream is closed", reset).await.unwrap();
    });
    eventually("no request is under way", || super::gauge(&gate, "portcullis_requests_in_flight") == 0);
}

#[test]
fn trap_06_a_body_that_is_not_wanted_is_read_within_bounds() {
    let ear = taking(|_, _| true);
    let gate = before(&ear);
    let mut client = http1(&gate);
    client.send(format!(
        "PUT {} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
        finish(&gate),
        gate.host(),
        1_u64 << 40
    ));
    let piece = vec![b'x'; MIB];
    let sent = (0..256).take_while(|_| client.try_send(&piece).is_ok()).count();
    assert!(sent < 256, "256 MiB were read and dropped");
    eventually("no request is under way", || super::gauge(&gate, "portcullis_requests_in_flight") == 0);
}

#[test]
fn row_http2_upload_whose_upstream_stands_still() {
    let ear = Ear::following(|caller| {
        let Some(request) = caller.request() else { return };
        if request.method == "GET" {
            caller.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
        } else {
            std::thread::sleep(milliseconds(4000));
        }
    });
    let gate = impatient_before(&ear);
    let begun = gate.peak_memory();
    http2::run(async {
        let mut client = Http2::connect(&gate).await;
        let (response, mut body) = client.send("PATCH", &session(&gate), &[], false).await.unwrap();
        // More than all buffers on the way hold.
        let write = http2::write(&mut body, vec![b'x'; 64 * MIB], true);
        let (answer, written) = tokio::join!(http2::soon("an answer", response), http2::soon("an end", write));
        assert!(written.is_err(), "64 MiB were taken from the client");
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 504);
    });
    let grown = gate.peak_memory() - begun;
    assert!(grown < 24 << 10, "{grown} KiB for an upload that nobody takes");
    assert_eq!(super::fetch(&gate, "--http2", &tag("v1")), Ok((200, b"{}".to_vec())));
}

#[test]
fn row_http1_upload_whose_upstream_stands_still() {
    let stop = Signal::default();
    let ear = Ear::following({
        let stop = stop.clone();
        move |caller| {
            let Some(request) = caller.request() else { return };
            if request.method == "GET" {
                caller.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
            } else {
                stop.wait();
            }
        }
    });
    let gate = impatient_before(&ear);
    let file = gate.dir().join("body");
    fs::write(&file, vec![b'x'; 20 * MIB]).unwrap();
    let upload = gate.curl(&session(&gate)).user(ALICE).method("PATCH").body_file(&file).header("Expect:");
    let answer = upload.argument("--http1.1").attempt();
    assert!(answer.as_ref().is_ok_and(|answer| answer.status == 504), "{answer:?}");
    stop.raise();
    assert_eq!(super::fetch(&gate, "--http1.1", &tag("v1")), Ok((200, b"{}".to_vec())));
}
