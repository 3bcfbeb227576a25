//! Listening sockets: bound anew, kept through a reload, or taken over from another process; and how a connection ends
//! so that the last answer arrives.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, TcpKeepalive, Type};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time,
};

/// Tokio's own bind queues 128, which a burst of clients overruns while the limit is reached.
const BACKLOG: i32 = 4096;
/// When probes begin on a silent connection, so that peers which vanished are noticed.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// Bounds of [`linger`].
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 256 * 1024;

/// One listening socket.
#[derive(Debug)]
struct Socket {
    /// As asked for; its port may be 0.
    address: SocketAddr,
    only_v6: bool,
    listener: TcpListener,
}

/// A socket as one process hands it to the next.
#[derive(Debug)]
pub struct HandedSocket<F> {
    pub address: SocketAddr,
    pub only_v6: bool,
    pub descriptor: F,
}

/// Bound sockets, where clients queue. Clones share them; the last clone of a socket closes it.
#[derive(Clone, Debug, Default)]
pub struct Sockets(Vec<Arc<Socket>>);

impl Sockets {
    /// Binds all of `addresses` or none. `[::]` takes IPv4 as well, unless `0.0.0.0` is listed with the same port or the
    /// host has no IPv6, where it stands for `0.0.0.0`. Port 0 picks a free one.
    ///
    /// Sockets of `own` are kept where their address is still asked for. Any of `all` may overlap with a new one
    /// (`0.0.0.0:443` after `[::]:443`): both listen then, until the old one is closed.
    ///
    /// # Errors
    /// The first address that cannot be bound, named in the text.
    pub fn bind(addresses: &[SocketAddr], own: &Self, all: &[&Self]) -> io::Result<Self> {
        let mut kept = own.0.clone();
        let bound = supported(addresses).into_iter().map(|address| {
            let only_v6 = addresses.contains(&any_v4(address.port()));
            let same = |socket: &Arc<Socket>| socket.address == address && socket.only_v6 == only_v6;
            if let Some(position) = kept.iter().position(same) {
                return Ok(kept.swap_remove(position));
            }
            let overlapping =
                all.iter().flat_map(|sockets| &sockets.0).filter(|socket| socket.has_port(address.port()));
            listen(address, only_v6, overlapping)
                .map(|listener| Arc::new(Socket { address, only_v6, listener }))
                .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))
        });
        bound.collect::<io::Result<_>>().map(Self)
    }

    /// Those that another process listened on.
    ///
    /// # Errors
    /// A descriptor that is no socket.
    pub fn taken(handed: impl IntoIterator<Item = HandedSocket<OwnedFd>>) -> io::Result<Self> {
        let taken = handed.into_iter().map(|HandedSocket { address, only_v6, descriptor }| {
            let listener = std::net::TcpListener::from(descriptor);
            listener.set_nonblocking(true)?;
            Ok(Arc::new(Socket { address, only_v6, listener: TcpListener::from_std(listener)? }))
        });
        taken.collect::<io::Result<_>>().map(Self)
    }

    /// What another process needs to listen on the same.
    pub fn handed(&self) -> impl Iterator<Item = HandedSocket<BorrowedFd<'_>>> {
        self.0.iter().map(|socket| {
            let Socket { address, only_v6, listener } = &**socket;
            HandedSocket { address: *address, only_v6: *only_v6, descriptor: listener.as_fd() }
        })
    }

    /// Where they listen, with the ports that were picked for port 0.
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().filter_map(|socket| socket.listener.local_addr().ok()).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn poll_accept(&self, index: usize, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        match self.0.get(index) {
            Some(socket) => socket.listener.poll_accept(cx),
            None => Poll::Pending,
        }
    }

    /// The connections that wait at sockets which `next` no longer has: closing those would reset them.
    pub(super) fn waiting_where_gone(&self, next: &Self) -> Vec<(TcpStream, SocketAddr)> {
        let gone = self.0.iter().filter(|socket| !next.0.iter().any(|kept| Arc::ptr_eq(kept, socket)));
        gone.flat_map(|socket| socket.waiting()).collect()
    }
}

impl Socket {
    fn has_port(&self, port: u16) -> bool {
        port != 0 && self.listener.local_addr().is_ok_and(|address| address.port() == port)
    }

    fn waiting(&self) -> Vec<(TcpStream, SocketAddr)> {
        // Not by tokio, which may not have heard yet of the latest.
        let listener = SockRef::from(&self.listener);
        let connections = std::iter::from_fn(|| {
            loop {
                match listener.accept() {
                    Ok((connection, peer)) => return Some((connection, peer)),
                    Err(error) if is_of_one_connection(error.kind()) => {}
                    Err(_) => return None,
                }
            }
        });
        let usable = connections.filter_map(|(connection, peer)| {
            connection.set_nonblocking(true).ok()?;
            Some((TcpStream::from_std(connection.into()).ok()?, canonical(peer.as_socket()?)))
        });
        usable.collect()
    }
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

/// Small writes go out at once, and a peer that vanished is noticed within a few minutes.
pub(super) fn tune(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    SockRef::from(tcp).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))
}

pub(super) fn is_of_one_connection(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::Interrupted
    )
}

fn listen<'a>(
    address: SocketAddr,
    only_v6: bool,
    overlapping: impl Iterator<Item = &'a Arc<Socket>>,
) -> io::Result<TcpListener> {
    let socket = match open(address, only_v6, false) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let mut shared = Vec::new();
            for old in overlapping {
                SockRef::from(&old.listener).set_reuse_port(true)?;
                shared.push(old);
            }
            if shared.is_empty() {
                return Err(error);
            }
            let socket = open(address, only_v6, true);
            // Only for this moment. The kernel remembers it of the port all the same, for processes of the same account.
            for old in shared {
                let _ = SockRef::from(&old.listener).set_reuse_port(false);
            }
            let socket = socket?;
            socket.set_reuse_port(false)?;
            socket
        }
        socket => socket?,
    };
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

fn open(address: SocketAddr, only_v6: bool, shared: bool) -> io::Result<RawSocket> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// A host may have no IPv6 at all, and `[::]` is the default address.
fn supported(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let has_ipv6 = RawSocket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP)).is_ok();
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

#[cfg(test)]
mod tests;
