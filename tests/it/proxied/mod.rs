//! Whose request it is, where somebody stands between the client and the gate: by the PROXY protocol from listed
//! balancers, by `X-Forwarded-For` from listed proxies, and by nobody else's word.

mod balancers;
mod claims;
mod headers;
mod patience;

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::support::{Ear, GateSetup, Portcullis, Response, Tls};

/// The only balancer.
const BALANCER: &str = "127.0.0.2";
/// Of neither list.
const STRANGER: &str = "127.0.0.3";
/// In `trusted_proxies`.
const PROXY: &str = "203.0.113.9";
/// From here `inside/**` may be pulled without a login.
const INSIDE: &str = "192.0.2.7";
const OUTSIDE: &str = "198.51.100.7";

fn listing(config: &mut Value) {
    config["listen"]["proxy_protocol_from"] = json!([BALANCER]);
    config["listen"]["trusted_proxies"] = json!(["203.0.113.0/24", "2001:db8:9::/48"]);
    let grant = |name: &str, from: Value| json!({ "name": name, "repositories": [format!("{name}/**")], "actions": ["pull"], "to": ["anyone"], "from": from });
    config["access"]["grants"] = json!([
        grant("inside", json!(["192.0.2.0/24", "2001:db8:1::/48"])),
        grant("balancers", json!([BALANCER])),
        grant("strangers", json!([STRANGER])),
    ]);
}

/// A gate that lets people in by their address, in front of something that hears what it passes on.
struct Scene {
    ear: Ear,
    gate: Portcullis,
}

impl Scene {
    fn new() -> Self {
        Self::with(|setup| setup)
    }

    fn with(change: impl FnOnce(GateSetup) -> GateSetup) -> Self {
        let ear = Ear::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}");
        let gate = change(Portcullis::before_url(&ear.url()).with(listing)).start();
        Self { ear, gate }
    }

    fn connect(&self, from: &str, preface: &[u8]) -> std::io::Result<Tls> {
        Tls::after(preface, address(from), self.gate.pki(), self.gate.port(), "localhost")
    }

    /// The status for a request without credentials after this preface; `None` where the connection is refused.
    fn status(&self, from: &str, preface: &[u8], name: &str, more: &str) -> Option<u16> {
        Some(self.ask(from, preface, &format!("/v2/{name}/app/tags/list"), more)?.status)
    }

    fn ask(&self, from: &str, preface: &[u8], target: &str, more: &str) -> Option<Response> {
        let mut connection = self.connect(from, preface).ok()?;
        let host = self.gate.host();
        connection
            .try_send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{more}Connection: close\r\n\r\n"))
            .ok()?;
        connection.answer(false)
    }

    /// The status behind the balancer.
    fn proxied(&self, preface: &[u8], name: &str, more: &str) -> Option<u16> {
        self.status(BALANCER, preface, name, more)
    }

    fn refused(&self, reason: &str) -> f64 {
        self.gate.counted("portcullis_connections_refused_total", &format!("reason=\"{reason}\""))
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A header of version 1.
fn text(client: &str) -> Vec<u8> {
    let (family, to) = if address(client).is_ipv4() { (4, "10.0.0.1") } else { (6, "2001:db8::1") };
    format!("PROXY TCP{family} {client} {to} 4711 443\r\n").into_bytes()
}

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header of version 2 with an extension.
fn binary(client: &str) -> Vec<u8> {
    let (family, addresses) = match address(client) {
        IpAddr::V4(client) => (0x11, [client.octets(), [10, 0, 0, 1]].concat()),
        IpAddr::V6(client) => (0x21, [client.octets(), [0; 16]].concat()),
    };
    let block = [addresses.as_slice(), &[0x12, 0x67, 1, 0xbb], b"\x02\x00\x09localhost"].concat();
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[0x21, family], &length, &block].concat()
}

/// A balancer's own connection.
fn local() -> Vec<u8> {
    [SIGNATURE, &[0x20, 0, 0, 0]].concat()
}
