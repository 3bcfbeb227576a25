//! Connections that are closed unserved: each counted, and a kind told at most once a minute.

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::proxy_protocol::HeaderError;
use crate::telemetry::metrics;

const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// What a listener has closed.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    over_share: Warned,
    without_header: Warned,
    unexpected_header: Warned,
}

impl Refusals {
    /// Of a client that has its share.
    pub(super) fn over_share(&self, client: SocketAddr) {
        metrics::connection_refused("per_client");
        if let Some(count) = self.over_share.due() {
            tracing::warn!(count, client = %client.ip(), "limits.connections_per_client is reached: closed at once");
        }
    }

    /// Of a balancer that does not say for whom it is.
    pub(super) fn without_header(&self, peer: SocketAddr, error: &HeaderError) {
        const WHAT: &str = "a connection from a network in listen.proxy_protocol_from was closed";
        metrics::connection_refused("proxy_protocol");
        match self.without_header.due() {
            Some(count) => tracing::warn!(count, %peer, %error, "{WHAT}"),
            None => tracing::debug!(%peer, %error, "{WHAT}"),
        }
    }

    /// Nobody else's word about an address is taken. It is told, because a balancer that is not listed, or one behind
    /// another, gets nothing through.
    pub(super) fn unexpected_header(&self, peer: SocketAddr) {
        metrics::connection_refused("proxy_protocol_unexpected");
        if let Some(count) = self.unexpected_header.due() {
            tracing::warn!(
                count,
                %peer,
                "a PROXY header where none is expected: closed. Is that a balancer which listen.proxy_protocol_from does \
                 not name, or its second header?"
            );
        }
    }
}

/// Lets a warning through once a minute.
#[derive(Debug, Default)]
pub(super) struct Warned(Mutex<Since>);

#[derive(Debug, Default)]
struct Since {
    last: Option<Instant>,
    count: usize,
}

impl Warned {
    /// How many there were to warn of since the last warning, where another one is due.
    pub(super) fn due(&self) -> Option<usize> {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.count += 1;
        if since.last.is_some_and(|at| at.elapsed() < WARN_INTERVAL) {
            return None;
        }
        since.last = Some(Instant::now());
        Some(std::mem::take(&mut since.count))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_warning_a_minute_counts_what_was_kept_back() {
        let warned = Warned::default();
        assert_eq!([warned.due(), warned.due(), warned.due()], [Some(1), None, None]);
        advance(WARN_INTERVAL).await;
        assert_eq!([warned.due(), warned.due()], [Some(3), None]);
    }
}
