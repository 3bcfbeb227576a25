//! Every metric: its name, labels and help text, in one file.
//!
//! Labels are fixed words or configured names; nothing a request says becomes a label.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use super::pulse;

const REQUESTS: &str = "portcullis_requests_total";
const DURATION: &str = "portcullis_request_duration_seconds";
const IN_FLIGHT: &str = "portcullis_requests_in_flight";
const DECISIONS: &str = "portcullis_decisions_total";
const AUTHENTICATIONS: &str = "portcullis_authentications_total";
const THROTTLED: &str = "portcullis_logins_throttled_total";
const VERIFICATIONS_WAITING: &str = "portcullis_login_verifications_waiting";
const VERIFICATION_WAIT: &str = "portcullis_login_verification_wait_seconds";
const REFUSED: &str = "portcullis_refused_total";
const TOKENS: &str = "portcullis_tokens_issued_total";
const RELOAD: &str = "portcullis_config_reload_success";
const RELOADS: &str = "portcullis_config_reloads_total";
const LAST_RELOAD: &str = "portcullis_config_last_reload_success_timestamp_seconds";
const BYTES: &str = "portcullis_body_bytes_total";
const UPSTREAM_ERRORS: &str = "portcullis_upstream_errors_total";
const UPSTREAM_UP: &str = "portcullis_upstream_up";
const UPSTREAM_REQUESTS: &str = "portcullis_upstream_requests_total";
const UPSTREAM_EJECTIONS: &str = "portcullis_upstream_ejections_total";
const UPSTREAM_MOVES: &str = "portcullis_upstream_failovers_total";
const UPSTREAM_RESUMES: &str = "portcullis_upstream_resumes_total";
const OPEN_WRITES: &str = "portcullis_open_writes";
const CONNECTIONS: &str = "portcullis_connections";
const CONNECTIONS_REFUSED: &str = "portcullis_connections_refused_total";
const CERTIFICATE_EXPIRY: &str = "portcullis_certificate_expiry_timestamp_seconds";
const ACME_ATTEMPTS: &str = "portcullis_acme_attempts_total";
const ACME_NEXT: &str = "portcullis_acme_next_attempt_timestamp_seconds";
const ACME_WINDOW: &str = "portcullis_acme_renewal_window_start_timestamp_seconds";
const PASSWORD_FILE: &str = "portcullis_password_file_readable";
const LDAP_UP: &str = "portcullis_ldap_up";
const LDAP_ERRORS: &str = "portcullis_ldap_errors_total";
const BUFFERS: &str = "portcullis_buffer_bytes";
const BUFFER_LIMIT: &str = "portcullis_buffer_limit_bytes";
const BUFFER_WAITING: &str = "portcullis_buffer_waiting";
const BUFFER_WAITS: &str = "portcullis_buffer_waits_total";

/// Installs the recorder of this process; called once by the server.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(
            Matcher::Full(DURATION.to_owned()),
            &[0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0, 300.0, 1800.0],
        )?
        .set_buckets_for_metric(
            Matcher::Full(VERIFICATION_WAIT.to_owned()),
            &[0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0],
        )?
        .install_recorder()?;
    describe();
    Ok(handle)
}

fn describe() {
    describe_counter!(REQUESTS, "Requests answered, by registry, kind of route and status.");
    describe_histogram!(DURATION, Unit::Seconds, "Time from a request's head to the end of its answer.");
    describe_gauge!(IN_FLIGHT, "Requests under way.");
    describe_counter!(DECISIONS, "Access decisions, by action and outcome.");
    describe_counter!(AUTHENTICATIONS, "Passwords checked, by provider and outcome.");
    describe_counter!(
        THROTTLED,
        "Logins that were not verified because too many had failed before, by what had failed too often: the name in its network, or the network with any name."
    );
    describe_gauge!(VERIFICATIONS_WAITING, "Logins that wait for a thread to compute a password's hash.");
    describe_histogram!(
        VERIFICATION_WAIT,
        Unit::Seconds,
        "How long they waited; its count is that of the hashes that were computed."
    );
    describe_counter!(REFUSED, "Requests refused, by reason (as the access line names it).");
    describe_counter!(TOKENS, "Tokens issued by the token endpoint, by kind.");
    describe_gauge!(RELOAD, "1 while the latest configuration is in force, 0 while it could not be used.");
    describe_counter!(RELOADS, "Configurations read while the gate runs, by outcome (success, failure).");
    describe_gauge!(LAST_RELOAD, "When a configuration came into force last, in seconds since 1970.");
    describe_counter!(BYTES, Unit::Bytes, "Body bytes received from clients (in) and sent to them (out).");
    describe_counter!(UPSTREAM_ERRORS, "Upstream failures, by registry and kind.");
    describe_gauge!(
        UPSTREAM_UP,
        "1 while a server has its turn, 0 while it is asked only where nobody else is left, NaN once it is out of the configuration."
    );
    describe_counter!(UPSTREAM_REQUESTS, "Requests sent to a server, probes left out.");
    describe_counter!(UPSTREAM_EJECTIONS, "How often a server lost its turn.");
    describe_counter!(
        UPSTREAM_MOVES,
        "Attempts at a server that did not serve a request, so that the next one is asked where there is one, by reason."
    );
    describe_counter!(
        UPSTREAM_RESUMES,
        "Bodies that a server broke off half way, by reason and outcome (resumed, lost)."
    );
    describe_gauge!(
        OPEN_WRITES,
        "Writes and uploads that are open, by registry: 0 before garbage is collected, NaN once it is out of the configuration."
    );
    describe_gauge!(CONNECTIONS, "Open client connections.");
    describe_counter!(CONNECTIONS_REFUSED, "Client connections that were closed unserved, by reason.");
    describe_counter!(
        ACME_ATTEMPTS,
        "Attempts to have a certificate issued, by what came of them: issued, or why not."
    );
    describe_gauge!(ACME_NEXT, "When the next attempt for a certificate of tls.acme is made, by its first name.");
    describe_gauge!(
        ACME_WINDOW,
        "When the authority would have a certificate renewed at the earliest, by its first name."
    );
    describe_gauge!(
        CERTIFICATE_EXPIRY,
        "When the certificate in use ends, in seconds since 1970; 0 where there is a temporary one alone, NaN once nothing is to serve the name any more."
    );
    describe_gauge!(PASSWORD_FILE, "1 while every password file can be read, 0 while an earlier content is in use.");
    describe_gauge!(
        LDAP_UP,
        "0 while a directory server is left out, 1 otherwise: only questions about users find out, there are no probes. NaN once it is out of the configuration."
    );
    describe_counter!(LDAP_ERRORS, "Questions that a directory server did not answer, by reason.");
    describe_gauge!(BUFFERS, Unit::Bytes, "Memory set aside for bodies under way and HTTP/2 windows.");
    describe_gauge!(BUFFER_LIMIT, Unit::Bytes, "The most that may be set aside (limits.buffers).");
    describe_counter!(
        BUFFER_WAITS,
        "Bodies that had to wait for memory, by outcome (served, refused, left by the client)."
    );
}

/// A request was answered. `registry` is its first host, or `none`.
pub fn request(registry: &str, route: &'static str, status: u16, seconds: f64) {
    let labels = [("registry", registry.to_owned()), ("route", route.to_owned()), ("code", status.to_string())];
    counter!(REQUESTS, &labels).increment(1);
    histogram!(DURATION, "route" => route).record(seconds);
}

/// `outcome` is `allowed`, `challenged`, `denied` or `read_only`.
pub fn decision(action: &'static str, outcome: &'static str) {
    counter!(DECISIONS, "action" => action, "outcome" => outcome).increment(1);
}

/// `provider` is a provider's name, or `none`.
pub fn login(provider: &str, outcome: &'static str) {
    counter!(AUTHENTICATIONS, "provider" => provider.to_owned(), "outcome" => outcome).increment(1);
    pulse::login(provider, outcome);
}

/// `of` is `name` or `network`.
pub fn login_throttled(of: &'static str) {
    counter!(THROTTLED, "of" => of).increment(1);
    pulse::login_throttled();
}

/// Counts one login as waiting to be verified for as long as it lives.
pub fn verification_waits() -> InFlight {
    gauge!(VERIFICATIONS_WAITING).increment(1.0);
    InFlight(VERIFICATIONS_WAITING)
}

/// A login that is verified by computing got its turn.
pub fn verification_waited(time: Duration) {
    histogram!(VERIFICATION_WAIT).record(time.as_secs_f64());
}

/// `reason` is the access line's `refused`.
pub fn refused(reason: &'static str) {
    counter!(REFUSED, "reason" => reason).increment(1);
}

/// `kind` is `access` or `refresh`.
pub fn token_issued(kind: &'static str) {
    counter!(TOKENS, "kind" => kind).increment(1);
}

/// The first configuration is in force.
pub fn in_force() {
    gauge!(RELOAD).set(1.0);
    gauge!(LAST_RELOAD).set(seconds_since_1970());
    for outcome in ["success", "failure"] {
        counter!(RELOADS, "outcome" => outcome).increment(0);
    }
}

/// Another configuration was read, and is in force or cannot be used.
pub fn reloaded(success: bool) {
    gauge!(RELOAD).set(if success { 1.0 } else { 0.0 });
    counter!(RELOADS, "outcome" => if success { "success" } else { "failure" }).increment(1);
    if success {
        gauge!(LAST_RELOAD).set(seconds_since_1970());
    }
}

fn seconds_since_1970() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

/// `direction` is `in` (from clients) or `out` (to clients).
pub fn bytes(direction: &'static str, count: u64) {
    counter!(BYTES, "direction" => direction).increment(count);
}

pub fn upstream_error(registry: &str, kind: &'static str) {
    counter!(UPSTREAM_ERRORS, "registry" => registry.to_owned(), "kind" => kind).increment(1);
}

/// Whether a server has its turn.
pub fn upstream_up(registry: &str, server: &str, up: bool) {
    let labels = [("registry", registry.to_owned()), ("server", server.to_owned())];
    gauge!(UPSTREAM_UP, &labels).set(if up { 1.0 } else { 0.0 });
}

/// A server is no longer in the configuration: its gauge is neither 0 nor 1.
pub fn upstream_gone(registry: &str, server: &str) {
    let labels = [("registry", registry.to_owned()), ("server", server.to_owned())];
    gauge!(UPSTREAM_UP, &labels).set(f64::NAN);
}

/// Counts the requests sent to a server.
pub fn upstream_requests(registry: &str, server: &str) -> metrics::Counter {
    let labels = [("registry", registry.to_owned()), ("server", server.to_owned())];
    counter!(UPSTREAM_REQUESTS, &labels)
}

/// A server lost its turn.
pub fn upstream_ejected(registry: &str, server: &str) {
    let labels = [("registry", registry.to_owned()), ("server", server.to_owned())];
    counter!(UPSTREAM_EJECTIONS, &labels).increment(1);
}

/// Another server is asked, where there is one. `reason` is an error's kind, `status` or `lacking`.
pub fn upstream_moved_on(registry: &str, server: &str, reason: &'static str) {
    let labels = [("registry", registry.to_owned()), ("server", server.to_owned()), ("reason", reason.to_owned())];
    counter!(UPSTREAM_MOVES, &labels).increment(1);
}

/// A server died in the middle of a body. `reason` is an error's kind, `outcome` is `resumed` or `lost`.
pub fn upstream_resumed(registry: &str, server: &str, reason: &'static str, outcome: &'static str) {
    let labels = [
        ("registry", registry.to_owned()),
        ("server", server.to_owned()),
        ("reason", reason.to_owned()),
        ("outcome", outcome.to_owned()),
    ];
    counter!(UPSTREAM_RESUMES, &labels).increment(1);
}

/// What the admin address shows as `open_writes`.
pub fn open_writes(registry: &str, count: usize) {
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    gauge!(OPEN_WRITES, "registry" => registry.to_owned()).set(count as f64);
}

/// A registry is no longer in the configuration: its gauge is no count.
pub fn registry_gone(registry: &str) {
    gauge!(OPEN_WRITES, "registry" => registry.to_owned()).set(f64::NAN);
}

pub fn connection_refused(reason: &'static str) {
    counter!(CONNECTIONS_REFUSED, "reason" => reason).increment(1);
}

/// `not_after` is in seconds since 1970; 0: a temporary certificate alone is for the name.
pub fn certificate_expiry(name: &str, not_after: i64) {
    #[allow(clippy::cast_precision_loss)] // seconds since 1970 fit a double's mantissa
    gauge!(CERTIFICATE_EXPIRY, "name" => name.to_owned()).set(not_after as f64);
}

/// No certificate in use has this name any more, nor is there to be one: its gauge is no time, and no alert fires on it.
pub fn certificate_gone(name: &str) {
    gauge!(CERTIFICATE_EXPIRY, "name" => name.to_owned()).set(f64::NAN);
}

/// `result` is `issued` or why not.
pub fn acme_attempt(result: &'static str) {
    counter!(ACME_ATTEMPTS, "result" => result).increment(1);
}

/// Unix seconds; None: not while the clock is wrong.
pub fn acme_next_attempt(name: &str, at: Option<i64>) {
    gauge!(ACME_NEXT, "name" => name.to_owned()).set(seconds_or_nan(at));
}

/// Unix seconds; None: the authority says nothing.
pub fn acme_window(name: &str, start: Option<i64>) {
    gauge!(ACME_WINDOW, "name" => name.to_owned()).set(seconds_or_nan(start));
}

/// The certificate is no longer in the configuration.
pub fn acme_gone(name: &str) {
    acme_next_attempt(name, None);
    acme_window(name, None);
}

#[allow(clippy::cast_precision_loss)] // seconds since 1970 fit a double's mantissa
fn seconds_or_nan(at: Option<i64>) -> f64 {
    at.map_or(f64::NAN, |at| at as f64)
}

pub fn htpasswd_readable(readable: bool) {
    gauge!(PASSWORD_FILE).set(if readable { 1.0 } else { 0.0 });
}

/// Whether a directory server is asked.
pub fn ldap_up(provider: &str, server: &str, up: bool) {
    let labels = [("provider", provider.to_owned()), ("server", server.to_owned())];
    gauge!(LDAP_UP, &labels).set(if up { 1.0 } else { 0.0 });
}

/// A directory server is no longer in the configuration: its gauge is neither 0 nor 1.
pub fn ldap_gone(provider: &str, server: &str) {
    let labels = [("provider", provider.to_owned()), ("server", server.to_owned())];
    gauge!(LDAP_UP, &labels).set(f64::NAN);
}

/// A directory server did not answer.
pub fn ldap_error(provider: &str, server: &str, reason: &'static str) {
    let labels = [("provider", provider.to_owned()), ("server", server.to_owned()), ("reason", reason.to_owned())];
    counter!(LDAP_ERRORS, &labels).increment(1);
}

#[allow(clippy::cast_precision_loss)] // sizes of memory fit a double's mantissa
pub fn buffer_limit(bytes: u64) {
    gauge!(BUFFER_LIMIT).set(bytes as f64);
}

#[allow(clippy::cast_precision_loss)]
pub fn buffers_taken(bytes: u64) {
    gauge!(BUFFERS).increment(bytes as f64);
}

#[allow(clippy::cast_precision_loss)]
pub fn buffers_given_back(bytes: u64) {
    gauge!(BUFFERS).decrement(bytes as f64);
}

/// One more waits.
pub fn buffer_wait_begins() {
    gauge!(BUFFER_WAITING).increment(1.0);
}

/// `outcome` is `served`, `refused` or `left`.
pub fn buffer_wait_ends(outcome: &'static str) {
    gauge!(BUFFER_WAITING).decrement(1.0);
    counter!(BUFFER_WAITS, "outcome" => outcome).increment(1);
}

/// Counts one request as under way for as long as it lives.
pub struct InFlight(&'static str);

pub fn in_flight() -> InFlight {
    gauge!(IN_FLIGHT).increment(1.0);
    InFlight(IN_FLIGHT)
}

/// Counts one client connection as open for as long as it lives.
pub fn connection() -> InFlight {
    gauge!(CONNECTIONS).increment(1.0);
    InFlight(CONNECTIONS)
}

impl Drop for InFlight {
    fn drop(&mut self) {
        gauge!(self.0).decrement(1.0);
    }
}
