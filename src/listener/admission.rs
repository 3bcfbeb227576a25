//! How many connections at once, in all and from one client.

use std::{
    collections::{HashMap, hash_map},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ipnet::IpNet;
use tokio::sync::Notify;

/// How many one listener lets in.
#[derive(Clone, Debug)]
pub(super) struct Share {
    pub(super) connections: usize,
    pub(super) per_client: usize,
    /// Networks without a limit per client: their addresses stand for many.
    pub(super) exempt: Vec<IpNet>,
    /// Networks of balancers, which say first of all for whom a connection is.
    pub(super) balancers: Vec<IpNet>,
}

/// The connection limits of one listener. They may change at any time; who is in already stays.
#[derive(Debug)]
pub(super) struct Admission {
    counts: Mutex<Counts>,
    /// A place may be free.
    freed: Notify,
}

#[derive(Debug)]
struct Counts {
    share: Share,
    taken: usize,
    clients: HashMap<IpAddr, usize>,
}

/// A place among all connections, not yet given to a client.
#[derive(Debug)]
pub(super) struct Place(Arc<Admission>);

/// A connection that counts against both limits until it is dropped; against the first alone where it is nobody's.
#[derive(Debug)]
pub(super) struct Ticket {
    place: Place,
    client: Option<IpAddr>,
}

/// How somebody comes in.
#[derive(Debug)]
pub(super) enum Entry {
    Client(Ticket),
    /// A balancer, for a client that it has yet to name.
    Balancer(Place),
}

impl Admission {
    pub(super) fn new(share: Share) -> Self {
        Self { counts: Mutex::new(Counts { share, taken: 0, clients: HashMap::new() }), freed: Notify::new() }
    }

    /// From now on.
    pub(super) fn set(&self, share: Share) {
        self.counts().share = share;
        self.freed.notify_one();
    }

    /// A place without waiting, where there is one.
    pub(super) fn try_place(self: &Arc<Self>) -> Option<Place> {
        let mut counts = self.counts();
        let free = counts.taken < counts.share.connections;
        counts.taken += usize::from(free);
        free.then(|| Place(Arc::clone(self)))
    }

    /// Waits for a place. Clients meanwhile wait in the kernel's queue, so a burst is slowed rather
    /// than refused. One may wait at a time.
    pub(super) async fn place(self: &Arc<Self>) -> Place {
        loop {
            if let Some(place) = self.try_place() {
                return place;
            }
            self.freed.notified().await;
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Nothing in this file panics while it holds the lock, so the counts are right even then.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// For who has just come. `None` where the client has its share already.
    pub(super) fn enter(self, peer: IpAddr) -> Option<Entry> {
        let balancer = self.0.counts().share.balancers.iter().any(|network| network.contains(&peer.to_canonical()));
        if balancer { Some(Entry::Balancer(self)) } else { self.admit(peer).map(Entry::Client) }
    }

    /// For a client. `None` where it has its share already.
    pub(super) fn admit(self, peer: IpAddr) -> Option<Ticket> {
        let client = client(peer);
        let mut counts = self.0.counts();
        let exempt = counts.share.exempt.iter().any(|network| network.contains(&peer.to_canonical()));
        if !exempt && counts.clients.get(&client).copied().unwrap_or_default() >= counts.share.per_client {
            // The place must not be given back under the lock.
            drop(counts);
            return None;
        }
        *counts.clients.entry(client).or_default() += 1;
        drop(counts);
        Some(Ticket { place: self, client: Some(client) })
    }

    /// For a balancer itself, which stands for many.
    pub(super) fn of_nobody(self) -> Ticket {
        Ticket { place: self, client: None }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.0.counts();
        counts.taken = counts.taken.saturating_sub(1);
        drop(counts);
        self.0.freed.notify_one();
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(client) = self.client else { return };
        if let hash_map::Entry::Occupied(mut count) = self.place.0.counts().clients.entry(client) {
            if *count.get() <= 1 {
                count.remove();
            } else {
                *count.get_mut() -= 1;
            }
        }
    }
}

/// An IPv6 host commands a whole /64, so that is what counts as one client.
fn client(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn share(connections: usize, per_client: usize) -> Share {
        Share { connections, per_client, exempt: Vec::new(), balancers: Vec::new() }
    }

    #[test]
    fn each_client_has_its_share() {
        let admission = Arc::new(Admission::new(share(10, 2)));
        let admit = |peer| admission.try_place().unwrap().admit(ip(peer));
        let first = admit("192.0.2.1").unwrap();
        let _second = admit("::ffff:192.0.2.1").unwrap();
        assert!(admit("192.0.2.1").is_none());
        let _other = admit("192.0.2.2").unwrap();
        drop(first);
        let _again = admit("192.0.2.1").unwrap();
        assert!(admit("192.0.2.1").is_none());
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let admission = Arc::new(Admission::new(share(10, 1)));
        let admit = |peer| admission.try_place().unwrap().admit(ip(peer));
        let _held = admit("2001:db8::1").unwrap();
        assert!(admit("2001:db8::2").is_none());
        assert!(admit("2001:db8:0:1::1").is_some());
    }

    #[tokio::test]
    async fn places_come_back_and_nobody_is_remembered() {
        let admission = Arc::new(Admission::new(share(1, 1)));
        let ticket = admission.place().await.admit(ip("192.0.2.1"));
        assert!(admission.try_place().is_none());
        drop(ticket);
        assert!(admission.try_place().is_some());
        assert!(admission.counts().clients.is_empty());
    }

    #[test]
    fn a_refused_client_leaves_no_trace() {
        let admission = Arc::new(Admission::new(share(1, 0)));
        assert!(admission.try_place().unwrap().admit(ip("192.0.2.1")).is_none());
        assert!(admission.try_place().is_some());
        assert!(admission.counts().clients.is_empty());
    }

    #[test]
    fn a_proxy_speaks_for_many() {
        let admission = Arc::new(Admission::new(Share { exempt: vec!["10.0.0.0/8".parse().unwrap()], ..share(10, 1) }));
        let admit = |peer| admission.try_place().unwrap().admit(ip(peer));
        let held = [admit("10.0.0.1"), admit("::ffff:10.0.0.1"), admit("192.0.2.1")];
        assert!(held.iter().all(Option::is_some));
        assert!(admit("10.0.0.1").is_some() && admit("192.0.2.1").is_none());
    }

    #[test]
    fn a_balancer_is_nobody_until_it_names_a_client() {
        let share = Share { balancers: vec!["10.0.0.0/8".parse().unwrap()], ..share(5, 1) };
        let admission = Arc::new(Admission::new(share));
        let come = |peer| match admission.try_place().unwrap().enter(ip(peer)) {
            Some(Entry::Balancer(place)) => Ok(place),
            Some(Entry::Client(ticket)) => Err(Some(ticket)),
            None => Err(None),
        };
        let [first, second, third] = ["10.0.0.1", "10.0.0.1", "::ffff:10.0.0.1"].map(|peer| come(peer).unwrap());
        let _held = first.admit(ip("192.0.2.1")).unwrap();
        assert!(second.admit(ip("192.0.2.1")).is_none(), "a client has its share behind a balancer too");
        assert!(come("192.0.2.1").unwrap_err().is_none(), "and beside it");
        let _probes = [third.of_nobody(), come("10.0.0.1").unwrap().of_nobody()];
        let named = come("10.0.0.1").unwrap().admit(ip("10.0.0.1"));
        assert!(named.is_some(), "what a balancer says of itself counts for no client");
        assert!(come("10.0.0.1").unwrap().admit(ip("10.0.0.1")).is_none(), "a client there is one as any other");
        drop((named, _held, _probes));
        assert_eq!(admission.counts().taken, 0);
        assert!(admission.counts().clients.is_empty());
    }

    #[tokio::test]
    async fn limits_change_at_once_and_who_is_in_stays() {
        let admission = Arc::new(Admission::new(share(1, 9)));
        let first = admission.place().await.admit(ip("192.0.2.1")).unwrap();
        let waiting = tokio::spawn({
            let admission = Arc::clone(&admission);
            async move { admission.place().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        admission.set(share(2, 1));
        let second = waiting.await.unwrap();
        assert!(second.admit(ip("192.0.2.1")).is_none(), "its share is less now");
        admission.set(share(1, 1));
        assert!(admission.try_place().is_none());
        drop(first);
        assert!(admission.try_place().is_some());
    }
}
