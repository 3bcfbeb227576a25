//! What the requests of one connection mostly have in common: made of the first, and known again.

use std::{
    borrow::Borrow,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use http::HeaderValue;

use crate::config::Host;

/// Remembered from one request of a connection to the next.
#[derive(Debug, Default)]
pub(super) struct Familiar {
    hosts: Latest<String, Dialled>,
    clients: Latest<IpAddr, HeaderValue>,
}

/// A host that was dialled.
#[derive(Clone, Debug)]
pub(super) struct Dialled {
    pub(super) host: Host,
    /// As the registry behind is told of it.
    pub(super) header: HeaderValue,
}

impl Familiar {
    /// Reads a host as a client writes it; None where it is none.
    pub(super) fn dialled(&self, written: &str) -> Option<Dialled> {
        self.hosts.get(written, Dialled::parse)
    }

    /// A client's address as the registry behind is told of it.
    pub(super) fn client(&self, address: IpAddr) -> Option<HeaderValue> {
        self.clients.get(&address, |address| HeaderValue::try_from(address.to_string()).ok())
    }
}

impl Dialled {
    pub(super) fn parse(written: &str) -> Option<Self> {
        let host = Host::parse(written)?;
        let header = HeaderValue::try_from(host.to_string()).ok()?;
        Some(Self { host, header })
    }
}

/// The latest of what was asked for, and what was made of it.
#[derive(Debug)]
struct Latest<K, V>(Mutex<Option<(K, V)>>);

impl<K, V> Default for Latest<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K, V: Clone> Latest<K, V> {
    /// What was made of the same before, else what `make` makes of it.
    fn get<Q>(&self, key: &Q, make: impl FnOnce(&Q) -> Option<V>) -> Option<V>
    where
        K: Borrow<Q>,
        Q: ToOwned<Owned = K> + PartialEq + ?Sized,
    {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, value)) = &*latest
            && known.borrow() == key
        {
            return Some(value.clone());
        }
        let value = make(key)?;
        *latest = Some((key.to_owned(), value.clone()));
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_otherwise_is_read_anew() {
        let familiar = Familiar::default();
        for (written, shown) in [
            ("registry.test:8443", Some("registry.test:8443")),
            ("Registry.test.", Some("registry.test")),
            ("registry.test:8443", Some("registry.test:8443")),
            ("registry.test:8444", Some("registry.test:8444")),
            ("regis try", None),
            ("", None),
            ("[::1]:443", Some("[::1]:443")),
            ("[::1]:443", Some("[::1]:443")),
        ] {
            let dialled = familiar.dialled(written);
            assert_eq!(dialled.as_ref().map(|dialled| dialled.host.clone()), Host::parse(written), "{written}");
            assert_eq!(dialled.as_ref().map(|dialled| &dialled.header), shown.map(HeaderValue::from_static).as_ref());
        }
        for address in ["192.0.2.1", "192.0.2.1", "192.0.2.2", "2001:db8::1", "192.0.2.1"] {
            assert_eq!(familiar.client(address.parse().unwrap()).unwrap(), address);
        }
    }
}
