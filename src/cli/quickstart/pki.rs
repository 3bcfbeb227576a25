//! A private CA and one server certificate, P-256.

use std::{io::Write, net::IpAddr};

use anyhow::{Context, bail};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use time::{Duration, OffsetDateTime};
use x509_parser::{extensions::GeneralName, pem::parse_x509_pem};

use super::folder::{Access, Folder};

const CA_KEY: &str = "tls/ca.key";
const CA_CERTIFICATE: &str = "tls/ca.crt";
const SERVER_KEY: &str = "tls/server.key";
const SERVER_CERTIFICATE: &str = "tls/server.crt";

const CA_LIFE: Duration = Duration::days(3650);

/// Some clients refuse a server certificate that lives longer than 398 days.
const SERVER_LIFE: Duration = Duration::days(397);

/// Makes what is missing of the CA and the server certificate. Returns what a person should know about a certificate
/// that was there before: that it has expired, or that a name is not in it.
///
/// A key is made before its certificate, and a key that is there is used: a removed `server.crt` comes back for the
/// same key with the names asked for.
pub(super) fn ensure(folder: &Folder, names: &[String], out: &mut impl Write) -> anyhow::Result<Vec<String>> {
    if folder.has(SERVER_CERTIFICATE)? && folder.has(SERVER_KEY)? {
        folder.keep(SERVER_CERTIFICATE, out)?;
        return shortcomings(&folder.read(SERVER_CERTIFICATE)?, names);
    }
    let ca = ensure_ca(folder, out)?;
    let key = ensure_key(folder, SERVER_KEY, SERVER_CERTIFICATE, out)?;
    folder.ensure(SERVER_CERTIFICATE, Access::Everyone, out, || Ok(server_certificate(&ca, &key, names)?.pem()))?;
    Ok(Vec::new())
}

fn ensure_ca(folder: &Folder, out: &mut impl Write) -> anyhow::Result<Issuer<'static, KeyPair>> {
    let key = ensure_key(folder, CA_KEY, CA_CERTIFICATE, out)?;
    folder.ensure(CA_CERTIFICATE, Access::Everyone, out, || Ok(ca_certificate(&key)?.pem()))?;
    Issuer::from_ca_cert_pem(&folder.read(CA_CERTIFICATE)?, key)
        .with_context(|| format!("{CA_CERTIFICATE} is not a certificate"))
}

fn ensure_key(folder: &Folder, name: &str, certificate: &str, out: &mut impl Write) -> anyhow::Result<KeyPair> {
    if !folder.has(name)? && folder.has(certificate)? {
        bail!(
            "{certificate} is there, its key {name} is not: bring the key back, or remove the certificate to have both made anew"
        );
    }
    let fresh = || Ok(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?.serialize_pem());
    folder.ensure(name, Access::Owner, out, fresh)?;
    KeyPair::from_pem(&folder.read(name)?).with_context(|| format!("{name} is not a private key"))
}

fn ca_certificate(key: &KeyPair) -> Result<Certificate, rcgen::Error> {
    let mut params = params("portcullis quickstart CA", CA_LIFE, Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.self_signed(key)
}

fn server_certificate(ca: &Issuer<'_, KeyPair>, key: &KeyPair, names: &[String]) -> Result<Certificate, rcgen::Error> {
    let mut params = params("portcullis", SERVER_LIFE, names.to_vec())?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.signed_by(key, ca)
}

fn params(common_name: &str, life: Duration, names: Vec<String>) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let now = OffsetDateTime::now_utc();
    // Clocks differ: a client an hour behind must not see a certificate from the future.
    params.not_before = now.saturating_sub(Duration::hours(1));
    params.not_after = now.saturating_add(life);
    Ok(params)
}

fn shortcomings(pem: &str, names: &[String]) -> anyhow::Result<Vec<String>> {
    let (_, pem) = parse_x509_pem(pem.as_bytes()).with_context(|| format!("{SERVER_CERTIFICATE} is not PEM"))?;
    let certificate = pem.parse_x509().with_context(|| format!("{SERVER_CERTIFICATE} is not a certificate"))?;
    let mut found = Vec::new();
    if certificate.validity().time_to_expiration().is_none() {
        found.push(format!("{SERVER_CERTIFICATE} has expired"));
    }
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let alternatives = alternatives.map_or(&[][..], |extension| &extension.value.general_names);
    for name in names {
        if !alternatives.iter().any(|alternative| is(alternative, name)) {
            found.push(format!("{SERVER_CERTIFICATE} does not name {name}"));
        }
    }
    if !found.is_empty() {
        found.push(format!("remove {SERVER_CERTIFICATE} and run this again to have a new one made for the same key"));
    }
    Ok(found)
}

fn is(alternative: &GeneralName<'_>, name: &str) -> bool {
    match (alternative, name.parse()) {
        (GeneralName::DNSName(dns), Err(_)) => dns.eq_ignore_ascii_case(name),
        (GeneralName::IPAddress(octets), Ok(IpAddr::V4(address))) => **octets == address.octets(),
        (GeneralName::IPAddress(octets), Ok(IpAddr::V6(address))) => **octets == address.octets(),
        _ => false,
    }
}
