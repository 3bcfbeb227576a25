//! HTTP/2 with many streams on one connection.

use std::time::Duration;

use bytes::Bytes;
use h2::{
    RecvStream, SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::{HeaderMap, Request};
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, runtime::Runtime, task::JoinHandle, time::timeout};

use super::{Portcullis, Response, raw};

const TIMEOUT: Duration = Duration::from_secs(30);

/// One connection.
pub(crate) struct Http2 {
    runtime: Runtime,
    sender: SendRequest<Bytes>,
    origin: String,
}

/// A request whose body is still being sent, or the body of whose answer nobody reads.
pub(crate) struct Stream<'a> {
    connection: &'a Http2,
    body: SendStream<Bytes>,
    answer: ResponseFuture,
    unread: Option<RecvStream>,
}

impl Http2 {
    /// Connects to the gate by the name that tests dial.
    pub(crate) fn connect(gate: &Portcullis) -> Self {
        Self::with_window(gate, 65_535)
    }

    /// The same, where all answers together may come unread up to this many bytes.
    pub(crate) fn with_window(gate: &Portcullis, window: u32) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let connector = tokio_rustls::TlsConnector::from(raw::client_config(gate.pki(), &["h2"]));
        let sender = runtime.block_on(async {
            let tcp = TcpStream::connect(("127.0.0.1", gate.port())).await.unwrap();
            let tls = connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap();
            let mut settings = h2::client::Builder::new();
            let (sender, connection) = settings.initial_connection_window_size(window).handshake(tls).await.unwrap();
            tokio::spawn(connection);
            sender
        });
        Self { runtime, sender, origin: gate.url("") }
    }

    /// Sends a request, with all of its body where there is one, and awaits the whole answer. `Err` where the stream was
    /// reset instead.
    pub(crate) fn ask(&self, asked: &Asked<'_>) -> Result<Response, h2::Error> {
        self.runtime.block_on(self.exchange(asked))
    }

    /// The same for many at once, as many as the server allows at a time; the answers are in the order of the requests.
    pub(crate) fn ask_all(&self, requests: &[Asked<'_>]) -> Vec<Result<Response, h2::Error>> {
        const AT_A_TIME: usize = 100;
        let mut answers = Vec::with_capacity(requests.len());
        for some in requests.chunks(AT_A_TIME) {
            let tasks: Vec<_> = some.iter().map(|asked| self.runtime.spawn(self.exchange(asked))).collect();
            answers.extend(tasks.into_iter().map(|task| self.runtime.block_on(task).unwrap()));
        }
        answers
    }

    /// Sends a request whose answer is asked for later, or never.
    pub(crate) fn begin(&self, asked: &Asked<'_>) -> Waiting<'_> {
        Waiting { connection: self, task: self.runtime.spawn(self.exchange(asked)) }
    }

    /// Asks for a tunnel to an address.
    pub(crate) fn tunnel(&self, authority: &str) -> Result<Response, h2::Error> {
        let request = Request::builder().method("CONNECT").uri(authority).body(()).unwrap();
        self.runtime.block_on(async {
            let (answer, _) = self.sender.clone().ready().await?.send_request(request, true)?;
            whole(answer).await
        })
    }

    /// Begins a request whose body follows.
    pub(crate) fn open(&self, method: &str, path: &str, headers: &[(&str, String)]) -> Stream<'_> {
        self.stream(self.request(method, path, headers), false)
    }

    /// Sends a request without a body.
    pub(crate) fn open_whole(&self, method: &str, path: &str, headers: &[(&str, String)]) -> Stream<'_> {
        self.stream(self.request(method, path, headers), true)
    }

    fn stream(&self, request: Request<()>, end: bool) -> Stream<'_> {
        self.runtime.block_on(async {
            let mut sender = self.sender.clone().ready().await.unwrap();
            let (answer, body) = sender.send_request(request, end).unwrap();
            Stream { connection: self, body, answer, unread: None }
        })
    }

    fn exchange(&self, asked: &Asked<'_>) -> impl Future<Output = Result<Response, h2::Error>> + Send + use<> {
        let request = self.request(asked.method, &asked.path, &asked.headers);
        let body = asked.body.map(Bytes::copy_from_slice);
        let sender = self.sender.clone();
        async move {
            let (answer, mut stream) = sender.ready().await?.send_request(request, body.is_none())?;
            if let Some(body) = body {
                // The server may have answered and reset what it does not read.
                let _ = stream.send_data(body, true);
            }
            whole(answer).await
        }
    }

    fn request(&self, method: &str, path: &str, headers: &[(&str, String)]) -> Request<()> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.origin));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        request.body(()).unwrap()
    }
}

/// A request under way.
pub(crate) struct Waiting<'a> {
    connection: &'a Http2,
    task: JoinHandle<Result<Response, h2::Error>>,
}

impl Waiting<'_> {
    pub(crate) fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    pub(crate) fn answer(self) -> Result<Response, h2::Error> {
        self.connection.runtime.block_on(self.task).unwrap()
    }
}

/// One of many requests.
#[derive(Clone, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'a str, String)>,
    pub(crate) body: Option<&'a [u8]>,
}

impl Stream<'_> {
    /// Sends a piece as fast as the server takes it.
    pub(crate) fn send(&mut self, mut piece: &[u8]) {
        let body = &mut self.body;
        self.connection.runtime.block_on(async {
            while !piece.is_empty() {
                body.reserve_capacity(piece.len());
                let granted = timeout(TIMEOUT, std::future::poll_fn(|context| body.poll_capacity(context)));
                let granted = granted.await.expect("the server opens its window").unwrap().unwrap();
                let (now, later) = piece.split_at(granted.min(piece.len()));
                body.send_data(Bytes::copy_from_slice(now), false).unwrap();
                piece = later;
            }
        });
    }

    /// The answer's head, where it comes in this time; its body is left unread.
    pub(crate) fn head_within(&mut self, time: Duration) -> Option<Response> {
        let answer = self.connection.runtime.block_on(async { timeout(time, &mut self.answer).await.ok() })?;
        let (head, body) = answer.expect("an answer").into_parts();
        self.unread = Some(body);
        Some(Response {
            status: head.status.as_u16(),
            version: "HTTP/2".to_owned(),
            headers: readable(&head.headers),
            body: Vec::new(),
        })
    }

    /// Ends the body and awaits the answer.
    pub(crate) fn finish(mut self) -> Result<Response, h2::Error> {
        let _ = self.body.send_data(Bytes::new(), true);
        self.connection.runtime.block_on(whole(self.answer))
    }
}

async fn whole(answer: ResponseFuture) -> Result<Response, h2::Error> {
    let (head, body) = timeout(TIMEOUT, answer).await.expect("an answer")?.into_parts();
    Ok(Response {
        status: head.status.as_u16(),
        version: "HTTP/2".to_owned(),
        headers: readable(&head.headers),
        body: timeout(TIMEOUT, collect(body)).await.expect("a whole answer")?,
    })
}

async fn collect(mut body: RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

fn readable(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}
