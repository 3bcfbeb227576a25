use std::time::Duration;

use proptest::prelude::*;
use tokio::{io::AsyncWriteExt as _, time::timeout};

use super::*;

const HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01";

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

/// What a header names, where exactly the header was read: the hello after it is still there.
fn named(header: &[u8]) -> Result<Option<SocketAddr>, String> {
    let sent = [header, HELLO].concat();
    let mut rest = sent.as_slice();
    let read = run(read(&mut rest)).map_err(|error| error.to_string())?;
    assert_eq!(rest, HELLO, "read too much or too little of {header:?}");
    Ok(read)
}

fn client(text: &str) -> Result<Option<SocketAddr>, String> {
    Ok(Some(text.parse().unwrap()))
}

fn line(text: &str) -> Result<Option<SocketAddr>, String> {
    named(format!("{text}\r\n").as_bytes())
}

fn binary(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [SIGNATURE.as_slice(), &[command, family], &length, block].concat()
}

const V4: &[u8] = &[192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x67, 1, 0xbb];

fn v6(source: &str) -> Vec<u8> {
    let source: Ipv6Addr = source.parse().unwrap();
    [source.octets().as_slice(), &[0; 16], &[0x12, 0x67, 1, 0xbb]].concat()
}

fn extension(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind], u16::try_from(value.len()).unwrap().to_be_bytes().as_slice(), value].concat()
}

/// Addresses, an extension, the checksum, and another extension.
fn checked(flip: u8) -> Vec<u8> {
    let before = [V4, &extension(0xea, b"vpce")].concat();
    let after = extension(0x04, &[0; 9]);
    let zeros = binary(0x21, 0x11, &[before.as_slice(), &extension(CHECKSUM, &[0; 4]), &after].concat());
    let sum = crc32c(zeros.iter().copied()) ^ u32::from(flip);
    binary(0x21, 0x11, &[before.as_slice(), &extension(CHECKSUM, &sum.to_be_bytes()), &after].concat())
}

#[test]
fn lines_name_the_client() {
    assert_eq!(line("PROXY TCP4 192.0.2.7 10.0.0.1 4711 443"), client("192.0.2.7:4711"));
    assert_eq!(line("PROXY TCP4 255.255.255.255 255.255.255.255 65535 0"), client("255.255.255.255:65535"));
    assert_eq!(line("PROXY TCP6 2001:db8::7 2001:DB8::1 4711 443"), client("[2001:db8::7]:4711"));
    assert_eq!(line("PROXY TCP6 ::ffff:192.0.2.7 ::ffff:10.0.0.1 4711 443"), client("192.0.2.7:4711"));
    assert_eq!(line("PROXY TCP6 2001:db8::7 10.0.0.1 4711 443"), client("[2001:db8::7]:4711"));
    let full = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    assert_eq!(line(&format!("PROXY TCP6 {full} {full} 65535 65535")), client(&format!("[{full}]:65535")));
}

#[test]
fn lines_that_name_nobody() {
    assert_eq!(line("PROXY UNKNOWN"), Ok(None));
    assert_eq!(line("PROXY UNKNOWN 192.0.2.7 and\nwhatever \u{fc}"), Ok(None));
    let longest = format!("PROXY UNKNOWN {}", "x".repeat(LONGEST_LINE - 16));
    assert_eq!(longest.len() + 2, LONGEST_LINE);
    assert_eq!(line(&longest), Ok(None));
    assert!(line(&format!("{longest}x")).is_err());
}

#[test]
fn lines_that_are_not_exactly_right_are_refused() {
    for bad in [
        "PROXY",
        "PROXY ",
        "PROXY  TCP4 192.0.2.7 10.0.0.1 4711 443",
        "PROXY TCP4",
        "PROXY TCP4 192.0.2.7 10.0.0.1 4711",
        "PROXY TCP4 192.0.2.7 10.0.0.1 4711 443 ",
        "PROXY TCP4 192.0.2.7 10.0.0.1 4711 443 1",
        "PROXY TCP4 192.0.2.7  10.0.0.1 4711 443",
        "PROXY TCP4\t192.0.2.7 10.0.0.1 4711 443",
        "PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r",
        "PROXY TCP4 192.0.2 10.0.0.1 4711 443",
        "PROXY TCP4 192.0.2.007 10.0.0.1 4711 443",
        "PROXY TCP4 2001:db8::7 2001:db8::1 4711 443",
        "PROXY TCP6 192.0.2.7 10.0.0.1 4711 443",
        "PROXY TCP6 [2001:db8::7] 2001:db8::1 4711 443",
        "PROXY TCP6 fe80::1%eth0 2001:db8::1 4711 443",
        "PROXY TCP4 192.0.2.7 nowhere 4711 443",
        "PROXY TCP4 192.0.2.7 10.0.0.1 04711 443",
        "PROXY TCP4 192.0.2.7 10.0.0.1 +4711 443",
        "PROXY TCP4 192.0.2.7 10.0.0.1 65536 443",
        "PROXY TCP4 192.0.2.7 10.0.0.1 4711 x",
        "PROXY TCP4 192.0.2.7 10.0.0.1 4711 ",
        "PROXY UDP4 192.0.2.7 10.0.0.1 4711 443",
        "PROXY tcp4 192.0.2.7 10.0.0.1 4711 443",
        "PROXY UNKNOWNS",
        "PROXY\u{a0}TCP4 192.0.2.7 10.0.0.1 4711 443",
    ] {
        assert!(line(bad).is_err(), "{bad:?}");
    }
    assert!(named(b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\n").is_err());
}

#[test]
fn what_is_no_header_is_seen_at_once() {
    for other in
        [HELLO, b"GET / HTTP/1.1\r\n", b"PUT ", b"POST /", b"PRI * HTTP/2.0\r\n\r\n", b"\r\nGET", b"\r\n\r\n\0\r\nX"]
    {
        let mut rest = other;
        assert!(matches!(run(read(&mut rest)), Err(HeaderError::Missing)), "{other:?}");
        assert!(!begins(other));
    }
    assert!(begins(b"PROXY T") && begins(&binary(0x20, 0, &[])));
}

#[test]
fn binary_headers_name_the_client() {
    assert_eq!(named(&binary(0x21, 0x11, V4)), client("192.0.2.7:4711"));
    assert_eq!(named(&binary(0x21, 0x21, &v6("2001:db8::7"))), client("[2001:db8::7]:4711"));
    assert_eq!(named(&binary(0x21, 0x21, &v6("::ffff:192.0.2.7"))), client("192.0.2.7:4711"));
    let extended = [V4, &extension(0x01, b"h2"), &extension(0x02, b"r.example.com"), &extension(0x04, &[])].concat();
    assert_eq!(named(&binary(0x21, 0x11, &extended)), client("192.0.2.7:4711"));
    let long = [V4, &extension(0x20, &vec![1; usize::from(LARGEST_BLOCK) - V4.len() - 3])].concat();
    assert_eq!(named(&binary(0x21, 0x11, &long)), client("192.0.2.7:4711"));
}

#[test]
fn binary_headers_that_name_nobody() {
    for (family, block) in [(0x00, &[] as &[u8]), (0x11, V4), (0x11, &[]), (0xff, b"anything"), (0x00, &[0xff; 300])] {
        assert_eq!(named(&binary(0x20, family, block)), Ok(None), "LOCAL {family:x}");
    }
    for (family, block) in [(0x00, &[] as &[u8]), (0x00, V4), (0x31, &[b'/'; 216]), (0x32, &[b'/'; 216])] {
        assert_eq!(named(&binary(0x21, family, block)), Ok(None), "PROXY {family:x}");
    }
}

#[test]
fn binary_headers_that_cannot_be_used_are_refused() {
    for (command, family, block) in [
        (0x11, 0x11, V4.to_vec()),
        (0x01, 0x11, V4.to_vec()),
        (0x22, 0x11, V4.to_vec()),
        (0x2f, 0x00, Vec::new()),
        (0x31, 0x11, V4.to_vec()),
        (0x21, 0x12, V4.to_vec()),
        (0x21, 0x22, v6("::1")),
        (0x21, 0x41, V4.to_vec()),
        (0x21, 0x01, V4.to_vec()),
        (0x21, 0x11, V4[..11].to_vec()),
        (0x21, 0x21, V4.to_vec()),
        (0x21, 0x21, v6("::1")[..35].to_vec()),
        (0x21, 0x11, [V4, &[1]].concat()),
        (0x21, 0x11, [V4, &[1, 0]].concat()),
        (0x21, 0x11, [V4, &[1, 0, 3, b'h', b'2']].concat()),
        (0x21, 0x11, [V4, &extension(CHECKSUM, &[1, 2, 3])].concat()),
        (0x21, 0x11, [V4, &extension(0x20, &vec![1; usize::from(LARGEST_BLOCK) - V4.len() - 2])].concat()),
    ] {
        assert!(named(&binary(command, family, &block)).is_err(), "{command:x} {family:x} {block:?}");
    }
}

#[test]
fn a_checksum_is_checked() {
    assert_eq!(crc32c(b"123456789".iter().copied()), 0xE306_9283);
    assert_eq!(named(&checked(0)), client("192.0.2.7:4711"));
    assert!(named(&checked(1)).is_err());
    let mut altered = checked(0);
    altered[16] ^= 1;
    assert!(named(&altered).is_err());
}

fn good() -> impl Strategy<Value = Vec<u8>> {
    let text = (any::<IpAddr>(), any::<u16>()).prop_map(|(from, port)| {
        let family = if from.is_ipv4() { 4 } else { 6 };
        format!("PROXY TCP{family} {from} {from} {port} {port}\r\n").into_bytes()
    });
    let extensions = proptest::collection::vec((4_u8.., proptest::collection::vec(any::<u8>(), 0..40)), 0..4);
    let binary = (any::<IpAddr>(), any::<u16>(), extensions).prop_map(|(from, port, extensions)| {
        let port = port.to_be_bytes();
        let (family, from) = match from {
            IpAddr::V4(from) => (0x11, from.octets().to_vec()),
            IpAddr::V6(from) => (0x21, from.octets().to_vec()),
        };
        let extensions: Vec<u8> = extensions.iter().flat_map(|(kind, value)| extension(*kind, value)).collect();
        binary(0x21, family, &[from.as_slice(), &from, &port, &port, &extensions].concat())
    });
    prop_oneof![text, binary, Just(b"PROXY UNKNOWN\r\n".to_vec()), Just(checked(0)), Just(binary_local())]
}

fn binary_local() -> Vec<u8> {
    binary(0x20, 0, &[])
}

proptest! {
    #[test]
    fn a_good_header_is_read_whole_and_alone(header in good()) {
        prop_assert!(named(&header).is_ok());
    }

    /// Cut anywhere, it is waited for, and at the end of the stream it is refused.
    #[test]
    fn a_part_of_a_header_is_never_enough(header in good(), part in any::<prop::sample::Index>()) {
        let part = &header[..part.index(header.len())];
        let mut rest = part;
        prop_assert!(matches!(run(read(&mut rest)), Err(HeaderError::Broken(_))));
        let waits = run(async {
            let (mut sender, mut receiver) = tokio::io::duplex(8192);
            sender.write_all(part).await.unwrap();
            timeout(Duration::ZERO, read(&mut receiver)).await.is_err()
        });
        prop_assert!(waits);
    }

    #[test]
    fn anything_else_is_refused_or_named_and_never_read_beyond_a_header(
        start in prop_oneof![Just(Vec::new()), Just(WORD.to_vec()), Just(SIGNATURE.to_vec()), Just(b"PROXY TCP4 ".to_vec())],
        bytes in proptest::collection::vec(any::<u8>(), 0..6000),
    ) {
        let sent = [start, bytes].concat();
        let mut rest = sent.as_slice();
        let _ = run(read(&mut rest));
        prop_assert!(sent.len() - rest.len() <= 16 + usize::from(LARGEST_BLOCK));
    }

    #[test]
    fn a_changed_byte_does_no_harm(header in good(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut changed = header.clone();
        changed[at.index(header.len())] = byte;
        let mut rest = changed.as_slice();
        let _ = run(read(&mut rest));
    }
}
