//! PEM pairs from disk.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use rustls::{
    crypto::aws_lc_rs::sign::any_supported_type,
    sign::{CertifiedKey, SigningKey},
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{Error as PemError, PemObject, SectionKind},
};
use time::OffsetDateTime;
use x509_parser::{certificate::X509Certificate, prelude::FromDer, x509::SubjectPublicKeyInfo};
use zeroize::{Zeroize, Zeroizing};

use super::{
    CertificateInfo, ContentHash, Source,
    leaf::{Leaf, supported_key},
};
use crate::config::{CertificateFiles, open_regular};

/// Larger than any chain with its key; keeps a mistaken path from being read into memory.
const LARGEST_FILE: u64 = 1024 * 1024;

/// A certificate or key file that cannot be served. The text never holds a part of the key.
#[derive(Debug, thiserror::Error)]
#[error("certificate {}: {reason}", file.display())]
pub struct CertificateError {
    /// The certificate file or the key file, whichever is at fault.
    pub file: PathBuf,
    /// One line, in words for an operator.
    pub reason: String,
}

/// A loaded pair: the key matches the leaf and is RSA of 2048 to 4096 bits, P-256, P-384 or
/// Ed25519.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The chain as it stands in the file, leaf first, with its key.
    pub key: Arc<CertifiedKey>,
    /// For logs and metrics.
    pub info: CertificateInfo,
    /// Shown to clients that ask for no name or an unknown one.
    pub default: bool,
    /// What clients may dislike; it is served all the same.
    pub warnings: Vec<String>,
    /// Of the files' content.
    pub(super) content: ContentHash,
}

/// What is in a pair's files, not looked into yet.
pub struct Pair {
    files: CertificateFiles,
    source: Source,
    chain: Zeroizing<Vec<u8>>,
    key: Zeroizing<Vec<u8>>,
}

/// Reads a chain and its key from two PEM files, which may be the same file.
///
/// Self-signed leaves, leaves without a subject alternative name, expired ones and ones that live
/// for a hundred years are loaded with a warning: whether to accept them is for the clients to
/// decide.
///
/// # Errors
/// A file that is missing, is not PEM or holds the wrong thing; a key that is encrypted, of an
/// unsupported kind, or not the leaf's; a chain that does not start with the leaf.
pub fn load(files: &CertificateFiles) -> Result<Loaded, CertificateError> {
    Pair::read(files)?.load()
}

impl Pair {
    /// Reads both files, once.
    ///
    /// # Errors
    /// A file that is missing, or can be no PEM file.
    pub fn read(files: &CertificateFiles) -> Result<Self, CertificateError> {
        let [chain, key] = [read(&files.certificate_file)?, read(&files.key_file)?];
        Ok(Self { files: files.clone(), source: Source::Files, chain, key })
    }

    /// A chain and its key, in PEM, that an authority issued and that are kept in `file`.
    pub fn issued(file: &Path, chain: &str, key: &str) -> Self {
        let file = file.to_owned();
        Self {
            files: CertificateFiles { certificate_file: file.clone(), key_file: file, default: false },
            source: Source::Acme,
            chain: Zeroizing::new(chain.as_bytes().to_vec()),
            key: Zeroizing::new(key.as_bytes().to_vec()),
        }
    }

    pub fn content(&self) -> ContentHash {
        ContentHash::of([self.chain.as_slice(), self.key.as_slice()])
    }

    /// As [`load`].
    ///
    /// # Errors
    /// As [`load`].
    pub fn load(&self) -> Result<Loaded, CertificateError> {
        let chain = read_chain(&self.files.certificate_file, &self.chain)?;
        let key = read_key(&self.files.key_file, &self.key)?;
        assemble(self, chain, key)
    }
}

impl Loaded {
    /// No client takes it any more; a warning says since when.
    pub fn has_ended(&self) -> bool {
        self.info.not_after < unix_now()
    }

    /// # Errors
    /// Where it has ended.
    pub(super) fn in_time(self) -> Result<Self, CertificateError> {
        if !self.has_ended() {
            return Ok(self);
        }
        let day = OffsetDateTime::from_unix_timestamp(self.info.not_after).map(|end| format!(" on {}", end.date()));
        let reason = format!("it expired{}, so the one in force is kept", day.unwrap_or_default());
        Err(fault(&self.info.file.unwrap_or_default(), reason))
    }

    /// The same for files with the same content, and what clients dislike of it by now.
    pub(super) fn again(&self, files: &CertificateFiles) -> Self {
        let mut again = Self { default: files.default, ..self.clone() };
        again.info.file = Some(files.certificate_file.clone());
        if let Ok(certificates) = parse_chain(&self.key.cert)
            && let Some((leaf, issuers)) = certificates.split_first()
        {
            again.warnings = warnings(Leaf::examine(leaf, unix_now()), self.info.source, leaf, issuers);
        }
        again
    }
}

fn assemble(
    pair: &Pair,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Loaded, CertificateError> {
    let Pair { files, source, .. } = pair;
    let in_chain = |reason| fault(&files.certificate_file, reason);
    let certificates = parse_chain(&chain).map_err(in_chain)?;
    let Some((leaf, issuers)) = certificates.split_first() else {
        return Err(in_chain("there is no certificate in it".to_owned()));
    };
    let signing = signing_key(key, leaf, files)?;
    match owner(&certificates, signing.as_ref()) {
        Some(0) => {}
        Some(position) => {
            return Err(in_chain(format!(
                "the certificate of the key {} is number {} in it: the server's own certificate must come first, \
                 its issuers after it",
                files.key_file.display(),
                position + 1
            )));
        }
        None => {
            return Err(fault(
                &files.key_file,
                format!(
                    "this key does not belong to the certificate {}: the two files must be a pair",
                    files.certificate_file.display()
                ),
            ));
        }
    }
    supported_key(leaf.public_key()).map_err(in_chain)?;

    let facts = Leaf::examine(leaf, unix_now());
    Ok(Loaded {
        info: CertificateInfo {
            names: facts.names.clone(),
            not_before: facts.not_before,
            not_after: facts.not_after,
            source: *source,
            file: Some(files.certificate_file.clone()),
        },
        default: files.default,
        warnings: warnings(facts, *source, leaf, issuers),
        content: pair.content(),
        key: Arc::new(CertifiedKey::new(chain, signing)),
    })
}

fn warnings(facts: Leaf, source: Source, leaf: &X509Certificate<'_>, issuers: &[X509Certificate<'_>]) -> Vec<String> {
    // What an authority issued is renewed in time, and where it is not, that is told with the reason.
    let soon = facts.soon.filter(|_| source == Source::Files);
    facts.warnings.into_iter().chain(soon).chain(broken_link(leaf, issuers)).collect()
}

fn read_chain(file: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let (mut chain, mut has_key) = (Vec::new(), false);
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        let (kind, mut der) = section.map_err(|error| fault(file, pem_reason(&error)))?;
        if kind == SectionKind::Certificate {
            chain.push(CertificateDer::from(der));
        } else {
            has_key |= PrivateKeyDer::from_pem(kind, Vec::new()).is_some();
            der.zeroize();
        }
    }
    if !chain.is_empty() {
        return Ok(chain);
    }
    let reason = if has_key {
        "it holds a private key and no certificate: are certificate_file and key_file swapped?"
    } else {
        "there is no certificate in it (PEM, -----BEGIN CERTIFICATE-----)"
    };
    Err(fault(file, reason.to_owned()))
}

fn read_key(file: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, CertificateError> {
    if is_encrypted(pem) {
        return Err(fault(
            file,
            "the key is encrypted with a passphrase: store it without one, readable by the service alone".to_owned(),
        ));
    }
    let (mut key, mut has_certificate) = (None, false);
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        let (kind, der) = section.map_err(|error| fault(file, pem_reason(&error)))?;
        has_certificate |= kind == SectionKind::Certificate;
        key = key.or_else(|| PrivateKeyDer::from_pem(kind, der));
    }
    key.ok_or_else(|| {
        let reason = if has_certificate {
            "it holds a certificate and no private key: are certificate_file and key_file swapped?"
        } else {
            "there is no private key in it (PEM: PKCS#8, PKCS#1 or SEC1)"
        };
        fault(file, reason.to_owned())
    })
}

fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, CertificateError> {
    let metadata = fs::metadata(file).map_err(|error| fault(file, io_reason(&error)))?;
    if metadata.is_dir() {
        return Err(fault(file, "this is a directory, not a file".to_owned()));
    }
    if metadata.len() > LARGEST_FILE {
        return Err(fault(file, "over 1 MiB: this is not a PEM certificate or key".to_owned()));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    let read = open_regular(file).and_then(|mut opened| opened.read_to_end(&mut bytes));
    read.map_err(|error| fault(file, io_reason(&error)))?;
    // A byte order mark, as some editors write it, would hide the first BEGIN line.
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    // An ASN.1 SEQUENCE: DER or PKCS#12.
    if bytes.first() == Some(&0x30) {
        return Err(fault(file, "this is a binary file (DER or PKCS#12): convert it to PEM".to_owned()));
    }
    Ok(bytes)
}

fn is_encrypted(pem: &[u8]) -> bool {
    [b"-----BEGIN ENCRYPTED PRIVATE KEY-----".as_slice(), b"Proc-Type: 4,ENCRYPTED"]
        .iter()
        .any(|mark| pem.windows(mark.len()).any(|window| window == *mark))
}

fn parse_chain<'a>(chain: &'a [CertificateDer<'static>]) -> Result<Vec<X509Certificate<'a>>, String> {
    chain
        .iter()
        .enumerate()
        .map(|(index, der)| match X509Certificate::from_der(der) {
            Ok(([], certificate)) => Ok(certificate),
            Ok(_) => Err(format!("certificate {} has bytes after its end", index + 1)),
            Err(error) => Err(format!("certificate {} in it cannot be read: {error}", index + 1)),
        })
        .collect()
}

fn signing_key(
    mut key: PrivateKeyDer<'static>,
    leaf: &X509Certificate<'_>,
    files: &CertificateFiles,
) -> Result<Arc<dyn SigningKey>, CertificateError> {
    let signing = any_supported_type(&key);
    key.zeroize();
    signing.map_err(|_| match supported_key(leaf.public_key()) {
        Err(reason) => fault(&files.certificate_file, reason),
        Ok(()) => fault(
            &files.key_file,
            "the private key cannot be read: use RSA of 2048 to 4096 bits, P-256, P-384 or Ed25519".to_owned(),
        ),
    })
}

/// Where in the chain the key's own certificate is.
///
/// Compared here rather than by `CertifiedKey::keys_match`, whose parser refuses X.509 version 1
/// leaves.
fn owner(certificates: &[X509Certificate<'_>], signing: &dyn SigningKey) -> Option<usize> {
    let public = signing.public_key()?;
    let (_, public) = SubjectPublicKeyInfo::from_der(&public).ok()?;
    certificates.iter().position(|certificate| {
        let candidate = certificate.public_key();
        candidate.algorithm.algorithm == public.algorithm.algorithm
            && candidate.subject_public_key.data == public.subject_public_key.data
    })
}

fn broken_link(leaf: &X509Certificate<'_>, issuers: &[X509Certificate<'_>]) -> Option<String> {
    let mut below = leaf;
    for (index, issuer) in issuers.iter().enumerate() {
        if below.issuer().as_raw() != issuer.subject().as_raw() {
            return Some(format!(
                "certificate {} in the file does not issue the one before it: some clients will not find the chain",
                index + 2
            ));
        }
        below = issuer;
    }
    None
}

/// Parser errors quote the offending line, which may be the key itself where line breaks were lost.
fn pem_reason(error: &PemError) -> String {
    if matches!(error, PemError::MissingSectionEnd { .. }) {
        "it is cut short: a PEM section has no END line".to_owned()
    } else if matches!(error, PemError::IllegalSectionStart { .. }) {
        "a PEM BEGIN line is malformed (are the line breaks missing?)".to_owned()
    } else {
        "a PEM section is not valid base64".to_owned()
    }
}

fn io_reason(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound {
        "there is no such file".to_owned()
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        "permission to read it is denied".to_owned()
    } else {
        error.to_string()
    }
}

fn fault(file: &Path, reason: String) -> CertificateError {
    CertificateError { file: file.to_owned(), reason }
}

pub(super) fn unix_now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
