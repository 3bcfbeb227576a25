//! `upstream.servers`: addresses, roles and weights.

use std::{fmt, path::PathBuf};

use crate::config::{
    host::{self, Underscores},
    reader::{Field, Section},
};

/// One server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub url: ServerUrl,
    pub role: Role,
    /// Its share compared with the others; at least 1.
    pub weight: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Serves everything.
    #[default]
    Primary,
    /// A copy that may lag behind: serves only what is addressed by digest, and what it lacks is asked of a primary.
    Replica,
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

impl ServerUrl {
    /// `host:port`, an IPv6 address in brackets; `None` for a Unix socket.
    pub fn authority(&self) -> Option<String> {
        match self {
            Self::Http { host, port } | Self::Https { host, port } if host.contains(':') => {
                Some(format!("[{host}]:{port}"))
            }
            Self::Http { host, port } | Self::Https { host, port } => Some(format!("{host}:{port}")),
            Self::Unix(_) => None,
        }
    }
}

/// The URL with its port, whether it was written or not.
impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self {
            Self::Http { .. } => "http",
            Self::Https { .. } => "https",
            Self::Unix(path) => return write!(f, "unix:{}", path.display()),
        };
        write!(f, "{scheme}://{}", self.authority().unwrap_or_default())
    }
}

/// At least one that is a primary, or reported.
pub(super) fn read(upstream: &Section<'_>) -> Vec<Server> {
    const HINT: &str = "write - url: \"http://registry:5000\"";
    let Some(list) = upstream.required("servers", HINT) else { return Vec::new() };
    let mut servers: Vec<Server> = Vec::new();
    let mut sound = true;
    for field in list.filled_list(HINT) {
        let server = read_server(&field);
        if server.as_ref().is_some_and(|server| servers.iter().any(|other| other.url == server.url)) {
            field.error("this url is given twice");
        }
        sound &= server.is_some();
        servers.extend(server);
    }
    if sound && !servers.is_empty() && servers.iter().all(|server| server.role == Role::Replica) {
        list.error_at_key(
            "there are only replicas: at least one server must be a primary, which takes pushes and tags",
        );
    }
    servers
}

fn read_server(field: &Field<'_>) -> Option<Server> {
    let section = field.section()?;
    let url = section.required("url", "write \"http://registry:5000\"").and_then(|field| read_url(&field));
    let role = section.word("role", &[("primary", Role::Primary), ("replica", Role::Replica)], Role::Primary);
    let weight = section.integer("weight", 1..=65_535, 1);
    section.finish();
    Some(Server { url: url?, role, weight: u32::try_from(weight).unwrap_or(u32::MAX) })
}

pub(in crate::config) fn read_url(field: &Field<'_>) -> Option<ServerUrl> {
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
