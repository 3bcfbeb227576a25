//! HTTP/2 connections that say how they ended.

use std::{
    io,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::{
    Reason, RecvStream,
    client::{ResponseFuture, SendRequest},
};
use http::Request;
use rustls::{ClientConfig, HandshakeKind, pki_types::ServerName};
use tokio::{
    net::TcpStream,
    runtime::Runtime,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::client::{Ask, Broken, STILL, due};
use crate::support::Response;

/// One for all connections: each is read at all times, as clients do it.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap())
}

/// One connection.
pub(super) struct Streams {
    sender: SendRequest<Bytes>,
    driver: JoinHandle<Result<(), h2::Error>>,
    /// The leaf, unless an earlier session went on.
    pub(super) shown: Option<Vec<u8>>,
}

/// How a request ended.
pub(super) enum Outcome {
    Answer(Response),
    /// The server said that it did nothing for it, so that it may be sent again (RFC 9113 §6.8, §8.7).
    Untouched,
    Broken(String),
}

impl Streams {
    pub(super) fn connect(config: Arc<ClientConfig>, port: u16, name: &str) -> Result<Self, Broken> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connecting = async {
            let tcp = TcpStream::connect(("127.0.0.1", port)).await?;
            let connector = tokio_rustls::TlsConnector::from(config);
            let tls = connector.connect(name, tcp).await?;
            let session = tls.get_ref().1;
            let leaf = || session.peer_certificates().unwrap()[0].to_vec();
            let shown = (session.handshake_kind() != Some(HandshakeKind::Resumed)).then(leaf);
            let mut builder = h2::client::Builder::new();
            builder.initial_window_size(1 << 20).initial_connection_window_size(4 << 20);
            let (sender, connection) = builder.handshake(tls).await.map_err(io::Error::other)?;
            Ok::<_, io::Error>(Self { sender, driver: tokio::spawn(connection), shown })
        };
        let connected = runtime().block_on(async { timeout(STILL, connecting).await });
        let connected = connected.map_err(|_| "no connection: still".to_owned())?;
        connected.map_err(|error| Broken::unconnected(&error))
    }

    /// False where the connection has ended.
    pub(super) fn is_open(&self) -> bool {
        !self.driver.is_finished()
    }

    pub(super) fn ask(&self, ask: &Ask, origin: &str) -> Outcome {
        let mut request = Request::builder().method(ask.method).uri(format!("{origin}{}", ask.path));
        for (name, value) in &ask.headers {
            request = request.header(*name, value);
        }
        runtime().block_on(exchange(self.sender.clone(), request.body(()).unwrap(), ask))
    }
}

impl Streams {
    /// Sends these pieces as the body of one PATCH, each after the pause that `sent` asks for behind the one before.
    pub(super) fn upload(
        &self,
        url: &str,
        login: &str,
        pieces: impl Iterator<Item = Bytes>,
        mut sent: impl FnMut(&Bytes) -> Duration,
    ) -> Outcome {
        let request = Request::builder().method("PATCH").uri(url).header("authorization", login).body(()).unwrap();
        runtime().block_on(async {
            let sending = async {
                let (answer, mut stream) = self.sender.clone().ready().await?.send_request(request, false)?;
                for piece in pieces {
                    let pause = sent(&piece);
                    send(&mut stream, piece, false).await?;
                    sleep(pause).await;
                }
                stream.send_data(Bytes::new(), true)?;
                Ok::<_, h2::Error>(answer)
            };
            match sending.await {
                Ok(answer) => receive(answer, 0).await,
                Err(error) => Outcome::Broken(format!("not sent: {error}")),
            }
        })
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

async fn exchange(sender: SendRequest<Bytes>, request: Request<()>, ask: &Ask) -> Outcome {
    let sent = async {
        let (answer, body) = sender.ready().await?.send_request(request, ask.body.is_empty())?;
        Ok::<_, h2::Error>((answer, body))
    };
    let (answer, mut body) = match timeout(STILL, sent).await {
        Ok(Ok(sent)) => sent,
        // Nothing of it left.
        Ok(Err(error)) if error.is_go_away() => return Outcome::Untouched,
        Ok(Err(error)) => return Outcome::Broken(format!("not sent: {error}")),
        Err(_) => return Outcome::Broken("not sent: still".to_owned()),
    };
    let sending = async {
        // The answer says whether it was taken.
        let _ = send(&mut body, ask.body.clone(), true).await;
        std::future::pending::<()>().await;
    };
    let received = async {
        tokio::select! {
            received = receive(answer, ask.rate) => received,
            () = sending => unreachable!("sending never ends first"),
        }
    };
    received.await
}

/// `last`: nothing follows.
async fn send(stream: &mut h2::SendStream<Bytes>, mut body: Bytes, last: bool) -> Result<(), h2::Error> {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let Some(granted) = std::future::poll_fn(|context| stream.poll_capacity(context)).await else { return Ok(()) };
        let piece = body.split_to(granted?.min(body.len()));
        stream.send_data(piece, last && body.is_empty())?;
    }
    Ok(())
}

async fn receive(answer: ResponseFuture, rate: u64) -> Outcome {
    let head = match timeout(STILL, answer).await {
        Ok(Ok(head)) => head,
        Ok(Err(error)) if untouched(&error) => return Outcome::Untouched,
        Ok(Err(error)) => return Outcome::Broken(format!("no answer: {error}")),
        Err(_) => return Outcome::Broken("no answer: still".to_owned()),
    };
    let (head, body) = head.into_parts();
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    match collect(body, rate).await {
        Ok(body) => Outcome::Answer(Response { status: head.status.as_u16(), version: "HTTP/2".into(), headers, body }),
        Err(error) => Outcome::Broken(format!("{} {error}", head.status)),
    }
}

/// The stream is beyond the last that a GOAWAY names, or was refused.
fn untouched(error: &h2::Error) -> bool {
    error.is_remote()
        && ((error.is_go_away() && error.reason() == Some(Reason::NO_ERROR))
            || (error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM)))
}

async fn collect(mut body: RecvStream, rate: u64) -> Result<Vec<u8>, String> {
    let (begin, mut bytes) = (Instant::now(), Vec::new());
    while let Some(piece) = timeout(STILL, body.data()).await.map_err(|_| "still".to_owned())? {
        let piece = piece.map_err(|error| format!("cut off after {} bytes: {error}", bytes.len()))?;
        bytes.extend_from_slice(&piece);
        sleep(due(bytes.len(), rate).saturating_sub(begin.elapsed())).await;
        body.flow_control().release_capacity(piece.len()).map_err(|error| error.to_string())?;
    }
    Ok(bytes)
}
