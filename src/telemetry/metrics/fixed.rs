//! What has no configured name in its labels: one set of handles for the process, all there from the start.

use std::{sync::OnceLock, time::Duration};

use metrics::{Counter, Gauge, Histogram};

use super::{
    catalogue::{self, Metric},
    family::Counters,
    words,
};
use crate::telemetry::pulse;

/// Empty until the recorder is installed, and nothing is counted until then.
static FIXED: OnceLock<Fixed> = OnceLock::new();

pub(super) struct Fixed {
    in_flight: Gauge,
    protocols: Counters,
    /// By route.
    durations: Vec<(&'static str, Histogram)>,
    refused: Counters,
    decisions: Counters,
    nobodys_logins: Counters,
    login_cache: Counters,
    throttled: Counters,
    verifications_waiting: Gauge,
    verification_wait: Histogram,
    tokens_issued: Counters,
    tokens_verified: Counters,
    token_cache: Counters,
    connections: Gauge,
    connections_accepted: Counters,
    connections_refused: Counters,
    connection_waits: Counter,
    handshakes: Counters,
    handshakes_failed: Counters,
    acme_attempts: Counters,
    buffers: Gauge,
    buffer_limit: Gauge,
    buffer_waiting: Gauge,
    buffer_waits: Counters,
    log_dropped: Counter,
}

/// Makes all of these series.
pub(super) fn install() {
    let all = |metric: &'static Metric| Counters::of(metric, &[]);
    let _ = FIXED.set(Fixed {
        in_flight: catalogue::IN_FLIGHT.gauge(&[]),
        protocols: all(&catalogue::PROTOCOLS),
        durations: words::ROUTES.iter().map(|route| (*route, catalogue::DURATION.histogram(&[route]))).collect(),
        refused: all(&catalogue::REFUSED),
        decisions: all(&catalogue::DECISIONS),
        nobodys_logins: Counters::of(&catalogue::AUTHENTICATIONS, &["none"]),
        login_cache: all(&catalogue::LOGIN_CACHE),
        throttled: all(&catalogue::THROTTLED),
        verifications_waiting: catalogue::VERIFICATIONS_WAITING.gauge(&[]),
        verification_wait: catalogue::VERIFICATION_WAIT.histogram(&[]),
        tokens_issued: all(&catalogue::TOKENS_ISSUED),
        tokens_verified: all(&catalogue::TOKENS_VERIFIED),
        token_cache: all(&catalogue::TOKEN_CACHE),
        connections: catalogue::CONNECTIONS.gauge(&[]),
        connections_accepted: all(&catalogue::CONNECTIONS_ACCEPTED),
        connections_refused: all(&catalogue::CONNECTIONS_REFUSED),
        connection_waits: catalogue::CONNECTION_WAITS.counter(&[]),
        handshakes: all(&catalogue::HANDSHAKES),
        handshakes_failed: all(&catalogue::HANDSHAKES_FAILED),
        acme_attempts: all(&catalogue::ACME_ATTEMPTS),
        buffers: catalogue::BUFFERS.gauge(&[]),
        buffer_limit: catalogue::BUFFER_LIMIT.gauge(&[]),
        buffer_waiting: catalogue::BUFFER_WAITING.gauge(&[]),
        buffer_waits: all(&catalogue::BUFFER_WAITS),
        log_dropped: catalogue::LOG_DROPPED.counter(&[]),
    });
    super::registry::unknown().show();
    catalogue::BUILD.gauge(&[env!("CARGO_PKG_VERSION")]).set(1.0);
}

/// Handles, where there is a recorder.
fn with(count: impl FnOnce(&'static Fixed)) {
    if let Some(fixed) = FIXED.get() {
        count(fixed);
    }
}

/// Counts one as there for as long as it lives.
pub struct Counted(Option<&'static Gauge>);

impl Counted {
    fn of(pick: fn(&'static Fixed) -> &'static Gauge) -> Self {
        let gauge = FIXED.get().map(pick);
        gauge.iter().for_each(|gauge| gauge.increment(1.0));
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.iter().for_each(|gauge| gauge.decrement(1.0));
    }
}

/// One request is under way.
pub fn in_flight() -> Counted {
    Counted::of(|fixed| &fixed.in_flight)
}

/// One client connection over TLS is open.
pub fn connection() -> Counted {
    Counted::of(|fixed| &fixed.connections)
}

/// One login waits to be verified.
pub fn verification_waits() -> Counted {
    Counted::of(|fixed| &fixed.verifications_waiting)
}

/// A login that is verified by computing got its turn.
pub fn verification_waited(time: Duration) {
    with(|fixed| fixed.verification_wait.record(time));
}

/// A request of this kind is through, whatever came of it.
pub(super) fn duration(route: &str, time: Duration) {
    with(|fixed| {
        let of_route = fixed.durations.iter().find(|(known, _)| *known == route);
        of_route.into_iter().for_each(|(_, histogram)| histogram.record(time));
    });
}

/// `protocol` is `HTTP/1.0`, `HTTP/1.1`, `HTTP/2`, or empty for a request whose head could not be read.
pub fn protocol(protocol: &'static str) {
    with(|fixed| fixed.protocols.count([if protocol.is_empty() { "none" } else { protocol }]));
}

/// `reason` is the access line's `refused`.
pub fn refused(reason: &'static str) {
    with(|fixed| fixed.refused.count([reason]));
}

/// `outcome` is `allowed`, `challenged`, `denied` or `read_only`.
pub fn decision(action: &'static str, outcome: &'static str) {
    with(|fixed| fixed.decisions.count([action, outcome]));
}

/// A login was judged without a provider.
pub fn login_of_nobody(outcome: &'static str) {
    with(|fixed| fixed.nobodys_logins.count([outcome]));
    pulse::login("none", outcome);
}

/// A login was looked for among those that succeeded of late.
pub fn login_looked_up(found: bool) {
    with(|fixed| fixed.login_cache.count([hit(found)]));
}

/// `of` is `name` or `network`.
pub fn login_throttled(of: &'static str) {
    with(|fixed| fixed.throttled.count([of]));
    pulse::login_throttled();
}

/// `kind` is `access` or `refresh`.
pub fn token_issued(kind: &'static str) {
    with(|fixed| fixed.tokens_issued.count([kind]));
}

/// `outcome` is `valid` or what is wrong with it.
pub fn token_verified(kind: &'static str, outcome: &'static str) {
    with(|fixed| fixed.tokens_verified.count([kind, outcome]));
}

/// A token was looked for among those whose signature was checked.
pub fn token_looked_up(found: bool) {
    with(|fixed| fixed.token_cache.count([hit(found)]));
}

fn hit(found: bool) -> &'static str {
    if found { "hit" } else { "miss" }
}

/// A connection within the limits came in; `listener` is `https` or `http`.
pub fn connection_accepted(listener: &'static str) {
    with(|fixed| fixed.connections_accepted.count([listener]));
}

/// A connection was closed unserved.
pub fn connection_refused(reason: &'static str) {
    with(|fixed| fixed.connections_refused.count([reason]));
}

/// The next connection has to wait until another one ends.
pub fn connection_limit_reached() {
    with(|fixed| fixed.connection_waits.increment(1));
}

/// `version` is `TLSv1.2` or `TLSv1.3`.
pub fn handshake(version: &'static str, resumed: bool) {
    with(|fixed| fixed.handshakes.count([version, if resumed { "yes" } else { "no" }]));
}

/// A TLS handshake failed, and why.
pub fn handshake_failed(reason: &'static str) {
    with(|fixed| fixed.handshakes_failed.count([reason]));
}

/// `result` is `issued` or why not.
pub fn acme_attempt(result: &'static str) {
    with(|fixed| fixed.acme_attempts.count([result]));
}

#[allow(clippy::cast_precision_loss)] // sizes of memory fit a double's mantissa
pub fn buffer_limit(bytes: u64) {
    with(|fixed| fixed.buffer_limit.set(bytes as f64));
}

#[allow(clippy::cast_precision_loss)]
pub fn buffers_taken(bytes: u64) {
    with(|fixed| fixed.buffers.increment(bytes as f64));
}

#[allow(clippy::cast_precision_loss)]
pub fn buffers_given_back(bytes: u64) {
    with(|fixed| fixed.buffers.decrement(bytes as f64));
}

/// One more waits.
pub fn buffer_wait_begins() {
    with(|fixed| fixed.buffer_waiting.increment(1.0));
}

/// `outcome` is `served`, `refused` or `left`.
pub fn buffer_wait_ends(outcome: &'static str) {
    with(|fixed| {
        fixed.buffer_waiting.decrement(1.0);
        fixed.buffer_waits.count([outcome]);
    });
}

/// Lines of the log that nobody will read.
pub fn log_lines_dropped(count: u64) {
    with(|fixed| fixed.log_dropped.increment(count));
}
