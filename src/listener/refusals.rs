//! Connections that are closed unserved: each counted, and a kind told at most once a minute.

use std::{
    io,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rustls::{AlertDescription, Error as TlsError};
use tokio::time::Instant;

use super::proxy_protocol::HeaderError;
use crate::telemetry::{
    log::{Spared, Sparing},
    metrics,
};

const WARN_INTERVAL: Duration = Duration::from_secs(60);
/// Whoever scans networks ends handshakes.
const HANDSHAKE_INTERVAL: Duration = Duration::from_secs(10);

/// What a listener has closed.
#[derive(Debug)]
pub(super) struct Refusals {
    handshakes: Sparing,
    over_share: Warned,
    without_header: Warned,
    unexpected_header: Warned,
}

impl Default for Refusals {
    fn default() -> Self {
        Self {
            handshakes: Sparing::new(HANDSHAKE_INTERVAL),
            over_share: Warned::default(),
            without_header: Warned::default(),
            unexpected_header: Warned::default(),
        }
    }
}

impl Refusals {
    /// Of a client with which TLS does not come about: one line for each reason in a while.
    pub(super) fn handshake(&self, client: SocketAddr, error: &io::Error) {
        const WHAT: &str = "a TLS handshake failed";
        metrics::connection_refused("handshake");
        let client = client.ip();
        match self.handshakes.spare(&error.to_string()) {
            Spared::Due { left_out } => {
                tracing::info!(%client, reason = %error, left_out, advice = advice(error), "{WHAT}");
            }
            Spared::NotDue => tracing::debug!(%client, reason = %error, "{WHAT}"),
        }
    }

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

/// What to look at, where the reason says so.
fn advice(error: &io::Error) -> Option<&'static str> {
    const TRUST: &str =
        "the client does not trust the certificate: check its CA there, the chain here, and the name that was dialled";
    let error = error.get_ref()?.downcast_ref::<TlsError>()?;
    if let TlsError::AlertReceived(
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::DecryptError,
    ) = error
    {
        Some(TRUST)
    } else if let TlsError::AlertReceived(AlertDescription::CertificateExpired) = error {
        Some("the client says that the certificate has ended: see portcullis cert status, and the client's clock")
    } else if let TlsError::General(_) = error {
        Some("is there a certificate for the name that the client asks for? See tls.certificates")
    } else if let TlsError::PeerIncompatible(_) = error {
        Some("the client is too old for tls.min_version, or what it offers is")
    } else {
        None
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
