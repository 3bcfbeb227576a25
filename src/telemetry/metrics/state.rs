//! States that change rarely, or are looked at when somebody asks: no handles are kept for them.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{catalogue, family::Counters};

/// The first configuration is in force.
pub fn in_force() {
    catalogue::RELOAD.gauge(&[]).set(1.0);
    catalogue::LAST_RELOAD.gauge(&[]).set(seconds_since_1970());
    Counters::of(&catalogue::RELOADS, &[]);
}

/// Another configuration was read, and is in force or cannot be used.
pub fn reloaded(success: bool) {
    catalogue::RELOAD.gauge(&[]).set(if success { 1.0 } else { 0.0 });
    catalogue::RELOADS.counter(&[if success { "success" } else { "failure" }]).increment(1);
    if success {
        catalogue::LAST_RELOAD.gauge(&[]).set(seconds_since_1970());
    }
}

fn seconds_since_1970() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

/// The most client connections there may be.
pub fn connection_limit(connections: usize) {
    catalogue::CONNECTION_LIMIT.gauge(&[]).set(number(connections));
}

/// Whether a server has its turn.
pub fn upstream_up(registry: &str, server: &str, up: bool) {
    catalogue::UPSTREAM_UP.gauge(&[registry, server]).set(if up { 1.0 } else { 0.0 });
}

/// What is under way at a server.
pub fn upstream_in_flight(registry: &str, server: &str, count: usize) {
    catalogue::UPSTREAM_IN_FLIGHT.gauge(&[registry, server]).set(number(count));
}

/// A server is no longer in the configuration: its gauges are no numbers, and no alert fires on them.
pub fn upstream_gone(registry: &str, server: &str) {
    catalogue::UPSTREAM_UP.gauge(&[registry, server]).set(f64::NAN);
    catalogue::UPSTREAM_IN_FLIGHT.gauge(&[registry, server]).set(f64::NAN);
}

/// What the admin address shows as `open_writes`.
pub fn open_writes(registry: &str, count: usize) {
    catalogue::OPEN_WRITES.gauge(&[registry]).set(number(count));
}

/// A registry is no longer in the configuration.
pub fn registry_gone(registry: &str) {
    catalogue::OPEN_WRITES.gauge(&[registry]).set(f64::NAN);
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
fn number(count: usize) -> f64 {
    count as f64
}

/// `not_after` is in seconds since 1970; 0: a temporary certificate alone is for the name.
pub fn certificate_expiry(name: &str, not_after: i64) {
    catalogue::CERTIFICATE_EXPIRY.gauge(&[name]).set(seconds_or_nan(Some(not_after)));
}

/// No certificate in use has this name any more, nor is there to be one: its gauge is no time, and no alert fires on it.
pub fn certificate_gone(name: &str) {
    catalogue::CERTIFICATE_EXPIRY.gauge(&[name]).set(f64::NAN);
}

/// Unix seconds; None: not while the clock is wrong.
pub fn acme_next_attempt(name: &str, at: Option<i64>) {
    catalogue::ACME_NEXT.gauge(&[name]).set(seconds_or_nan(at));
}

/// Unix seconds; None: the authority says nothing.
pub fn acme_window(name: &str, start: Option<i64>) {
    catalogue::ACME_WINDOW.gauge(&[name]).set(seconds_or_nan(start));
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

/// Whether all password files can be read.
pub fn htpasswd_readable(readable: bool) {
    catalogue::PASSWORD_FILE.gauge(&[]).set(if readable { 1.0 } else { 0.0 });
}

/// Whether a directory server is asked.
pub fn ldap_up(provider: &str, server: &str, up: bool) {
    catalogue::LDAP_UP.gauge(&[provider, server]).set(if up { 1.0 } else { 0.0 });
}

/// A directory server is no longer in the configuration: its gauge is neither 0 nor 1.
pub fn ldap_gone(provider: &str, server: &str) {
    catalogue::LDAP_UP.gauge(&[provider, server]).set(f64::NAN);
}
