//! The accept loop: limits, handshake, hand-over.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use ipnet::IpNet;
use pingora_core::{protocols::Stream, server::ShutdownWatch};
use rustls::ServerConfig;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsAcceptor;

use super::{
    Activity, ClientStream, Drain,
    admission::Admission,
    buffer::BufferedTcp,
    not_tls,
    socket::{Accepted, Sockets, canonical, stopped, tune},
};
use crate::{config::Limits, telemetry::metrics};

/// What is known of a connection once TLS stands.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// The client; IPv4-mapped addresses as IPv4.
    pub peer: SocketAddr,
    /// The address the client reached; IPv4-mapped addresses as IPv4.
    pub local: SocketAddr,
    /// The name the client asked for in the handshake: lower case, without a trailing dot.
    pub sni: Option<Arc<str>>,
    pub activity: Arc<Activity>,
}

/// On which terms clients are let in.
#[derive(Clone, Debug)]
pub struct Terms {
    pub limits: Limits,
    /// Networks of proxies, each of which speaks for many clients: no limit per client there.
    pub proxies: Vec<IpNet>,
}

/// Who serves HTTP on an accepted connection (implemented by the gate).
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Serves the connection to its end. Watches `shutdown` itself: nobody cuts it short.
    async fn serve(&self, stream: Stream, connection: ConnectionInfo, shutdown: ShutdownWatch);
}

/// Bound TLS sockets, not yet accepting.
#[derive(Debug)]
pub struct TlsListener {
    sockets: Sockets,
}

impl TlsListener {
    /// Binds all of `addresses` or none; clients queue from here on. `[::]` takes IPv4 too, unless
    /// `0.0.0.0` is listed with the same port.
    ///
    /// # Errors
    /// The first address that cannot be bound, named in the text.
    pub async fn bind(addresses: &[SocketAddr]) -> io::Result<Self> {
        Sockets::bind(addresses).map(|sockets| Self { sockets })
    }

    /// Where it listens, with the ports that were picked for port 0.
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.sockets.local_addresses()
    }

    /// Accepts until `shutdown` turns true, then closes the sockets and returns; connections go on
    /// without it, and each holds a drain guard until it ends.
    ///
    /// At most `limits.connections` are open, further clients wait in the kernel's queue. A client
    /// (an IPv4 address or an IPv6 /64) that has `limits.connections_per_client` is closed at once,
    /// unless it is one of the trusted proxies.
    /// TLS must stand within `limits.handshake`. Plain HTTP is answered with a 400 that says to use
    /// https.
    pub async fn run(
        mut self,
        tls: Arc<ServerConfig>,
        terms: Terms,
        handler: Arc<dyn Handler>,
        drain: Drain,
        mut shutdown: ShutdownWatch,
    ) {
        let Terms { limits, proxies } = terms;
        let admission = Admission::new(limits.connections, limits.connections_per_client).exempting(proxies);
        let admission = Arc::new(admission);
        let reception = Arc::new(Reception {
            acceptor: TlsAcceptor::from(tls),
            handshake: limits.handshake,
            handler,
            shutdown: shutdown.clone(),
        });
        while let Some(accepted) = self.sockets.next(&admission, &mut shutdown).await {
            let Accepted { tcp, peer, ticket } = accepted;
            let (reception, guard) = (Arc::clone(&reception), drain.enter());
            tokio::spawn(async move {
                let _held = (ticket, guard);
                if let Err(error) = reception.receive(tcp, peer).await {
                    tracing::debug!(%peer, %error, "connection ended before TLS stood");
                }
            });
        }
    }
}

/// What every connection goes through before its handler.
struct Reception {
    acceptor: TlsAcceptor,
    handshake: Duration,
    handler: Arc<dyn Handler>,
    shutdown: ShutdownWatch,
}

impl Reception {
    async fn receive(&self, tcp: TcpStream, peer: SocketAddr) -> io::Result<()> {
        tune(&tcp)?;
        let deadline = Instant::now() + self.handshake;
        let local = canonical(tcp.local_addr()?);
        let mut tcp = BufferedTcp::new(tcp);
        match self.first_byte(&mut tcp, deadline).await? {
            // A probe that only connects, or a stop while the client was silent.
            None => return Ok(()),
            Some(first) if not_tls::looks_like_http(first) => {
                metrics::connection_refused("plain_http");
                return not_tls::answer(tcp).await;
            }
            Some(_) => {}
        }
        let (stream, sni) = self.secure(tcp, peer, deadline).await?;
        let connection = ConnectionInfo { peer, local, sni, activity: stream.activity() };
        self.handler.serve(Box::new(stream), connection, self.shutdown.clone()).await;
        Ok(())
    }

    async fn first_byte(&self, tcp: &mut BufferedTcp, deadline: Instant) -> io::Result<Option<u8>> {
        let mut shutdown = self.shutdown.clone();
        tokio::select! {
            first = timeout_at(deadline, tcp.first_byte()) => first.unwrap_or_else(|_| Err(timed_out())),
            () = stopped(&mut shutdown) => Ok(None),
        }
    }

    async fn secure(
        &self,
        tcp: BufferedTcp,
        peer: SocketAddr,
        deadline: Instant,
    ) -> io::Result<(ClientStream, Option<Arc<str>>)> {
        let started = Instant::now();
        let handshake = self.acceptor.accept(tcp);
        let tls = timeout_at(deadline, handshake).await.unwrap_or_else(|_| Err(timed_out())).inspect_err(|error| {
            if error.kind() != io::ErrorKind::TimedOut {
                metrics::connection_refused("handshake");
            }
        })?;
        let sni = tls.get_ref().1.server_name().map(|name| {
            let name = name.strip_suffix('.').unwrap_or(name);
            Arc::from(name.to_ascii_lowercase())
        });
        Ok((ClientStream::new(tls, peer, started.elapsed()), sni))
    }
}

fn timed_out() -> io::Error {
    metrics::connection_refused("handshake_timeout");
    io::Error::new(io::ErrorKind::TimedOut, "TLS did not stand within limits.handshake")
}

#[cfg(test)]
mod tests;
