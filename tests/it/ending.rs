//! How the gate ends, and what a service manager hears of it.

use std::{
    io::ErrorKind,
    net::TcpStream,
    os::unix::net::UnixDatagram,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::{ALICE, GateSetup, Portcullis, Registry, Tls, eventually};

fn before(registry: &Registry) -> GateSetup {
    Portcullis::before(registry).with(|config| config["shutdown"] = json!({ "drain": "30s" }))
}

/// An upload that has sent half of its chunk.
pub(crate) fn half_an_upload(gate: &Portcullis) -> Tls {
    let session = gate.curl("/v2/team-a/app/blobs/uploads/").user(ALICE).method("POST").send();
    let path = session.header("location").unwrap().replace(&gate.url(""), "");
    let token = gate.token(Some(ALICE), "repository:team-a/app:pull,push");
    let mut client = Tls::connect(gate.pki(), gate.port(), "localhost");
    let head = format!("Host: {}\r\nAuthorization: Bearer {token}\r\nContent-Length: 10", gate.host());
    client.send(format!("PATCH {path} HTTP/1.1\r\n{head}\r\n\r\nhello"));
    eventually("the upload is under way", || gate.counted("portcullis_requests_in_flight", "") > 0.0);
    client
}

fn ask(gate: &Portcullis, client: &mut Tls) {
    client.send(format!("GET /v2/ HTTP/1.1\r\nHost: {}\r\n\r\n", gate.host()));
}

#[test]
fn a_stop_lets_in_who_has_come_and_finishes_what_is_under_way() {
    let registry = Registry::start();
    let mut gate = before(&registry).start();
    let mut upload = half_an_upload(&gate);
    let mut between = Tls::connect(gate.pki(), gate.port(), "localhost");
    ask(&gate, &mut between);
    assert_eq!(between.answer(false).expect("an answer").status, 401);
    let mut fresh = Tls::connect(gate.pki(), gate.port(), "localhost");
    gate.process().signal("TERM");
    eventually("nothing is accepted any more", || TcpStream::connect(("127.0.0.1", gate.port())).is_err());
    assert_eq!(gate.admin("/readyz").status, 503);
    for client in [&mut between, &mut fresh] {
        ask(&gate, client);
        let answer = client.answer(false).expect("a request that was on its way is answered");
        assert_eq!((answer.status, answer.header("connection")), (401, Some("close")));
    }
    upload.send("world");
    assert_eq!(upload.answer(false).expect("an answer").status, 202);
    let process = gate.process();
    eventually("it ends", || process.ended().is_some());
    assert!(process.ended().unwrap().success());
    assert!(process.log().contains("\"message\":\"stopped\",\"cut\":0"), "{}", process.log());
}

#[test]
fn what_outlasts_the_drain_is_cut_and_counted() {
    let registry = Registry::start();
    let mut gate = before(&registry).with(|config| config["shutdown"]["drain"] = json!("1s")).start();
    let _upload = half_an_upload(&gate);
    gate.process().signal("TERM");
    let process = gate.process();
    eventually("it ends", || process.ended().is_some());
    assert!(process.log().contains("\"message\":\"stopped\",\"cut\":1"), "{}", process.log());
    let line = process.log().lines().find(|line| line.contains("\"method\":\"PATCH\"")).map(String::from);
    let line = line.expect("the access line of what was cut");
    assert!(line.contains("\"aborted\":\"stopped\"") && line.contains("\"bytes_in\":5"), "{line}");
}

#[test]
fn a_second_signal_and_sigquit_end_it_at_once() {
    let registry = Registry::start();
    for signals in [&["QUIT"][..], &["TERM", "INT"], &["TERM", "QUIT"]] {
        let mut gate = before(&registry).start();
        let _upload = half_an_upload(&gate);
        for (index, signal) in signals.iter().enumerate() {
            if index > 0 {
                eventually("the first is heard", || gate.log().contains("\"message\":\"stopping\""));
            }
            gate.process().signal(signal);
        }
        let begun = Instant::now();
        let process = gate.process();
        eventually("it ends", || process.ended().is_some());
        assert!(begun.elapsed() < Duration::from_secs(25), "long before the drain is over");
        assert!(process.ended().unwrap().success(), "{signals:?}");
        assert!(process.log().contains("\"message\":\"stopped\",\"cut\":1"), "{signals:?} {}", process.log());
    }
}

#[test]
fn before_a_stop_load_balancers_are_told() {
    let registry = Registry::start();
    let mut gate =
        before(&registry).with(|config| config["shutdown"] = json!({ "delay": "1h", "drain": "1s" })).start();
    gate.process().signal("TERM");
    eventually("it is not ready", || gate.admin("/readyz").status == 503);
    assert_eq!(gate.curl("/v2/").send().status, 401, "connections are still accepted");
    assert_eq!(gate.admin("/healthz").status, 200);
    gate.process().signal("TERM");
    let process = gate.process();
    eventually("a second signal ends the wait", || process.ended().is_some());
    assert!(process.ended().unwrap().success());
}

/// What a service manager hears.
pub(crate) struct Manager(UnixDatagram);

impl Manager {
    pub(crate) fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self(socket)
    }

    /// The next messages up to one that holds this line.
    pub(crate) fn hears(&self, line: &str) -> String {
        let mut heard = String::new();
        let mut message = [0; 4096];
        loop {
            let length = match self.0.recv(&mut message) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                length => length.unwrap_or_else(|error| panic!("{line}: {error}, heard: {heard}")),
            };
            heard.push_str(std::str::from_utf8(&message[..length]).unwrap());
            heard.push('\n');
            if heard.lines().any(|heard| heard.starts_with(line)) {
                return heard;
            }
        }
    }
}

#[test]
fn a_service_manager_is_told() {
    let registry = Registry::start();
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::at(&dir.path().join("notify"));
    let mut gate =
        before(&registry).environment("NOTIFY_SOCKET", &dir.path().join("notify").display().to_string()).start();
    manager.hears("READY=1");
    gate.reload_with(|_| {});
    let heard = manager.hears("READY=1");
    assert!(heard.contains("RELOADING=1") && heard.contains("MONOTONIC_USEC="), "{heard}");
    gate.reload_with(|config| config["version"] = json!(9));
    manager.hears("RELOADING=1");
    let heard = manager.hears("READY=1");
    assert!(heard.contains("STATUS=serving by an earlier configuration"), "{heard}");
    gate.process().signal("TERM");
    let heard = manager.hears("STOPPING=1");
    assert!(heard.contains("EXTEND_TIMEOUT_USEC="), "{heard}");
}

#[test]
fn a_watchdog_is_kept_quiet() {
    let registry = Registry::start();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let manager = Manager::at(&path);
    let setup = before(&registry).environment("NOTIFY_SOCKET", &path.display().to_string());
    let _gate = setup.environment("WATCHDOG_USEC", "200000").start();
    for _ in 0..3 {
        manager.hears("WATCHDOG=1");
    }
}
