//! Certificates and clients for the tests of this crate.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_ED25519, PKCS_RSA_SHA256, SignatureAlgorithm,
};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, SupportedProtocolVersion,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tempfile::TempDir;

use crate::config::CertificateFiles;

/// Every kind of key that is served.
pub(crate) fn kinds() -> [(&'static str, &'static SignatureAlgorithm); 4] {
    [
        ("rsa", &PKCS_RSA_SHA256),
        ("p256", &PKCS_ECDSA_P256_SHA256),
        ("p384", &PKCS_ECDSA_P384_SHA384),
        ("ed25519", &PKCS_ED25519),
    ]
}

/// Parameters for `names`, valid for a year around now; the first name is the common name, too.
pub(crate) fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names.clone()).unwrap();
    let now = time::OffsetDateTime::now_utc();
    params.not_before = now - time::Duration::days(1);
    params.not_after = now + time::Duration::days(364);
    params.distinguished_name = DistinguishedName::new();
    if let Some(first) = names.first() {
        params.distinguished_name.push(DnType::CommonName, first.clone());
    }
    params
}

/// A folder of PEM files with an authority of its own.
pub(crate) struct Folder {
    dir: TempDir,
    authority: Issuer<'static, KeyPair>,
    authority_pem: String,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let mut params = params(&[]);
        params.distinguished_name.push(DnType::CommonName, "Test Authority");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority_pem = params.self_signed(&key).unwrap().pem();
        Self { dir: TempDir::new().unwrap(), authority: Issuer::new(params, key), authority_pem }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn authority_pem(&self) -> &str {
        &self.authority_pem
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.path().join(name);
        fs::write(&file, text).unwrap();
        file
    }

    /// `name.crt` (leaf, then the authority) and `name.key`.
    pub(crate) fn signed(
        &self,
        name: &str,
        params: &CertificateParams,
        kind: &'static SignatureAlgorithm,
    ) -> CertificateFiles {
        let key = KeyPair::generate_for(kind).unwrap();
        let leaf = params.signed_by(&key, &self.authority).unwrap();
        self.pair(name, &format!("{}{}", leaf.pem(), self.authority_pem), &key)
    }

    pub(crate) fn self_signed(
        &self,
        name: &str,
        params: &CertificateParams,
        kind: &'static SignatureAlgorithm,
    ) -> CertificateFiles {
        let key = KeyPair::generate_for(kind).unwrap();
        let leaf = params.self_signed(&key).unwrap();
        self.pair(name, &leaf.pem(), &key)
    }

    fn pair(&self, name: &str, chain: &str, key: &KeyPair) -> CertificateFiles {
        CertificateFiles {
            certificate_file: self.write(&format!("{name}.crt"), chain),
            key_file: self.write(&format!("{name}.key"), &key.serialize_pem()),
            default: false,
        }
    }

    /// Runs the openssl command line inside the folder.
    pub(crate) fn openssl(&self, arguments: &str) {
        let output =
            Command::new("openssl").args(arguments.split_whitespace()).current_dir(self.path()).output().unwrap();
        assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A client that trusts this folder's authority and checks names.
    pub(crate) fn verifying_client(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        use rustls_pki_types::pem::PemObject as _;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority_pem.as_bytes()).unwrap()).unwrap();
        ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }
}

/// A client that takes any certificate, as with `insecure-registries`, but still checks the
/// handshake's signature.
pub(crate) fn trusting_client(versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    trusting_client_with(aws_lc_rs::default_provider(), versions)
}

pub(crate) fn trusting_client_with(
    provider: CryptoProvider,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let provider = Arc::new(provider);
    ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth()
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
