//! One server of an upstream: its connections, how busy it is, and whether it may be asked.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use rustls::ClientConfig;

use super::{
    Error, SetupError,
    client::{Connector, Wire},
    health::Health,
    idle::Idle,
};
use crate::{
    config::{self, Role},
    telemetry,
};

/// So many damaged contents are remembered of a server.
const MOST_SPOILT: usize = 256;

/// One server.
pub(super) struct Server {
    connector: Connector,
    name: Arc<str>,
    role: Role,
    weight: u32,
    idle: Idle,
    under_way: AtomicUsize,
    requests: metrics::Counter,
    pub(super) health: Health,
    /// Digests of which it sent something else, the oldest first.
    spoilt: Mutex<VecDeque<String>>,
    spoils: AtomicBool,
    /// What an operator should look at where the server does not accept our credentials.
    refusal: Arc<str>,
}

impl Server {
    pub(super) fn new(
        registry: &str,
        server: &config::Server,
        upstream: &config::Upstream,
        tls: Option<&Arc<ClientConfig>>,
        refusal: Arc<str>,
    ) -> Result<Self, SetupError> {
        let connector = Connector::new(&server.url, upstream, tls)?;
        let name: Arc<str> = server.url.to_string().into();
        Ok(Self {
            requests: telemetry::metrics::upstream_requests(registry, &name),
            health: Health::new(registry, &name, &upstream.health),
            connector,
            name,
            role: server.role,
            weight: server.weight,
            idle: Idle::default(),
            under_way: AtomicUsize::new(0),
            spoilt: Mutex::default(),
            spoils: AtomicBool::new(false),
            refusal,
        })
    }

    /// Its address as configured, which names it in logs, metrics and seals.
    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(super) fn is_primary(&self) -> bool {
        self.role == Role::Primary
    }

    /// Its weight, less while it is on its way back.
    pub(super) fn share(&self) -> f64 {
        f64::from(self.weight) * self.health.share()
    }

    pub(super) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    /// Counts a request that is not a probe.
    pub(super) fn asked(&self) {
        self.requests.increment(1);
    }

    /// Counts a request as under way for as long as the guard lives.
    pub(super) fn occupy(self: &Arc<Self>) -> Occupied {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        Occupied(Arc::clone(self))
    }

    /// Opens a connection within `timeouts.connect`, TLS handshake included.
    pub(super) async fn connect(&self) -> Result<Wire, Error> {
        self.connector.connect().await
    }

    /// An idle connection that is still good.
    pub(super) fn reusable(&self) -> Option<Wire> {
        self.idle.take()
    }

    /// Keeps a connection for the next exchange, where it can be used again.
    pub(super) fn keep(&self, wire: Wire) {
        self.idle.keep(wire);
    }

    /// The server answered that it does not accept our credentials.
    pub(super) fn refused(&self) -> Error {
        Error::Refused(self.refusal.to_string())
    }

    /// Notes that it sent something that is not what this digest says.
    pub(super) fn spoilt(&self, digest: &str) {
        let mut spoilt = self.spoilt.lock().unwrap_or_else(PoisonError::into_inner);
        if !spoilt.iter().any(|known| known == digest) {
            if spoilt.len() >= MOST_SPOILT {
                spoilt.pop_front();
            }
            spoilt.push_back(digest.to_owned());
        }
        self.spoils.store(true, Ordering::Relaxed);
    }

    /// True where it has sent something wrong before.
    pub(super) fn spoils_some(&self) -> bool {
        self.spoils.load(Ordering::Relaxed)
    }

    /// True where it has sent something that is not what this digest says.
    pub(super) fn spoils(&self, digest: &str) -> bool {
        self.spoils_some()
            && self.spoilt.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|known| known == digest)
    }

    /// The authority of its address, for a request of our own; a Unix socket has a name that stands for it.
    pub(super) fn authority(&self) -> String {
        self.connector.url().authority().unwrap_or_else(|| "localhost".to_owned())
    }
}

/// A server with one request more under way.
pub(super) struct Occupied(Arc<Server>);

impl std::ops::Deref for Occupied {
    type Target = Arc<Server>;

    fn deref(&self) -> &Arc<Server> {
        &self.0
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}
