//! What is shown for a name while no authority has issued a certificate for it.

use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::{crypto::aws_lc_rs::sign::any_ecdsa_type, sign::CertifiedKey};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use time::{Duration, OffsetDateTime};

use super::{CertificateInfo, ContentHash, Loaded, Source};

const LIFE: Duration = Duration::days(365);
/// For clients whose clock is late.
const BEFORE: Duration = Duration::days(1);

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum TemporaryError {
    #[error(transparent)]
    Certificate(#[from] rcgen::Error),
    #[error(transparent)]
    Key(#[from] rustls::Error),
}

/// Self-signed, for a year.
pub(super) fn make(names: &[String]) -> Result<Loaded, TemporaryError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "portcullis temporary certificate");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    (params.not_before, params.not_after) = (now - BEFORE, now + LIFE);
    let certificate = params.self_signed(&key)?;
    let signing = any_ecdsa_type(&PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())))?;
    let shown = names.join(", ");
    Ok(Loaded {
        info: CertificateInfo {
            names: names.to_vec(),
            not_before: (now - BEFORE).unix_timestamp(),
            not_after: (now + LIFE).unix_timestamp(),
            source: Source::Temporary,
            file: None,
        },
        default: false,
        warnings: vec![format!(
            "there is no certificate for {shown} yet: until an authority issues one, clients are shown a temporary one \
             that is self-signed and that they do not trust"
        )],
        content: ContentHash::of([certificate.der().as_ref()]),
        key: Arc::new(CertifiedKey::new(vec![certificate.der().clone()], signing)),
    })
}
