//! `tls.acme`: certificates that an authority issues by itself (RFC 8555).

use std::{collections::HashMap, fmt, io, net::IpAddr, path::PathBuf};

use super::{
    Origin, Secret,
    host::{self, Underscores},
    reader::{Field, Section},
};

const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
const LETS_ENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";
/// Let's Encrypt's profile for addresses.
const SHORT_LIVED: &str = "shortlived";
/// As many as Let's Encrypt takes for one certificate.
const MOST_NAMES: usize = 100;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acme {
    /// The URL of the authority's directory; always https.
    pub directory: String,
    /// PEM roots to trust at the authority; None: the system's.
    pub directory_ca_file: Option<PathBuf>,
    /// `mailto:` and the like, for the account.
    pub contact: Vec<String>,
    /// The folder of accounts, keys and certificates; several portcullis may share it.
    pub storage: PathBuf,
    pub challenge: AcmeChallenge,
    pub profile: Option<String>,
    pub external_account: Option<ExternalAccount>,
    /// At least one; no name is in two of them.
    pub certificates: Vec<AcmeCertificate>,
}

/// How it is proven that a name is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcmeChallenge {
    /// tls-alpn-01, and http-01 where that fails.
    Auto,
    TlsAlpn01,
    Http01,
}

/// An account that the authority knows otherwise, and that ours is bound to (RFC 8555 §7.3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalAccount {
    pub key_id: String,
    /// Holds the HMAC key in base64url.
    pub hmac_key_file: PathBuf,
}

/// A certificate to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeCertificate {
    /// At least one, each once.
    pub names: Vec<AcmeName>,
}

/// What a certificate can be issued for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AcmeName {
    /// In lower case, without a trailing dot.
    Dns(String),
    /// `::ffff:a.b.c.d` as `a.b.c.d`.
    Ip(IpAddr),
}

impl fmt::Display for AcmeName {
    /// As certificates are chosen by it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

impl ExternalAccount {
    /// The key as the file has it now, in base64url.
    ///
    /// # Errors
    /// Where the file cannot be read, or holds nothing, or several lines; the text does not quote it.
    pub fn hmac_key(&self) -> io::Result<Secret> {
        Secret::read(&self.hmac_key_file)
    }
}

impl Acme {
    /// Every name, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &AcmeName> {
        self.certificates.iter().flat_map(|certificate| &certificate.names)
    }

    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        let section = field.section()?;
        field.name();
        let directory = section.get("directory").map_or(Some(LETS_ENCRYPT.to_owned()), |field| read_directory(&field));
        let directory_ca_file = section.nullable("directory_ca_file").and_then(|field| field.file());
        let contact = section.list("contact").iter().filter_map(read_contact).collect();
        read_agreement(&section);
        let storage = match section.get("storage") {
            Some(field) => field.folder(),
            None => Some(PathBuf::from("/var/lib/portcullis/acme")),
        };
        let challenge = section.word(
            "challenge",
            &[
                ("auto", AcmeChallenge::Auto),
                ("tls-alpn-01", AcmeChallenge::TlsAlpn01),
                ("http-01", AcmeChallenge::Http01),
            ],
            AcmeChallenge::Auto,
        );
        let profile = section.nullable("profile").and_then(|field| field.text().map(str::to_owned));
        let external_account = section.nullable("external_account").and_then(|field| read_external(field.section()?));
        const HINT: &str = "write - names: [\"registry.example.com\"]";
        let fields = section.required("certificates", HINT).map(|field| field.filled_list(HINT)).unwrap_or_default();
        let mut given = HashMap::new();
        let lets_encrypt = directory.as_deref().is_some_and(is_lets_encrypt);
        let needs_profile = lets_encrypt && profile.as_deref() != Some(SHORT_LIVED);
        let certificates = fields.iter().filter_map(|field| read_certificate(field, &mut given, needs_profile));
        let certificates = certificates.collect();
        section.finish();
        Some(Self {
            directory: directory?,
            directory_ca_file,
            contact,
            storage: storage?,
            challenge,
            profile,
            external_account,
            certificates,
        })
    }
}

fn is_lets_encrypt(directory: &str) -> bool {
    [LETS_ENCRYPT, LETS_ENCRYPT_STAGING].contains(&directory)
}

fn read_directory(field: &Field<'_>) -> Option<String> {
    const FORM: &str = "write \"letsencrypt\", \"letsencrypt-staging\" or the https:// URL of a directory";
    let text = field.text()?;
    match text {
        "letsencrypt" => return Some(LETS_ENCRYPT.to_owned()),
        "letsencrypt-staging" => return Some(LETS_ENCRYPT_STAGING.to_owned()),
        _ => {}
    }
    let is_url = Origin::split(text).is_ok_and(|url| url.origin.tls && !url.rest.contains('#'));
    if !is_url || text.parse::<http::Uri>().is_err() {
        field.error(format_args!("is no ACME directory: {FORM}"));
        return None;
    }
    Some(text.to_owned())
}

fn read_contact(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    if !text.contains(':') {
        field.error(format_args!("{text:?} is no URL: write \"mailto:ops@example.com\""));
    }
    Some(text.to_owned())
}

fn read_agreement(section: &Section<'_>) {
    const HINT: &str =
        "write agree_to_terms: true where you agree to the terms of the authority (its directory links to them)";
    if let Some(field) = section.required("agree_to_terms", HINT)
        && field.flag() == Some(false)
    {
        field.error(format_args!("without that no certificate is issued: {HINT}, or leave tls.acme out"));
    }
}

fn read_external(section: Section<'_>) -> Option<ExternalAccount> {
    let key_id = section.required("key_id", "write the key id that the authority gave you");
    let key_id = key_id.and_then(|field| field.text().map(str::to_owned));
    let hmac_key_file = section.required("hmac_key_file", "write the path of a file that holds the key in base64url");
    let hmac_key_file = hmac_key_file.and_then(|field| field.file());
    section.finish();
    Some(ExternalAccount { key_id: key_id?, hmac_key_file: hmac_key_file? })
}

fn read_certificate(
    field: &Field<'_>,
    given: &mut HashMap<AcmeName, usize>,
    needs_profile: bool,
) -> Option<AcmeCertificate> {
    const HINT: &str = "write [\"registry.example.com\"]";
    let section = field.section()?;
    let list = section.required("names", HINT);
    let fields = list.as_ref().map(|field| field.filled_list(HINT)).unwrap_or_default();
    if let Some(list) = list.filter(|_| fields.len() > MOST_NAMES) {
        list.error_at_key(format_args!("more than {MOST_NAMES} names: write several certificates"));
    }
    let mut names = Vec::new();
    for field in &fields {
        let Some(name) = read_name(field) else { continue };
        if let Some(line) = given.insert(name.clone(), field.place().line) {
            field.error(format_args!("{name} is given in line {line} already: a name belongs to one certificate"));
        }
        if needs_profile && matches!(name, AcmeName::Ip(_)) {
            field.error(format_args!(
                "Let's Encrypt issues certificates for addresses with a short life alone: write profile: \"{SHORT_LIVED}\""
            ));
        }
        names.push(name);
    }
    section.finish();
    (!names.is_empty()).then_some(AcmeCertificate { names })
}

fn read_name(field: &Field<'_>) -> Option<AcmeName> {
    let text = field.text()?;
    if text.starts_with("*.") {
        field.error(
            "wildcards are proven by DNS records (dns-01), which portcullis does not write: name each host, or have \
             another tool make the certificate and write it under tls.certificates",
        );
        return None;
    }
    if let Some(address) = host::parse_ip(text) {
        return Some(AcmeName::Ip(address));
    }
    let name = host::parse_name(text, Underscores::Refused);
    if name.is_none() {
        field.error(format_args!("{text:?} is neither a DNS name nor an IP address, without a port"));
    }
    Some(AcmeName::Dns(name?))
}
