//! `tls`: certificates and protocol versions.

use std::{path::PathBuf, time::Duration};

use super::{
    Acme,
    reader::{Field, Section},
};

/// The lowest protocol version that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinVersion {
    Tls12,
    Tls13,
}

#[derive(Clone, Debug)]
pub struct Tls {
    pub min_version: MinVersion,
    /// At most one of them is the default; at least one where `acme` is None.
    pub certificates: Vec<CertificateFiles>,
    /// Certificates that an authority issues.
    pub acme: Option<Acme>,
    /// `max-age` of Strict-Transport-Security; None: switched off ("0s").
    pub hsts: Option<Duration>,
}

/// PEM files; they are read and checked when the certificates are loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    pub certificate_file: PathBuf,
    pub key_file: PathBuf,
    /// Shown to clients that send no SNI.
    pub default: bool,
}

impl Tls {
    pub(super) fn read(section: Section<'_>) -> Self {
        const HINT: &str =
            "write at least one certificate_file with its key_file, or acme with the names to have one for";
        let min_version =
            section.word("min_version", &[("1.2", MinVersion::Tls12), ("1.3", MinVersion::Tls13)], MinVersion::Tls12);
        let acme = section.nullable("acme");
        let fields = match &acme {
            Some(_) => section.list("certificates"),
            None => section.required("certificates", HINT).map(|field| field.filled_list(HINT)).unwrap_or_default(),
        };
        let acme = acme.and_then(|field| Acme::read(&field));
        let certificates = read_certificates(&fields);
        let hsts = section.get("hsts").map_or(Some(Duration::from_secs(365 * 24 * 60 * 60)), |field| read_hsts(&field));
        section.finish();
        Self { min_version, certificates, acme, hsts }
    }
}

fn read_certificates(fields: &[Field<'_>]) -> Vec<CertificateFiles> {
    let mut default_line = None;
    let mut certificates = Vec::new();
    for field in fields {
        let Some(section) = field.section() else { continue };
        let certificate_file = section
            .required("certificate_file", "write the path of a PEM file, leaf first")
            .and_then(|field| field.file());
        let key_file =
            section.required("key_file", "write the path of the private key's PEM file").and_then(|field| field.file());
        let default = section.flag("default", false);
        if let Some(marked) = section.get("default").filter(|_| default) {
            match default_line {
                Some(line) => {
                    marked
                        .error(format_args!("the certificate in line {line} is the default already: only one can be"));
                }
                None => default_line = Some(marked.place().line),
            }
        }
        section.finish();
        if let (Some(certificate_file), Some(key_file)) = (certificate_file, key_file) {
            certificates.push(CertificateFiles { certificate_file, key_file, default });
        }
    }
    certificates
}

fn read_hsts(field: &Field<'_>) -> Option<Duration> {
    let max_age = field.duration(Duration::ZERO)?;
    if max_age.subsec_nanos() != 0 {
        field.error("must be whole seconds");
    }
    Some(max_age).filter(|max_age| !max_age.is_zero())
}
