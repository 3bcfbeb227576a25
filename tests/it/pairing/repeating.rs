//! Upstream connections that die: what may be sent again is, once; what may not be never is.

use super::{PROTOCOLS, answer, before, fetch, finish, head, http1, tag};
use crate::support::{Ear, Request, Signal, eventually};

/// What becomes of a request: answered, or the connection ends.
fn dying(lives: impl Fn(usize, usize, &Request) -> bool + Send + Sync + 'static) -> Ear {
    Ear::following(move |caller| {
        for nth in 1.. {
            let Some(request) = caller.request() else { return };
            let _ = caller.body(&request);
            if !lives(caller.number, nth, &request) {
                return;
            }
            caller.say(answer(b"{}"));
        }
    })
}

#[test]
fn row_upstream_dies_on_a_reused_connection() {
    for protocol in PROTOCOLS {
        // Each connection takes a second request and dies over it.
        let ear = dying(|_, nth, _| nth < 2);
        let gate = before(&ear);
        for round in 0..6 {
            assert_eq!(fetch(&gate, protocol, &tag("v1")), Ok((200, b"{}".to_vec())), "{protocol} {round}");
        }
        assert_eq!(ear.heard().len(), 11, "one more for each request but the first");
    }
}

#[test]
fn row_upstream_dies_with_a_reset_on_a_reused_connection() {
    let ear = Ear::following(|caller| {
        if caller.request().is_some() && caller.say(answer(b"{}")) && caller.request().is_some() {
            caller.reset();
        }
    });
    let gate = before(&ear);
    for _ in 0..3 {
        assert_eq!(fetch(&gate, "--http1.1", &tag("v1")), Ok((200, b"{}".to_vec())));
    }
    assert_eq!(ear.heard().len(), 5);
}

#[test]
fn trap_11_a_get_is_sent_again_once_and_no_more() {
    let ear = dying(|connection, nth, _| connection == 1 && nth == 1);
    let gate = before(&ear);
    assert_eq!(fetch(&gate, "--http1.1", &tag("v1")).map(|(status, _)| status), Ok(200));
    assert_eq!(fetch(&gate, "--http1.1", &tag("v1")).map(|(status, _)| status), Ok(502));
    assert_eq!(ear.heard().len(), 3, "over the idle connection and over one fresh one");
    assert_eq!(fetch(&gate, "--http1.1", &tag("v1")).map(|(status, _)| status), Ok(502));
    assert_eq!(ear.heard().len(), 4, "over a fresh connection it is not repeated");
}

#[test]
fn trap_11_a_head_is_sent_again_too() {
    let ear = dying(|connection, nth, _| connection != 1 || nth == 1);
    let gate = before(&ear);
    assert_eq!(fetch(&gate, "--http1.1", &tag("v1")).map(|(status, _)| status), Ok(200));
    let mut client = http1(&gate);
    client.send(head(&gate, "HEAD", &tag("v1"), ""));
    assert_eq!(client.answer(true).unwrap().status, 200);
    assert_eq!(ear.heard().len(), 3);
}

#[test]
fn row_writes_are_never_repeated() {
    let manifest = tag("v1");
    let home = "/v2/home/alice/app/manifests/v1";
    let uploads = "/v2/team-a/app/blobs/uploads/";
    let mount = format!("{uploads}?mount=sha256:{}&from=team-a/other", "a".repeat(64));
    for (method, path, body) in [
        ("POST", uploads, ""),
        ("POST", mount.as_str(), ""),
        ("PATCH", "SESSION", "body"),
        ("PATCH", "SESSION", ""),
        ("PUT", "FINISH", "body"),
        ("PUT", "FINISH", ""),
        ("PUT", manifest.as_str(), "{}"),
        ("DELETE", home, ""),
        ("DELETE", "SESSION", ""),
    ] {
        let ear = dying(|_, _, request| request.method == "GET");
        let gate = before(&ear);
        // Leaves an idle connection behind.
        assert_eq!(fetch(&gate, "--http1.1", &tag("v1")).map(|(status, _)| status), Ok(200));
        let path = &match path {
            "SESSION" => super::session(&gate),
            "FINISH" => finish(&gate),
            path => path.to_owned(),
        };
        let mut client = http1(&gate);
        client.send(head(&gate, method, path, &format!("Content-Length: {}\r\n", body.len())) + body);
        let answer = client.answer(false).unwrap_or_else(|| panic!("no answer to {method} {path}"));
        assert_eq!(answer.status, 502, "{method} {path}: {}", answer.text());
        let sent = ear.heard().iter().filter(|heard| heard.starts_with(method)).count();
        assert_eq!(sent, 1, "{method} {path}: {:?}", ear.heard());
    }
}

#[test]
fn row_an_upload_whose_upstream_dies_in_the_middle_is_not_repeated() {
    let ear = Ear::following(|caller| {
        let Some(request) = caller.request() else { return };
        if request.method == "GET" {
            caller.say(answer(b"{}"));
        } else if caller.exactly(100_000).is_some() {
            caller.reset();
        }
    });
    let gate = before(&ear);
    let file = gate.dir().join("body");
    std::fs::write(&file, vec![b'x'; 3 << 20]).unwrap();
    for protocol in PROTOCOLS {
        let before = ear.heard().len();
        let upload = gate.curl(&super::session(&gate)).user(crate::support::ALICE).method("PATCH").body_file(&file);
        let answer = upload.header("Expect:").argument(protocol).attempt();
        assert!(answer.as_ref().is_ok_and(|answer| answer.status == 502), "{protocol}: {answer:?}");
        assert_eq!(ear.heard().len(), before + 1, "{protocol}");
    }
}

#[test]
fn trap_12_an_idle_connection_that_ended_is_not_used() {
    // Ends each connection after its answer, without having said so.
    let ear = Ear::answering(answer(b"{}"));
    let gate = before(&ear);
    for round in 1..=3 {
        assert_eq!(fetch(&gate, "--http1.1", &tag("v1")), Ok((200, b"{}".to_vec())));
        eventually("the upstream closed", || ear.open() == 0);
        assert_eq!((ear.heard().len(), ear.connections()), (round, round));
    }
}

#[test]
fn trap_12_words_on_an_idle_connection_are_no_answer() {
    let (heard, said) = (Signal::default(), Signal::default());
    let ear = Ear::following({
        let (heard, said) = (heard.clone(), said.clone());
        move |caller| {
            while caller.request().is_some() && caller.say(answer(b"{}")) {
                heard.wait_for(caller.number);
                caller.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL");
                said.raise();
            }
        }
    });
    let gate = before(&ear);
    for round in 1..=3 {
        assert_eq!(fetch(&gate, "--http1.1", &tag("v1")), Ok((200, b"{}".to_vec())));
        // The answer is through and the connection idle when the next one comes.
        heard.raise();
        assert!(said.wait_for(round));
    }
    assert_eq!(ear.connections(), 3);
}
