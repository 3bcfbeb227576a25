//! Who claims an address without being entitled to is not believed.

use super::{BALANCER, INSIDE, OUTSIDE, PROXY, STRANGER, Scene, binary, local, text};

#[test]
fn a_header_from_elsewhere_is_no_greeting() {
    let scene = Scene::new();
    for header in [text(INSIDE), binary(INSIDE), local(), b"PROXY UNKNOWN\r\n".to_vec()] {
        assert_eq!(scene.status(STRANGER, &header, "inside", ""), None, "{header:?}");
    }
    assert_eq!(scene.refused("proxy_protocol_unexpected"), 4.0);
    assert_eq!(scene.gate.log().matches("a PROXY header where none is expected").count(), 1, "at most once a minute");
    assert_eq!(scene.status(STRANGER, b"", "strangers", ""), Some(200));
    assert_eq!(scene.ear.heard().len(), 1);
}

#[test]
fn one_header_and_that_first_of_all() {
    let scene = Scene::new();
    for two in [[text(OUTSIDE), text(INSIDE)], [local(), binary(INSIDE)], [binary(OUTSIDE), text(INSIDE)]] {
        assert_eq!(scene.proxied(&two.concat(), "inside", ""), None, "{two:?}");
    }
    for preface in [b"".as_slice(), b"\r\n", b" ", b"\0", b"GET / HTTP/1.1\r\n\r\n"] {
        assert_eq!(
            scene.proxied(&[preface, &text(INSIDE)].concat(), "inside", "").filter(|_| !preface.is_empty()),
            None
        );
    }
    // Within TLS it is no request.
    for inner in [text(INSIDE), binary(INSIDE)] {
        let mut connection = scene.connect(BALANCER, &text(OUTSIDE)).unwrap();
        let request = format!("GET /v2/inside/app/tags/list HTTP/1.1\r\nHost: {}\r\n\r\n", scene.gate.host());
        connection.send([inner.as_slice(), request.as_bytes()].concat());
        let answer = String::from_utf8_lossy(&connection.rest()).into_owned();
        assert!(!answer.contains(" 200 "), "{answer}");
    }
    assert!(scene.ear.heard().iter().all(|head| head.contains(INSIDE)), "only who came with one header from inside");
}

#[test]
fn forwarded_addresses_are_judged_by_the_client_of_the_header() {
    let scene = Scene::new();
    let forwarded = |value: &str| format!("X-Forwarded-For: {value}\r\n");
    let ask = |header: Vec<u8>, value: &str| scene.proxied(&header, "inside", &forwarded(value));
    // Neither the balancer nor just any client is a proxy whose word counts.
    assert_eq!(ask(text(OUTSIDE), INSIDE), Some(401));
    assert_eq!(ask(local(), INSIDE), Some(401));
    assert_eq!(ask(text(INSIDE), OUTSIDE), Some(200));
    for proxy in [PROXY, "::ffff:203.0.113.9", "2001:db8:9::9"] {
        for header in [text(proxy), binary(proxy)] {
            for (value, status) in [
                (INSIDE, 200),
                ("::ffff:192.0.2.7", 200),
                ("[::ffff:192.0.2.7]:4711", 200),
                ("2001:db8:1::7", 200),
                ("nonsense, 192.0.2.7", 200),
                ("192.0.2.7, 198.51.100.7", 401),
                ("192.0.2.7, 203.0.113.10", 200),
                ("192.0.2.7, 198.51.100.7, 203.0.113.10", 401),
                ("192.0.2.7, ::ffff:203.0.113.10, 2001:db8:9::1", 200),
                ("198.51.100.7", 401),
                ("::ffff:198.51.100.7", 401),
                ("192.0.2.7, nonsense", 400),
                ("192.0.2.7,", 400),
            ] {
                assert_eq!(ask(header.clone(), value), Some(status), "{proxy}: {value}");
            }
            let more = format!("{}{}", forwarded(INSIDE), forwarded(OUTSIDE));
            assert_eq!(scene.proxied(&header, "inside", &more), Some(401), "the last line counts first");
            let other = "Forwarded: for=192.0.2.7\r\nX-Real-IP: 192.0.2.7\r\nX_Forwarded_For: 192.0.2.7\r\n";
            assert_eq!(scene.proxied(&header, "inside", other), Some(401), "and no other header");
        }
    }
}
