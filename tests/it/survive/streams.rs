//! Clients that keep one connection for a whole pull: one answer after the other, or all at a time.

use std::{
    io::{ErrorKind, Read},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use h2::{RecvStream, client::SendRequest};
use http::Request;
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};

use super::puller::{Wanted, matches};
use crate::support::{Hash, Portcullis, Tls, client_config};

/// Silence that is a failure.
const STILL: Duration = Duration::from_secs(60);

/// Holds a transfer to a rate.
struct Pace {
    rate: u64,
    begin: Instant,
    bytes: u64,
}

impl Pace {
    fn new(rate: u64) -> Self {
        Self { rate, begin: Instant::now(), bytes: 0 }
    }

    /// How long to wait after this many bytes more.
    fn after(&mut self, count: usize) -> Duration {
        self.bytes += count as u64;
        if self.rate == 0 {
            return Duration::ZERO;
        }
        let due = Duration::from_millis(self.bytes * 1000 / self.rate);
        due.saturating_sub(self.begin.elapsed())
    }
}

/// HTTP/1.1, one answer after the other.
pub(super) fn kept_alive(gate: &Portcullis, wanted: &Wanted, rate: u64, token: &str) -> Result<u64, String> {
    let mut client = Tls::connect(gate.pki(), gate.port(), "localhost");
    client.patience(STILL);
    let mut pace = Pace::new(rate);
    let manifest = (wanted.tag(), &wanted.manifest);
    let blobs = wanted.blobs.iter().map(|(digest, _)| (wanted.blob(digest), digest));
    for (path, digest) in std::iter::once(manifest).chain(blobs) {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: application/vnd.oci.image.manifest.v1+json\r\n\
             Authorization: Bearer {token}\r\n\r\n",
            gate.host()
        );
        client.try_send(request).map_err(|error| format!("{path}: {error}"))?;
        let head = client.answer_with_interim().ok_or_else(|| format!("{path}: closed without an answer"))?;
        let length = head.header("content-length").and_then(|length| length.parse::<u64>().ok());
        let mut left = length.ok_or_else(|| format!("{path}: no length: {head:?}"))?;
        let (mut hash, mut piece) = (Hash::default(), vec![0; 64 * 1024]);
        while left > 0 {
            let most = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let count = read(&mut client, &mut piece[..most])
                .map_err(|error| format!("{path}: {left} bytes to come: {error}"))?;
            hash.add(&piece[..count]);
            left -= count as u64;
            thread::sleep(pace.after(count));
        }
        matches(&path, head.status, 200, hash, digest)?;
    }
    Ok(wanted.size())
}

fn read(client: &mut Tls, piece: &mut [u8]) -> Result<usize, String> {
    match client.read(piece) {
        Ok(0) => Err("closed".to_owned()),
        Ok(count) => Ok(count),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Err("still".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// HTTP/2, all blobs at a time.
pub(super) fn at_a_time(gate: &Portcullis, wanted: &Wanted, rate: u64, token: &str) -> Result<u64, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let sender = connect(gate).await.map_err(|error| format!("no connection: {error}"))?;
        let ask = |path: String, digest: String, rate: u64| {
            let request = Request::get(gate.url(&path)).header("authorization", format!("Bearer {token}"));
            let request = request.header("accept", "application/vnd.oci.image.manifest.v1+json").body(()).unwrap();
            receive(sender.clone(), request, path, digest, rate)
        };
        ask(wanted.tag(), wanted.manifest.clone(), rate).await?;
        let share = rate / wanted.blobs.len() as u64;
        let blobs = wanted.blobs.iter().map(|(digest, _)| ask(wanted.blob(digest), digest.clone(), share));
        let tasks: Vec<_> = blobs.map(tokio::spawn).collect();
        for task in tasks {
            task.await.unwrap()?;
        }
        Ok(wanted.size())
    })
}

async fn connect(gate: &Portcullis) -> Result<SendRequest<bytes::Bytes>, String> {
    let config: Arc<_> = client_config(gate.pki(), &["h2"]);
    let tcp = TcpStream::connect(("127.0.0.1", gate.port())).await.map_err(|error| error.to_string())?;
    let name = ServerName::try_from("localhost").unwrap();
    let tls = tokio_rustls::TlsConnector::from(config).connect(name, tcp).await.map_err(|error| error.to_string())?;
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(256 * 1024).initial_connection_window_size(1024 * 1024);
    let (sender, connection) = builder.handshake(tls).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn receive(
    sender: SendRequest<bytes::Bytes>,
    request: Request<()>,
    path: String,
    digest: String,
    rate: u64,
) -> Result<(), String> {
    let failed = |error: h2::Error| format!("{path}: {error}");
    let mut sender = sender.ready().await.map_err(failed)?;
    let (answer, _) = sender.send_request(request, true).map_err(failed)?;
    let answer = timeout(STILL, answer).await.map_err(|_| format!("{path}: no answer"))?.map_err(failed)?;
    let status = answer.status().as_u16();
    let mut body: RecvStream = answer.into_body();
    let (mut hash, mut pace) = (Hash::default(), Pace::new(rate));
    while let Some(piece) = timeout(STILL, body.data()).await.map_err(|_| format!("{path}: still"))? {
        let piece = piece.map_err(|error| format!("{path}: after {} bytes: {error}", hash.bytes))?;
        hash.add(&piece);
        tokio::time::sleep(pace.after(piece.len())).await;
        body.flow_control().release_capacity(piece.len()).map_err(failed)?;
    }
    matches(&path, status, 200, hash, &digest)
}
