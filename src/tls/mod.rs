//! Certificates and the server's TLS settings.

pub mod acme;
mod content_hash;
mod files;
mod leaf;
mod roots;
mod server;
mod store;
mod temporary;
#[cfg(test)]
pub(crate) mod testing;

pub use content_hash::ContentHash;
pub use files::{CertificateError, Loaded, Pair, load};
pub use roots::{FileFault, Roots};
pub use rustls::{Error as TlsError, ServerConfig};
pub use server::{RECORD, ServerTls, TlsSettings, install_provider};
pub use store::{CertStore, CertificateInfo, Source, uncovered, watch_ends};
