//! `registries[].upstream`: where a registry lives.

mod health;
mod servers;

use std::{path::PathBuf, time::Duration};

pub(super) use self::servers::read_url;
pub use self::{
    health::Health,
    servers::{Role, Server, ServerUrl},
};
use super::{
    CertificateFiles, RedirectHost, Redirects, Secret,
    host::{self, Underscores},
    reader::{Field, Section},
    redirects,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// At least one of them is a primary. No URL is in it twice.
    pub servers: Vec<Server>,
    pub balance: Balance,
    pub health: Health,
    pub timeouts: Timeouts,
    pub tls: UpstreamTls,
    pub credentials: Option<UpstreamCredentials>,
    /// The upstream verifies tokens itself, and gets one of ours with each request; never together with `credentials`.
    pub pass_token: bool,
    pub redirects: Redirects,
    /// Where redirects are followed to.
    pub redirect_hosts: Vec<RedirectHost>,
    /// Whole blobs and manifests are hashed on their way, and their last bytes kept back until the digest is right.
    pub verify: bool,
}

/// How the next server is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// The one with the fewest requests under way for its weight.
    #[default]
    LeastRequests,
    /// One after the other, by weight.
    RoundRobin,
    /// The same digest by the same server, whichever gate asks.
    ByDigest,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Duration,
    pub first_byte: Duration,
    pub idle: Duration,
    pub commit: Duration,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamTls {
    /// PEM roots; None: the system's.
    pub ca_file: Option<PathBuf>,
    /// The name asked for and checked; None: the URL's host.
    pub server_name: Option<String>,
    /// What is shown to a server that wants to know who asks.
    pub client_certificate: Option<CertificateFiles>,
}

/// Basic credentials towards the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamCredentials {
    pub username: String,
    pub password: Secret,
}

impl Upstream {
    /// One server with nothing said about it but what to probe.
    pub fn of(url: ServerUrl, probed: &str) -> Self {
        Self {
            servers: vec![Server { url, role: Role::Primary, weight: 1 }],
            balance: Balance::default(),
            health: Health { path: probed.to_owned(), ..Health::default() },
            timeouts: Timeouts::default(),
            tls: UpstreamTls::default(),
            credentials: None,
            pass_token: false,
            redirects: Redirects::Follow,
            redirect_hosts: Vec::new(),
            verify: false,
        }
    }

    /// `None`, and reported, where there is no server to speak of.
    pub(super) fn read(section: Section<'_>) -> Option<Self> {
        let servers = servers::read(&section);
        let health = Health::read(section.section("health"));
        let timeouts = Timeouts::read(section.section("timeouts"));
        let (redirects, redirect_hosts) = redirects::read(&section);
        let tls = UpstreamTls::read(&section, &servers, &redirect_hosts);
        let credentials = section.nullable("credentials");
        let pass_token = read_pass_token(&section, credentials.is_some());
        let credentials = credentials.and_then(|field| UpstreamCredentials::read(&field));
        let balance = [
            ("least_requests", Balance::LeastRequests),
            ("round_robin", Balance::RoundRobin),
            ("by_digest", Balance::ByDigest),
        ];
        let balance = section.word("balance", &balance, Balance::LeastRequests);
        let verify = section.flag("verify", false);
        section.finish();
        let upstream = Self {
            servers,
            balance,
            health,
            timeouts,
            tls,
            credentials,
            pass_token,
            redirects,
            redirect_hosts,
            verify,
        };
        (!upstream.servers.is_empty()).then_some(upstream)
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            first_byte: Duration::from_secs(60),
            idle: Duration::from_secs(20),
            commit: Duration::from_secs(15 * 60),
        }
    }
}

impl Timeouts {
    fn read(section: Section<'_>) -> Self {
        let default = Self::default();
        let time = |key, default| section.duration(key, Duration::from_millis(1), default);
        let timeouts = Self {
            connect: time("connect", default.connect),
            first_byte: time("first_byte", default.first_byte),
            idle: time("idle", default.idle),
            commit: time("commit", default.commit),
        };
        section.finish();
        timeouts
    }
}

impl UpstreamTls {
    fn read(upstream: &Section<'_>, servers: &[Server], storage: &[RedirectHost]) -> Self {
        let section = upstream.section("tls");
        let ca_file = section.nullable("ca_file");
        let server_name = section.nullable("server_name");
        let client = ["client_certificate_file", "client_key_file"].map(|key| section.nullable(key));
        if !servers.is_empty() && !servers.iter().any(|server| matches!(server.url, ServerUrl::Https { .. })) {
            // Storage behind redirects is verified with the roots of ca_file as well.
            let roots = ca_file.as_ref().filter(|_| !storage.iter().any(|host| host.origin.tls));
            let [certificate, key] = &client;
            for field in [roots, server_name.as_ref(), certificate.as_ref(), key.as_ref()].into_iter().flatten() {
                field.warning_at_key("has no effect: no server's url starts with https://");
            }
        }
        section.finish();
        Self {
            ca_file: ca_file.and_then(|field| field.file()),
            server_name: server_name.and_then(|field| read_server_name(&field)),
            client_certificate: read_client_certificate(client),
        }
    }
}

/// Both files or neither.
fn read_client_certificate(files: [Option<Field<'_>>; 2]) -> Option<CertificateFiles> {
    match files {
        [Some(certificate), Some(key)] => {
            Some(CertificateFiles { certificate_file: certificate.file()?, key_file: key.file()?, default: false })
        }
        [Some(certificate), None] => {
            certificate.error_at_key("needs client_key_file: write the path of the certificate's private key");
            None
        }
        [None, Some(key)] => {
            key.error_at_key("needs client_certificate_file: write the path of the key's certificate");
            None
        }
        [None, None] => None,
    }
}

impl UpstreamCredentials {
    fn read(field: &Field<'_>) -> Option<Self> {
        let section = field.section()?;
        let username = section
            .required("username", "write the name that the upstream knows")
            .and_then(|field| read_username(&field));
        let password = section
            .required("password_file", "write the path of a file that holds the password")
            .and_then(|field| read_secret(&field));
        section.finish();
        Some(Self { username: username?, password: password? })
    }
}

fn read_pass_token(upstream: &Section<'_>, credentials: bool) -> bool {
    let Some(field) = upstream.get("pass_token") else { return false };
    let pass_token = field.flag().unwrap_or(false);
    if pass_token && credentials {
        field.error_at_key("a request carries either a token or upstream.credentials: leave one of them out");
    }
    pass_token
}

fn read_server_name(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    let name = host::parse_ip(text).map(|ip| ip.to_string()).or_else(|| host::parse_name(text, Underscores::Accepted));
    if name.is_none() {
        field.error(format_args!("{text:?} is not a DNS name or IP address"));
    }
    name
}

fn read_username(field: &Field<'_>) -> Option<String> {
    let name = field.text()?;
    if name.contains(':') {
        field.error("must not hold a colon, which ends the name in Basic credentials");
    }
    Some(name.to_owned())
}

fn read_secret(field: &Field<'_>) -> Option<Secret> {
    read_secret_of(field).map(|(_, secret)| secret)
}

/// A secret that is a part of the configuration, and the file that holds it.
pub(super) fn read_secret_of(field: &Field<'_>) -> Option<(PathBuf, Secret)> {
    let path = field.file_read_now()?;
    match Secret::read(&path) {
        Ok(secret) => Some((path, secret)),
        Err(error) => {
            field.error(format_args!("cannot use {}: {error}", path.display()));
            None
        }
    }
}
