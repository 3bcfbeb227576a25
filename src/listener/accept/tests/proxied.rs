//! Behind a balancer that speaks the PROXY protocol.

use super::*;

const PROXIED: &[u8] = b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n";

impl Running {
    /// Takes 127.0.0.1 for a balancer.
    fn behind_balancer(self) -> Self {
        let balancers = vec!["127.0.0.0/8".parse().unwrap()];
        self.listening.install(self.listening.places(), Terms { balancers, ..self.terms.clone() });
        self
    }

    async fn proxied(&self, name: &str, header: &[u8]) -> io::Result<TlsStream<TcpStream>> {
        let mut tcp = self.tcp().await;
        tcp.write_all(header).await?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = TlsConnector::from(Arc::new(trusting_client(&[&TLS13]))).connect(name, tcp).await?;
        client.read_exact(&mut [0; 5]).await?;
        Ok(client)
    }
}

#[tokio::test]
async fn the_handler_sees_the_client_that_a_balancer_names() {
    let greeter = Arc::new(Greeter::default());
    let running = Running::start(greeter.clone(), LIMITS).await.behind_balancer();
    let _client = running.proxied("a.test", PROXIED).await.unwrap();
    let seen = greeter.seen.lock().unwrap()[0].clone();
    assert_eq!(seen.peer, "[2001:db8::7]:4711".parse().unwrap());
    assert_eq!((seen.local, seen.sni.as_deref()), (running.address, Some("a.test")));
    assert!(running.proxied("a.test", b"").await.is_err(), "a header is required");
    assert!(running.proxied("a.test", &PROXIED.repeat(2)).await.is_err(), "one header");
}

#[tokio::test]
async fn plain_http_behind_a_balancer_is_told_to_use_https() {
    let running = Running::start(Arc::new(Greeter::default()), LIMITS).await.behind_balancer();
    let answer = running.raw(&[PROXIED, b"GET /v2/ HTTP/1.1\r\nHost: a.test\r\n\r\n"].concat()).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("https://"), "{answer}");
}

#[tokio::test]
async fn a_header_that_nobody_asked_for_is_no_greeting() {
    let greeter = Arc::new(Greeter::default());
    let running = Running::start(greeter.clone(), LIMITS).await;
    for header in [PROXIED, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        assert!(running.proxied("a.test", header).await.is_err());
    }
    assert!(greeter.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn header_and_handshake_have_one_limit() {
    let limits = Limits { handshake: Duration::from_millis(300), ..LIMITS };
    let running = Running::start(Arc::new(Greeter::default()), limits).await.behind_balancer();
    let started = Instant::now();
    for (sent, then) in [(b"".as_slice(), b"".as_slice()), (b"P", b"RO"), (PROXIED, b""), (PROXIED, b"\x16\x03")] {
        let mut tcp = running.tcp().await;
        tcp.write_all(sent).await.unwrap();
        sleep(Duration::from_millis(20)).await;
        tcp.write_all(then).await.unwrap();
        assert!(is_closed(&mut tcp).await, "{sent:?}");
    }
    assert!(started.elapsed() >= Duration::from_secs(1));
    timeout(Duration::from_secs(1), running.drain.wait()).await.unwrap();
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_header() {
    let running = Running::start(Arc::new(Greeter::default()), LIMITS).await.behind_balancer();
    let mut silent = running.tcp().await;
    while running.drain.active() < 1 {
        sleep(Duration::from_millis(5)).await;
    }
    running.listening.close();
    running.stop.send(true).unwrap();
    assert!(matches!(timeout(LAST_WORD * 2, silent.read(&mut [0; 1])).await, Ok(Ok(0) | Err(_))));
}
