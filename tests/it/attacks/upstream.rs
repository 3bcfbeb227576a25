//! Registries that answer what they should not, and clients that leave them with half a request.

use std::{io::Read, net::TcpListener, sync::mpsc, thread, time::Duration};

use serde_json::json;

use super::basic;
use crate::support::{ALICE, Ear, Portcullis, Registry, Tls};

/// A gate in front of this address.
fn before(url: &str) -> Portcullis {
    let registry = Registry::start();
    Portcullis::before(&registry).with_upstream(|upstream| upstream["servers"] = json!([{ "url": url }])).start()
}

fn uploads(gate: &Portcullis) -> crate::support::Response {
    gate.curl("/v2/team-a/app/blobs/uploads/").user(ALICE).method("POST").argument("--data-binary").argument("").send()
}

#[test]
fn s24_an_address_from_behind_is_ours_or_none() {
    let session = "/v2/team-a/app/blobs/uploads/u-1?_state=x";
    for (id, location, ours) in [
        ("§8.17", session.to_owned(), true),
        ("§8.17", format!("http://evil.test{session}"), true),
        ("§8.17", format!("//evil.test{session}"), false),
        ("§8.17", "https://evil.test/login".to_owned(), false),
        ("§8.17", "javascript:alert(1)".to_owned(), false),
        ("§8.17", "/v2/team-a/../secret/blobs/uploads/u".to_owned(), false),
        ("S24", format!("{session}\rSet-Cookie: a=b"), false),
        ("S24", format!("{session}\0"), false),
        ("S24", format!("{session}\r\nSet-Cookie: a=b"), true),
        ("S24", format!("{session}\nSet-Cookie: a=b"), true),
    ] {
        let ear = Ear::answering(format!("HTTP/1.1 202 Accepted\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"));
        let gate = before(&ear.url());
        let answer = uploads(&gate);
        let said = format!("{:?}", answer.headers);
        assert!(!said.contains("evil") && answer.header("set-cookie").is_none(), "{id} {location:?}: {said}");
        if ours {
            let expected = gate.url(&format!("{session}&_seal="));
            let got = answer.header("location");
            let safe = got.is_some_and(|got| got.starts_with(&expected));
            assert!(answer.status == 502 || safe, "{id} {location:?}: {got:?}");
        } else {
            assert!(answer.status == 502 && answer.header("location").is_none(), "{id} {location:?}: {answer:?}");
        }
    }
}

#[test]
fn a_redirect_is_neither_followed_nor_passed_on() {
    let elsewhere = Ear::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let target = elsewhere.url();
        let ear = Ear::answering(format!(
            "HTTP/1.1 {status}\r\nLocation: {target}/v2/team-a/app/tags/list\r\nContent-Length: 0\r\n\r\n"
        ));
        let answer = before(&ear.url()).curl("/v2/team-a/app/tags/list").user(ALICE).send();
        assert_eq!((answer.status, answer.header("location")), (502, None), "§8.5 §8.16 {status}");
    }
    assert!(elsewhere.heard().is_empty(), "§8.16: {:?}", elsewhere.heard());
}

#[test]
fn s25_an_answer_that_is_none_reaches_nobody() {
    let second = "HTTP/1.1 200 OK\r\nX-Second: yes\r\nContent-Length: 0\r\n\r\n";
    for (id, answer) in [
        ("S25", format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{second}")),
        ("S25", format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n{second}")),
        ("S25", format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n{second}")),
        ("S25", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n".to_owned()),
        ("S25", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".repeat(20_000)),
        ("S25", format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(100_000))),
        ("S25", format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(4 << 20))),
        ("S25", format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{}", "X: y\r\n".repeat(100_000))),
    ] {
        let ear = Ear::answering(answer.clone());
        let gate = before(&ear.url());
        let shown: String = answer.chars().take(90).collect();
        // Both on one connection of the client: neither is mixed with what came too much before it.
        let mut connection = Tls::connect(gate.pki(), gate.port(), "localhost");
        for _ in 0..2 {
            let head = format!("Host: {}\r\n{}", gate.host(), basic(ALICE));
            if connection.try_send(format!("GET /v2/team-a/app/tags/list HTTP/1.1\r\n{head}\r\n")).is_err() {
                break;
            }
            let Some(seen) = connection.answer(false) else { break };
            let harmless = seen.status == 200 && seen.header("x-second").is_none() && seen.body.is_empty();
            assert!(matches!(seen.status, 502 | 503) || harmless, "{id} {shown:?}: {seen:?}");
        }
        assert_eq!(gate.admin("/healthz").status, 200, "{id} {shown:?}");
        assert!(gate.peak_memory() < 200 << 10, "{id} {shown:?}: {} KiB", gate.peak_memory());
    }
}

#[test]
fn s9_an_answer_without_a_body_has_none() {
    for (id, head) in [
        ("S9", "HTTP/1.1 204 No Content\r\nContent-Length: 33\r\n\r\n"),
        ("S9 S25", "HTTP/1.1 304 Not Modified\r\nContent-Length: 33\r\n\r\n"),
        ("S9", "HTTP/1.1 200 OK\r\nContent-Length: 33\r\n\r\n"),
    ] {
        let ear = Ear::answering(format!("{head}HTTP/1.1 200 OK\r\nX-Second: y\r\n\r\n"));
        let gate = before(&ear.url());
        let mut connection = Tls::connect(gate.pki(), gate.port(), "localhost");
        let status: u16 = head[9..12].parse().unwrap();
        for _ in 0..2 {
            let login = basic(ALICE);
            let host = gate.host();
            connection.send(format!("HEAD /v2/team-a/app/manifests/v1 HTTP/1.1\r\nHost: {host}\r\n{login}\r\n"));
            let seen = connection.answer(true).unwrap();
            assert_eq!((seen.status, seen.header("x-second")), (status, None), "{id} {head:?}");
        }
    }
}

#[test]
fn s19_a_client_that_leaves_takes_its_upload_with_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let sender = sender.clone();
            thread::spawn(move || {
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                let mut all = Vec::new();
                // Its end, by FIN or RST; a timeout is neither.
                let ended = match stream.read_to_end(&mut all) {
                    Ok(_) => true,
                    Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
                };
                let _ = sender.send((ended, String::from_utf8_lossy(&all).into_owned()));
            });
        }
    });
    let gate = before(&url);
    for framing in ["Content-Length: 100\r\n\r\nhalf of it", "Transfer-Encoding: chunked\r\n\r\n5\r\nbytes\r\n"] {
        let mut connection = Tls::connect(gate.pki(), gate.port(), "localhost");
        let head = format!("Host: {}\r\n{}", gate.host(), basic(ALICE));
        let session = gate.sealed(ALICE, "/v2/team-a/app/blobs/uploads/left");
        connection.send(format!("PATCH {session} HTTP/1.1\r\n{head}{framing}"));
        thread::sleep(Duration::from_millis(200));
        drop(connection);
        let (ended, heard) = loop {
            let heard = receiver.recv_timeout(Duration::from_secs(15)).expect("S19: the upload was never ended");
            if heard.1.starts_with("PATCH") {
                break heard;
            }
        };
        assert!(ended, "S19: {heard}");
        assert!(!heard.contains("\r\n0\r\n\r\n"), "S19: ended as if it were whole: {heard}");
    }
}
