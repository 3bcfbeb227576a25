use http_body_util::BodyExt as _;
use std::net::Ipv4Addr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::*;
use crate::{
    listener::{Listening, Places, Sockets},
    tls::acme::{Answer, Token},
};

fn redirect(hosts: &[&str], public_port: u16) -> Redirect {
    Redirect { hosts: hosts.iter().map(|host| Host::parse(host).unwrap()).collect(), public_port }
}

fn answer(redirect: &Redirect, method: &str, target: &str, headers: &[(&str, &str)]) -> Response<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    redirect.answer(&request.body(()).unwrap(), (Ipv4Addr::LOCALHOST, 1).into())
}

fn location(response: &Response<Full<Bytes>>) -> Option<&str> {
    assert_eq!(response.headers()["docker-distribution-api-version"], "registry/2.0");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    assert!(!response.headers().contains_key("strict-transport-security"));
    let location = response.headers().get(LOCATION).map(|value| value.to_str().unwrap());
    assert_eq!(response.status() == StatusCode::PERMANENT_REDIRECT, location.is_some());
    location
}

#[test]
fn reads_without_credentials_are_redirected() {
    let ours = redirect(&["hub.example.com", "192.0.2.7", "2001:db8::1"], 443);
    let moved = redirect(&["hub.example.com", "2001:db8::1"], 8443);
    for (redirect, host, target, expected) in [
        (&ours, "hub.example.com", "/", "https://hub.example.com/"),
        (&ours, "HUB.Example.com.", "/v2/", "https://hub.example.com/v2/"),
        (&ours, "hub.example.com:80", "/v2/", "https://hub.example.com/v2/"),
        (&ours, "hub.example.com:5000", "/v2/?n=1&last=a%2Fb", "https://hub.example.com/v2/?n=1&last=a%2Fb"),
        (&ours, "192.0.2.7", "/v2/", "https://192.0.2.7/v2/"),
        (&ours, "[2001:db8::1]:80", "/", "https://[2001:db8::1]/"),
        (&ours, "hub.example.com", "//evil.test/", "https://hub.example.com//evil.test/"),
        (&ours, "hub.example.com", "/%0d%0aX:y", "https://hub.example.com/%0d%0aX:y"),
        (&ours, "hub.example.com", "/../a/./b", "https://hub.example.com/../a/./b"),
        (&ours, "hub.example.com", "/.well-known/security.txt", "https://hub.example.com/.well-known/security.txt"),
        (&moved, "hub.example.com", "/v2/", "https://hub.example.com:8443/v2/"),
        (&moved, "hub.example.com:443", "/v2/", "https://hub.example.com:8443/v2/"),
        (&moved, "[2001:db8::1]", "/", "https://[2001:db8::1]:8443/"),
    ] {
        for method in ["GET", "HEAD"] {
            let response = answer(redirect, method, target, &[("host", host)]);
            assert_eq!(location(&response), Some(expected), "{method} {host} {target}");
        }
    }
}

#[test]
fn registries_that_share_a_name_keep_their_ports() {
    let shared = redirect(&["hub.test:8443", "hub.test:9443"], 9443);
    let response = answer(&shared, "GET", "/", &[("host", "hub.test")]);
    assert_eq!(location(&response), Some("https://hub.test:9443/"));
    let elsewhere = redirect(&["hub.test:8443"], 443);
    let response = answer(&elsewhere, "GET", "/", &[("host", "hub.test")]);
    assert_eq!(location(&response), Some("https://hub.test:8443/"));
}

#[test]
fn all_else_is_refused() {
    let ours = redirect(&["hub.test"], 443);
    let host = ("host", "hub.test");
    for (method, target, headers, status) in [
        ("POST", "/v2/a/blobs/uploads/", vec![host], 400),
        ("PUT", "/v2/a/manifests/1", vec![host], 400),
        ("PATCH", "/", vec![host], 400),
        ("DELETE", "/", vec![host], 400),
        ("OPTIONS", "/", vec![host], 400),
        ("OPTIONS", "*", vec![host], 400),
        ("TRACE", "/", vec![host], 400),
        ("CONNECT", "hub.test:443", vec![host], 400),
        ("get", "/", vec![host], 400),
        ("GET", "/token", vec![host, ("authorization", "Basic c2VjcmV0OnNlY3JldA==")], 400),
        ("HEAD", "/v2/", vec![host, ("authorization", "")], 400),
        ("GET", "/v2/", vec![host, ("proxy-authorization", "Basic eA==")], 400),
        ("GET", "/v2/", vec![host, ("cookie", "session=1")], 400),
        ("GET", "http://hub.test/v2/", vec![host], 400),
        ("GET", "http://evil.test/v2/", vec![host], 400),
        ("GET", "/\u{e9}", vec![host], 400),
        ("GET", "/", vec![], 400),
        ("GET", "/", vec![host, ("host", "hub.test")], 400),
        ("GET", "/", vec![("host", "")], 400),
        ("GET", "/", vec![("host", "hub.test/evil")], 400),
        ("GET", "/", vec![("host", "user@hub.test")], 400),
        ("GET", "/", vec![("host", "evil.test")], 421),
        ("GET", "/", vec![("host", "sub.hub.test")], 421),
        ("GET", "/", vec![("host", "127.0.0.1"), ("x-forwarded-host", "hub.test")], 421),
        ("POST", "/", vec![("host", "evil.test")], 421),
        ("GET", "/.well-known/acme-challenge/abc", vec![host], 404),
        ("GET", "/.well-known/acme-challenge/", vec![host], 404),
        ("GET", "/.well-known/acme-challenge", vec![host], 404),
        ("GET", "/.well-known/acme-challenge/../../../etc/passwd", vec![host], 404),
        ("GET", "/.well-known/acme-challenge%2f..", vec![host], 404),
        ("GET", "/.Well-Known/ACME-challenge/abc", vec![host], 404),
        ("GET", "/.well-known/acme-challenge/abc", vec![("host", "evil.test")], 404),
        ("POST", "/.well-known/acme-challenge/abc", vec![host], 405),
        ("DELETE", "/.well-known/acme-challenge/abc", vec![("host", "evil.test")], 405),
    ] {
        let response = answer(&ours, method, target, &headers);
        assert_eq!(response.status(), status, "{method} {target} {headers:?}");
        assert_eq!(location(&response), None);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
        assert_eq!(response.headers().contains_key(ALLOW), status == 405);
    }
}

#[tokio::test]
async fn an_open_challenge_is_answered_at_its_host_alone() {
    let challenges = Arc::new(Challenges::default());
    let token = Token::parse("evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr_oA").unwrap();
    let path = format!("/.well-known/acme-challenge/{}", token.as_str());
    let key_authorization = "the authorization".to_owned();
    let open = challenges.open(Answer::Http { name: "acme.test".to_owned(), token, key_authorization });
    let ask = async |method: &str, host: &str, path: &str| {
        let request = Request::builder().method(method).uri(path).header(HOST, host).body(()).unwrap();
        challenge(&request, &challenges).await
    };
    for (method, host) in [("GET", "acme.test"), ("HEAD", "ACME.test."), ("GET", "acme.test:80")] {
        let answer = ask(method, host, &path).await.unwrap();
        assert_eq!((answer.status(), location(&answer)), (StatusCode::OK, None));
        assert_eq!(answer.headers()[CONTENT_TYPE], "text/plain; charset=utf-8");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "the authorization");
    }
    for (method, host, path) in [
        ("POST", "acme.test", path.clone()),
        ("GET", "other.test", path.clone()),
        ("GET", "acme.test", format!("{path}/")),
        ("GET", "acme.test", format!("{path}?a")),
        ("GET", "acme.test", format!("{path}%00")),
        ("GET", "acme.test", path.replace("acme-challenge/", "acme-challenge//")),
        ("GET", "acme.test", path.replace("acme-challenge/", "acme-challenge/./")),
        ("GET", "acme.test", path.replace(".well", ".Well")),
        ("GET", "acme.test", format!("http://acme.test{path}")),
    ] {
        assert!(ask(method, host, &path).await.is_none(), "{method} {host} {path}");
    }
    drop(open);
    assert!(ask("GET", "acme.test", &path).await.is_none());
}

struct Running {
    address: SocketAddr,
    listening: Listening,
}

impl Running {
    async fn start(connections_per_client: usize, request_head: Duration) -> Self {
        let limits = Limits {
            connections: 100,
            connections_per_client,
            handshake: Duration::from_secs(5),
            request_head,
            idle: Duration::from_secs(5),
            body_idle: Duration::from_secs(5),
            buffers: 512 << 20,
            manifest: 0,
            upload: None,
            failed_logins: None,
        };
        let http = Sockets::bind(&[(Ipv4Addr::LOCALHOST, 0).into()], &Sockets::default(), &[]).unwrap();
        let address = http.local_addresses()[0];
        let listening = Listening::new(Places { http, ..Places::default() }, Terms::testing(limits));
        tokio::spawn(PlainListener::new(listening.subscribe()).run());
        Self { address, listening }
    }

    async fn raw(&self, request: &[u8]) -> String {
        let mut tcp = TcpStream::connect(self.address).await.unwrap();
        tcp.write_all(request).await.unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

#[tokio::test]
async fn one_request_a_connection() {
    let running = Running::start(10, Duration::from_secs(5)).await;
    let answer =
        running.raw(b"GET /a HTTP/1.1\r\nHost: hub.test\r\n\r\nGET /b HTTP/1.1\r\nHost: hub.test\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 308 "), "{answer}");
    assert!(answer.contains("location: https://hub.test/a\r\n"), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_sends_a_body() {
    let running = Running::start(10, Duration::from_secs(5)).await;
    let mut request =
        b"POST /v2/ HTTP/1.1\r\nHost: hub.test\r\nAuthorization: Basic eA==\r\nContent-Length: 200000\r\n\r\n".to_vec();
    request.resize(request.len() + 200_000, b'x');
    let answer = running.raw(&request).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 400 ") && head.contains("connection: close"), "{head}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["errors"][0]["code"], "UNSUPPORTED");
    assert_eq!(body["errors"][0]["message"], "plain HTTP is refused: use https://hub.test");
}

#[tokio::test]
async fn malformed_and_oversized_requests_are_answered() {
    let running = Running::start(10, Duration::from_secs(5)).await;
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: hub.test\r\nBad Header: 1\r\n\r\n".to_owned(), "400"),
        ("\u{16}\u{3}\u{1} TLS\r\n\r\n".to_owned(), "400"),
        (format!("GET / HTTP/1.1\r\nHost: hub.test\r\nX: {}\r\n\r\n", "x".repeat(40_000)), "431"),
        (format!("GET / HTTP/1.1\r\nHost: hub.test\r\n{}\r\n", "X: 1\r\n".repeat(200)), "431"),
    ] {
        let answer = running.raw(request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.40}: {answer}");
    }
}

#[tokio::test]
async fn a_slow_head_is_cut_off() {
    let running = Running::start(10, Duration::from_millis(300)).await;
    for sent in ["", "GET / HTTP/1.1\r\nHost:"] {
        let mut tcp = TcpStream::connect(running.address).await.unwrap();
        tcp.write_all(sent.as_bytes()).await.unwrap();
        let started = Instant::now();
        let read = timeout(Duration::from_secs(4), tcp.read(&mut [0; 1])).await.unwrap();
        assert_eq!(read.unwrap_or(0), 0);
        assert!(started.elapsed() >= Duration::from_millis(250));
    }
}

#[tokio::test]
async fn a_client_over_its_share_is_closed() {
    let running = Running::start(1, Duration::from_secs(5)).await;
    let held = TcpStream::connect(running.address).await.unwrap();
    let mut second = TcpStream::connect(running.address).await.unwrap();
    let read = timeout(Duration::from_secs(1), second.read(&mut [0; 1])).await.unwrap();
    assert_eq!(read.unwrap_or(0), 0);
    drop(held);
}

#[tokio::test]
async fn a_stop_closes_the_socket() {
    let running = Running::start(1, Duration::from_secs(5)).await;
    running.listening.close();
    let closed = async { while TcpStream::connect(running.address).await.is_ok() {} };
    timeout(Duration::from_secs(1), closed).await.unwrap();
}

#[tokio::test]
async fn a_balancer_says_whose_request_it_is() {
    let running = Running::start(1, Duration::from_secs(5)).await;
    let request = b"GET /a HTTP/1.1\r\nHost: hub.test\r\n\r\n".as_slice();
    let header = b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\n".as_slice();
    let answer = running.raw(&[header, request].concat()).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "nobody is a balancer yet: {answer}");
    let terms = (*running.listening.subscribe().borrow().terms).clone();
    let balancers = vec!["127.0.0.1/32".parse().unwrap()];
    running.listening.install(running.listening.places(), Terms { balancers, ..terms });
    let mut probe = TcpStream::connect(running.address).await.unwrap();
    probe.write_all(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0").await.unwrap();
    let answer = running.raw(&[header, request].concat()).await;
    assert!(answer.contains("location: https://hub.test/a\r\n"), "{answer}");
    let mut tcp = TcpStream::connect(running.address).await.unwrap();
    tcp.write_all(request).await.unwrap();
    let read = timeout(Duration::from_secs(1), tcp.read(&mut [0; 1])).await.unwrap();
    assert_eq!(read.unwrap_or(0), 0, "a header is required");
}
