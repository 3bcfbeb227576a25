//! `registries[].upstream`: where a registry lives.

use std::{path::PathBuf, time::Duration};

use super::{
    CertificateFiles, RedirectHost, Redirects, Secret,
    host::{self, Underscores},
    later,
    reader::{Field, Section},
    redirects,
};

#[derive(Clone, Debug)]
pub struct Upstream {
    /// Exactly one in this version.
    pub server: ServerUrl,
    pub timeouts: Timeouts,
    pub tls: UpstreamTls,
    pub credentials: Option<UpstreamCredentials>,
    /// The upstream verifies tokens itself, and gets one of ours with each request; never together with `credentials`.
    pub pass_token: bool,
    pub redirects: Redirects,
    /// Where redirects are followed to.
    pub redirect_hosts: Vec<RedirectHost>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerUrl {
    /// `host`: a DNS name in lower case or an IP address without brackets.
    Http { host: String, port: u16 },
    /// `host`: a DNS name in lower case or an IP address without brackets.
    Https { host: String, port: u16 },
    /// An absolute path.
    Unix(PathBuf),
}

#[derive(Clone, Debug)]
pub struct Timeouts {
    pub connect: Duration,
    pub first_byte: Duration,
    pub idle: Duration,
    pub commit: Duration,
}

#[derive(Clone, Debug, Default)]
pub struct UpstreamTls {
    /// PEM roots; None: the system's.
    pub ca_file: Option<PathBuf>,
    /// The name asked for and checked; None: the URL's host.
    pub server_name: Option<String>,
    /// What is shown to a server that wants to know who asks.
    pub client_certificate: Option<CertificateFiles>,
}

/// Basic credentials towards the upstream.
#[derive(Clone, Debug)]
pub struct UpstreamCredentials {
    pub username: String,
    pub password: Secret,
}

impl Upstream {
    /// `None`, and reported, where there is no server to speak of.
    pub(super) fn read(section: Section<'_>) -> Option<Self> {
        let server = read_servers(&section);
        let timeouts = Timeouts::read(section.section("timeouts"));
        let (redirects, redirect_hosts) = redirects::read(&section);
        let tls = UpstreamTls::read(&section, server.as_ref(), &redirect_hosts);
        let credentials = section.nullable("credentials");
        let pass_token = read_pass_token(&section, credentials.is_some());
        let credentials = credentials.and_then(|field| UpstreamCredentials::read(&field));
        let balance = ["least_requests", "round_robin", "by_digest"];
        section.word("balance", &balance.map(|word| (word, ())), ());
        section.section("health").finish();
        section.finish();
        Some(Self { server: server?, timeouts, tls, credentials, pass_token, redirects, redirect_hosts })
    }
}

impl Timeouts {
    fn read(section: Section<'_>) -> Self {
        let time = |key, default| section.duration(key, Duration::from_millis(1), Duration::from_secs(default));
        let timeouts = Self {
            connect: time("connect", 3),
            first_byte: time("first_byte", 60),
            idle: time("idle", 20),
            commit: time("commit", 15 * 60),
        };
        section.finish();
        timeouts
    }
}

impl UpstreamTls {
    fn read(upstream: &Section<'_>, server: Option<&ServerUrl>, storage: &[RedirectHost]) -> Self {
        let section = upstream.section("tls");
        let ca_file = section.nullable("ca_file");
        let server_name = section.nullable("server_name");
        let client = ["client_certificate_file", "client_key_file"].map(|key| section.nullable(key));
        if matches!(server, Some(ServerUrl::Http { .. } | ServerUrl::Unix(_))) {
            // Storage behind redirects is verified with the roots of ca_file as well.
            let roots = ca_file.as_ref().filter(|_| !storage.iter().any(|host| host.origin.tls));
            let [certificate, key] = &client;
            for field in [roots, server_name.as_ref(), certificate.as_ref(), key.as_ref()].into_iter().flatten() {
                field.warning_at_key("has no effect: the server's url does not start with https://");
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

fn read_servers(upstream: &Section<'_>) -> Option<ServerUrl> {
    const HINT: &str = "write - url: \"http://registry:5000\"";
    let fields = upstream.required("servers", HINT)?.filled_list(HINT);
    let mut first = None;
    for (index, field) in fields.iter().enumerate() {
        let Some(section) = field.section() else { continue };
        let url = section.required("url", "write \"http://registry:5000\"").and_then(|field| read_url(&field));
        section.integer("weight", 1..=65_535, 1);
        section.finish();
        match index {
            0 => first = url,
            1 => later::only_one_server(field),
            _ => {}
        }
    }
    first
}

fn read_url(field: &Field<'_>) -> Option<ServerUrl> {
    let url = parse_url(field.text()?);
    url.map_err(|problem| field.error(problem)).ok()
}

/// Messages never quote the URL: it could hold a password.
fn parse_url(url: &str) -> Result<ServerUrl, &'static str> {
    if let Some(path) = url.strip_prefix("unix:") {
        return parse_socket_path(path);
    }
    let (https, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        (None, None) => {
            return Err("not a server: write \"http://registry:5000\", \"https://…\" or \"unix:/run/registry.sock\"");
        }
    };
    if rest.contains('@') {
        return Err("a URL must not hold a name or password: use upstream.credentials");
    }
    if rest.contains(['?', '#']) {
        return Err("a server has no query or fragment: write scheme, host and port alone");
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains('/') {
        return Err("a server has no path: write scheme, host and port alone");
    }
    const HOST: &str = "the host or the port cannot be read: write \"http://registry:5000\"";
    let (host, port) = host::split_port(authority).ok_or(HOST)?;
    let host = match host::parse_ip(host) {
        Some(ip) => ip.to_string(),
        None => host::parse_name(host, Underscores::Accepted).ok_or(HOST)?,
    };
    Ok(if https {
        ServerUrl::Https { host, port: port.unwrap_or(443) }
    } else {
        ServerUrl::Http { host, port: port.unwrap_or(80) }
    })
}

fn parse_socket_path(path: &str) -> Result<ServerUrl, &'static str> {
    /// `sun_path` holds 108 bytes with the zero at its end (unix(7)).
    const LONGEST: usize = 107;
    let path = path.strip_prefix("//").unwrap_or(path);
    if !path.starts_with('/') || path.ends_with('/') {
        return Err("not the absolute path of a socket: write \"unix:/run/registry.sock\"");
    }
    if path.len() > LONGEST {
        return Err("the path of a socket has at most 107 bytes");
    }
    Ok(ServerUrl::Unix(PathBuf::from(path)))
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
    let path = field.file()?;
    match Secret::read(&path) {
        Ok(secret) => Some(secret),
        Err(error) => {
            field.error(format_args!("cannot use {}: {error}", path.display()));
            None
        }
    }
}
