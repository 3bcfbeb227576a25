//! From where somebody asks, as far as limits tell clients apart.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// What one client has of a network of IPv6: the first 64 bits are given to it, the rest is its own choice.
const OF_ONE_CLIENT: u128 = !0 << 64;

/// What one client may have of it at most: sites are given so much, and some providers give it to anybody.
const OF_ONE_SITE: u128 = !0 << 80;

/// An address of IPv4, or the /64 of an address of IPv6; or a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Network {
    V4(Ipv4Addr),
    V6(Ipv6Addr),
    /// A /48 of IPv6.
    Site(Ipv6Addr),
}

impl Network {
    pub(super) fn of(client: IpAddr) -> Self {
        match client.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => Self::V6(Ipv6Addr::from_bits(address.to_bits() & OF_ONE_CLIENT)),
        }
    }

    /// The /48 of a network of IPv6, which may be one client's as a whole.
    pub(super) fn site(self) -> Option<Self> {
        match self {
            Self::V6(address) => Some(Self::Site(Ipv6Addr::from_bits(address.to_bits() & OF_ONE_SITE))),
            Self::V4(_) | Self::Site(_) => None,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => address.fmt(f),
            Self::V6(address) => write!(f, "{address}/64"),
            Self::Site(address) => write!(f, "{address}/48"),
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

    #[test]
    fn a_site_is_a_48() {
        let site = |client: &str| Network::of(client.parse().expect("an address")).site().map(|site| site.to_string());
        assert_eq!(site("2001:db8:1:2::1"), Some("2001:db8:1::/48".to_owned()));
        assert_eq!(site("2001:db8:1:ffff::1"), site("2001:db8:1:2::1"));
        assert_ne!(site("2001:db8:2:2::1"), site("2001:db8:1:2::1"));
        assert_eq!(site("192.0.2.1"), None);
    }
}
