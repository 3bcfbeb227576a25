//! The public keys in self-signed certificates, as docker-registry's `auth.token.rootcertbundle` takes them.

use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose, SerialNumber, date_time_ymd,
};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};
use time::OffsetDateTime;

use super::keys::{self, KeyError};

/// What [`certificates`] made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificates {
    /// One after the other, in PEM; at least one.
    pub pem: String,
    /// The files of keys for EdDSA: docker-registry 2.8 ends at once over such a certificate.
    pub left_out: Vec<PathBuf>,
}

/// The public keys of `tokens.keys`, in their order, each in a certificate that the key itself signs.
///
/// A key's certificate is always the same but for the signature: what it holds beside the key (name, serial number, dates
/// from 2000 to the end of time) is fixed or comes from the key.
///
/// # Errors
/// The first file that is missing or cannot be used; none is made. [`KeyError::NoneForRegistries`] where all are for EdDSA.
pub fn certificates(files: &[PathBuf]) -> Result<Certificates, KeyError> {
    let mut made = Certificates { pem: String::new(), left_out: Vec::new() };
    for (file, key) in files.iter().zip(keys::load_all(files)?) {
        if key.is_for_registries() {
            made.pem.push_str(&certificate(file, &key.id).ok_or(KeyError::Publishing)?);
        } else {
            made.left_out.push(file.clone());
        }
    }
    if made.pem.is_empty() { Err(KeyError::NoneForRegistries) } else { Ok(made) }
}

fn certificate(file: &Path, id: &str) -> Option<String> {
    let key = KeyPair::try_from(&PrivateKeyDer::from_pem_file(file).ok()?).ok()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, id);
    params.serial_number = Some(serial_number(id));
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = end_of_time()?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    Some(params.self_signed(&key).ok()?.pem())
}

/// A positive number of sixteen bytes (RFC 5280 §4.1.2.2: at most twenty).
fn serial_number(id: &str) -> SerialNumber {
    let digest = digest::digest(&digest::SHA256, id.as_bytes());
    let mut bytes: Vec<u8> = digest.as_ref().iter().copied().take(16).collect();
    if let Some(first) = bytes.first_mut() {
        *first = *first & 0x3f | 0x40;
    }
    SerialNumber::from(bytes)
}

/// RFC 5280 §4.1.2.5: what has no end says 9999-12-31 23:59:59.
fn end_of_time() -> Option<OffsetDateTime> {
    date_time_ymd(9999, 12, 31).replace_hour(23).ok()?.replace_minute(59).ok()?.replace_second(59).ok()
}

#[cfg(test)]
mod tests;
