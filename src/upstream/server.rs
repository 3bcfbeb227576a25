//! One server of an upstream: its connections, how busy it is, and whether it may be asked.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::HeaderValue;
use rustls::ClientConfig;
use tokio::{task::AbortHandle, time::Instant};

use super::{
    Error, SetupError,
    client::{Connector, Wire},
    health::{self, Health},
    idle::Idle,
    latency::Latency,
};
use crate::{
    config::{self, Role, ServerUrl},
    tls::ContentHash,
};

/// So many damaged contents are remembered of a server.
const MOST_SPOILT: usize = 256;

/// All that makes a server the one it is: where any of it changes, it is another one. Weights are the pool's affair.
#[derive(PartialEq, Eq)]
pub(super) struct Settings {
    /// Names the registry in metrics.
    pub(super) registry: Arc<str>,
    pub(super) url: ServerUrl,
    pub(super) role: Role,
    /// `timeouts.connect`.
    pub(super) connect: Duration,
    pub(super) health: config::Health,
    /// For https alone.
    pub(super) tls: Option<TlsSettings>,
    /// What a probe shows of us.
    pub(super) authorization: Option<HeaderValue>,
    /// What an operator should look at where the server does not accept our credentials.
    pub(super) refusal: Arc<str>,
}

#[derive(PartialEq, Eq)]
pub(super) struct TlsSettings {
    /// The name asked for and checked; None: the URL's host.
    pub(super) server_name: Option<String>,
    /// Who is trusted, and what is shown.
    pub(super) content: ContentHash,
}

/// One server.
pub(super) struct Server {
    settings: Settings,
    connector: Connector,
    name: Arc<str>,
    idle: Idle,
    under_way: AtomicUsize,
    latency: Latency,
    pub(super) health: Health,
    probes: OnceLock<Probes>,
    /// Digests of which it sent something else, the oldest first.
    spoilt: Mutex<VecDeque<String>>,
    spoils: AtomicBool,
}

/// The task that probes a server; it ends with the server.
struct Probes(AbortHandle);

impl Drop for Probes {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Server {
    /// `tls` is what the settings speak of.
    pub(super) fn new(settings: Settings, tls: Option<&Arc<ClientConfig>>) -> Result<Self, SetupError> {
        let server_name = settings.tls.as_ref().and_then(|tls| tls.server_name.as_deref());
        let name: Arc<str> = settings.url.to_string().into();
        Ok(Self {
            connector: Connector::new(&settings.url, tls, server_name, settings.connect)?,
            health: Health::new(&settings.registry, &name, &settings.health),
            name,
            settings,
            idle: Idle::default(),
            under_way: AtomicUsize::new(0),
            latency: Latency::default(),
            probes: OnceLock::new(),
            spoilt: Mutex::default(),
            spoils: AtomicBool::new(false),
        })
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Its address as configured, which names it in logs, metrics and seals.
    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(super) fn is_primary(&self) -> bool {
        self.settings.role == Role::Primary
    }

    /// Begins to probe it and to show it in metrics, once, however many pools have it one after the other.
    pub(super) fn watch(self: &Arc<Self>) {
        self.health.counts.show();
        self.probes.get_or_init(|| Probes(tokio::spawn(health::watch(Arc::downgrade(self))).abort_handle()));
    }

    /// What a probe shows of us.
    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        self.settings.authorization.clone()
    }

    pub(super) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    /// Counts a request that is not a probe.
    pub(super) fn asked(&self) {
        self.health.counts.asked();
    }

    /// Notes how long it took until now from a request without a body to the head of its answer.
    pub(super) fn answered(&self, asked: Instant) {
        let now = Instant::now();
        let took = now.saturating_duration_since(asked);
        self.latency.note(took, now);
        self.health.counts.answered(took);
    }

    /// Counts an attempt that came to nothing.
    pub(super) fn erred(&self, error: &Error) {
        match error {
            // Nothing was asked of it.
            Error::Unsigned(_) => {}
            Error::Connect(_)
            | Error::Broken(_)
            | Error::Unusable(_)
            | Error::Refused(_)
            | Error::Redirect(_)
            | Error::Silent(_)
            | Error::Corrupt { .. } => self.health.counts.erred(error.kind()),
        }
    }

    /// The recent mean of that; None where it answered nothing of late.
    pub(super) fn latency(&self) -> Option<Duration> {
        self.latency.mean()
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

    /// An idle connection that is still good now.
    pub(super) fn reusable(&self, now: Instant) -> Option<Wire> {
        self.idle.take(now)
    }

    /// Keeps a connection for the next exchange, where it can be used again.
    pub(super) fn keep(&self, wire: Wire) {
        self.idle.keep(wire);
    }

    /// The server answered that it does not accept our credentials.
    pub(super) fn refused(&self) -> Error {
        Error::Refused(self.settings.refusal.to_string())
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
        self.settings.url.authority().unwrap_or_else(|| "localhost".to_owned())
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
