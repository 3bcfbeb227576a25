//! The accept loop's part that never gives up: it follows the sockets that are listened on, and asks each in turn.

use std::{collections::VecDeque, future::poll_fn, io, net::SocketAddr, sync::Arc, task::Poll, time::Duration};

use tokio::{
    net::TcpStream,
    sync::watch,
    time::{self, Instant},
};

use super::{
    admission::{Admission, Entry, Share, Ticket},
    buffer::BufferedTcp,
    listening::{Live, Terms},
    proxy_protocol::{self, HeaderError},
    refusals::{Refusals, Warned},
    socket::{Sockets, canonical, is_of_one_connection},
};
use crate::telemetry::metrics;

const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Where the clients of one kind come in. It follows what is listened on.
#[derive(Debug)]
pub struct Door {
    live: watch::Receiver<Live>,
    pick: fn(&Live) -> &Sockets,
    entrance: Entrance,
}

impl Door {
    /// `pick` says which of all sockets are this door's.
    pub fn new(live: watch::Receiver<Live>, pick: fn(&Live) -> &Sockets) -> Self {
        let sockets = pick(&live.borrow()).clone();
        Self { live, pick, entrance: Entrance { sockets, ..Entrance::default() } }
    }

    /// The next connection and its peer, an IPv4-mapped address as IPv4. `None` once nothing will be listened on any more
    /// and everybody who had come until then was let in.
    pub async fn next(&mut self) -> Option<(TcpStream, SocketAddr)> {
        loop {
            tokio::select! {
                biased;
                () = changed(&mut self.live) => self.follow(),
                connection = self.entrance.connection() => return connection,
            }
        }
    }

    fn terms(&self) -> Arc<Terms> {
        Arc::clone(&self.live.borrow().terms)
    }

    fn follow(&mut self) {
        let live = self.live.borrow_and_update();
        let next = (self.pick)(&live).clone();
        self.entrance.closed = live.closed;
        drop(live);
        self.entrance.waiting.extend(self.entrance.sockets.waiting_where_gone(&next));
        self.entrance.sockets = next;
    }
}

/// A door with limits.
#[derive(Debug)]
pub(super) struct Reception {
    door: Door,
    share: fn(&Terms) -> Share,
    admission: Arc<Admission>,
    warned: Warned,
    refusals: Arc<Refusals>,
}

/// An accepted connection and its place among the limits.
#[derive(Debug)]
pub(super) struct Accepted {
    tcp: TcpStream,
    peer: SocketAddr,
    entry: Entry,
    /// Those of the moment.
    pub(super) terms: Arc<Terms>,
    refusals: Arc<Refusals>,
}

/// A connection of which is known whose it is.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) tcp: BufferedTcp,
    /// The client, be it that a balancer names it; IPv4-mapped addresses as IPv4.
    pub(super) peer: SocketAddr,
    pub(super) ticket: Ticket,
    pub(super) terms: Arc<Terms>,
    pub(super) refusals: Arc<Refusals>,
}

impl Reception {
    pub(super) fn new(door: Door, share: fn(&Terms) -> Share) -> Self {
        let admission = Arc::new(Admission::new(share(&door.terms())));
        Self { door, share, admission, warned: Warned::default(), refusals: Arc::default() }
    }

    /// The next connection within the limits; `None` as [`Door::next`].
    ///
    /// A client over its own share is closed at once. Where all places are taken nothing is
    /// accepted.
    pub(super) async fn next(&mut self) -> Option<Accepted> {
        loop {
            let Door { live, entrance, .. } = &mut self.door;
            let admitted = tokio::select! {
                biased;
                () = changed(live) => None,
                admitted = admitted(entrance, &self.admission, &self.warned, &self.refusals) => Some(admitted?),
            };
            match admitted {
                Some((tcp, peer, entry)) => {
                    let (terms, refusals) = (self.door.terms(), Arc::clone(&self.refusals));
                    return Some(Accepted { tcp, peer, entry, terms, refusals });
                }
                None => {
                    self.door.follow();
                    self.admission.set((self.share)(&self.door.terms()));
                }
            }
        }
    }
}

async fn admitted(
    entrance: &mut Entrance,
    admission: &Arc<Admission>,
    warned: &Warned,
    refusals: &Refusals,
) -> Option<(TcpStream, SocketAddr, Entry)> {
    loop {
        let place = match admission.try_place() {
            Some(place) => place,
            None => {
                metrics::connection_limit_reached();
                if warned.due().is_some() {
                    tracing::warn!("limits.connections is reached: new connections wait");
                }
                admission.place().await
            }
        };
        let (tcp, peer) = entrance.connection().await?;
        match place.enter(peer.ip()) {
            Some(entry) => return Some((tcp, peer, entry)),
            None => refusals.over_share(peer),
        }
    }
}

impl Accepted {
    /// Whose connection it is: the peer's, or, where that is a balancer, the client's that it names, which then has to be
    /// within its share. `None` where that does not come until the deadline or is refused: counted and told.
    pub(super) async fn identify(self, deadline: Instant) -> Option<Arrived> {
        let Self { tcp, peer, entry, terms, refusals } = self;
        let mut tcp = BufferedTcp::new(tcp);
        let place = match entry {
            Entry::Client(ticket) => return Some(Arrived { tcp, peer, ticket, terms, refusals }),
            Entry::Balancer(place) => place,
        };
        let named = time::timeout_at(deadline, header(&mut tcp)).await.unwrap_or(Err(HeaderError::Late));
        let named = named.inspect_err(|error| refusals.without_header(peer, error)).ok()??;
        let (peer, ticket) = match named {
            Named::Client(client) => {
                let ticket = place.admit(client.ip());
                if ticket.is_none() {
                    refusals.over_share(client);
                }
                (client, ticket?)
            }
            Named::Nobody => (peer, place.of_nobody()),
        };
        Some(Arrived { tcp, peer, ticket, terms, refusals })
    }
}

/// For whom a balancer's connection is.
enum Named {
    Client(SocketAddr),
    Nobody,
}

/// `None` for a probe that only connects.
async fn header(tcp: &mut BufferedTcp) -> Result<Option<Named>, HeaderError> {
    if tcp.first_byte().await?.is_none() {
        return Ok(None);
    }
    Ok(Some(proxy_protocol::read(tcp).await?.map_or(Named::Nobody, Named::Client)))
}

/// Ends when something else is listened on, or by other terms. Never after the last change.
async fn changed(live: &mut watch::Receiver<Live>) {
    if live.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[derive(Debug, Default)]
struct Entrance {
    sockets: Sockets,
    /// Who waited at sockets that are listened on no more.
    waiting: VecDeque<(TcpStream, SocketAddr)>,
    /// The socket that is asked first, so that a busy one does not starve the others.
    turn: usize,
    closed: bool,
    warned: Warned,
}

impl Entrance {
    async fn connection(&mut self) -> Option<(TcpStream, SocketAddr)> {
        match self.waiting.pop_front() {
            Some(connection) => Some(connection),
            None if self.closed && self.sockets.len() == 0 => None,
            None => Some(self.accept().await),
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
                    if self.warned.due().is_some() {
                        tracing::error!(%error, "cannot accept connections; trying again");
                    }
                    time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    async fn accept_any(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let count = self.sockets.len();
        let (turn, sockets) = (self.turn, &self.sockets);
        let (index, accepted) = poll_fn(|cx| {
            for step in 0..count {
                let index = (turn + step) % count;
                if let Poll::Ready(accepted) = sockets.poll_accept(index, cx) {
                    return Poll::Ready((index, accepted));
                }
            }
            Poll::Pending
        })
        .await;
        self.turn = (index + 1) % count;
        accepted
    }
}

#[cfg(test)]
mod tests;
