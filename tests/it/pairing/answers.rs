//! How answers of every framing arrive.

use h2::Reason;

use super::{
    Ending, Http2, MIB, PROTOCOLS, answer, before, blob, fetch, get, head, http1, http2, in_chunks, narrow, pattern,
    read_head, read_some, read_to_end, tag,
};
use crate::support::{ALICE, Ear, Request, Signal, Tls};

/// Gives every request what `say` makes of it, on connections that are kept alive.
fn saying(say: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Ear {
    Ear::following(move |caller| {
        while let Some(request) = caller.request() {
            if !caller.say(say(&request)) {
                return;
            }
            if request.target.ends_with("/close") {
                return;
            }
        }
    })
}

#[test]
fn row_head_with_content_length() {
    let ear = saying(|request| match request.method.as_str() {
        "HEAD" => b"HTTP/1.1 200 OK\r\nContent-Length: 123456\r\nDocker-Content-Digest: sha256:abc\r\n\r\n".to_vec(),
        _ => answer(b"{}"),
    });
    let gate = before(&ear);
    let mut client = http1(&gate);
    for _ in 0..2 {
        client.send(head(&gate, "HEAD", &blob(), ""));
        let answer = client.answer(true).unwrap();
        assert_eq!((answer.status, answer.header("content-length")), (200, Some("123456")));
        client.send(get(&gate, &tag("v1")));
        assert_eq!(client.answer(false).unwrap().body, b"{}");
    }
    http2::run(async {
        let mut client = Http2::connect(&gate).await;
        let (response, _) = client.send("HEAD", &blob(), &[], true).await.unwrap();
        let answer = http2::soon("an answer", response).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers()["content-length"].to_str().unwrap()), (200, "123456"));
        assert!(http2::read(answer.into_body()).await.unwrap().is_empty());
    });
    assert_eq!(ear.connections(), 1, "an upstream connection is used again after a HEAD");
}

#[test]
fn row_204_and_304_with_content_length() {
    for status in ["204 No Content", "304 Not Modified"] {
        let ear = saying(move |request| match request.target.as_str() {
            target if target.ends_with("/v1") => answer(b"{}"),
            _ => format!("HTTP/1.1 {status}\r\nContent-Length: 77\r\nETag: \"x\"\r\n\r\n").into_bytes(),
        });
        let gate = before(&ear);
        let code: u16 = status[..3].parse().unwrap();
        let mut client = http1(&gate);
        for _ in 0..2 {
            client.send(head(&gate, "GET", &blob(), "If-None-Match: \"x\"\r\n"));
            assert_eq!(client.answer(false).unwrap().status, code);
            client.send(get(&gate, &tag("v1")));
            let next = client.answer(false).unwrap();
            assert_eq!((next.status, next.text().as_str()), (200, "{}"), "the client waits for a body that is none");
        }
        for protocol in PROTOCOLS {
            assert_eq!(fetch(&gate, protocol, &blob()), Ok((code, Vec::new())), "{protocol}");
        }
        assert_eq!(ear.connections(), 1, "an upstream connection is used again after {status}");
    }
}

/// Trailing frames would be noticed: the head itself must end the stream.
#[test]
fn trap_03_the_head_ends_the_stream_where_no_body_follows_http2() {
    let ear = saying(|request| match request.target.as_str() {
        target if target.ends_with("/v204") => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        target if target.ends_with("/v304") => b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec(),
        target if target.ends_with("/v416") => b"HTTP/1.1 416 Range\r\nContent-Length: 0\r\n\r\n".to_vec(),
        _ => b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_vec(),
    });
    let gate = before(&ear);
    http2::run(async {
        let mut client = Http2::connect(&gate).await;
        for (method, path) in [("HEAD", blob()), ("GET", tag("v204")), ("GET", tag("v304")), ("GET", tag("v416"))] {
            let (response, _) = client.send(method, &path, &[], true).await.unwrap();
            let answer = http2::soon("an answer", response).await.unwrap();
            assert!(answer.body().is_end_stream(), "{method} {path}: {answer:?}");
        }
        // Answers of the gate's own, too.
        let (response, _) = client.send("HEAD", "/v2/", &[], true).await.unwrap();
        assert!(http2::soon("an answer", response).await.unwrap().body().is_end_stream());
    });
}

#[test]
fn row_chunked_and_close_delimited_answers() {
    let ear = saying(|request| {
        if request.target.ends_with("/close") {
            return [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &pattern(300_000)].concat();
        }
        let trailers = if request.target.ends_with("/trailers") { "Trailer: X-Sum\r\n" } else { "" };
        let head = format!("HTTP/1.1 200 OK\r\n{trailers}Transfer-Encoding: chunked\r\n\r\n");
        let mut body = in_chunks(&pattern(300_000), 7777);
        if !trailers.is_empty() {
            body.truncate(body.len() - 2);
            body.extend_from_slice(b"X-Sum: 1\r\n\r\n");
        }
        [head.as_bytes(), &body].concat()
    });
    let gate = before(&ear);
    let mut client = http1(&gate);
    for path in [tag("chunked"), tag("close"), tag("trailers"), tag("chunked")] {
        client.send(get(&gate, &path));
        let answer = client.answer(false).unwrap();
        assert_eq!(answer.header("transfer-encoding"), Some("chunked"), "{path}");
        assert_eq!(answer.header("content-length"), None, "{path}");
        assert_eq!(answer.header("connection"), Some("keep-alive"), "{path}");
        assert!(answer.body == pattern(300_000), "{path}");
        assert_eq!(fetch(&gate, "--http2", &path).map(|(_, body)| body == pattern(300_000)), Ok(true), "{path}");
    }
}

/// An HTTP/1.0 client knows no chunks: for it the end of the connection is the end of the body.
#[test]
fn row_chunked_answers_to_an_http10_client() {
    let ear = saying(|_| {
        [&b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"[..], &in_chunks(&pattern(300_000), 7777)].concat()
    });
    let gate = before(&ear);
    let mut client = http1(&gate);
    client.send(get(&gate, &blob()).replace("HTTP/1.1", "HTTP/1.0"));
    let head = read_head(&mut client);
    assert!(!head.to_lowercase().contains("transfer-encoding"), "{head}");
    let (body, ending) = read_to_end(&mut client);
    assert!(body == pattern(300_000));
    assert_eq!(ending, Ending::Said);
}

/// Bodies that break off, with what they say first.
const CUT: [(&str, &str); 4] = [
    ("mid-chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\na\r\nabc"),
    ("between chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n"),
    ("before the last line", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n"),
    ("within a length", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabcde"),
];

#[test]
fn row_answer_cut_in_the_middle_http1() {
    for (case, said) in CUT {
        let ear = Ear::answering(said);
        let gate = before(&ear);
        let mut client = http1(&gate);
        client.send(get(&gate, &blob()));
        let (all, ending) = read_to_end(&mut client);
        let all = String::from_utf8(all).unwrap();
        assert_ne!(ending, Ending::None, "{case}");
        assert!(!all.ends_with("0\r\n\r\n"), "{case}: a false end: {all}");
        assert_eq!(all.matches("HTTP/1.1 ").count(), 1, "{case}: a second answer: {all}");
    }
}

#[test]
fn row_answer_cut_in_the_middle_http2() {
    for (case, said) in CUT {
        let ear = Ear::answering(said);
        let gate = before(&ear);
        http2::run(async {
            let mut client = Http2::connect(&gate).await;
            // Nothing may have been passed on yet; then there is still an honest answer.
            match client.get(&blob()).await {
                Ok(answer) if answer.status() == 502 => {}
                Ok(answer) => {
                    let end = http2::read(answer.into_body()).await.expect_err(case);
                    assert_ne!(end.reason(), Some(Reason::NO_ERROR), "{case}");
                }
                Err(error) => assert!(error.is_reset(), "{case}: {error}"),
            }
        });
    }
}

#[test]
fn row_answer_cut_in_the_middle_to_an_http10_client() {
    for (case, said) in CUT {
        let ear = Ear::answering(said);
        let gate = before(&ear);
        let mut client = http1(&gate);
        client.send(get(&gate, &blob()).replace("HTTP/1.1", "HTTP/1.0"));
        let (all, ending) = read_to_end(&mut client);
        let all = String::from_utf8(all).unwrap();
        let told = all.contains("Content-Length: 100") || all.starts_with("HTTP/1.0 502") || all.contains(" 502 ");
        assert!(told || ending == Ending::Broken, "{case}: {ending:?} passes for the end: {all}");
    }
}

#[test]
fn row_hop_by_hop_headers_stay_behind() {
    let ear = saying(|_| {
        let hop = "Connection: close, X-Secret, ETag\r\nX-Secret: 1\r\nKeep-Alive: timeout=5\r\n\
            Proxy-Authenticate: Basic\r\nUpgrade: h2c\r\nTE: trailers\r\nTrailer: X\r\nETag: \"kept\"\r\n\
            Set-Cookie: a=b\r\nServer: behind\r\nX-Powered-By: y\r\nAlt-Svc: h3=\":443\"\r\n";
        format!("HTTP/1.1 200 OK\r\n{hop}Content-Length: 2\r\n\r\n{{}}").into_bytes()
    });
    let gate = before(&ear);
    let mut client = http1(&gate);
    let requested = "Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\nUpgrade: h2c\r\nKeep-Alive: 5\r\n\
        Proxy-Authorization: Basic x\r\nProxy-Connection: keep-alive\r\n";
    let left = ["x-secret", "keep-alive", "proxy-authenticate", "upgrade", "te", "trailer", "set-cookie", "server"];
    for round in 1..=2 {
        client.send(head(&gate, "GET", &tag("v1"), requested));
        let answer = client.answer(false).unwrap();
        for name in left.iter().chain(&["x-powered-by", "alt-svc"]) {
            assert_eq!(answer.header(name), None, "{name}");
        }
        let connection: Vec<_> = answer.headers.iter().filter(|(name, _)| name == "connection").collect();
        assert_eq!(connection.len(), 1, "{connection:?}");
        assert_eq!(answer.header("connection"), Some("keep-alive"), "the client's connection is its own");
        assert_eq!(ear.connections(), round, "the upstream said close");
    }
    for request in ear.heard() {
        let request = request.to_lowercase();
        for name in ["connection:", "x-hop:", "\r\nte:", "upgrade:", "keep-alive:", "proxy-"] {
            assert!(!request.contains(name), "{name} in {request}");
        }
    }
    http2::run(async {
        let mut client = Http2::connect(&gate).await;
        let answer = client.get(&tag("v1")).await.unwrap();
        for name in left.iter().chain(&["connection"]) {
            assert_eq!(answer.headers().get(*name), None, "{name}");
        }
    });
}

#[test]
fn trap_09_date_and_connection_are_said_once() {
    let ear = saying(|_| {
        let head = "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nConnection: keep-alive\r\n";
        format!("{head}Content-Length: 2\r\n\r\n{{}}").into_bytes()
    });
    let gate = before(&ear);
    for protocol in PROTOCOLS {
        let answer = gate.curl(&tag("v1")).user(ALICE).argument(protocol).send();
        for (name, most) in [("date", 1), ("connection", 1), ("content-length", 1), ("transfer-encoding", 0)] {
            let count = answer.headers.iter().filter(|(known, _)| known == name).count();
            assert!(count <= most, "{protocol} {name}: {:?}", answer.headers);
        }
        assert!(answer.header("date").is_some_and(|date| !date.contains("1970")), "{:?}", answer.headers);
    }
}

/// A blob in two parts with a pause between, and when the second may come.
fn pausing(first: usize, whole: usize) -> (Ear, Signal) {
    let go_on = Signal::default();
    let ear = Ear::following({
        let go_on = go_on.clone();
        move |caller| {
            while let Some(request) = caller.request() {
                if !request.target.contains("/blobs/") {
                    caller.say(answer(b"{}"));
                    continue;
                }
                let all = pattern(whole);
                caller.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {whole}\r\n\r\n"));
                caller.say(&all[..first]);
                go_on.wait();
                caller.say(&all[first..]);
            }
        }
    });
    (ear, go_on)
}

/// More than the sockets hold, so that its end waits in TLS while the sockets are full.
const FIRST: usize = 8 * MIB + 105;

/// Reads slower than is written.
fn read_slowly(client: &mut Tls, count: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < count {
        std::thread::sleep(super::milliseconds(1));
        all.extend(read_some(client, (64 * 1024).min(count - all.len())));
    }
    all
}

#[test]
fn trap_01_flush_http1() {
    let whole = FIRST + MIB;
    let (ear, go_on) = pausing(FIRST, whole);
    let gate = before(&ear);
    let mut client = narrow(&gate);
    client.send(get(&gate, &blob()));
    read_head(&mut client);
    assert!(read_slowly(&mut client, FIRST) == pattern(FIRST), "what came before the pause");
    go_on.raise();
    assert!(read_slowly(&mut client, MIB) == pattern(whole)[FIRST..]);
}

#[test]
fn trap_01_flush_http2() {
    let (ear, go_on) = pausing(500_105, 900_000);
    let gate = before(&ear);
    http2::run(async {
        let mut client = Http2::connect(&gate).await;
        let mut body = client.get(&blob()).await.unwrap().into_body();
        let mut all = http2::read_some(&mut body, 500_105).await;
        go_on.raise();
        all.extend(http2::read(body).await.unwrap());
        assert!(all == pattern(900_000));
    });
}

/// A write that is given up half-way and begun again would repeat or lose bytes.
#[test]
fn trap_10_writes_are_never_torn() {
    let whole = 6 * MIB;
    let ear = Ear::following(move |caller| {
        let all = pattern(whole);
        if caller.request().is_none() {
            return;
        }
        caller.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {whole}\r\n\r\n"));
        for (number, piece) in all.chunks(70_001).enumerate() {
            caller.say(piece);
            if number % 16 == 0 {
                std::thread::sleep(super::milliseconds(10));
            }
        }
    });
    let gate = before(&ear);
    let mut client = narrow(&gate);
    client.send(get(&gate, &blob()));
    read_head(&mut client);
    let mut all = Vec::new();
    while all.len() < whole {
        all.extend(read_some(&mut client, 90_001.min(whole - all.len())));
        if all.len() % 8 == 0 {
            std::thread::sleep(super::milliseconds(5));
        }
    }
    assert!(all == pattern(whole));
}

#[test]
fn row_http2_concurrency() {
    let size = 3 * MIB;
    let ear = Ear::following(move |caller| {
        while let Some(request) = caller.request() {
            let number: usize = request.target.rsplit('v').next().unwrap().parse().unwrap();
            caller.say(answer(&pattern(size + number)[number..]));
        }
    });
    let gate = before(&ear);
    let streams = |connection: usize| {
        let gate = &gate;
        async move {
            let mut client = Http2::connect(gate).await;
            let mut responses = Vec::new();
            for number in connection * 8..connection * 8 + 8 {
                responses.push((number, client.send("GET", &tag(&format!("v{number}")), &[], true).await.unwrap().0));
            }
            let reads = responses.into_iter().map(|(number, response)| {
                tokio::spawn(async move {
                    let answer = http2::soon("an answer", response).await.unwrap();
                    (number, http2::read(answer.into_body()).await.unwrap())
                })
            });
            for read in reads.collect::<Vec<_>>() {
                let (number, body) = read.await.unwrap();
                assert!(body == pattern(size + number)[number..], "stream {number}");
            }
        }
    };
    http2::run(async { tokio::join!(streams(0), streams(1)) });
}

#[test]
fn row_http2_concurrency_of_uploads() {
    let size = 3 * MIB;
    let ear = Ear::following(move |caller| {
        let Some(request) = caller.request() else { return };
        let number: usize = request.header("content-range").unwrap().parse().unwrap();
        let body = caller.body(&request);
        let right = body.is_some_and(|body| body == pattern(size + number)[number..]);
        caller.say(format!("HTTP/1.1 {}\r\nContent-Length: 0\r\n\r\n", if right { "202 Yes" } else { "400 No" }));
    });
    let gate = before(&ear);
    http2::run(async {
        let mut client = Http2::connect(&gate).await;
        let mut uploads = Vec::new();
        for number in 0..8 {
            let range = number.to_string();
            let (response, mut stream) =
                client.send("PATCH", &super::session(&gate), &[("content-range", &range)], false).await.unwrap();
            uploads.push(tokio::spawn(async move {
                http2::write(&mut stream, pattern(size + number)[number..].to_vec(), true).await.unwrap();
                http2::soon("an answer", response).await.unwrap().status().as_u16()
            }));
        }
        for upload in uploads {
            assert_eq!(upload.await.unwrap(), 202);
        }
    });
}
