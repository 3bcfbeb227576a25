//! Certificates by name, plain HTTP where it does not belong, redirects, HSTS, hosts that are not ours.

mod challenges;
mod pairs;
mod quality;

use std::{net::TcpStream, sync::Arc};

use rustls::{ClientConfig, ClientConnection, HandshakeKind, pki_types::ServerName};
use serde_json::{Value, json};

use crate::support::{ALICE, Curl, Image, Leaf, Pki, Portcullis, Registry, Skopeo, Tls, client_config, exchange};

fn entry(leaf: &Leaf, default: bool) -> Value {
    json!({ "certificate_file": leaf.certificate, "key_file": leaf.key, "default": default })
}

#[test]
fn the_certificate_follows_the_name() {
    let registry = Registry::start();
    let setup = Portcullis::before(&registry).hosts(&["localhost", "a.test", "x.wild.test", "exact.wild.test"]);
    let a = setup.pki().issue(&["a.test"]);
    let wild = setup.pki().issue(&["*.wild.test"]);
    let exact = setup.pki().issue(&["exact.wild.test"]);
    let fallback = setup.pki().issue(&["localhost", "127.0.0.1"]);
    let entries = json!([entry(&a, false), entry(&wild, false), entry(&exact, false), entry(&fallback, true)]);
    let gate = setup.with(move |config| config["tls"]["certificates"] = entries.clone()).start();

    for (name, expected) in [
        ("a.test", &a),
        ("x.wild.test", &wild),
        ("exact.wild.test", &exact),
        ("localhost", &fallback),
        ("127.0.0.1", &fallback),
    ] {
        let shown = Tls::connect(gate.pki(), gate.port(), name).certificate();
        assert!(shown == expected.der, "another certificate for {name}");
    }
    // A wildcard is one label; for an unknown name the default is shown, which does not name it.
    for name in ["a.b.wild.test", "wild.test", "unknown.test"] {
        assert!(Tls::offering(gate.pki(), gate.port(), name, &[]).is_err(), "{name}");
    }
}

#[test]
fn the_protocol_is_negotiated() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    for (offered, expected) in [(&["h2", "http/1.1"][..], Some("h2")), (&["http/1.1"], Some("http/1.1")), (&[], None)] {
        let connection = Tls::offering(gate.pki(), gate.port(), "localhost", offered).unwrap();
        assert_eq!(connection.protocol().as_deref(), expected);
    }
    let mut bare = Tls::offering(gate.pki(), gate.port(), "localhost", &[]).unwrap();
    bare.send(format!("GET /v2/ HTTP/1.1\r\nHost: {}\r\n\r\n", gate.host()));
    assert_eq!(bare.answer(false).unwrap().status, 401);
}

#[test]
fn the_oldest_version_is_configured() {
    let registry = Registry::start();
    let both = Portcullis::start(&registry);
    assert_eq!(both.curl("/v2/").argument("--tls-max").argument("1.2").send().status, 401);
    let newest = Portcullis::before(&registry).with(|config| config["tls"]["min_version"] = "1.3".into()).start();
    assert!(newest.curl("/v2/").argument("--tls-max").argument("1.2").attempt().is_err());
    assert_eq!(newest.curl("/v2/").argument("--tlsv1.3").send().status, 401);
}

/// What is sent before the handshake is over could be sent again by anybody.
#[test]
fn sessions_go_on_without_early_data() {
    let gate = Portcullis::start(&Registry::start());
    let mut config = ClientConfig::clone(&client_config(gate.pki(), &["http/1.1"]));
    config.enable_early_data = true;
    let config = Arc::new(config);
    let mut first = Tls::configured(Arc::clone(&config), gate.port(), "localhost").unwrap();
    first.send(format!("GET /v2/ HTTP/1.1\r\nHost: {}\r\n\r\n", gate.host()));
    assert_eq!(first.answer(false).unwrap().status, 401);
    let mut second = ClientConnection::new(config, ServerName::try_from("localhost").unwrap()).unwrap();
    assert!(second.early_data().is_none(), "the ticket allows none");
    let mut socket = TcpStream::connect(("127.0.0.1", gate.port())).unwrap();
    while second.is_handshaking() {
        second.complete_io(&mut socket).unwrap();
    }
    assert_eq!(second.handshake_kind(), Some(HandshakeKind::Resumed), "there was a ticket");
}

#[test]
fn plain_http_on_the_tls_port_is_told_so() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let answer = String::from_utf8(exchange(gate.port(), "GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n")).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") || answer.starts_with("HTTP/1.0 400 "), "{answer}");
    assert!(answer.to_lowercase().contains("https"), "{answer}");
    assert_eq!(registry.acted(), []);
}

#[test]
fn noise_on_the_tls_port_disturbs_nobody() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    for noise in [&b"\x16\x03\x01\x00\x02\x00\x00"[..], b"\x00", b"\xff\xff\xff\xff\xff\xff", b"SSH-2.0-x\r\n", b""] {
        exchange(gate.port(), noise);
    }
    assert_eq!(gate.curl("/v2/").send().status, 401);
}

#[test]
fn the_plain_port_redirects_to_configured_names_alone() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let plain = |host: &str, path: &str| {
        let url = format!("http://localhost:{}{path}", gate.http_port());
        Curl::new(url).header(&format!("Host: {host}")).send()
    };
    let answer = plain("registry.test", "/v2/team-a/app/tags/list?n=1");
    assert!(matches!(answer.status, 301 | 308), "{}", answer.status);
    let expected = format!("https://registry.test:{}/v2/team-a/app/tags/list?n=1", gate.port());
    assert_eq!(answer.header("location"), Some(expected.as_str()));

    for host in ["evil.test", "evil.test:80", "localhost.evil.test"] {
        let answer = plain(host, "/v2/");
        assert!(!answer.header("location").unwrap_or_default().contains("evil"), "{answer:?}");
    }
    let split =
        exchange(gate.http_port(), "GET /%0d%0aX:y HTTP/1.1\r\nHost: registry.test\r\nConnection: close\r\n\r\n");
    assert!(!String::from_utf8_lossy(&split).contains("\r\nX:y"));
    assert_eq!(registry.acted(), [], "nothing is served in plain");
}

#[test]
fn hsts_is_for_public_names_alone() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let hsts = |gate: &Portcullis, host: &str| {
        let answer = Curl::new(gate.url_of(host, "/v2/")).trusting(gate.pki().ca_file()).send();
        answer.header("strict-transport-security").map(str::to_owned)
    };
    assert_eq!(hsts(&gate, "registry.test").as_deref(), Some("max-age=31536000"));
    assert_eq!(hsts(&gate, "localhost"), None);
    assert_eq!(hsts(&gate, "127.0.0.1"), None);
    let off = Portcullis::before(&registry).with(|config| config["tls"]["hsts"] = "0s".into()).start();
    assert_eq!(hsts(&off, "registry.test"), None);
}

#[test]
fn a_host_that_is_not_ours_is_misdirected() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    for host in ["unknown.test", "localhost.unknown.test", "10.0.0.1"] {
        for protocol in ["--http1.1", "--http2"] {
            let answer = gate
                .curl("/v2/team-a/app/tags/list")
                .user(ALICE)
                .argument(protocol)
                .header(&format!("Host: {host}"))
                .send();
            assert_eq!(answer.status, 421, "{host} {protocol}: {}", answer.text());
            assert!(!format!("{:?}", answer.headers).contains("unknown.test"), "reflected: {answer:?}");
        }
    }
    assert_eq!(registry.acted(), []);
}

#[test]
fn name_and_host_must_be_of_one_registry() {
    let (one, two) = (Registry::start(), Registry::start());
    let second = json!({ "hosts": ["two.test"], "upstream": { "servers": [{ "url": two.url }] } });
    let setup = Portcullis::before(&one);
    let pki: &Pki = setup.pki();
    let entries = json!([
        entry(&pki.issue(&["localhost", "registry.test", "127.0.0.1"]), true),
        entry(&pki.issue(&["two.test"]), false)
    ]);
    let gate = setup
        .with(move |config| {
            config["registries"].as_array_mut().unwrap().push(second.clone());
            config["tls"]["certificates"] = entries.clone();
        })
        .start();
    let ask = |name: &str, host: &str| {
        let mut connection = Tls::connect(gate.pki(), gate.port(), name);
        connection.send(format!("GET /v2/ HTTP/1.1\r\nHost: {host}:{}\r\nConnection: close\r\n\r\n", gate.port()));
        connection.answer(false).unwrap().status
    };
    assert_eq!(ask("two.test", "two.test"), 401);
    assert_eq!(ask("localhost", "registry.test"), 401, "two names of one registry");
    assert_eq!(ask("localhost", "two.test"), 421);
    assert_eq!(ask("two.test", "localhost"), 421);

    // What is pushed to one is not in the other.
    let image = Image::new(40, &[1000]);
    Skopeo::logged_in(gate.pki(), &gate.host(), ALICE).copy(&image.reference(), &gate.image("team-a/app")).succeeded();
    assert!(!one.acted_on("team-a/app").is_empty());
    assert_eq!(two.acted(), []);
}
