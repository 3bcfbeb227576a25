//! The servers of a directory: whether each is asked at the moment, and the connections to it.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustls::ClientConfig;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    task::JoinSet,
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    connection::{Bound, Connection},
    fault::Fault,
    wire,
};
use crate::{
    config::{LdapServer, Secret},
    telemetry::metrics::{self, DirectoryCounts},
};

/// Failures one after the other until a server is left out.
const FAILURES: u32 = 2;
/// How long it is left out at first, and at most; twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long nobody has to ask a server until it is probed.
const PACE: Duration = Duration::from_secs(30);
/// The same for one that refuses the service account: each try may count there, and lock the account.
const PACE_OF_REFUSED: Duration = Duration::from_secs(5 * 60);
/// Connections that nobody used for so long are closed: firewalls forget them, and servers close them in their turn.
const IDLE: Duration = Duration::from_secs(60);

/// One server.
pub(super) struct Server {
    address: LdapServer,
    /// `ldaps://host:port`, for logs and metrics.
    pub(super) name: String,
    provider: Arc<str>,
    counts: DirectoryCounts,
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
    /// The log and the metrics say that it is left out, maybe since an earlier configuration.
    told: bool,
    /// Why; None where that was under an earlier configuration.
    trouble: Option<String>,
    /// When it is probed, if nobody asks it before; None: at once.
    due: Option<Instant>,
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
    /// It is asked at once, also where one of the same name was left out under an earlier configuration; that is over
    /// with its first answer.
    pub(super) fn new(
        provider: Arc<str>,
        address: LdapServer,
        tls: Arc<ClientConfig>,
        service: Option<Service>,
        pool: usize,
        was_left_out: bool,
    ) -> Self {
        let name = address.to_string();
        metrics::ldap_up(&provider, &name, !was_left_out);
        let (searching, proving) = (Pool::new(pool), Pool::new(pool));
        let breaker = Mutex::new(Breaker { told: was_left_out, ..Breaker::default() });
        let counts = DirectoryCounts::new(&provider, &name);
        Self { address, name, provider, counts, tls, service, breaker, searching, proving }
    }

    /// True from when the log said so until it said that it answers again.
    pub(super) fn is_left_out(&self) -> bool {
        self.breaker().told
    }

    /// Why it is left out, as far as that is known; None while it is asked.
    pub(super) fn trouble(&self) -> Option<String> {
        let breaker = self.breaker();
        let why = || breaker.trouble.clone().unwrap_or_else(|| "it did not answer".to_owned());
        breaker.told.then(why)
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
        if breaker.told {
            tracing::info!(provider = &*self.provider, server = self.name, "the directory server answers again");
            metrics::ldap_up(&self.provider, &self.name, true);
        }
        *breaker = Breaker { due: Some(Instant::now() + PACE), ..Breaker::default() };
    }

    pub(super) fn failed(&self, fault: &Fault, admission: Admission) {
        self.counts.erred(fault.kind());
        let (now, mut breaker) = (Instant::now(), self.breaker());
        if !fault.is_of_the_server() {
            breaker.due = Some(now + PACE);
            return;
        }
        breaker.failures = breaker.failures.saturating_add(1);
        match (breaker.until, admission) {
            // Those who came before it was left out fail one after the other, and that says nothing new.
            (Some(_), Admission::Usual) => return,
            (Some(_), Admission::Probe) => {
                breaker.pause = (breaker.pause * 2).min(LONGEST_PAUSE);
                breaker.trouble = Some(fault.to_string());
            }
            (None, _) if breaker.failures < FAILURES => {
                breaker.due = Some(now + FIRST_PAUSE);
                return;
            }
            (None, _) => {
                breaker.pause = FIRST_PAUSE;
                breaker.told = true;
                breaker.trouble = Some(fault.to_string());
                tracing::warn!(
                    provider = &*self.provider,
                    server = self.name,
                    reason = %fault,
                    "a directory server is left out until it answers again"
                );
                metrics::ldap_up(&self.provider, &self.name, false);
            }
        }
        breaker.until = Some(now + breaker.pause);
        let pace = if matches!(fault, Fault::Service(_)) { PACE_OF_REFUSED } else { breaker.pause };
        breaker.due = Some(now + pace);
    }

    /// Probes it wherever nobody asks it for a while, so that it is known how it is; has no end.
    pub(super) async fn watch(self: Arc<Self>, timeout: Duration) {
        loop {
            sleep_until(self.due()).await;
            // It may have been asked meanwhile.
            if self.due() <= Instant::now()
                && let Some(admission) = self.admits()
            {
                self.probe(admission, timeout).await;
            }
        }
    }

    /// Finds out whether it can be reached and lets us in, by a connection that serves nothing else.
    pub(super) async fn probe(self: &Arc<Self>, admission: Admission, timeout: Duration) {
        let server = Arc::clone(self);
        let deadline = Instant::now() + timeout;
        // On a task of its own, which ends with this: the library may give up on an answer that it cannot read.
        let mut work = JoinSet::new();
        work.spawn(async move {
            let mut connection = Connection::new(wire::open(&server.address, &server.tls, deadline).await?);
            server.bind_service(&mut connection, deadline).await
        });
        match work.join_next().await {
            Some(Ok(Ok(()))) => self.succeeded(),
            Some(Ok(Err(fault))) => self.failed(&fault.after(timeout), admission),
            Some(Err(_)) | None => self.failed(&Fault::Answer("it cannot be read".to_owned()), admission),
        }
    }

    /// When it is to be probed: never before its time where it is left out.
    pub(super) fn due(&self) -> Instant {
        let breaker = self.breaker();
        let due = breaker.due.unwrap_or_else(Instant::now);
        breaker.until.map_or(due, |until| due.max(until))
    }

    /// A connection to search on.
    pub(super) async fn searching(&self, deadline: Instant) -> Result<Lease<'_>, Fault> {
        let mut lease = self.lease(&self.searching, deadline).await?;
        if !lease.reused {
            self.bind_service(&mut lease, deadline).await?;
        }
        Ok(lease)
    }

    /// A connection to bind on as a user.
    pub(super) async fn proving(&self, deadline: Instant) -> Result<Lease<'_>, Fault> {
        self.lease(&self.proving, deadline).await
    }

    /// As nobody where there is no service account.
    async fn bind_service(&self, connection: &mut Connection, deadline: Instant) -> Result<(), Fault> {
        let Some(service) = &self.service else { return Ok(()) };
        match connection.bind(&service.dn, &service.password, deadline).await? {
            Bound::Yes => Ok(()),
            Bound::No(why) => Err(Fault::Service(why)),
            Bound::NoEntry => Err(Fault::Service("there is no such entry".to_owned())),
        }
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
