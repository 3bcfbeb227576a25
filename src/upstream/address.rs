//! Which addresses are public: those that mean the same host from everywhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(first: u16, second: u16, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0), length)
}

/// IPv4 that is not public: IANA's special-purpose registry (RFC 6890 and its successors), with the few anycast services
/// in it, multicast, and the address where a machine in Azure finds its host.
const SPECIAL_V4: [Ipv4Net; 16] = [
    v4(0, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    v4(168, 63, 129, 16, 32),
    v4(169, 254, 0, 0, 16),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4),
];

/// All IPv6 that is assigned to hosts of the internet (RFC 4291 §2.5.4).
const GLOBAL_V6: Ipv6Net = v6(0x2000, 0, 3);

/// What of it is not public: protocol assignments with Teredo and ORCHID, and documentation.
const SPECIAL_V6: [Ipv6Net; 3] = [v6(0x2001, 0, 23), v6(0x2001, 0x0db8, 32), v6(0x3fff, 0, 20)];

/// 6to4 (RFC 3056): bits 16 to 48 are an IPv4 address.
const SIX_TO_FOUR: Ipv6Net = v6(0x2002, 0, 16);

/// NAT64 at its well-known prefix (RFC 6052 §2.1): the last 32 bits are an IPv4 address.
const NAT64: Ipv6Net = v6(0x64, 0xff9b, 96);

/// True for an address that is reached from everywhere, and is the same host everywhere. IPv4 in IPv6 clothes counts as
/// what it is.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !SPECIAL_V4.iter().any(|special| special.contains(&address))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let bits = address.to_bits();
    if NAT64.contains(&address) {
        return is_public_v4(embedded(bits));
    }
    if SIX_TO_FOUR.contains(&address) {
        return is_public_v4(embedded(bits >> 80));
    }
    GLOBAL_V6.contains(&address) && !SPECIAL_V6.iter().any(|special| special.contains(&address))
}

/// The IPv4 address in the last 32 bits.
fn embedded(bits: u128) -> Ipv4Addr {
    #[allow(clippy::cast_possible_truncation, reason = "the last 32 bits are what is wanted")]
    Ipv4Addr::from_bits(bits as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(text: &str) -> bool {
        is_public(text.parse().unwrap())
    }

    #[test]
    fn every_special_network_is_refused_to_its_edges_and_no_further() {
        for network in SPECIAL_V4 {
            let (first, last) = (network.network(), network.broadcast());
            assert!(!is_public_v4(first) && !is_public_v4(last), "{network}");
            for edge in [first.to_bits().checked_sub(1), last.to_bits().checked_add(1)].into_iter().flatten() {
                let edge = Ipv4Addr::from_bits(edge);
                let special = SPECIAL_V4.iter().any(|other| *other != network && other.contains(&edge));
                assert_eq!(is_public_v4(edge), !special, "{edge} beside {network}");
            }
        }
    }

    #[test]
    fn addresses_of_the_internet_are_public() {
        for address in
            ["1.1.1.1", "52.216.0.1", "100.63.255.255", "172.32.0.0", "2606:4700::1111", "2600:1f18::1", "2a00::1"]
        {
            assert!(public(address), "{address}");
        }
    }

    #[test]
    fn addresses_of_ones_own_network_are_not() {
        for address in [
            "0.0.0.0",
            "127.0.0.1",
            "127.255.255.254",
            "10.1.2.3",
            "172.31.255.255",
            "192.168.0.1",
            "100.100.100.200",
            "169.254.169.254",
            "168.63.129.16",
            "192.0.0.192",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "5f00::1",
            "64:ff9b:1::7f00:1",
            "::7f00:1",
        ] {
            assert!(!public(address), "{address}");
        }
    }

    #[test]
    fn ipv4_within_ipv6_counts_as_what_it_is() {
        for (inner, expected) in [
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("10.0.0.1", false),
            ("192.168.1.1", false),
            ("100.64.0.1", false),
            ("0.0.0.0", false),
            ("224.0.0.1", false),
            ("52.216.0.1", true),
        ] {
            let four: Ipv4Addr = inner.parse().unwrap();
            let [a, b, c, d] = four.octets().map(u16::from);
            let (high, low) = (a << 8 | b, c << 8 | d);
            let mapped = Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low);
            let nat64 = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low);
            let six_to_four = Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1);
            for six in [mapped, nat64, six_to_four] {
                assert_eq!(is_public(six.into()), expected, "{inner} as {six}");
            }
            // Deprecated, and routed nowhere.
            assert!(!is_public(Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low).into()), "::{inner}");
        }
    }
}
