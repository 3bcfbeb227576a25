//! Whom we trust where we are the client.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, pem::PemObject};

use crate::config::open_regular;

/// Certificates of authorities, read once.
pub struct Roots {
    certificates: Vec<CertificateDer<'static>>,
    /// None: they are the system's.
    file: Option<PathBuf>,
}

/// A file that trust or a password comes from and that cannot be used, or roots of the system that cannot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct FileFault {
    /// The file that is at fault.
    pub file: Option<PathBuf>,
    pub reason: String,
}

impl Roots {
    /// # Errors
    /// A file that cannot be read, or is no PEM file.
    pub fn of_file(file: &Path) -> Result<Self, FileFault> {
        let fault = |reason: String| FileFault { file: Some(file.to_owned()), reason };
        let mut pem = Vec::new();
        let read = open_regular(file).and_then(|mut opened| opened.read_to_end(&mut pem));
        read.map_err(|error| fault(format!("cannot be read: {error}")))?;
        let certificates = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| fault("is not valid PEM".to_owned()))?;
        Ok(Self { certificates, file: Some(file.to_owned()) })
    }

    pub fn of_system() -> Self {
        let mut certificates = rustls_native_certs::load_native_certs().certs;
        // In whichever order a folder lists them.
        certificates.sort_unstable_by(|one, other| one.as_ref().cmp(other.as_ref()));
        Self { certificates, file: None }
    }

    /// For a [`super::ContentHash`].
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.certificates.iter().map(AsRef::as_ref)
    }

    /// # Errors
    /// Where none of them can be used. `setting` names the key that roots can be set by.
    pub fn add_to(&self, roots: &mut RootCertStore, setting: &str) -> Result<(), FileFault> {
        let (added, _) = roots.add_parsable_certificates(self.certificates.iter().cloned());
        if added > 0 {
            return Ok(());
        }
        let reason = match &self.file {
            Some(_) => "holds no usable certificate (PEM, -----BEGIN CERTIFICATE-----)".to_owned(),
            None => format!("the system has no trusted roots: install ca-certificates or set {setting}"),
        };
        Err(FileFault { file: self.file.clone(), reason })
    }
}
