//! From where somebody asks, as far as limits tell clients apart.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// What one client has of a network of IPv6: the first 64 bits are given to it, the rest is its own choice.
const OF_ONE_CLIENT: u128 = !0 << 64;

/// An address of IPv4, or the /64 of an address of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Network {
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

impl Network {
    pub(super) fn of(client: IpAddr) -> Self {
        match client.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => Self::V6(Ipv6Addr::from_bits(address.to_bits() & OF_ONE_CLIENT)),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => address.fmt(f),
            Self::V6(address) => write!(f, "{address}/64"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(client: &str) -> String {
        Network::of(client.parse().expect("an address")).to_string()
    }

    #[test]
    fn one_client_is_an_address_or_a_64() {
        assert_eq!(network("192.0.2.1"), "192.0.2.1");
        assert_eq!(network("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(network("2001:db8:1:2::1"), "2001:db8:1:2::/64");
        assert_ne!(network("2001:db8:1:3::1"), network("2001:db8:1:2::1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }
}
