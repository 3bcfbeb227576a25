//! Listed networks that say nothing, or too slowly.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{BALANCER, INSIDE, Scene, address, text};
use crate::support::{eventually, plain_from};

fn is_closed(socket: &mut TcpStream) -> bool {
    socket.read(&mut [0]).is_ok_and(|count| count == 0)
}

#[test]
fn a_header_that_does_not_come_is_not_waited_for() {
    let scene = Scene::with(|setup| {
        setup.with(|config| {
            config["limits"] = json!({ "handshake": "1s" });
            config["log"] = json!({ "level": "debug" });
        })
    });
    let (begin, ports) = (Instant::now(), [scene.gate.port(), scene.gate.http_port()]);
    let mut silent = ports.map(|port| plain_from(address(BALANCER), port));
    // A byte a time: what comes does not prolong it.
    let mut slow = ports.map(|port| plain_from(address(BALANCER), port));
    for byte in &text(INSIDE)[..5] {
        slow.iter_mut().for_each(|socket| socket.write_all(&[*byte]).unwrap());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(scene.proxied(&text(INSIDE), "inside", ""), Some(200), "others are served meanwhile");
    assert!(silent.iter_mut().chain(&mut slow).all(is_closed));
    assert!(begin.elapsed() >= Duration::from_millis(900));
    eventually("each is counted", || scene.refused("proxy_protocol") == 4.0);
    let log = scene.gate.log();
    let told: Vec<_> = log.lines().filter(|line| line.contains("listen.proxy_protocol_from was closed")).collect();
    assert_eq!(told.len(), 4, "{told:?}");
    // One for each port.
    assert_eq!(told.iter().filter(|line| line.contains("\"WARN\"")).count(), 2, "{told:?}");
    assert!(told.iter().all(|line| line.contains(BALANCER) && line.contains("limits.handshake")), "{told:?}");
}

#[test]
fn what_is_no_header_is_refused_at_once_and_a_probe_is_nobodys_fault() {
    let scene = Scene::new();
    let mut refused = 0.0;
    for (sent, counts) in [
        (b"".as_slice(), 0.0),
        (b"\x16\x03\x01\x02\x00", 1.0),
        (b"GET / HTTP/1.1\r\n\r\n", 1.0),
        (b"PROXY TCP4 192.0.2.7 everywhere 1 2\r\n", 1.0),
        (b"PROXY TCP4 192.0.2", 1.0),
    ] {
        let mut socket = plain_from(address(BALANCER), scene.gate.port());
        socket.write_all(sent).unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        assert_eq!(answer, b"", "{sent:?}");
        refused += counts;
        eventually("it is counted", || scene.refused("proxy_protocol") == refused);
    }
    assert_eq!(scene.ear.connections(), 0);
}
