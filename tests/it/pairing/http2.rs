//! An HTTP/2 client that can stop in the middle.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use h2::{
    RecvStream, SendStream,
    client::{Builder, Connection, ResponseFuture, SendRequest},
};
use rustls::pki_types::ServerName;
use tokio::{
    net::{TcpSocket, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::authorization;
use crate::support::{Portcullis, client_config};

const PATIENCE: Duration = Duration::from_secs(20);
const WINDOW: u32 = 1 << 20;

/// Runs a test. Connections are driven beside it, also while it blocks.
pub(super) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let result = runtime.block_on(test);
    runtime.shutdown_background();
    result
}

/// Panics where it takes too long.
pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// One connection.
pub(super) struct Http2 {
    sender: SendRequest<Bytes>,
    /// Ends when the connection does.
    pub(super) driver: JoinHandle<Result<(), h2::Error>>,
    host: String,
}

impl Http2 {
    pub(super) async fn connect(gate: &Portcullis) -> Self {
        Self::with_windows(gate, WINDOW, 64 * WINDOW).await
    }

    /// How much may come unread: of each answer, and of all of them.
    pub(super) async fn with_windows(gate: &Portcullis, window: u32, all: u32) -> Self {
        let (sender, connection) = Builder::new()
            .initial_window_size(window)
            .initial_connection_window_size(all)
            .handshake(tls(gate).await)
            .await
            .unwrap();
        Self { sender, driver: tokio::spawn(drive(connection)), host: gate.host() }
    }

    /// Sends a head by alice; the body follows unless this is the end.
    pub(super) async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        end: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", self.host))
            .header("authorization", authorization());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut sender = self.sender.clone().ready().await?;
        sender.send_request(request.body(()).unwrap(), end)
    }

    /// A GET up to the head of its answer.
    pub(super) async fn get(&mut self, path: &str) -> Result<http::Response<RecvStream>, h2::Error> {
        let (response, _) = self.send("GET", path, &[], true).await?;
        soon("an answer", response).await
    }
}

async fn tls(gate: &Portcullis) -> TlsStream<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    // As over a distance: what is written is under way for a while.
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    let tcp = socket.connect(([127, 0, 0, 1], gate.port()).into()).await.unwrap();
    let connector = TlsConnector::from(client_config(gate.pki(), &["h2"]));
    connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap()
}

async fn drive(connection: Connection<TlsStream<TcpStream>, Bytes>) -> Result<(), h2::Error> {
    connection.await
}

/// A whole body.
pub(super) async fn read(mut body: RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut whole = Vec::new();
    while let Some(piece) = soon("a piece of a body", body.data()).await {
        let piece = piece?;
        whole.extend_from_slice(&piece);
        body.flow_control().release_capacity(piece.len())?;
    }
    Ok(whole)
}

/// At least so much of a body.
pub(super) async fn read_some(body: &mut RecvStream, count: usize) -> Vec<u8> {
    let mut some = Vec::new();
    while some.len() < count {
        let piece = soon("a piece of a body", body.data()).await.expect("more of the body").unwrap();
        some.extend_from_slice(&piece);
        body.flow_control().release_capacity(piece.len()).unwrap();
    }
    some
}

/// Sends all of it as the windows allow.
pub(super) async fn write(stream: &mut SendStream<Bytes>, bytes: impl Into<Bytes>, end: bool) -> Result<(), h2::Error> {
    let mut left: Bytes = bytes.into();
    while !left.is_empty() {
        stream.reserve_capacity(left.len());
        let capacity = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
        let capacity = capacity.unwrap_or(Err(h2::Reason::STREAM_CLOSED.into()))?;
        let piece = left.split_to(capacity.min(left.len()));
        stream.send_data(piece, false)?;
    }
    if end { stream.send_data(Bytes::new(), true) } else { Ok(()) }
}
