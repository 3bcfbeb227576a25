//! `listen`: the sockets.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::{
    reader::{Field, Section},
    yaml::Value,
};

/// Loopback: what it tells is for the machine's own operators.
const DEFAULT_ADMIN: &str = "127.0.0.1:9090";

/// Where to listen, and whose word about a client's address is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// At least one; port 0 takes a free one.
    pub https: Vec<SocketAddr>,
    pub http: Vec<SocketAddr>,
    /// The port clients dial; default: the first https port.
    pub public_port: Option<u16>,
    pub admin: Option<SocketAddr>,
    /// Networks of balancers that begin each connection with a PROXY header; nobody else's is read.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Networks of proxies whose `X-Forwarded-For` counts.
    pub trusted_proxies: Vec<IpNet>,
}

impl Listen {
    pub(super) fn read(section: Section<'_>) -> Self {
        ["https", "http", "admin"].iter().filter_map(|key| section.get(key)).for_each(|field| field.name());
        const NOBODY: &str = "nobody could connect; write [\"[::]:443\"]";
        let https = match section.get("https") {
            Some(field) => given(&field.filled_list(NOBODY)),
            None => default("listen.https", "[::]:443"),
        };
        let http = match section.get("http") {
            Some(field) => given(&field.list().unwrap_or_default()),
            None => default("listen.http", "[::]:80"),
        };
        let admin = match section.get("admin") {
            Some(field) => read_admin(&field).into_iter().collect(),
            None => default("listen.admin", DEFAULT_ADMIN),
        };
        let public_port = section.nullable("public_port").and_then(|field| field.integer(1..=65_535));
        let proxy_protocol_from: Vec<_> =
            section.list("proxy_protocol_from").iter().filter_map(read_balancer).collect();
        let trusted_proxies = section
            .list("trusted_proxies")
            .iter()
            .filter_map(|field| read_proxy(field, &proxy_protocol_from))
            .collect();
        section.finish();
        report_collisions(https.iter().chain(&http).chain(&admin));
        let addresses = |sockets: Vec<Socket<'_>>| sockets.into_iter().map(|socket| socket.address).collect();
        Self {
            https: addresses(https),
            http: addresses(http),
            public_port: public_port.and_then(|port| port.try_into().ok()),
            admin: admin.first().map(|socket| socket.address),
            proxy_protocol_from,
            trusted_proxies,
        }
    }

    /// `admin` alone; `None`, and reported, where it is no address.
    pub(super) fn admin_of(section: &Section<'_>) -> Option<Option<SocketAddr>> {
        match section.get("admin") {
            None => Some(DEFAULT_ADMIN.parse().ok()),
            Some(field) if is_off(&field) => Some(None),
            Some(field) => read_socket(&field).map(|socket| Some(socket.address)),
        }
    }
}

/// An address that was asked for, and by whom.
struct Socket<'a> {
    address: SocketAddr,
    key: &'static str,
    /// None: a default.
    field: Option<Field<'a>>,
}

fn default<'a>(key: &'static str, address: &str) -> Vec<Socket<'a>> {
    address.parse().into_iter().map(|address| Socket { address, key, field: None }).collect()
}

fn given<'a>(fields: &[Field<'a>]) -> Vec<Socket<'a>> {
    fields.iter().filter_map(read_socket).collect()
}

fn read_socket<'a>(field: &Field<'a>) -> Option<Socket<'a>> {
    let text = field.text()?;
    let Ok(address) = text.parse() else {
        field.error(format_args!(
            "{text:?} is not an address with a port: write \"[::]:443\" for all addresses, or \"192.0.2.1:443\" for one"
        ));
        return None;
    };
    Some(Socket { address, key: "", field: Some(field.clone()) })
}

fn read_admin<'a>(field: &Field<'a>) -> Option<Socket<'a>> {
    if is_off(field) {
        return None;
    }
    let socket = read_socket(field)?;
    let address = socket.address;
    if !address.ip().to_canonical().is_loopback() {
        field.warning(format_args!(
            "{address} is not a loopback address: whoever reaches it reads metrics and state without a login"
        ));
    }
    Some(socket)
}

fn is_off(field: &Field<'_>) -> bool {
    field.is_null() || matches!(field.value(), Value::Text(text) if text == "off")
}

/// No two sockets may want the same address; told at the later one that the file gives.
fn report_collisions<'s, 'a: 's>(sockets: impl Iterator<Item = &'s Socket<'a>>) {
    let mut seen: Vec<&Socket<'_>> = Vec::new();
    for socket in sockets {
        if let Some(other) = seen.iter().find(|other| collide(other.address, socket.address)) {
            match (&other.field, &socket.field) {
                (Some(first), Some(later)) => {
                    later.error(format_args!(
                        "{} collides with {} in line {}",
                        socket.address,
                        other.address,
                        first.place().line
                    ));
                }
                (Some(field), None) => {
                    field.error(format_args!("{} collides with the default of {}", other.address, socket.key));
                }
                (None, Some(field)) => {
                    field.error(format_args!("{} collides with the default of {}", socket.address, other.key));
                }
                (None, None) => {}
            }
        }
        seen.push(socket);
    }
}

/// True where both cannot be bound at once. `[::]` takes IPv4 as well.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |wide: IpAddr, narrow: IpAddr| wide.is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4());
    let (a, b) = (one.ip(), other.ip());
    one.port() == other.port() && one.port() != 0 && (a == b || covers(a, b) || covers(b, a))
}

fn read_balancer(field: &Field<'_>) -> Option<IpNet> {
    let network = field.network()?;
    if network.prefix_len() == 0 {
        field.warning(format_args!("{network} lets everybody claim any address: name the balancers alone"));
    }
    Some(network)
}

fn read_proxy(field: &Field<'_>, balancers: &[IpNet]) -> Option<IpNet> {
    let network = field.network()?;
    if network.prefix_len() == 0 {
        field.warning(format_args!("{network} believes every client's own X-Forwarded-For: name the proxies alone"));
    }
    // A network of everybody has been warned of.
    let overlaps = |other: &&IpNet| other.prefix_len() > 0 && (other.contains(&network) || network.contains(*other));
    if let Some(balancer) = balancers.iter().find(overlaps).filter(|_| network.prefix_len() > 0) {
        field.warning(format_args!(
            "{balancer} is in listen.proxy_protocol_from: what comes from there has the client's address already, and a \
             client in {network} could claim another"
        ));
    }
    Some(network)
}
