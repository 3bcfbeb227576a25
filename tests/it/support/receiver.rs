//! Somebody who is told of events: a server over HTTP or TLS that keeps what it hears, and can do everything wrong.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle, sleep},
    time::Duration,
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::Value;

use super::Leaf;

/// What it does with what it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// A status line's rest, and headers: `200 OK`, `503 Busy\r\nRetry-After: 1`.
    Answer(String),
    /// It reads and says nothing.
    Hang,
    /// It takes it, and begins an answer that has no end.
    Drawl,
    /// It reads and closes.
    Close,
    /// It takes a single event, and answers so to several.
    TakeSingly(String),
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) target: String,
    headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// While it lives, it listens.
pub(crate) struct Receiver {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    tls: Option<Arc<ServerConfig>>,
    act: Mutex<Act>,
    /// What it accepted.
    taken: Mutex<Vec<Told>>,
    attempts: AtomicUsize,
    connections: AtomicUsize,
    open: Mutex<Vec<TcpStream>>,
    stop: AtomicBool,
}

impl Told {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The events in it, one at least.
    pub(crate) fn events(&self) -> Vec<Value> {
        let mut body: Value = serde_json::from_slice(&self.body).expect("an envelope");
        let events = std::mem::take(body["events"].as_array_mut().expect("events"));
        assert!(!events.is_empty());
        events
    }
}

impl Receiver {
    pub(crate) fn start() -> Self {
        Self::listening(0, None)
    }

    /// Where one was before.
    pub(crate) fn again_at(port: u16) -> Self {
        Self::listening(port, None)
    }

    pub(crate) fn with_tls(leaf: &Leaf) -> Self {
        let chain = CertificateDer::pem_file_iter(&leaf.certificate).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(&leaf.key).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
        Self::listening(0, Some(Arc::new(config)))
    }

    fn listening(port: u16, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            tls,
            act: Mutex::new(Act::Answer("200 OK".to_owned())),
            taken: Mutex::default(),
            attempts: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            open: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let acceptor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for stream in listener.incoming().take_while(|_| !shared.stop.load(Ordering::SeqCst)) {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || shared.serve(&stream.unwrap()));
                }
            }
        });
        Self { port, shared, acceptor: Some(acceptor) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.shared.tls.is_some() { "https://localhost" } else { "http://127.0.0.1" };
        format!("{scheme}:{}/hook?from=gate", self.port)
    }

    pub(crate) fn acts(&self, act: Act) {
        *self.shared.act.lock().unwrap() = act;
    }

    pub(crate) fn answers(&self, answer: &str) {
        self.acts(Act::Answer(answer.to_owned()));
    }

    /// What it accepted so far.
    pub(crate) fn taken(&self) -> Vec<Told> {
        self.shared.taken.lock().unwrap().clone()
    }

    pub(crate) fn events(&self) -> Vec<Value> {
        self.taken().iter().flat_map(Told::events).collect()
    }

    /// The marks that tests put on what they ask, in the order in which it was told.
    pub(crate) fn marks(&self) -> Vec<String> {
        let mark = |event: Value| event["request"]["useragent"].as_str().unwrap().to_owned();
        self.events().into_iter().map(mark).collect()
    }

    pub(crate) fn attempts(&self) -> usize {
        self.shared.attempts.load(Ordering::SeqCst)
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        for stream in self.shared.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn serve(&self, stream: &TcpStream) {
        self.connections.fetch_add(1, Ordering::SeqCst);
        self.open.lock().unwrap().push(stream.try_clone().unwrap());
        let _ = stream.set_nodelay(true);
        match &self.tls {
            Some(tls) => {
                let connection = ServerConnection::new(Arc::clone(tls)).unwrap();
                self.converse(&mut BufReader::new(StreamOwned::new(connection, stream.try_clone().unwrap())));
            }
            None => {
                self.converse(&mut BufReader::new(stream.try_clone().unwrap()));
            }
        }
        let _ = stream.shutdown(Shutdown::Both);
    }

    fn converse<S: Read + Write>(&self, stream: &mut BufReader<S>) -> Option<()> {
        loop {
            let told = read(stream)?;
            self.attempts.fetch_add(1, Ordering::SeqCst);
            let act = self.act.lock().unwrap().clone();
            match act {
                Act::Answer(answer) => {
                    if answer.starts_with(['2', '3']) {
                        self.taken.lock().unwrap().push(told);
                    }
                    let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 2\r\n\r\nok");
                    stream.get_mut().write_all(answer.as_bytes()).ok()?;
                    stream.get_mut().flush().ok()?;
                }
                Act::Drawl => {
                    self.taken.lock().unwrap().push(told);
                    stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nok").ok()?;
                    stream.get_mut().flush().ok()?;
                }
                Act::Hang => {
                    while *self.act.lock().unwrap() == Act::Hang && !self.stop.load(Ordering::SeqCst) {
                        sleep(Duration::from_millis(20));
                    }
                    return None;
                }
                Act::TakeSingly(answer) => {
                    let is_single = told.events().len() == 1;
                    if is_single {
                        self.taken.lock().unwrap().push(told);
                    }
                    let answer = if is_single { "200 OK" } else { &answer };
                    write!(stream.get_mut(), "HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n").ok()?;
                    stream.get_mut().flush().ok()?;
                }
                Act::Close => return None,
            }
        }
    }
}

fn read(stream: &mut impl BufRead) -> Option<Told> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim_end().is_empty() {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let target = lines.first()?.strip_prefix("POST ")?.strip_suffix(" HTTP/1.1")?.to_owned();
    let headers = lines.iter().skip(1).filter_map(|line| line.split_once(": "));
    let headers: BTreeMap<_, _> = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    stream.read_exact(&mut body).ok()?;
    Some(Told { target, headers, body })
}
