//! The certificate that a `tls-alpn-01` handshake shows (RFC 8737 section 3).

use std::sync::Arc;

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::{self, sign::any_ecdsa_type},
    server::NoServerSessionStorage,
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::challenge::{ACME_TLS, Digest};

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProofError {
    #[error(transparent)]
    Certificate(#[from] rcgen::Error),
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// Settings for a handshake in which nothing is spoken but `acme-tls/1`.
pub(super) fn server_config(name: &str, digest: &Digest) -> Result<Arc<ServerConfig>, ProofError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certificate(name, digest)?)));
    config.alpn_protocols = vec![ACME_TLS.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Self-signed, for exactly this name, with a key of its own.
pub(super) fn certificate(name: &str, digest: &Digest) -> Result<CertifiedKey, ProofError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new([name.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Ok(CertifiedKey::new(vec![certificate.der().clone()], any_ecdsa_type(&key)?))
}
