//! The accept loop: limits, handshake, hand-over.

use std::{io, net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use pingora_core::{protocols::Stream, server::ShutdownWatch};
use rustls::{ServerConfig, server::Acceptor};
use tokio::{
    io::AsyncWriteExt as _,
    sync::watch,
    time::{Instant, sleep, timeout_at},
};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake, server::TlsStream};

use super::{
    Activity, ClientStream, Drain, LAST_WORD,
    admission::Share,
    buffer::BufferedTcp,
    door::{Arrived, Door, Reception},
    handshake,
    listening::{Live, Terms},
    not_tls, proxy_protocol,
    refusals::Refusals,
    socket::{canonical, tune},
};
use crate::{config::Limits, telemetry::metrics, tls::acme::challenged};

/// What is known of a connection once TLS stands.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// The client, by the word of a balancer in `listen.proxy_protocol_from` or of the socket; IPv4-mapped addresses as
    /// IPv4.
    pub peer: SocketAddr,
    /// The address the client reached; IPv4-mapped addresses as IPv4.
    pub local: SocketAddr,
    /// The name the client asked for in the handshake: lower case, without a trailing dot.
    pub sni: Option<Arc<str>>,
    pub activity: Arc<Activity>,
}

/// Who serves HTTP on an accepted connection (implemented by the gate).
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Serves the connection to its end. Watches `shutdown` itself: nobody cuts it short.
    async fn serve(&self, stream: Stream, connection: ConnectionInfo, shutdown: ShutdownWatch);
}

/// The door for TLS.
#[derive(Debug)]
pub struct TlsListener {
    reception: Reception,
}

impl TlsListener {
    pub fn new(live: watch::Receiver<Live>) -> Self {
        Self { reception: Reception::new(Door::new(live, Live::https), share) }
    }

    /// Accepts until listening ends for good; connections go on without it, and each holds a drain guard until it ends.
    /// Once `shutdown` is true they are to come to an end.
    ///
    /// At most `limits.connections` are open, further clients wait in the kernel's queue. A client
    /// (an IPv4 address or an IPv6 /64) that has `limits.connections_per_client` is closed at once,
    /// unless it is one of the trusted proxies.
    /// A balancer's connection counts as the client's that its PROXY header names, and without a header it is closed.
    /// Header and TLS must stand within `limits.handshake`. Plain HTTP is answered with a 400 that says to use
    /// https.
    pub async fn run(mut self, handler: Arc<dyn Handler>, drain: Drain, shutdown: ShutdownWatch) {
        while let Some(accepted) = self.reception.next().await {
            metrics::connection_accepted("https");
            let guard = drain.enter();
            let (handler, shutdown) = (Arc::clone(&handler), shutdown.clone());
            tokio::spawn(async move {
                let _guard = guard;
                let deadline = Instant::now() + accepted.terms.limits.handshake;
                let identified = unless_stopped(accepted.identify(deadline), shutdown.clone()).await;
                let Some(Arrived { tcp, peer, ticket: _ticket, terms, refusals }) = identified.flatten() else {
                    return;
                };
                let seen = Seen { peer, terms: &terms, deadline, refusals: &refusals };
                if let Err(error) = receive(tcp, seen, &*handler, shutdown).await {
                    tracing::debug!(%peer, %error, "connection ended before TLS stood");
                }
            });
        }
    }
}

fn share(terms: &Terms) -> Share {
    let Limits { connections, connections_per_client, .. } = terms.limits;
    Share {
        connections,
        per_client: connections_per_client,
        exempt: terms.proxies.clone(),
        balancers: terms.balancers.clone(),
    }
}

/// What is known of a connection before TLS.
struct Seen<'a> {
    peer: SocketAddr,
    terms: &'a Terms,
    deadline: Instant,
    refusals: &'a Refusals,
}

/// What every connection goes through before its handler.
async fn receive(
    mut tcp: BufferedTcp,
    seen: Seen<'_>,
    handler: &dyn Handler,
    shutdown: ShutdownWatch,
) -> io::Result<()> {
    let Seen { peer, terms: _, deadline, refusals } = seen;
    tune(tcp.tcp())?;
    let local = canonical(tcp.tcp().local_addr()?);
    match first_byte(&mut tcp, deadline, shutdown.clone()).await? {
        // A probe that only connects, or a stop while the client was silent.
        None => return Ok(()),
        Some(_) if proxy_protocol::begins(tcp.unread()) => {
            refusals.unexpected_header(peer);
            return Ok(());
        }
        Some(first) if not_tls::looks_like_http(first) => {
            metrics::connection_refused("plain_http");
            return not_tls::answer(tcp).await;
        }
        Some(_) => {}
    }
    let Some((stream, sni)) = secure(tcp, &seen).await? else { return Ok(()) };
    let connection = ConnectionInfo { peer, local, sni, activity: stream.activity() };
    handler.serve(Box::new(stream), connection, shutdown).await;
    Ok(())
}

async fn first_byte(tcp: &mut BufferedTcp, deadline: Instant, shutdown: ShutdownWatch) -> io::Result<Option<u8>> {
    let first = unless_stopped(timeout_at(deadline, tcp.first_byte()), shutdown).await;
    first.map_or(Ok(None), |first| first.unwrap_or_else(|_| Err(timed_out())))
}

/// `None` where everything stops meanwhile.
async fn unless_stopped<T>(awaited: impl Future<Output = T>, mut shutdown: ShutdownWatch) -> Option<T> {
    tokio::select! {
        biased;
        done = awaited => Some(done),
        () = stopped(&mut shutdown) => None,
    }
}

/// None for a connection that was a challenge of an authority, and is over.
async fn secure(tcp: BufferedTcp, seen: &Seen<'_>) -> io::Result<Option<(ClientStream, Option<Arc<str>>)>> {
    let Seen { peer, terms, deadline, refusals } = *seen;
    let started = Instant::now();
    let tls = timeout_at(deadline, shake_hands(tcp, peer, terms))
        .await
        .unwrap_or_else(|_| Err(timed_out()))
        .inspect_err(|error| {
            metrics::handshake_failed(handshake::failure(error));
            if error.kind() != io::ErrorKind::TimedOut {
                refusals.handshake(peer, error);
            }
        })?;
    tls.iter().for_each(|tls| handshake::succeeded(tls.get_ref().1));
    Ok(tls.map(|tls| {
        let sni = tls.get_ref().1.server_name().map(|name| {
            let name = name.strip_suffix('.').unwrap_or(name);
            Arc::from(name.to_ascii_lowercase())
        });
        (ClientStream::new(tls, peer, started.elapsed()), sni)
    }))
}

async fn shake_hands(tcp: BufferedTcp, peer: SocketAddr, terms: &Terms) -> io::Result<Option<TlsStream<BufferedTcp>>> {
    let start = LazyConfigAcceptor::new(Acceptor::default(), tcp).await?;
    let hello = start.client_hello();
    if let Some(name) = challenged(hello.server_name(), hello.alpn())
        && let Some(config) = terms.challenges.tls_alpn(&name).await
    {
        prove(start, config, &name, peer).await;
        return Ok(None);
    }
    let config = terms.tls.of_client(start.client_hello().cipher_suites());
    start.into_stream(config).await.map(Some)
}

/// The handshake is all there is to it (RFC 8737 section 3). An authority that does not like it says so to who ordered.
async fn prove(start: StartHandshake<BufferedTcp>, config: Arc<ServerConfig>, name: &str, peer: SocketAddr) {
    let proven = async {
        let mut tls = start.into_stream(config).await?;
        tls.shutdown().await
    };
    match proven.await {
        Ok(()) => tracing::info!(name, %peer, "answered a tls-alpn-01 challenge"),
        Err(error) => tracing::info!(name, %peer, %error, "a tls-alpn-01 challenge broke off"),
    }
}

/// Ends a while after the stop: who came just before has begun to speak by then.
async fn stopped(shutdown: &mut ShutdownWatch) {
    // The value behind the watch must not be held over an await.
    let _ = async { shutdown.wait_for(|stopping| *stopping).await.map(drop) }.await;
    sleep(LAST_WORD).await;
}

fn timed_out() -> io::Error {
    metrics::connection_refused("handshake_timeout");
    io::Error::new(io::ErrorKind::TimedOut, "TLS did not stand within limits.handshake")
}

#[cfg(test)]
mod tests;
