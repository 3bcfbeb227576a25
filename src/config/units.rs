//! Durations, sizes, networks, secrets.

use std::{
    fmt,
    io::{self, Read as _},
    net::IpAddr,
    path::Path,
    sync::Arc,
    time::Duration,
};

use ipnet::{IpNet, Ipv4Net};
use zeroize::Zeroizing;

use super::open_regular;

/// A hundred years: far beyond any use, and small enough that adding it to a clock cannot overflow.
const LONGEST: Duration = Duration::from_secs(36_500 * 24 * 60 * 60);

/// A secret read from a `*_file`; Debug prints stars; wiped on drop. Two of ours are compared to see whether one changed:
/// what somebody sends is never compared with one like this.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// A secret file is one line, not a disk image.
    const LARGEST: u64 = 64 * 1024;

    pub fn new(text: String) -> Self {
        Self(Arc::new(Zeroizing::new(text)))
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The content of a file without one line break at its end. An empty secret, one of several lines or one that is
    /// not UTF-8 is an error, which never quotes the content.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
        let file = open_regular(path)?;
        // Room for all of it at once: a buffer that grows leaves copies behind.
        let room = usize::try_from(Self::LARGEST).unwrap_or(usize::MAX).saturating_add(1);
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        file.take(Self::LARGEST.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() >= room {
            return Err(invalid("it is larger than 64KiB"));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| invalid("it is not UTF-8 text"))?;
        let line = text.strip_suffix('\n').unwrap_or(text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() {
            return Err(invalid("it is empty"));
        }
        if line.contains(char::is_control) {
            return Err(invalid("it holds more than one line, or control characters"));
        }
        Ok(Self::new(line.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// `250ms`, `5s`, `15m`, `12h`, `30d`; at most 36500 days.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    let duration = match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.checked_mul(60)?),
        "h" => Duration::from_secs(number.checked_mul(60 * 60)?),
        "d" => Duration::from_secs(number.checked_mul(24 * 60 * 60)?),
        _ => return None,
    };
    (duration <= LONGEST).then_some(duration)
}

/// `64KiB`, `4MiB`, `20GiB`, or a plain number of bytes.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text)?;
    let bytes = match unit {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(bytes)
}

/// `10.0.0.0/8`, `2001:db8::/32` or one address; IPv4 in IPv6 clothes is IPv4, as for the addresses of clients.
pub(super) fn parse_network(text: &str) -> Option<IpNet> {
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse::<IpNet>().ok()?,
    };
    match network {
        IpNet::V6(six) => Some(match (six.addr().to_ipv4_mapped(), six.prefix_len().checked_sub(96)) {
            (Some(four), Some(length)) => Ipv4Net::new(four, length).ok()?.into(),
            _ => network,
        }),
        IpNet::V4(_) => Some(network),
    }
}

/// Digits, and what follows them.
fn split_unit(text: &str) -> Option<(u64, &str)> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = text.strip_suffix(unit)?;
    Some((digits.parse().ok()?, unit))
}

/// A duration in the form of the file, in the largest unit that is exact.
pub(super) struct Printed(pub(super) Duration);

impl fmt::Display for Printed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
            if millis >= length && millis.is_multiple_of(length) {
                return write!(f, "{}{unit}", millis / length);
            }
        }
        write!(f, "{millis}ms")
    }
}
