//! What a service manager is told (`sd_notify(3)`); nothing happens where there is none.

use std::time::Duration;

use sd_notify::NotifyState;

/// The process serves.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// By which configuration the process serves: the one that was read last, or an earlier one.
pub(super) fn serving_by(latest: bool) -> &'static str {
    if latest {
        "serving"
    } else {
        "serving by an earlier configuration: the one that was read last cannot be used, see the log"
    }
}

/// A configuration was read without being asked for.
pub(super) fn configured(usable: bool) {
    tell(&[NotifyState::Status(serving_by(usable))]);
}

/// A configuration is read; [`ready`] follows.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// Another process is the service from now on. What that one said until then was not heard, so it gets the whole time of
/// the watchdog.
pub(super) fn succeeded_by(pid: u32) {
    let status = NotifyState::Status("the binary was exchanged, the process before drains");
    tell(&[NotifyState::Watchdog, NotifyState::MainPid(pid), status]);
}

/// Nothing new is accepted, and the end comes within `limit`.
pub(super) fn stopping(limit: Duration) {
    let limit = u32::try_from(limit.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(limit)]);
}

/// Says that the process is alive, for as long as it runs, where that is asked for.
pub(super) async fn keep_alive() {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let mut interval = tokio::time::interval(limit / 2);
    loop {
        interval.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager does not listen");
    }
}
