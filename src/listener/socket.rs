//! Listening sockets: bind, accept without ever giving up, close so that the last answer arrives.

use std::{
    future::poll_fn,
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use pingora_core::server::ShutdownWatch;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{self, Instant},
};

use super::admission::{Admission, Ticket};
use crate::telemetry::metrics;

/// Tokio's own bind queues 128, which a burst of clients overruns while the limit is reached.
const BACKLOG: i32 = 4096;
/// When probes begin on a silent connection, so that peers which vanished are noticed.
const KEEPALIVE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const WARN_INTERVAL: Duration = Duration::from_secs(60);
/// Bounds of [`linger`].
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 256 * 1024;

/// Bound sockets and their accept loop.
#[derive(Debug)]
pub(super) struct Sockets {
    listeners: Vec<TcpListener>,
    /// The listener that is asked first, so that a busy one does not starve the others.
    turn: usize,
    warned: Option<Instant>,
}

/// An accepted connection and its place among the limits.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) tcp: TcpStream,
    /// IPv4-mapped addresses as IPv4.
    pub(super) peer: SocketAddr,
    pub(super) ticket: Ticket,
}

impl Sockets {
    /// Binds all of `addresses` or none. `[::]` takes IPv4 as well, unless `0.0.0.0` is listed with
    /// the same port or the host has no IPv6, where it stands for `0.0.0.0`. Port 0 picks a free
    /// one.
    pub(super) fn bind(addresses: &[SocketAddr]) -> io::Result<Self> {
        let listeners = supported(addresses)
            .iter()
            .map(|address| {
                let only_v6 = addresses.contains(&any_v4(address.port()));
                listen(*address, only_v6)
                    .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))
            })
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Self { listeners, turn: 0, warned: None })
    }

    pub(super) fn local_addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// The next connection within the limits; `None` once `shutdown` is true or its sender is gone.
    ///
    /// A client over its own share is closed at once. Where all places are taken nothing is
    /// accepted.
    pub(super) async fn next(&mut self, admission: &Arc<Admission>, shutdown: &mut ShutdownWatch) -> Option<Accepted> {
        tokio::select! {
            biased;
            () = stopped(shutdown) => None,
            accepted = self.admitted(admission) => accepted,
        }
    }

    async fn admitted(&mut self, admission: &Arc<Admission>) -> Option<Accepted> {
        loop {
            let place = match admission.try_place() {
                Some(place) => place,
                None => {
                    if self.may_warn() {
                        tracing::warn!("limits.connections is reached: new connections wait");
                    }
                    admission.place().await?
                }
            };
            let (tcp, peer) = self.accept().await;
            match admission.admit(place, peer.ip()) {
                Some(ticket) => return Some(Accepted { tcp, peer, ticket }),
                None => {
                    metrics::connection_refused("per_client");
                    tracing::debug!(peer = %peer.ip(), "limits.connections_per_client is reached: closed");
                }
            }
        }
    }

    /// Errors of one connection are passed over; a lack of file descriptors or memory is waited
    /// out.
    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        let mut pause = Duration::from_millis(10);
        loop {
            match self.accept_any().await {
                Ok((tcp, peer)) => return (tcp, canonical(peer)),
                Err(error) if is_of_one_connection(error.kind()) => {}
                Err(error) => {
                    if self.may_warn() {
                        tracing::error!(%error, "cannot accept connections; trying again");
                    }
                    time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    async fn accept_any(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let count = self.listeners.len().max(1);
        let (turn, listeners) = (self.turn, &self.listeners);
        let (index, accepted) = poll_fn(|cx| {
            for step in 0..listeners.len() {
                let index = (turn + step) % count;
                if let Some(listener) = listeners.get(index)
                    && let Poll::Ready(accepted) = listener.poll_accept(cx)
                {
                    return Poll::Ready((index, accepted));
                }
            }
            Poll::Pending
        })
        .await;
        self.turn = (index + 1) % count;
        accepted
    }

    fn may_warn(&mut self) -> bool {
        let due = self.warned.is_none_or(|at| at.elapsed() >= WARN_INTERVAL);
        if due {
            self.warned = Some(Instant::now());
        }
        due
    }
}

/// Resolves once `shutdown` is true or nobody is left to say so.
pub(super) async fn stopped(shutdown: &mut ShutdownWatch) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// `::ffff:a.b.c.d` as `a.b.c.d`.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Ends a connection whose answer was written before the request was read to its end: closing it at
/// once would send a reset, and the client would lose the answer.
pub(super) async fn linger(tcp: &mut TcpStream) {
    let drained = async {
        tcp.shutdown().await?;
        let (mut piece, mut total) = ([0; 4096], 0);
        while total < LINGER_BYTES {
            match tcp.read(&mut piece).await? {
                0 => break,
                count => total += count,
            }
        }
        io::Result::Ok(())
    };
    // Whatever is still to come is not worth waiting for.
    let _ = time::timeout(LINGER_TIME, drained).await;
}

fn listen(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Windows would let a second process take the port.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// A host may have no IPv6 at all, and `[::]` is the default address.
fn supported(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let has_ipv6 = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP)).is_ok();
    let mut supported = Vec::with_capacity(addresses.len());
    for address in addresses {
        let any_v6 = address.is_ipv6() && address.ip().is_unspecified();
        let address = if any_v6 && !has_ipv6 {
            tracing::warn!(%address, "no IPv6 here: listening on 0.0.0.0 instead");
            any_v4(address.port())
        } else {
            *address
        };
        if !supported.contains(&address) || address.port() == 0 {
            supported.push(address);
        }
    }
    supported
}

fn any_v4(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)
}

/// Small writes go out at once, and a peer that vanished is noticed within a few minutes.
pub(super) fn tune(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    SockRef::from(tcp).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))
}

fn is_of_one_connection(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests;
