//! Certificates and the server's TLS settings.

mod files;
mod fingerprint;
mod leaf;
mod server;
mod store;
#[cfg(test)]
pub(crate) mod testing;

pub use files::{CertificateError, Loaded, Pair, load};
pub use fingerprint::Fingerprint;
pub use server::{install_provider, server_config};
pub use store::{CertStore, CertificateInfo, uncovered};
