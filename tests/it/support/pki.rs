//! A private CA and what it signs.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;

/// A CA; its files live as long as it does.
pub(crate) struct Pki {
    dir: TempDir,
    issued: AtomicUsize,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, on disk.
pub(crate) struct Leaf {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) der: Vec<u8>,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "portcullis test CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(dir.path().join("ca.crt"), certificate.pem()).unwrap();
        // Once: whoever reads it must never find half of it.
        fs::create_dir(dir.path().join("certs.d")).unwrap();
        fs::write(dir.path().join("certs.d/ca.crt"), certificate.pem()).unwrap();
        Self { dir, issued: AtomicUsize::new(0), issuer: Issuer::new(params, key) }
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.crt")
    }

    /// A folder with the CA alone, as `--cert-dir` of skopeo wants it.
    pub(crate) fn cert_dir(&self) -> PathBuf {
        self.dir.path().join("certs.d")
    }

    /// A certificate for these DNS names and IP addresses, in files of its own.
    pub(crate) fn issue(&self, names: &[&str]) -> Leaf {
        self.issue_into(self.dir.path(), names)
    }

    /// The same with its files in another folder.
    pub(crate) fn issue_into(&self, folder: &Path, names: &[&str]) -> Leaf {
        self.issue_for(folder, names, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A certificate by which a client tells a server who it is.
    pub(crate) fn issue_client(&self, name: &str) -> Leaf {
        self.issue_for(self.dir.path(), &[name], ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue_for(&self, folder: &Path, names: &[&str], purpose: ExtendedKeyUsagePurpose) -> Leaf {
        let names: Vec<String> = names.iter().copied().map(String::from).collect();
        let stem = format!("{}-{}", names[0].replace(['*', ':'], "_"), self.issued.fetch_add(1, Ordering::Relaxed));
        let mut params = CertificateParams::new(names).unwrap();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        params.not_before = time::OffsetDateTime::now_utc() - time::Duration::hours(1);
        params.not_after = time::OffsetDateTime::now_utc() + time::Duration::days(90);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let leaf = Leaf {
            certificate: folder.join(format!("{stem}.crt")),
            key: folder.join(format!("{stem}.key")),
            der: certificate.der().to_vec(),
        };
        fs::write(&leaf.certificate, certificate.pem()).unwrap();
        fs::write(&leaf.key, key.serialize_pem()).unwrap();
        leaf
    }
}
