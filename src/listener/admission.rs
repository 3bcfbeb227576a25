//! How many connections at once, in all and from one client.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ipnet::IpNet;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The connection limits of one listener.
#[derive(Debug)]
pub(super) struct Admission {
    places: Arc<Semaphore>,
    per_client: usize,
    exempt: Vec<IpNet>,
    clients: Mutex<HashMap<IpAddr, usize>>,
}

/// A place among all connections, not yet given to a client.
pub(super) type Place = OwnedSemaphorePermit;

/// A connection that counts against both limits until it is dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    admission: Arc<Admission>,
    client: IpAddr,
    _place: Place,
}

impl Admission {
    pub(super) fn new(connections: usize, per_client: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))),
            per_client,
            exempt: Vec::new(),
            clients: Mutex::default(),
        }
    }

    /// Networks without a limit per client: their addresses stand for many.
    pub(super) fn exempting(self, exempt: Vec<IpNet>) -> Self {
        Self { exempt, ..self }
    }

    /// A place without waiting, where there is one.
    pub(super) fn try_place(&self) -> Option<Place> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Waits for a place. Clients meanwhile wait in the kernel's queue, so a burst is slowed rather
    /// than refused.
    pub(super) async fn place(&self) -> Option<Place> {
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    /// `None` where the client has its share already.
    pub(super) fn admit(self: &Arc<Self>, place: Place, peer: IpAddr) -> Option<Ticket> {
        let client = client(peer);
        let mut clients = self.clients();
        let exempt = self.exempt.iter().any(|network| network.contains(&peer.to_canonical()));
        if !exempt && clients.get(&client).copied().unwrap_or_default() >= self.per_client {
            return None;
        }
        *clients.entry(client).or_default() += 1;
        drop(clients);
        Some(Ticket { admission: Arc::clone(self), client, _place: place })
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Nothing in this file panics while it holds the lock, so the counts are right even then.
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.admission.clients().entry(self.client) {
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

    #[test]
    fn each_client_has_its_share() {
        let admission = Arc::new(Admission::new(10, 2));
        let admit = |peer| admission.admit(admission.try_place().unwrap(), ip(peer));
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
        let admission = Arc::new(Admission::new(10, 1));
        let admit = |peer| admission.admit(admission.try_place().unwrap(), ip(peer));
        let _held = admit("2001:db8::1").unwrap();
        assert!(admit("2001:db8::2").is_none());
        assert!(admit("2001:db8:0:1::1").is_some());
    }

    #[tokio::test]
    async fn places_come_back_and_nobody_is_remembered() {
        let admission = Arc::new(Admission::new(1, 1));
        let ticket = admission.admit(admission.place().await.unwrap(), ip("192.0.2.1"));
        assert!(admission.try_place().is_none());
        drop(ticket);
        assert!(admission.try_place().is_some());
        assert!(admission.clients().is_empty());
    }

    #[test]
    fn a_refused_client_leaves_no_trace() {
        let admission = Arc::new(Admission::new(1, 0));
        assert!(admission.admit(admission.try_place().unwrap(), ip("192.0.2.1")).is_none());
        assert!(admission.try_place().is_some());
        assert!(admission.clients().is_empty());
    }

    #[test]
    fn a_proxy_speaks_for_many() {
        let admission = Arc::new(Admission::new(10, 1).exempting(vec!["10.0.0.0/8".parse().unwrap()]));
        let admit = |peer| admission.admit(admission.try_place().unwrap(), ip(peer));
        let held = [admit("10.0.0.1"), admit("::ffff:10.0.0.1"), admit("192.0.2.1")];
        assert!(held.iter().all(Option::is_some));
        assert!(admit("10.0.0.1").is_some() && admit("192.0.2.1").is_none());
    }
}
