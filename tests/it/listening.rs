//! What is listened on, and how, changes while the gate runs; what stands is left alone.

use std::{
    fs,
    net::{TcpListener, TcpStream},
};

use serde_json::{Value, json};

use crate::support::{ALICE, Curl, Portcullis, Registry, Tls, eventually, exchange, free_port, http_get};

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn is_refused(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_err()
}

fn status_at(gate: &Portcullis, port: u16) -> u16 {
    let request = Curl::new(format!("https://localhost:{port}/v2/team-a/app/tags/list"));
    request.trusting(gate.pki().ca_file()).user(ALICE).send().status
}

/// A client that has asked once, and asks again over the same connection.
struct Client(Tls, String);

impl Client {
    fn of(gate: &Portcullis) -> Self {
        let token = gate.token(Some(ALICE), "repository:team-a/app:pull");
        let head = format!("Host: {}\r\nAuthorization: Bearer {token}", gate.host());
        let mut client = Self(Tls::connect(gate.pki(), gate.port(), "localhost"), head);
        assert_eq!(client.status(), 404, "allowed, and not there");
        client
    }

    fn status(&mut self) -> u16 {
        self.0.send(format!("GET /v2/team-a/app/tags/list HTTP/1.1\r\n{}\r\n\r\n", self.1));
        self.0.answer(false).expect("an answer").status
    }
}

#[test]
fn addresses_come_and_go() {
    let registry = Registry::start();
    let mut gate = Portcullis::start(&registry);
    let mut client = Client::of(&gate);
    let (before, plain, admin) = (gate.port(), gate.http_port(), gate.admin_port());
    let [second, moved, moved_admin] = [free_port(), free_port(), free_port()];

    gate.reload_with(|config| config["listen"]["https"] = json!([local(before), local(second)]));
    assert_eq!([status_at(&gate, before), status_at(&gate, second)], [404, 404]);
    gate.reload_with(|config| {
        config["listen"] = json!({ "https": [local(second)], "http": [local(moved)], "admin": local(moved_admin) });
    });
    eventually("the old addresses are left", || [before, plain, admin].into_iter().all(is_refused));
    assert_eq!(status_at(&gate, second), 404);
    assert_eq!(client.status(), 404, "the connection to the old address stands");
    let redirect = Curl::new(format!("http://localhost:{moved}/v2/")).send();
    assert_eq!(redirect.header("location"), Some(format!("https://localhost:{second}/v2/").as_str()));
    assert_eq!(http_get(moved_admin, "/readyz").map(|answer| answer.status), Some(200));

    gate.reload_with(|config| config["listen"]["http"] = json!([]));
    eventually("nothing is listened on for http", || is_refused(moved));
    assert_eq!(client.status(), 404);
}

#[test]
fn a_socket_may_widen_and_narrow_at_the_same_port() {
    let registry = Registry::start();
    let mut gate = Portcullis::start(&registry);
    let port = gate.port();
    for address in ["[::]", "0.0.0.0", "127.0.0.1"] {
        gate.reload_with(|config| config["listen"]["https"] = json!([format!("{address}:{port}")]));
        assert!(!gate.log().contains("cannot be used"), "{address}: {}", gate.log());
        assert_eq!(status_at(&gate, port), 404, "{address}");
    }
    let again = TcpListener::bind(("127.0.0.1", port));
    assert!(again.is_err(), "nobody else may have the port meanwhile");
}

#[test]
fn a_port_in_use_refuses_the_whole_configuration() {
    let registry = Registry::start();
    let mut gate = Portcullis::start(&registry);
    let (before, free) = (gate.port(), free_port());
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let change = |config: &mut Value| {
        config["listen"]["https"] = json!([local(before), local(free), local(port)]);
        config["identity"]["groups"]["team-a"] = json!([]);
    };
    gate.reload_with(change);
    let log = gate.log();
    let line = log.lines().find(|line| line.contains("cannot be used")).expect("a message");
    for told in ["listen.https", &local(port), "in use", "ss -ltnp"] {
        assert!(line.contains(told), "{told}: {line}");
    }
    assert_eq!(status_at(&gate, before), 404, "what was in force still is");
    assert!(is_refused(free), "nothing of it is in force");
    drop(taken);
    gate.reload_with(change);
    assert_eq!([before, free, port].map(|port| status_at(&gate, port)), [403, 403, 403]);
}

#[test]
fn limits_of_connections_and_the_tls_version_change() {
    let registry = Registry::start();
    let mut gate = Portcullis::start(&registry);
    let mut client = Client::of(&gate);
    let tls12 = |gate: &Portcullis| gate.curl("/v2/").argument("--tls-max").argument("1.2").attempt();
    assert_eq!(tls12(&gate).unwrap().status, 401);
    gate.reload_with(|config| {
        config["tls"]["min_version"] = json!("1.3");
        config["limits"] = json!({ "connections_per_client": 2 });
    });
    assert!(tls12(&gate).is_err());
    let second = Tls::connect(gate.pki(), gate.port(), "localhost");
    assert!(gate.curl("/v2/").attempt().is_err(), "the two of before and now are all");
    assert_eq!(client.status(), 404);
    drop(second);
    gate.reload_with(|config| config["limits"] = json!({}));
    assert_eq!(gate.curl("/v2/").send().status, 401);
}

#[test]
fn sessions_resume_under_a_changed_configuration() {
    let registry = Registry::start();
    let mut gate = Portcullis::start(&registry);
    let dir = tempfile::tempdir().unwrap();
    let session = dir.path().join("session");
    let hello = |gate: &Portcullis, option: &str| {
        let ca = gate.pki().ca_file();
        let (connect, ca, session) = (local(gate.port()), ca.display().to_string(), session.display().to_string());
        let arguments =
            ["s_client", "-connect", &connect, "-servername", "localhost", "-CAfile", &ca, option, &session];
        let output = std::process::Command::new("sh")
            .args([
                "-c",
                "printf 'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n' | openssl \"$@\" -ign_eof 2>&1",
                "sh",
            ])
            .args(arguments)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let first = hello(&gate, "-sess_out");
    assert!(first.contains("\nNew, TLS") && session.exists(), "{first}");
    gate.reload_with(|config| {
        config["limits"] = json!({ "connections": 99 });
        config["tls"]["hsts"] = json!("1d");
    });
    let second = hello(&gate, "-sess_in");
    assert!(second.contains("\nReused, TLS"), "{second}");
}

#[test]
fn the_log_changes_its_form_and_its_measure() {
    let registry = Registry::start();
    let mut gate = Portcullis::start(&registry);
    let lines_of = |gate: &Portcullis| {
        let before = fs::read_to_string(gate.dir().join("portcullis.log")).unwrap().len();
        gate.curl("/v2/").send();
        gate.curl("/v2/").send();
        let log = gate.log();
        log[before..].lines().map(String::from).collect::<Vec<_>>()
    };
    let is_json = |line: &String| serde_json::from_str::<Value>(line).is_ok();
    let lines = lines_of(&gate);
    assert!(lines.len() >= 2 && lines.iter().all(is_json), "{lines:?}");
    gate.reload_with(|config| config["log"] = json!({ "format": "text" }));
    let lines = lines_of(&gate);
    assert!(lines.len() >= 2 && !lines.iter().any(is_json) && lines[0].contains("INFO access: request"), "{lines:?}");
    gate.reload_with(|config| config["log"] = json!({ "format": "json", "access": false }));
    assert_eq!(lines_of(&gate), [""; 0]);
    gate.reload_with(|config| config["log"] = json!({ "level": "debug", "access": false }));
    exchange(gate.port(), b"\x16\x03\x01\xff\xff");
    eventually("a debug line", || gate.log().contains("\"level\":\"DEBUG\""));
}
