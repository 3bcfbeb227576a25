//! Whether a server may be asked: probes, what requests meet, growing pauses, and a slow return.
//!
//! A server loses its turn after `unhealthy_after` failures in a row, of probes or of requests. It gets it back when
//! `healthy_after` probes in a row went well and its pause is over; the pause is one `interval` and doubles each time the
//! server fails again soon after its return, up to [`LONGEST_PAUSE`] intervals. Then its share grows over [`RETURN`]
//! intervals. A server without its turn is still asked where nobody else is left. A configuration that is read again
//! changes nothing of it, not even where the server's other settings changed.

use std::{
    fmt,
    sync::{
        Arc, LazyLock, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http::{HeaderValue, Method, StatusCode, header};
use hyper::Request;
use tokio::time::{MissedTickBehavior, interval_at, timeout};
use tracing::{info, warn};

use super::{Error, UploadBody, exchange::Pending, server::Server};
use crate::{
    config,
    telemetry::metrics::{self, ServerCounts},
};

/// The longest pause, in intervals: a minute where probes come every five seconds.
const LONGEST_PAUSE: u32 = 12;
/// How long a returned server's share grows, in intervals.
const RETURN: u32 = 6;
/// The share that it begins with.
const FIRST_SHARE: f64 = 0.1;

/// The state of one server. Reading it takes no lock.
pub(super) struct Health {
    settings: config::Health,
    registry: Box<str>,
    server: Box<str>,
    pub(super) counts: ServerCounts,
    up: AtomicBool,
    /// It answers no probes.
    silent: AtomicBool,
    /// It is out of the configuration, and shown no more.
    retired: AtomicBool,
    /// Failures of requests in a row.
    failures: AtomicU32,
    /// Failures of requests in all.
    failed: AtomicU64,
    /// When the server came back, by [`clock`]; 0 where its share is whole.
    returned: AtomicU64,
    course: Mutex<Course>,
}

/// What decides about leaving and coming back.
#[derive(Clone, Debug)]
struct Course {
    /// Probes in a row.
    good: u32,
    bad: u32,
    /// Ejections each of which came soon after the return from the one before.
    ejections: u32,
    /// The pause's end while the server is out; when it came back while it is in.
    since: Instant,
    /// What ended its turn last, or goes on to keep it from it.
    trouble: Option<String>,
}

/// What a probe found.
#[derive(Debug, thiserror::Error)]
enum Unwell {
    /// An answer all the same.
    #[error("GET {path} answers {status}")]
    Answered { path: String, status: StatusCode },
    #[error("GET {path}: {error}", path = .0.0, error = .0.1)]
    Silent((String, Error)),
}

impl Health {
    pub(super) fn new(registry: &str, server: &str, settings: &config::Health) -> Self {
        Self {
            settings: settings.clone(),
            registry: registry.into(),
            server: server.into(),
            counts: ServerCounts::new(registry, server),
            up: AtomicBool::new(true),
            silent: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            failed: AtomicU64::new(0),
            returned: AtomicU64::new(0),
            course: Mutex::new(Course { good: 0, bad: 0, ejections: 0, since: Instant::now(), trouble: None }),
        }
    }

    /// Goes on from what was known of the same server under the configuration before.
    pub(super) fn goes_on_from(&self, before: &Self) {
        let (mut course, known) = (self.lock(), before.lock().clone());
        for (ours, known) in [(&self.up, &before.up), (&self.silent, &before.silent)] {
            ours.store(known.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.failures.store(before.failures.load(Ordering::Relaxed), Ordering::Relaxed);
        self.returned.store(before.returned.load(Ordering::Relaxed), Ordering::Relaxed);
        self.failed.store(before.failed.load(Ordering::Relaxed), Ordering::Relaxed);
        *course = known;
    }

    pub(super) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// True where the server itself does not answer, rather than fail some requests.
    pub(super) fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    /// Shows its state in metrics, which only those in force may.
    fn show(&self) {
        if !self.retired.load(Ordering::Relaxed) {
            metrics::upstream_up(&self.registry, &self.server, self.is_up());
        }
    }

    /// From now on it is known to those requests alone that are under way.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// 1 in ordinary times, less while the server is on its way back.
    pub(super) fn share(&self) -> f64 {
        let returned = self.returned.load(Ordering::Relaxed);
        if returned == 0 {
            return 1.0;
        }
        let gone = Duration::from_millis(clock().saturating_sub(returned));
        let grown = gone.as_secs_f64() / (self.settings.interval * RETURN).as_secs_f64();
        if grown >= 1.0 {
            self.returned.store(0, Ordering::Relaxed);
        }
        grown.clamp(FIRST_SHARE, 1.0)
    }

    /// A request came to its end.
    pub(super) fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// A request failed by the server's fault.
    pub(super) fn failed(&self, why: &dyn fmt::Display) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures >= self.settings.unhealthy_after && self.is_up() {
            self.eject(&mut self.lock(), "requests", why);
        }
    }

    /// How many requests failed by the server's fault so far.
    pub(super) fn failures(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// What ended its turn; None while it has it.
    pub(super) fn trouble(&self) -> Option<String> {
        if self.is_up() { None } else { self.lock().trouble.clone() }
    }

    fn probed(&self, outcome: Result<(), Unwell>) {
        self.counts.probed(outcome.is_ok());
        let mut course = self.lock();
        match outcome {
            Ok(()) => {
                course.good = course.good.saturating_add(1);
                course.bad = 0;
                self.silent.store(false, Ordering::Relaxed);
                let due = course.good >= self.settings.healthy_after && Instant::now() >= course.since;
                if !self.is_up() && due {
                    self.take_back(&mut course);
                }
            }
            Err(error) => {
                course.good = 0;
                course.bad = course.bad.saturating_add(1);
                tracing::debug!(registry = self.registry, server = self.server, %error, "probe failed");
                if course.bad >= self.settings.unhealthy_after {
                    self.silent.store(matches!(error, Unwell::Silent(_)), Ordering::Relaxed);
                    self.eject(&mut course, "probes", &error);
                    course.trouble = Some(error.to_string());
                }
            }
        }
    }

    fn eject(&self, course: &mut Course, by: &'static str, why: &dyn fmt::Display) {
        if !self.up.swap(false, Ordering::Relaxed) {
            return;
        }
        let longest = self.settings.interval * LONGEST_PAUSE;
        // What stayed in for longer than the longest pause begins anew.
        course.ejections = if course.since.elapsed() > longest { 0 } else { course.ejections.min(16) };
        let pause = (self.settings.interval * 2_u32.pow(course.ejections)).min(longest);
        course.ejections += 1;
        course.good = 0;
        course.since = Instant::now() + pause;
        self.show();
        self.counts.ejected();
        course.trouble = Some(why.to_string());
        warn!(registry = self.registry, server = self.server, by, error = %why, ?pause, "a server fails and loses its turn");
    }

    fn take_back(&self, course: &mut Course) {
        course.since = Instant::now();
        self.failures.store(0, Ordering::Relaxed);
        self.returned.store(clock(), Ordering::Relaxed);
        self.up.store(true, Ordering::Relaxed);
        self.show();
        info!(registry = self.registry, server = self.server, "a server is back");
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Milliseconds of this process, from 1 on.
fn clock() -> u64 {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(BEGIN.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

/// The one request that needs no permit: it can ask a server whether it is well, and nothing else.
struct Probe {
    authorization: Option<HeaderValue>,
}

impl Probe {
    /// Good is an answer that is no server error: a registry that wants other credentials is alive too.
    async fn ask(&self, server: &Arc<Server>) -> Result<StatusCode, Error> {
        let mut request = Request::builder()
            .method(Method::GET)
            .uri(server.health.settings.path.as_str())
            .header(header::HOST, server.authority())
            .header(header::USER_AGENT, "portcullis-health")
            .body(UploadBody::empty())
            .map_err(|_| Error::Unusable("health.path makes no request line"))?;
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
        }
        let wire = server.connect().await?;
        match Pending::start(wire, request, server.occupy()).unmeasured().await {
            Ok(exchange) => Ok(exchange.head.status),
            Err(Error::Refused(_)) => Ok(StatusCode::UNAUTHORIZED),
            Err(error) => Err(error),
        }
    }
}

fn is_well(status: StatusCode) -> bool {
    let wants_others = status == StatusCode::FORBIDDEN || status == StatusCode::UNAUTHORIZED;
    status.is_success() || status.is_redirection() || wants_others
}

/// Probes a server for as long as somebody holds it.
pub(super) async fn watch(server: Weak<Server>) {
    let Some((interval, probe)) = server.upgrade().map(|server| {
        server.health.show();
        (server.health.settings.interval, Probe { authorization: server.authorization() })
    }) else {
        return;
    };
    // From one probe's beginning to the next one's, however long a silent server has them wait.
    let mut ticks = interval_at(tokio::time::Instant::now() + interval, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(held) = server.upgrade() else { return };
        let limit = held.health.settings.timeout;
        let path = held.health.settings.path.clone();
        let outcome = match timeout(limit, probe.ask(&held)).await.unwrap_or(Err(Error::Silent(limit))) {
            Ok(status) if is_well(status) => Ok(()),
            Ok(status) => Err(Unwell::Answered { path, status }),
            Err(error) => Err(Unwell::Silent((path, error))),
        };
        held.health.probed(outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(interval: Duration) -> Health {
        let settings = config::Health {
            path: "/v2/".to_owned(),
            interval,
            timeout: interval,
            unhealthy_after: 2,
            healthy_after: 2,
        };
        Health::new("r", "http://a:5000", &settings)
    }

    fn bad() -> Result<(), Unwell> {
        Err(Unwell::Silent(("/v2/".to_owned(), Error::Connect("refused".to_owned()))))
    }

    fn status(status: u16) -> Result<(), Unwell> {
        Err(Unwell::Answered { path: "/v2/".to_owned(), status: StatusCode::from_u16(status).unwrap() })
    }

    #[test]
    fn failures_in_a_row_end_a_turn_and_good_probes_begin_it_again() {
        let health = health(Duration::ZERO);
        health.failed(&"refused");
        health.succeeded();
        health.failed(&"refused");
        assert!(health.is_up());
        health.failed(&"refused");
        assert!(!health.is_up());
        health.probed(Ok(()));
        assert!(!health.is_up());
        health.probed(bad());
        health.probed(Ok(()));
        assert!(!health.is_up());
        health.probed(Ok(()));
        assert!(health.is_up());
        health.probed(bad());
        assert!(health.is_up());
        health.probed(bad());
        assert!(!health.is_up());
    }

    #[test]
    fn pauses_grow_with_each_relapse_up_to_a_limit() {
        let second = Duration::from_secs(1);
        let health = health(second);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            health.failed(&"refused");
            health.failed(&"refused");
            assert!(!health.is_up());
            let pause = health.lock().since - Instant::now();
            pauses.push(pause.as_secs_f64().round() as u64);
            health.probed(Ok(()));
            health.probed(Ok(()));
            assert!(!health.is_up(), "the pause is not over");
            health.lock().since = Instant::now();
            health.probed(Ok(()));
            assert!(health.is_up());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 12, 12, 12]);
        health.lock().since = Instant::now() - second * 13;
        health.failed(&"refused");
        health.failed(&"refused");
        assert_eq!((health.lock().since - Instant::now()).as_secs_f64().round() as u64, 1);
    }

    #[test]
    fn a_returned_servers_share_grows() {
        let health = health(Duration::from_millis(20));
        assert!((health.share() - 1.0).abs() < f64::EPSILON);
        health.failed(&"refused");
        health.failed(&"refused");
        health.lock().since = Instant::now();
        health.probed(Ok(()));
        health.probed(Ok(()));
        assert!(health.is_up());
        let first = health.share();
        assert!(first < 1.0, "{first}");
        std::thread::sleep(Duration::from_millis(130));
        assert!((health.share() - 1.0).abs() < f64::EPSILON);
        assert_eq!(health.returned.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn only_probes_say_that_a_server_is_silent() {
        let health = health(Duration::ZERO);
        health.failed(&"refused");
        health.failed(&"refused");
        assert!(!health.is_up() && !health.is_silent());
        health.probed(bad());
        assert!(!health.is_silent());
        health.probed(bad());
        assert!(health.is_silent());
        assert_eq!(health.trouble().unwrap(), "GET /v2/: cannot connect to the upstream: refused");
        health.probed(Ok(()));
        assert!(!health.is_up() && !health.is_silent());
        health.probed(status(404));
        health.probed(status(404));
        assert!(!health.is_silent());
    }

    #[test]
    fn a_configuration_that_is_read_again_changes_nothing_of_a_servers_state() {
        let second = Duration::from_secs(1);
        let before = health(second);
        for _ in 0..2 {
            before.lock().since = Instant::now();
            before.probed(Ok(()));
            before.probed(Ok(()));
            before.failed(&"refused");
            before.failed(&"refused");
        }
        let after = health(second);
        after.goes_on_from(&before);
        assert!(!after.is_up());
        after.probed(Ok(()));
        after.probed(Ok(()));
        assert!(!after.is_up(), "the pause is not over");
        after.lock().since = Instant::now();
        after.probed(Ok(()));
        let again = health(second);
        again.goes_on_from(&after);
        assert!(again.is_up() && again.share() < 1.0, "on its way back");
        again.failed(&"refused");
        again.failed(&"refused");
        assert_eq!((again.lock().since - Instant::now()).as_secs_f64().round() as u64, 4, "the third time");
    }

    #[test]
    fn a_probe_is_good_where_the_server_answers_for_itself() {
        for good in [200, 204, 301, 307, 401, 403] {
            assert!(is_well(StatusCode::from_u16(good).unwrap()), "{good}");
        }
        for bad in [400, 404, 429, 500, 502, 503] {
            assert!(!is_well(StatusCode::from_u16(bad).unwrap()), "{bad}");
        }
    }
}
