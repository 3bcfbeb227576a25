//! What a server certificate says of itself, and what clients may dislike about it.

use std::net::IpAddr;

use rustls_pki_types::DnsName;
use x509_parser::{
    certificate::X509Certificate,
    extensions::GeneralName,
    oid_registry::{
        OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519,
    },
    public_key::PublicKey,
    time::ASN1Time,
    x509::{SubjectPublicKeyInfo, X509Version},
};

/// Longest life that Apple's platforms accept even of a private authority, in days.
const LONGEST_LIFE: i64 = 825;
const DAY: i64 = 86_400;

/// A server certificate as far as portcullis looks into it.
pub(super) struct Leaf {
    /// Names of the subject alternative name extension, or the common name where that has none;
    /// lower case, wildcards as written, addresses in canonical text.
    pub(super) names: Vec<String>,
    /// Unix seconds.
    pub(super) not_before: i64,
    /// Unix seconds.
    pub(super) not_after: i64,
    /// What clients may dislike. Nothing here keeps the certificate from being served.
    pub(super) warnings: Vec<String>,
    /// That it is time to renew it.
    pub(super) soon: Option<String>,
}

impl Leaf {
    /// `now` is in Unix seconds.
    pub(super) fn examine(certificate: &X509Certificate<'_>, now: i64) -> Self {
        let mut warnings = Vec::new();
        let names = names(certificate, &mut warnings);
        lifetime(certificate, now, &mut warnings);
        purpose(certificate, &mut warnings);
        let validity = certificate.validity();
        let (not_before, not_after) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        Self { names, not_before, not_after, warnings, soon: soon(validity.not_after, now) }
    }
}

/// Accepts RSA of 2048 to 4096 bits, P-256, P-384 and Ed25519; the error says what was found.
pub(super) fn supported_key(key: &SubjectPublicKeyInfo<'_>) -> Result<(), String> {
    let algorithm = &key.algorithm.algorithm;
    if *algorithm == OID_SIG_ED25519 {
        Ok(())
    } else if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
        supported_curve(key)
    } else if *algorithm == OID_PKCS1_RSAENCRYPTION {
        supported_rsa(key)
    } else {
        Err(format!("a key of type {algorithm} is not supported: use RSA, P-256, P-384 or Ed25519"))
    }
}

fn supported_curve(key: &SubjectPublicKeyInfo<'_>) -> Result<(), String> {
    let curve = key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    match curve {
        Some(oid) if oid == OID_EC_P256 || oid == OID_NIST_EC_P384 => Ok(()),
        Some(oid) => Err(format!("the elliptic curve {oid} is not supported: use P-256 or P-384")),
        None => Err("the elliptic curve is not a named one: use P-256 or P-384".to_owned()),
    }
}

fn supported_rsa(key: &SubjectPublicKeyInfo<'_>) -> Result<(), String> {
    let Ok(PublicKey::RSA(rsa)) = key.parsed() else {
        return Err("the RSA key cannot be read".to_owned());
    };
    let modulus = rsa.modulus.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<u8>>();
    let unused = modulus.first().map_or(0, |byte| byte.leading_zeros());
    let bits = (modulus.len() * 8).saturating_sub(unused as usize);
    if (2048..=4096).contains(&bits) {
        Ok(())
    } else {
        Err(format!("an RSA key of {bits} bits is not supported: use 2048 to 4096 bits"))
    }
}

fn names(certificate: &X509Certificate<'_>, warnings: &mut Vec<String>) -> Vec<String> {
    let alternative = alternative_names(certificate);
    if !alternative.is_empty() {
        return alternative;
    }
    let common = common_names(certificate);
    warnings.push(match common.first() {
        Some(name) => {
            format!("no subject alternative name: most clients refuse it; its common name {name} is used to choose it")
        }
        None => "neither a subject alternative name nor a common name that is a host name: \
                 most clients refuse it, and it can only be the default"
            .to_owned(),
    });
    common
}

fn alternative_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let mut names = Vec::new();
    for general in &extension.value.general_names {
        let name = if let GeneralName::DNSName(name) = general {
            host_name(name)
        } else if let GeneralName::IPAddress(bytes) = general {
            address(bytes).map(|address| address.to_string())
        } else {
            None
        };
        names.extend(name.filter(|name| !names.contains(name)));
    }
    names
}

fn common_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    certificate
        .subject()
        .iter_common_name()
        .filter_map(|attribute| attribute.as_str().ok())
        .filter_map(|text| match text.parse::<IpAddr>() {
            Ok(address) => Some(address.to_string()),
            Err(_) => host_name(text),
        })
        .collect()
}

/// Lower case, without a trailing dot; `None` for what is neither a DNS name nor `*.` before one.
fn host_name(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let plain = name.strip_prefix("*.").unwrap_or(&name);
    DnsName::try_from(plain).ok()?;
    Some(name)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
        .map(|address| address.to_canonical())
}

/// Days before the end when it is time to say so.
const SOON: i64 = 14;

fn lifetime(certificate: &X509Certificate<'_>, now: i64, warnings: &mut Vec<String>) {
    let validity = certificate.validity();
    let (from, until) = (validity.not_before, validity.not_after);
    if until.timestamp() < now {
        warnings.push(format!("expired on {}", day(until)));
    } else if from.timestamp() > now {
        warnings.push(format!("not valid before {}", day(from)));
    }
    let days = until.timestamp().saturating_sub(from.timestamp()) / DAY;
    if days > LONGEST_LIFE {
        warnings.push(format!("valid for {days} days: some clients refuse more than {LONGEST_LIFE}"));
    }
}

fn soon(until: ASN1Time, now: i64) -> Option<String> {
    let left = until.timestamp() - now;
    (0..SOON * DAY).contains(&left).then(|| format!("ends on {}, in {} days", day(until), left / DAY))
}

fn day(time: ASN1Time) -> String {
    time.to_datetime().date().to_string()
}

fn purpose(certificate: &X509Certificate<'_>, warnings: &mut Vec<String>) {
    if certificate.subject().as_raw() == certificate.issuer().as_raw() {
        warnings.push("self-signed: clients must be told to trust it".to_owned());
    }
    if certificate.version() != X509Version::V3 {
        warnings.push("not an X.509 version 3 certificate: some clients refuse it".to_owned());
    }
    if certificate.is_ca() {
        warnings.push("marked as a certificate authority: some clients refuse it as a server's".to_owned());
    }
    if let Ok(Some(usage)) = certificate.extended_key_usage()
        && !usage.value.server_auth
        && !usage.value.any
    {
        warnings.push("its extended key usage does not include server authentication: clients refuse it".to_owned());
    }
}
