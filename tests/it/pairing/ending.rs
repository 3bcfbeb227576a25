//! The end of the process: what runs finishes, what waits is closed, and nothing outlasts `shutdown.drain`.

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    Ending, Http2, MIB, answer, before, blob, get, head, http1, http2, is_closed, milliseconds, pattern, read_head,
    read_some, read_to_end, session, tag,
};
use crate::support::{Ear, Portcullis, Signal, Tls, eventually};

/// A blob of two parts, the second when it is told to.
fn pausing(whole: usize) -> (Ear, Signal) {
    let go_on = Signal::default();
    let ear = Ear::following({
        let go_on = go_on.clone();
        move |caller| {
            while let Some(request) = caller.request() {
                if !request.target.contains("/blobs/sha256") {
                    if caller.body(&request).is_some() {
                        caller.say(answer(b"{}"));
                    }
                    continue;
                }
                let all = pattern(whole);
                caller.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {whole}\r\n\r\n"));
                caller.say(&all[..whole / 2]);
                go_on.wait();
                caller.say(&all[whole / 2..]);
            }
        }
    });
    (ear, go_on)
}

fn draining(ear: &Ear, drain: &'static str) -> Portcullis {
    Portcullis::before_url(&ear.url()).with(move |config| config["shutdown"]["drain"] = json!(drain)).start()
}

/// Sends SIGTERM and waits until nobody new is let in.
fn terminate(gate: &mut Portcullis) {
    let port = gate.port();
    gate.process().signal("TERM");
    eventually("it listens no more", || TcpStream::connect(("127.0.0.1", port)).is_err());
}

/// How many connections it says that it cut.
fn cut(gate: &Portcullis) -> u64 {
    let log = gate.log();
    let line = log.lines().rev().find(|line| line.contains("\"stopped\"")).unwrap_or_else(|| panic!("no end: {log}"));
    let entry: serde_json::Value = serde_json::from_str(line).unwrap();
    [&entry["cut"], &entry["fields"]["cut"]].iter().find_map(|count| count.as_u64()).unwrap()
}

#[test]
fn row_drain_http2_running_streams_finish_and_the_connection_ends() {
    let (ear, go_on) = pausing(4 * MIB);
    let mut gate = before(&ear);
    let begin = http2::run(async {
        let mut client = Http2::connect(&gate).await;
        let mut first = client.get(&blob()).await.unwrap().into_body();
        let mut second = client.get(&blob()).await.unwrap().into_body();
        let mut bodies = [http2::read_some(&mut first, MIB).await, http2::read_some(&mut second, MIB).await];
        terminate(&mut gate);
        std::thread::sleep(milliseconds(100));
        assert!(!client.driver.is_finished(), "the connection is cut");
        go_on.raise();
        for (body, rest) in bodies.iter_mut().zip([first, second]) {
            body.extend(http2::read(rest).await.unwrap());
            assert!(*body == pattern(4 * MIB));
        }
        let begin = Instant::now();
        // GOAWAY without an error; a connection that broke would be one.
        http2::soon("the connection ends", &mut client.driver).await.unwrap().unwrap();
        begin
    });
    assert!(gate.process().stop().expect("it ends by itself").success());
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    assert_eq!(cut(&gate), 0);
}

/// What has been written is not yet what has arrived: the connection must not be closed under it.
#[test]
fn row_drain_http2_a_slow_reader_gets_all() {
    let whole = 16 * MIB;
    let (ear, go_on) = pausing(whole);
    let mut gate = draining(&ear, "60s");
    go_on.raise();
    http2::run(async {
        let mut client = Http2::with_windows(&gate, 4 << 20, 4 << 20).await;
        let mut body = client.get(&blob()).await.unwrap().into_body();
        let mut all = http2::read_some(&mut body, 1).await;
        terminate(&mut gate);
        while let Some(piece) = http2::soon("a piece", body.data()).await {
            let piece = piece.expect("cut, though it was under way");
            body.flow_control().release_capacity(piece.len()).unwrap();
            all.extend_from_slice(&piece);
            tokio::time::sleep(milliseconds(1)).await;
        }
        assert!(all == pattern(whole));
        http2::soon("the connection ends", &mut client.driver).await.unwrap().unwrap();
    });
    assert!(gate.process().stop().expect("it ends by itself").success());
    assert_eq!(cut(&gate), 0);
}

#[test]
fn row_drain_http2_goaway_refuses_further_streams() {
    let (ear, go_on) = pausing(4 * MIB);
    let mut gate = before(&ear);
    http2::run(async {
        let mut client = Http2::connect(&gate).await;
        let mut body = client.get(&blob()).await.unwrap().into_body();
        http2::read_some(&mut body, MIB).await;
        terminate(&mut gate);
        let mut refused = false;
        for _ in 0..100 {
            tokio::time::sleep(milliseconds(20)).await;
            match client.send("GET", &tag("v1"), &[], true).await {
                Ok((response, _)) => drop(response.await),
                Err(_) => {
                    refused = true;
                    break;
                }
            }
        }
        assert!(refused, "new streams are taken for ever");
        go_on.raise();
        http2::read(body).await.unwrap();
    });
    assert!(gate.process().stop().expect("it ends by itself").success());
}

#[test]
fn row_drain_http1_idle_is_closed_and_running_finishes() {
    let (ear, go_on) = pausing(4 * MIB);
    let mut gate = before(&ear);
    let mut idle = http1(&gate);
    idle.send(get(&gate, &tag("v1")));
    assert_eq!(idle.answer(false).unwrap().status, 200);
    let mut fresh = http1(&gate);
    let mut running = http1(&gate);
    running.send(get(&gate, &blob()));
    read_head(&mut running);
    let mut body = read_some(&mut running, MIB);

    gate.process().signal("TERM");
    let begin = Instant::now();
    assert!(is_closed(&mut idle), "an idle connection stays open");
    assert!(is_closed(&mut fresh), "a connection without a request stays open");
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    go_on.raise();
    body.extend(read_some(&mut running, 3 * MIB));
    assert!(body == pattern(4 * MIB));
    assert_eq!(read_to_end(&mut running), (Vec::new(), Ending::Said));
    assert!(gate.process().stop().expect("it ends by itself").success());
    assert_eq!(cut(&gate), 0);
}

#[test]
fn row_drain_http1_a_running_upload_finishes() {
    let (ear, _) = pausing(MIB);
    let mut gate = before(&ear);
    let mut client = http1(&gate);
    client.send(head(&gate, "PATCH", &session(&gate), "Content-Length: 200000\r\n"));
    client.send([b'x'; 100_000]);
    eventually("the upload runs", || ear.heard().len() == 1);
    terminate(&mut gate);
    client.send([b'x'; 100_000]);
    let answer = client.answer(false).expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (200, "{}"));
    assert!(is_closed(&mut client));
    assert!(gate.process().stop().expect("it ends by itself").success());
}

#[test]
fn row_drain_an_answer_not_begun_says_that_it_is_the_last() {
    let (ear, _) = pausing(MIB);
    let mut gate = before(&ear);
    let mut client = http1(&gate);
    let request = get(&gate, &tag("v1"));
    let (beginning, rest) = request.split_at(20);
    client.send(beginning);
    std::thread::sleep(milliseconds(200));
    terminate(&mut gate);
    client.send(rest);
    let answer = client.answer(false).expect("a request that had begun is served");
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert!(is_closed(&mut client));
    assert!(gate.process().stop().expect("it ends by itself").success());
}

#[test]
fn row_drain_what_takes_too_long_is_cut_and_reported_http1() {
    let (ear, go_on) = pausing(4 * MIB);
    let mut gate = draining(&ear, "1s");
    let mut client = http1(&gate);
    client.send(get(&gate, &blob()));
    read_head(&mut client);
    let begin = Instant::now();
    assert!(gate.process().stop().expect("it ends by itself").success());
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
    assert_eq!(cut(&gate), 1);
    assert_eq!(read_to_end(&mut client).1, Ending::Broken, "what is cut does not look whole");
    go_on.raise();
}

#[test]
fn trap_14_a_stop_does_not_wait_for_a_http2_connection_for_ever() {
    let (ear, go_on) = pausing(4 * MIB);
    let mut gate = draining(&ear, "1s");
    http2::run(async {
        let mut client = Http2::connect(&gate).await;
        let mut body = client.get(&blob()).await.unwrap().into_body();
        http2::read_some(&mut body, MIB).await;
        let begin = Instant::now();
        assert!(gate.process().stop().expect("it ends by itself").success());
        assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
        http2::read(body).await.expect_err("what is cut does not look whole");
    });
    assert_eq!(cut(&gate), 1);
    go_on.raise();
}

#[test]
fn trap_14_who_offers_http2_and_says_nothing_is_not_waited_for() {
    let ear = Ear::answering(answer(b"{}"));
    let limits = json!({ "request_head": "600ms", "idle": "600ms" });
    let mut gate = Portcullis::before_url(&ear.url()).with(move |config| config["limits"] = limits.clone()).start();
    for said in ["", "PRI * HTTP/2.0\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut client = Tls::offering(gate.pki(), gate.port(), "localhost", &["h2"]).unwrap();
        client.send(said);
        assert!(is_closed(&mut client), "still open after {said:?}");
    }
    gate.restart_with(|config| config["limits"] = json!({}));
    let _silent = Tls::offering(gate.pki(), gate.port(), "localhost", &["h2"]).unwrap();
    let begin = Instant::now();
    assert!(gate.process().stop().expect("it ends by itself").success());
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
}
