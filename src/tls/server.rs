//! The rustls `ServerConfig`: provider, versions, ALPN, tickets.

use std::sync::Arc;

use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::aws_lc_rs::{self, Ticketer},
    server::{NoServerSessionStorage, ProducesTickets},
    version::{TLS12, TLS13},
};

use super::{CertStore, acme::Challenges};
use crate::config::MinVersion;

/// Makes aws-lc-rs the process default, before any library picks another; harmless when called
/// again.
pub fn install_provider() {
    // Fails only where a provider is installed already, and the first one stays.
    let _ = aws_lc_rs::default_provider().install_default();
}

/// What all TLS settings of the process share, so that sessions resume under a changed configuration too.
pub struct ServerTls {
    store: Arc<CertStore>,
    challenges: Arc<Challenges>,
    tickets: Arc<dyn ProducesTickets>,
}

impl ServerTls {
    /// # Errors
    /// Where the system has no randomness for the ticket keys.
    pub fn new(store: Arc<CertStore>) -> Result<Self, rustls::Error> {
        Ok(Self { store, challenges: Arc::default(), tickets: Ticketer::new()? })
    }

    /// What authorities are answered. It outlives every configuration.
    pub fn challenges(&self) -> &Arc<Challenges> {
        &self.challenges
    }

    /// TLS 1.2 (AEAD suites only) and 1.3, or 1.3 alone; HTTP/2 before HTTP/1.1; no early data.
    ///
    /// The client's order of cipher suites holds, because it knows whether it has AES in hardware.
    /// Sessions resume by tickets whose keys live in this process and turn over every six hours, so a
    /// resumed session costs no memory.
    ///
    /// # Errors
    /// Where the provider lacks a version.
    pub fn config(&self, min_version: MinVersion) -> Result<Arc<ServerConfig>, rustls::Error> {
        let versions: &[&SupportedProtocolVersion] = match min_version {
            MinVersion::Tls12 => &[&TLS13, &TLS12],
            MinVersion::Tls13 => &[&TLS13],
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<CertStore>::clone(&self.store));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = Arc::clone(&self.tickets);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 1;
        // With its header and tag a record is 16 KiB, which the allocator has a size for; of larger ones it would waste a
        // fifth.
        config.max_fragment_size = Some(16 * 1024);
        // A request that can be replayed must not reach the registry (RFC 8470).
        config.max_early_data_size = 0;
        Ok(Arc::new(config))
    }
}

#[cfg(test)]
mod tests;
