//! Names under which a registry is known.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

/// A public name of a registry: a lower-case DNS name without trailing dot, or an IP address (canonical text,
/// `::ffff:a.b.c.d` as `a.b.c.d`); with a port only where one was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host {
    pub name: Arc<str>,
    pub port: Option<u16>,
}

impl Host {
    /// Parses `name`, `name:port`, `1.2.3.4`, `1.2.3.4:443`, `[::1]`, `[::1]:443`, `::1`, lower-casing and dropping one
    /// trailing dot of a name.
    ///
    /// Refuses anything that a `Host` header must not hold (user info, blanks, quotes, zone ids, `/`), names outside
    /// letters, digits and inner hyphens (RFC 1123 §2.1), names that a browser would read as an IPv4 address (`1.2.3`,
    /// `0x7f.1`), port 0 and an empty port. Used for the file and for the wire.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = split_port(text)?;
        let name = match parse_ip(host) {
            Some(ip) => ip.to_string(),
            None => parse_name(host, Underscores::Refused)?,
        };
        Some(Self { name: name.into(), port })
    }

    /// True for an IP address.
    pub fn is_ip(&self) -> bool {
        self.name.parse::<IpAddr>().is_ok()
    }
}

impl fmt::Display for Host {
    /// Brackets IPv6, adds the port where there is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]", self.name)?;
        } else {
            f.write_str(&self.name)?;
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// Whether a DNS name may hold `_`, as names of containers do and public names do not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Underscores {
    Refused,
    Accepted,
}

/// The host and the port of `host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 address. Brackets stay.
pub(super) fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    if text.starts_with('[') {
        let (inner, after) = text.split_once(']')?;
        let host = text.get(..inner.len().checked_add(1)?)?;
        return match after {
            "" => Some((host, None)),
            _ => Some((host, Some(parse_port(after.strip_prefix(':')?)?))),
        };
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Some((text, None)),
        Some((host, port)) => Some((host, Some(parse_port(port)?))),
        None => Some((text, None)),
    }
}

/// An IPv4 address, or an IPv6 address with or without brackets; no zone.
pub(super) fn parse_ip(text: &str) -> Option<IpAddr> {
    let bracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let v6 = bracketed.unwrap_or(text).parse::<Ipv6Addr>().ok();
    match (v6, bracketed) {
        (Some(v6), _) => Some(v6.to_canonical()),
        (None, Some(_)) => None,
        (None, None) => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

/// A DNS name in lower case and without its trailing dot.
pub(super) fn parse_name(text: &str, underscores: Underscores) -> Option<String> {
    const LONGEST_NAME: usize = 253;
    const LONGEST_LABEL: usize = 63;
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || (byte == b'_' && underscores == Underscores::Accepted);
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        let ends = [bytes.first(), bytes.last()];
        bytes.len() <= LONGEST_LABEL
            && ends.into_iter().all(|end| end.copied().is_some_and(is_letter))
            && bytes.iter().all(|byte| is_letter(*byte) || *byte == b'-')
    };
    let valid = name.len() <= LONGEST_NAME && name.split('.').all(is_label) && !ends_in_number(name);
    valid.then(|| name.to_ascii_lowercase())
}

/// True where the last label is a number, decimal or hexadecimal (WHATWG URL, "ends in a number").
fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    last.bytes().all(|byte| byte.is_ascii_digit())
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// A port as people write it: no sign, no leading zero, not 0.
pub(super) fn parse_port(text: &str) -> Option<u16> {
    let plain = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}
