use proptest::prelude::*;

use super::super::Host;

fn parsed(text: &str) -> Option<String> {
    Host::parse(text).map(|host| host.to_string())
}

#[test]
fn accepted_forms() {
    for (text, printed) in [
        ("registry.example.com", "registry.example.com"),
        ("Registry.EXAMPLE.com.", "registry.example.com"),
        ("registry.example.com:8443", "registry.example.com:8443"),
        ("registry.example.com.:8443", "registry.example.com:8443"),
        ("localhost", "localhost"),
        ("a-b.1c", "a-b.1c"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("1.2.3.4", "1.2.3.4"),
        ("1.2.3.4:443", "1.2.3.4:443"),
        ("[::1]", "[::1]"),
        ("[::1]:443", "[::1]:443"),
        ("::1", "[::1]"),
        ("2001:DB8:0:0::1", "[2001:db8::1]"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("[::ffff:102:304]:443", "1.2.3.4:443"),
        ("h:65535", "h:65535"),
    ] {
        assert_eq!(parsed(text).as_deref(), Some(printed), "{text}");
    }
}

#[test]
fn refused_forms() {
    let long_label = "a".repeat(64);
    let long_name = vec!["a".repeat(63); 4].join(".");
    for text in [
        "",
        ".",
        "..",
        "a..b",
        ".a",
        "a.b..",
        "-a",
        "a-",
        "a.-b",
        "a_b",
        "a b",
        " a",
        "a ",
        "a\t",
        "a\r\n",
        "a\0",
        "\"a\"",
        "a'",
        "a/b",
        "a\\b",
        "a?b",
        "a#b",
        "user@a",
        "user:pass@a",
        "a:",
        "a:0",
        "a:00443",
        "a:+443",
        "a:-1",
        "a:65536",
        "a:443:443",
        "a:4 3",
        "a,b",
        "a;b",
        "%61",
        "a%00",
        "é.example",
        "*.example.com",
        "1.2.3",
        "1.2.3.256",
        "1.2.3.4.",
        "01.2.3.4",
        "1.2.3.4.5",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "a.0x",
        "example.123",
        "[::1",
        "::1]",
        "[::1]443",
        "[::1]:",
        "[::1]:0",
        "[::1%eth0]",
        "fe80::1%eth0",
        "[1.2.3.4]",
        "[a]",
        "[]",
        "[[::1]]",
        "[::1]]",
        "::1:x",
        ":443",
        ":",
        "::g",
        long_label.as_str(),
        long_name.as_str(),
    ] {
        assert_eq!(parsed(text), None, "{text:?}");
    }
}

#[test]
fn addresses_are_told_from_names() {
    for (text, ip) in [("1.2.3.4:5", true), ("[::1]", true), ("a.example", false), ("localhost:1", false)] {
        assert_eq!(Host::parse(text).unwrap().is_ip(), ip, "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_is_judged_without_a_panic(text in "\\PC*") {
        drop(Host::parse(&text));
    }

    #[test]
    fn what_is_accepted_is_canonical(text in "[a-zA-Z0-9.:\\[\\]-]{0,24}") {
        if let Some(host) = Host::parse(&text) {
            let printed = host.to_string();
            prop_assert_eq!(Host::parse(&printed), Some(host.clone()), "{} is stable", printed);
            prop_assert!(host.name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b':')));
            prop_assert!(!host.name.ends_with('.') && !host.name.is_empty());
            prop_assert_ne!(host.port, Some(0));
        }
    }

    #[test]
    fn ports_round_trip(name in "[a-z]([a-z0-9-]{0,20}[a-z0-9])?\\.example", port in 1u16..) {
        let host = Host::parse(&format!("{name}:{port}")).unwrap();
        prop_assert_eq!(&*host.name, name.as_str());
        prop_assert_eq!(host.port, Some(port));
    }

    #[test]
    fn addresses_round_trip(ip: std::net::IpAddr, port in 1u16..) {
        let host = Host::parse(&std::net::SocketAddr::new(ip, port).to_string()).unwrap();
        prop_assert_eq!(host.name.to_string(), ip.to_canonical().to_string());
        prop_assert!(host.is_ip());
    }
}
