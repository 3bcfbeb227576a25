//! The servers of a directory: whether each is asked at the moment, and the connections to it.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustls::ClientConfig;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};

use super::{
    connection::{Bound, Connection},
    fault::Fault,
    wire,
};
use crate::{
    config::{LdapServer, Secret},
    telemetry::metrics,
};

/// Failures one after the other until a server is left out.
const FAILURES: u32 = 2;
/// How long it is left out at first, and at most; twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Connections that nobody used for so long are closed: firewalls forget them, and servers close them in their turn.
const IDLE: Duration = Duration::from_secs(60);

/// One server.
pub(super) struct Server {
    address: LdapServer,
    /// `ldaps://host:port`, for logs and metrics.
    pub(super) name: String,
    provider: Arc<str>,
    tls: Arc<ClientConfig>,
    service: Option<Service>,
    breaker: Mutex<Breaker>,
    /// Bound as the service account, or as nobody.
    searching: Pool,
    /// For passwords of users: bound anew each time, and never used to search before.
    proving: Pool,
}

/// Who searches.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) dn: String,
    pub(super) password: Secret,
}

#[derive(Default)]
struct Breaker {
    failures: u32,
    /// Left out until then.
    until: Option<Instant>,
    pause: Duration,
}

/// On what terms a server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Usual,
    /// It was left out, and this shows whether it has to stay so.
    Probe,
}

struct Pool {
    places: Semaphore,
    idle: Mutex<Vec<(Connection, Instant)>>,
}

/// A connection taken out of a pool; it goes back by [`Lease::give_back`] alone.
pub(super) struct Lease<'a> {
    pool: &'a Pool,
    connection: Connection,
    /// It may have been closed at the other end without a word.
    pub(super) reused: bool,
    _place: SemaphorePermit<'a>,
}

impl Server {
    pub(super) fn new(
        provider: Arc<str>,
        address: LdapServer,
        tls: Arc<ClientConfig>,
        service: Option<Service>,
        pool: usize,
    ) -> Self {
        let name = address.to_string();
        metrics::ldap_up(&provider, &name, true);
        let (searching, proving) = (Pool::new(pool), Pool::new(pool));
        Self { address, name, provider, tls, service, breaker: Mutex::default(), searching, proving }
    }

    /// Whether it may be asked now. Of a server that was left out for its time, one caller at a time finds out.
    pub(super) fn admits(&self) -> Option<Admission> {
        let mut breaker = self.breaker();
        match breaker.until {
            None => Some(Admission::Usual),
            Some(until) if Instant::now() < until => None,
            Some(_) => {
                breaker.until = Some(Instant::now() + breaker.pause);
                Some(Admission::Probe)
            }
        }
    }

    pub(super) fn succeeded(&self) {
        let mut breaker = self.breaker();
        if breaker.until.is_some() {
            tracing::info!(provider = &*self.provider, server = self.name, "the directory server answers again");
            metrics::ldap_up(&self.provider, &self.name, true);
        }
        *breaker = Breaker::default();
    }

    pub(super) fn failed(&self, fault: &Fault, admission: Admission) {
        metrics::ldap_error(&self.provider, &self.name, fault.kind());
        if !fault.is_of_the_server() {
            return;
        }
        let mut breaker = self.breaker();
        breaker.failures = breaker.failures.saturating_add(1);
        match (breaker.until, admission) {
            // Those who came before it was left out fail one after the other, and that says nothing new.
            (Some(_), Admission::Usual) => return,
            (Some(_), Admission::Probe) => breaker.pause = (breaker.pause * 2).min(LONGEST_PAUSE),
            (None, _) if breaker.failures < FAILURES => return,
            (None, _) => {
                breaker.pause = FIRST_PAUSE;
                tracing::warn!(
                    provider = &*self.provider,
                    server = self.name,
                    reason = %fault,
                    "a directory server is left out until it answers again"
                );
                metrics::ldap_up(&self.provider, &self.name, false);
            }
        }
        breaker.until = Some(Instant::now() + breaker.pause);
    }

    /// A connection to search on.
    pub(super) async fn searching(&self, deadline: Instant) -> Result<Lease<'_>, Fault> {
        let mut lease = self.lease(&self.searching, deadline).await?;
        if let (false, Some(service)) = (lease.reused, &self.service) {
            match lease.bind(&service.dn, &service.password, deadline).await? {
                Bound::Yes => {}
                Bound::No(why) => return Err(Fault::Service(why)),
                Bound::NoEntry => return Err(Fault::Service("there is no such entry".to_owned())),
            }
        }
        Ok(lease)
    }

    /// A connection to bind on as a user.
    pub(super) async fn proving(&self, deadline: Instant) -> Result<Lease<'_>, Fault> {
        self.lease(&self.proving, deadline).await
    }

    /// Closes what nobody uses: the server may have been started anew.
    pub(super) fn forget_connections(&self) {
        for pool in [&self.searching, &self.proving] {
            pool.idle().clear();
        }
    }

    async fn lease<'a>(&'a self, pool: &'a Pool, deadline: Instant) -> Result<Lease<'a>, Fault> {
        let place = timeout_at(deadline, pool.places.acquire()).await;
        let place = place.map_err(|_| Fault::Crowded)?.map_err(|_| Fault::Crowded)?;
        if let Some(connection) = pool.take() {
            return Ok(Lease { pool, connection, reused: true, _place: place });
        }
        let connection = Connection::new(wire::open(&self.address, &self.tls, deadline).await?);
        Ok(Lease { pool, connection, reused: false, _place: place })
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    fn new(places: usize) -> Self {
        Self { places: Semaphore::new(places), idle: Mutex::default() }
    }

    /// The one that was used last: the others may grow old.
    fn take(&self) -> Option<Connection> {
        let mut idle = self.idle();
        idle.retain_mut(|(connection, since)| since.elapsed() < IDLE && connection.is_open());
        idle.pop().map(|(connection, _)| connection)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(Connection, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease<'_> {
    /// For the next one. Not after a fault: an answer may still be under way.
    pub(super) fn give_back(self) {
        self.pool.idle().push((self.connection, Instant::now()));
    }
}

impl Deref for Lease<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Lease<'_> {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}
