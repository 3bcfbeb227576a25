//! One connection, several requests: where one ends and the next begins.

use super::{MIB, answer, before, blob, get, head, http1, is_closed, pattern, read_head, read_some, tag};
use crate::support::{Ear, Signal};

/// Answers each request with its own target.
fn echoing() -> Ear {
    Ear::following(|caller| {
        while let Some(request) = caller.request() {
            if caller.body(&request).is_none() {
                return;
            }
            let said = if request.method == "HEAD" { Vec::new() } else { request.target.clone().into_bytes() };
            caller.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.target.len()));
            caller.say(said);
        }
    })
}

#[test]
fn row_downstream_keep_alive() {
    let ear = echoing();
    let gate = before(&ear);
    let mut client = http1(&gate);
    let upload = head(&gate, "PATCH", &super::session(&gate), "Content-Length: 4\r\n") + "body";
    let chunked =
        head(&gate, "PATCH", &super::session(&gate), "Transfer-Encoding: chunked\r\n") + "4\r\nbody\r\n0\r\n\r\n";
    for (request, is_head) in [
        (get(&gate, &tag("v1")), false),
        (upload, false),
        (head(&gate, "HEAD", &blob(), ""), true),
        (chunked, false),
        (head(&gate, "POST", "/v2/team-a/app/blobs/uploads/", "Content-Length: 0\r\n"), false),
        (head(&gate, "GET", "/v2/", ""), false),
        (head(&gate, "GET", "/v2/secret/app/tags/list", ""), false),
        (get(&gate, &tag("v2")), false),
    ] {
        client.send(&request);
        let answer = client.answer(is_head).unwrap_or_else(|| panic!("closed instead of an answer to {request}"));
        let denied = request.contains("secret");
        assert_eq!(answer.status, if denied { 403 } else { 200 }, "{request}");
        assert_eq!(answer.header("connection"), Some("keep-alive"), "{request}");
    }
    client.send(head(&gate, "GET", &tag("v1"), "Connection: close\r\n"));
    assert_eq!(client.answer(false).unwrap().header("connection"), Some("close"));
    assert!(is_closed(&mut client));
}

#[test]
fn trap_02_pipelined_requests_are_answered_in_order() {
    let ear = echoing();
    let gate = before(&ear);
    let mut client = http1(&gate);
    let tags: Vec<String> = (0..20).map(|number| tag(&format!("v{number}"))).collect();
    client.send(tags.iter().map(|tag| get(&gate, tag)).collect::<String>());
    for tag in &tags {
        assert_eq!(client.answer(false).unwrap().text(), *tag);
    }
    assert_eq!(ear.heard().len(), tags.len());
}

#[test]
fn trap_02_the_next_request_does_not_cut_the_download() {
    let whole = 2 * MIB;
    let go_on = Signal::default();
    let ear = Ear::following({
        let go_on = go_on.clone();
        move |caller| {
            while let Some(request) = caller.request() {
                if !request.target.contains("/blobs/") {
                    caller.say(answer(request.target.as_bytes()));
                    continue;
                }
                let all = pattern(whole);
                caller.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {whole}\r\n\r\n"));
                caller.say(&all[..MIB]);
                go_on.wait();
                caller.say(&all[MIB..]);
            }
        }
    });
    let gate = before(&ear);
    let mut client = http1(&gate);
    client.send(get(&gate, &blob()));
    read_head(&mut client);
    let mut body = read_some(&mut client, MIB);
    // While the body runs: one byte, then the rest of this request and another one.
    let next = get(&gate, &tag("v1"));
    client.send(&next[..1]);
    std::thread::sleep(super::milliseconds(100));
    client.send(next[1..].to_owned() + &get(&gate, &tag("v2")));
    go_on.raise();
    body.extend(read_some(&mut client, MIB));
    assert!(body == pattern(whole), "the download is cut or torn");
    assert_eq!(client.answer(false).unwrap().text(), tag("v1"));
    assert_eq!(client.answer(false).unwrap().text(), tag("v2"));
}

#[test]
fn trap_02_a_body_is_never_served_as_a_request() {
    let ear = echoing();
    let gate = before(&ear);
    let inner = get(&gate, &tag("smuggled"));
    for (method, path) in [
        ("GET", tag("v1")),
        ("HEAD", tag("v1")),
        ("DELETE", "/v2/home/alice/app/manifests/v1".to_owned()),
        ("POST", "/v2/team-a/app/blobs/uploads/".to_owned()),
        ("GET", "/v2/".to_owned()),
        ("GET", "/v2/secret/app/tags/list".to_owned()),
    ] {
        for framing in [
            format!("Content-Length: {}\r\n", inner.len()),
            "Transfer-Encoding: chunked\r\n".to_owned(),
            format!("Content-Length: {}\r\nExpect: 100-continue\r\n", inner.len()),
        ] {
            let body = if framing.contains("chunked") {
                format!("{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len())
            } else {
                inner.clone()
            };
            let mut client = http1(&gate);
            client.send(head(&gate, method, &path, &framing) + &body);
            let first = client.answer(method == "HEAD").unwrap_or_else(|| panic!("no answer to {method} {path}"));
            assert!(first.status < 500, "{method} {path} {framing}: {}", first.status);
            let _ = client.try_send(head(&gate, "GET", &tag("after"), "Connection: close\r\n"));
            if let Some(next) = client.answer(false) {
                assert_eq!(next.text(), tag("after"), "{method} {path} {framing}");
            }
            let smuggled = ear.heard().into_iter().find(|heard| heard.contains("smuggled"));
            assert_eq!(smuggled, None, "{method} {path} {framing}");
        }
    }
}

#[test]
fn trap_04_an_unknown_length_does_not_cost_the_connection() {
    let ear = Ear::following(|caller| {
        if caller.request().is_some() {
            caller.say("HTTP/1.1 200 OK\r\n\r\nuntil the end");
        }
    });
    let gate = before(&ear);
    let mut client = http1(&gate);
    for _ in 0..3 {
        client.send(get(&gate, &tag("v1")));
        let answer = client.answer(false).unwrap();
        assert_eq!((answer.text().as_str(), answer.header("connection")), ("until the end", Some("keep-alive")));
    }
}

#[test]
fn row_idle_upstream_connections_are_used_again() {
    let ear = echoing();
    let gate = before(&ear);
    for _ in 0..3 {
        assert!(super::fetch(&gate, "--http1.1", &tag("v1")).is_ok());
        assert!(super::fetch(&gate, "--http2", &tag("v1")).is_ok());
    }
    assert_eq!((ear.heard().len(), ear.connections()), (6, 1));
}
