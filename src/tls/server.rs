//! The rustls `ServerConfig`: provider, versions, ALPN, tickets.

use std::sync::Arc;

use rustls::{
    CipherSuite, ServerConfig, SupportedProtocolVersion,
    crypto::aws_lc_rs::{self, Ticketer},
    server::{NoServerSessionStorage, ProducesTickets},
    version::{TLS12, TLS13},
};

use super::{CertStore, acme::Challenges};
use crate::config::MinVersion;

/// The largest plaintext of a TLS record, in bytes. With its head (5), type (1) and tag (16) it is 16 KiB under TLS 1.3, which
/// the allocator has a size for (RFC 8446 §5.2); of the protocol's largest records it would waste a fifth.
pub const RECORD: usize = 16 * 1024 - 5 - 1 - 16;

const CHACHA20: [CipherSuite; 3] = [
    CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

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
    /// Sessions resume by tickets whose keys live in this process and turn over every six hours, so a
    /// resumed session costs no memory.
    ///
    /// # Errors
    /// Where the provider lacks a version.
    pub fn settings(&self, min_version: MinVersion) -> Result<TlsSettings, rustls::Error> {
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
        // The engine counts a record's head, and neither its tag nor the byte for its type.
        config.max_fragment_size = Some(RECORD + 5);
        // A request that can be replayed must not reach the registry (RFC 8470).
        config.max_early_data_size = 0;
        let theirs = Arc::new(config.clone());
        config.ignore_client_order = true;
        Ok(TlsSettings { ours: Arc::new(config), theirs })
    }
}

/// For handshakes to come; connections that stand go on under theirs.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    ours: Arc<ServerConfig>,
    theirs: Arc<ServerConfig>,
}

impl TlsSettings {
    /// Our order of cipher suites holds, AES with 256 bits first; but a client that would have ChaCha20 before all others
    /// has no AES in hardware, and gets it.
    pub fn of_client(&self, offered: &[CipherSuite]) -> Arc<ServerConfig> {
        let ours = &self.ours.crypto_provider().cipher_suites;
        let first = offered.iter().find(|offered| ours.iter().any(|suite| suite.suite() == **offered));
        let config = if first.is_some_and(|first| CHACHA20.contains(first)) { &self.theirs } else { &self.ours };
        Arc::clone(config)
    }
}

#[cfg(test)]
mod tests;
