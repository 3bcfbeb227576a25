use std::{net::Ipv4Addr, sync::Mutex, time::Duration};

use pingora_core::{
    apps::{HttpServerApp, ReusedHttpStream, ServerApp as _},
    protocols::http::ServerSession,
};
use pingora_http::ResponseHeader;
use rcgen::PKCS_ED25519;
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::Command,
    sync::watch,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;
use crate::{
    config::MinVersion,
    listener::{Listening, Places, Redirect, Sockets},
    tls::{
        CertStore, ServerTls, load,
        testing::{Folder, kinds, params, trusting_client},
    },
};

mod proxied;

const LIMITS: Limits = Limits {
    connections: 100,
    connections_per_client: 100,
    handshake: Duration::from_secs(5),
    request_head: Duration::from_secs(5),
    idle: Duration::from_secs(5),
    body_idle: Duration::from_secs(5),
    buffers: 512 << 20,
    manifest: 0,
    upload: None,
    failed_logins: None,
};

/// Greets, then holds the connection until the client leaves.
#[derive(Default)]
struct Greeter {
    seen: Mutex<Vec<ConnectionInfo>>,
}

#[async_trait]
impl Handler for Greeter {
    async fn serve(&self, mut stream: Stream, connection: ConnectionInfo, _shutdown: ShutdownWatch) {
        self.seen.lock().unwrap().push(connection);
        stream.write_all(b"hello").await.unwrap();
        let _ = stream.read(&mut [0; 1]).await;
        let _ = stream.shutdown().await;
    }
}

fn loopback() -> Sockets {
    Sockets::bind(&[(Ipv4Addr::LOCALHOST, 0).into()], &Sockets::default(), &[]).unwrap()
}

struct Running {
    address: SocketAddr,
    listening: Listening,
    terms: Terms,
    stop: watch::Sender<bool>,
    drain: Drain,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(handler: Arc<dyn Handler>, limits: Limits) -> Self {
        Self::with(handler, limits, &PKCS_ED25519).await
    }

    async fn with(handler: Arc<dyn Handler>, limits: Limits, kind: &'static rcgen::SignatureAlgorithm) -> Self {
        let pair = Folder::new().signed_and_loaded(kind);
        let server = ServerTls::new(Arc::new(CertStore::new(vec![pair]))).unwrap();
        let (tls, challenges) = (server.settings(MinVersion::Tls12).unwrap(), Arc::clone(server.challenges()));
        let places = Places { https: loopback(), ..Places::default() };
        let address = places.https.local_addresses()[0];
        let redirect = Redirect { hosts: Vec::new(), public_port: 443 };
        let terms = Terms { limits, proxies: Vec::new(), balancers: Vec::new(), tls, challenges, redirect };
        let listening = Listening::new(places, terms.clone());
        let (stop, shutdown) = watch::channel(false);
        let drain = Drain::default();
        let task = tokio::spawn(TlsListener::new(listening.subscribe()).run(handler, drain.clone(), shutdown));
        Self { address, listening, terms, stop, drain, task }
    }

    async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn tls(&self) -> io::Result<TlsStream<TcpStream>> {
        let config = Arc::new(trusting_client(&[&TLS12, &TLS13]));
        let name = ServerName::try_from("A.Test").unwrap();
        TlsConnector::from(config).connect(name, self.tcp().await).await
    }

    /// A connection that the handler has greeted.
    async fn greeted(&self) -> io::Result<TlsStream<TcpStream>> {
        let mut stream = self.tls().await?;
        let mut greeting = [0; 5];
        stream.read_exact(&mut greeting).await?;
        assert_eq!(&greeting, b"hello");
        Ok(stream)
    }

    async fn raw(&self, request: &[u8]) -> String {
        let mut tcp = self.tcp().await;
        tcp.write_all(request).await.unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

impl Folder {
    fn signed_and_loaded(&self, kind: &'static rcgen::SignatureAlgorithm) -> crate::tls::Loaded {
        load(&self.signed("a", &params(&["a.test"]), kind)).unwrap()
    }
}

/// True if the server closes within a second, however it does it.
async fn is_closed(tcp: &mut TcpStream) -> bool {
    matches!(timeout(Duration::from_secs(1), tcp.read(&mut [0; 1])).await, Ok(Ok(0) | Err(_)))
}

#[tokio::test]
async fn hands_over_with_every_key() {
    for (name, kind) in kinds() {
        let greeter = Arc::new(Greeter::default());
        let running = Running::with(greeter.clone(), LIMITS, kind).await;
        let client = running.greeted().await.unwrap();
        let seen = greeter.seen.lock().unwrap();
        assert_eq!(seen[0].sni.as_deref(), Some("a.test"), "{name}");
        assert_eq!(seen[0].peer, client.get_ref().0.local_addr().unwrap());
        assert_eq!(seen[0].local, running.address);
    }
}

#[tokio::test]
async fn a_registry_named_by_address_has_no_sni() {
    let greeter = Arc::new(Greeter::default());
    let running = Running::start(greeter.clone(), LIMITS).await;
    let config = Arc::new(trusting_client(&[&TLS13]));
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connector = TlsConnector::from(config);
    let mut client = connector.connect(name, running.tcp().await).await.unwrap();
    client.read_exact(&mut [0; 5]).await.unwrap();
    assert_eq!(greeter.seen.lock().unwrap()[0].sni, None);
}

#[tokio::test]
async fn plain_http_is_told_to_use_https() {
    let running = Running::start(Arc::new(Greeter::default()), LIMITS).await;
    let upload = [
        b"PUT /v2/a/blobs/uploads/1 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\n".as_slice(),
        &[b'x'; 100_000],
    ]
    .concat();
    let long_head = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    for request in [
        b"GET /v2/ HTTP/1.1\r\nHost: a.test\r\n\r\n".as_slice(),
        b"GET /v2/ HTTP/1.0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        b"G",
        &upload,
        long_head.as_bytes(),
    ] {
        let answer = running.raw(request).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        for header in [
            "Content-Type: application/json",
            "Docker-Distribution-Api-Version: registry/2.0",
            "X-Content-Type-Options: nosniff",
            "Connection: close",
            &format!("Content-Length: {}", body.len()),
        ] {
            assert!(head.contains(header), "{header}: {head}");
        }
        assert!(!head.contains("Strict-Transport-Security"));
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["errors"][0]["code"], "UNSUPPORTED");
        assert!(body["errors"][0]["message"].as_str().unwrap().contains("https://"));
    }
    let answer = running.raw(b"HEAD /v2/ HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn curl_prints_the_answer_to_plain_http() {
    let running = Running::start(Arc::new(Greeter::default()), LIMITS).await;
    let folder = Folder::new();
    let body = folder.write("body", &"x".repeat(300_000));
    for arguments in [vec![], vec!["-T", body.to_str().unwrap()]] {
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "10", "-w", "\n%{http_code}"])
            .args(arguments)
            .arg(format!("http://{}/v2/", running.address))
            .output()
            .await
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text} {}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains("https://") && text.ends_with("\n400"), "{text}");
    }
}

#[tokio::test]
async fn neither_tls_nor_http_is_closed() {
    let running = Running::start(Arc::new(Greeter::default()), LIMITS).await;
    for bytes in [&[0; 64][..], &[0x80, 0x2e, 1, 0, 2], &[0xff; 64], b"\x16\x03\x01\xff\xff"] {
        let mut tcp = running.tcp().await;
        tcp.write_all(bytes).await.unwrap();
        tcp.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let read = timeout(Duration::from_secs(2), tcp.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "{bytes:?}");
        assert!(!answer.starts_with(b"HTTP"), "{bytes:?}");
    }
    running.greeted().await.unwrap();
}

#[tokio::test]
async fn silence_and_slowness_end_at_the_handshake_limit() {
    let limits = Limits { handshake: Duration::from_millis(300), ..LIMITS };
    let running = Running::start(Arc::new(Greeter::default()), limits).await;
    let mut silent = running.tcp().await;
    let mut slow = running.tcp().await;
    slow.write_all(b"\x16\x03\x01").await.unwrap();
    let started = Instant::now();
    assert!(is_closed(&mut silent).await);
    assert!(is_closed(&mut slow).await);
    assert!(started.elapsed() >= Duration::from_millis(250));
    timeout(Duration::from_secs(1), running.drain.wait()).await.unwrap();
    // The limit is for the handshake alone.
    let mut client = running.greeted().await.unwrap();
    assert!(timeout(Duration::from_millis(500), client.read(&mut [0; 1])).await.is_err());
}

#[tokio::test]
async fn a_client_over_its_share_is_closed() {
    let limits = Limits { connections_per_client: 2, ..LIMITS };
    let running = Running::start(Arc::new(Greeter::default()), limits).await;
    let first = running.greeted().await.unwrap();
    let _second = running.greeted().await.unwrap();
    assert!(is_closed(&mut running.tcp().await).await);
    assert_eq!(running.drain.active(), 2);
    drop(first);
    while running.drain.active() == 2 {
        sleep(Duration::from_millis(5)).await;
    }
    running.greeted().await.unwrap();
}

#[tokio::test]
async fn over_the_limit_clients_wait_their_turn() {
    let limits = Limits { connections: 1, ..LIMITS };
    let running = Running::start(Arc::new(Greeter::default()), limits).await;
    let first = running.greeted().await.unwrap();
    let mut second = Box::pin(running.greeted());
    assert!(timeout(Duration::from_millis(200), &mut second).await.is_err());
    drop(first);
    timeout(Duration::from_secs(5), second).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stop_closes_the_sockets_and_leaves_connections_alone() {
    let running = Running::start(Arc::new(Greeter::default()), LIMITS).await;
    let mut open = running.greeted().await.unwrap();
    let mut silent = running.tcp().await;
    while running.drain.active() < 2 {
        sleep(Duration::from_millis(5)).await;
    }
    running.listening.close();
    running.stop.send(true).unwrap();
    timeout(Duration::from_secs(1), running.task).await.unwrap().unwrap();
    // Tried again, because a child of a parallel test may hold a copy between fork and exec.
    let refused = async { while TcpStream::connect(running.address).await.is_ok() {} };
    timeout(Duration::from_secs(1), refused).await.unwrap();
    assert_eq!(running.drain.active(), 2, "who came just before may still speak");
    let closed = timeout(LAST_WORD * 2, silent.read(&mut [0; 1])).await;
    assert!(matches!(closed, Ok(Ok(0) | Err(_))));
    assert_eq!(running.drain.active(), 1);
    open.write_all(b"!").await.unwrap();
    let mut rest = Vec::new();
    open.read_to_end(&mut rest).await.unwrap();
    timeout(Duration::from_secs(5), running.drain.wait()).await.unwrap();
}

#[tokio::test]
async fn who_has_come_before_a_stop_is_served() {
    let limits = Limits { connections: 1, ..LIMITS };
    let running = Running::start(Arc::new(Greeter::default()), limits).await;
    let first = running.greeted().await.unwrap();
    // Connected as far as the kernel goes, and not accepted.
    let mut queued = Vec::new();
    for _ in 0..8 {
        queued.push(running.tcp().await);
    }
    running.listening.close();
    running.stop.send(true).unwrap();
    drop(first);
    for tcp in queued {
        let config = Arc::new(trusting_client(&[&TLS13]));
        let connecting = TlsConnector::from(config).connect(ServerName::try_from("a.test").unwrap(), tcp);
        let mut client = timeout(Duration::from_secs(5), connecting).await.unwrap().unwrap();
        client.read_exact(&mut [0; 5]).await.unwrap();
    }
    timeout(Duration::from_secs(5), running.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn addresses_and_terms_change_and_connections_stay() {
    let running = Running::start(Arc::new(Greeter::default()), LIMITS).await;
    let mut open = running.greeted().await.unwrap();
    let (before, next) = (running.address, Places { https: loopback(), ..Places::default() });
    let running = Running { address: next.https.local_addresses()[0], ..running };
    let fewer = Limits { connections_per_client: 2, ..LIMITS };
    running.listening.install(next, Terms { limits: fewer, ..running.terms.clone() });
    let _second = running.greeted().await.unwrap();
    assert!(is_closed(&mut running.tcp().await).await, "the new limit counts who came before");
    let refused = async { while TcpStream::connect(before).await.is_ok() {} };
    timeout(Duration::from_secs(1), refused).await.unwrap();
    open.write_all(b"!").await.unwrap();
    open.read_to_end(&mut Vec::new()).await.unwrap();
}

/// A pingora app, as the gate will be one: says which protocol it spoke.
struct App;

#[async_trait]
impl HttpServerApp for App {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        _shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        session.read_request().await.ok()?;
        let body = format!("{:?}", session.req_header().version);
        let mut header = ResponseHeader::build(200, None).unwrap();
        header.insert_header("Content-Length", body.len()).unwrap();
        session.write_response_header(Box::new(header)).await.unwrap();
        session.write_response_body(body.into(), true).await.unwrap();
        session.finish().await.ok()?;
        None
    }
}

struct Gate(Arc<App>);

#[async_trait]
impl Handler for Gate {
    async fn serve(&self, stream: Stream, _connection: ConnectionInfo, shutdown: ShutdownWatch) {
        self.0.process_new(stream, &shutdown).await;
    }
}

#[tokio::test]
async fn pingora_serves_both_protocols_to_curl() {
    let running = Running::start(Arc::new(Gate(Arc::new(App))), LIMITS).await;
    for (arguments, version) in [
        (&["--http1.1"][..], "HTTP/1.1"),
        (&["--http2"], "HTTP/2.0"),
        (&["--no-alpn"], "HTTP/1.1"),
        (&["--tls-max", "1.2"], "HTTP/2.0"),
    ] {
        let output = Command::new("curl")
            .args(["-sSk", "--max-time", "10"])
            .args(arguments)
            .arg(format!("https://{}/v2/", running.address))
            .output()
            .await
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(text, version, "{arguments:?} {}", String::from_utf8_lossy(&output.stderr));
    }
}
