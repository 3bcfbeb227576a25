//! Bodies in both directions between a client over HTTP/1.1 or HTTP/2 and an upstream over HTTP/1.1.
//!
//! A test that begins with `row` is one kind of exchange; one that begins with `trap` is about something that the
//! HTTP engine gets wrong when it is used without care. The numbers group what belongs together.

mod answers;
mod early;
mod ending;
mod hostile;
mod http2;
mod keep_alive;
mod leaving;
mod limits;
mod memory;
mod repeating;

use std::{
    io::{ErrorKind, Read},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use self::http2::Http2;
use crate::support::{ALICE, Ear, Portcullis, Tls, client_config};

const MIB: usize = 1 << 20;

/// In front of an ear, with its time-outs as they are by default.
fn before(ear: &Ear) -> Portcullis {
    Portcullis::before_url(&ear.url()).start()
}

/// In front of an ear, where an upstream may be silent and a client idle for 700 ms.
fn impatient_before(ear: &Ear) -> Portcullis {
    let timeouts = json!({ "connect": "700ms", "first_byte": "700ms", "idle": "700ms", "commit": "700ms" });
    Portcullis::before_url(&ear.url())
        .with_upstream(|upstream| upstream["timeouts"] = timeouts)
        .with(|config| config["limits"] = json!({ "body_idle": "700ms" }))
        .start()
}

/// The path of a manifest; the tag tells an ear what to do.
fn tag(tag: &str) -> String {
    format!("/v2/team-a/app/manifests/{tag}")
}

fn blob() -> String {
    format!("/v2/team-a/app/blobs/sha256:{}", "a".repeat(64))
}

/// The address of an upload session of alice's, for PATCH.
fn session(gate: &Portcullis) -> String {
    gate.sealed(ALICE, SESSION)
}

const SESSION: &str = "/v2/team-a/app/blobs/uploads/5f4dcc3b-5aa7-45d6-9d83-27deb882cf99?_state=abc";

/// The end of an upload session, for PUT.
fn finish(gate: &Portcullis) -> String {
    format!("{}&digest=sha256:{}", session(gate), "a".repeat(64))
}

fn authorization() -> String {
    format!("Basic {}", STANDARD.encode(format!("{}:{}", ALICE.name, ALICE.password)))
}

/// A head by alice; `more` are further header lines.
fn head(gate: &Portcullis, method: &str, path: &str, more: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\n{more}\r\n", gate.host(), authorization())
}

fn get(gate: &Portcullis, path: &str) -> String {
    head(gate, "GET", path, "")
}

fn http1(gate: &Portcullis) -> Tls {
    Tls::connect(gate.pki(), gate.port(), "localhost")
}

/// A client whose socket takes little at a time.
fn narrow(gate: &Portcullis) -> Tls {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let address: std::net::SocketAddr = ([127, 0, 0, 1], gate.port()).into();
    socket.connect(&address.into()).unwrap();
    socket.set_read_timeout(Some(milliseconds(10_000))).unwrap();
    Tls::over(socket.into(), client_config(gate.pki(), &["http/1.1"]), "localhost").unwrap()
}

/// Bytes of which no piece can be taken for another.
fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|position| (position ^ (position >> 8) ^ (position >> 16)) as u8).collect()
}

fn in_chunks(body: &[u8], size: usize) -> Vec<u8> {
    let mut all = Vec::new();
    for chunk in body.chunks(size) {
        all.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        all.extend_from_slice(chunk);
        all.extend_from_slice(b"\r\n");
    }
    all.extend_from_slice(b"0\r\n\r\n");
    all
}

fn answer(body: &[u8]) -> Vec<u8> {
    let mut all = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    all.extend_from_slice(body);
    all
}

/// How a connection over TLS came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// TLS said that it is the end.
    Said,
    /// It broke off.
    Broken,
    /// It did not, within 10 s.
    None,
}

fn read_head(tls: &mut Tls) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        let read = tls.read_exact(&mut byte);
        assert!(read.is_ok(), "{read:?} within a head: {:?}", String::from_utf8_lossy(&head));
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn read_some(tls: &mut Tls, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    tls.read_exact(&mut bytes).unwrap();
    bytes
}

fn read_to_end(tls: &mut Tls) -> (Vec<u8>, Ending) {
    let mut all = Vec::new();
    let ending = match tls.read_to_end(&mut all) {
        Ok(_) => Ending::Said,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ending::None,
        Err(_) => Ending::Broken,
    };
    (all, ending)
}

/// Closed by the server within 10 s, in whatever way.
fn is_closed(tls: &mut Tls) -> bool {
    read_to_end(tls).1 != Ending::None
}

/// The value of a gauge without labels.
fn gauge(gate: &Portcullis, name: &str) -> u64 {
    let metrics = gate.admin("/metrics").text();
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::to_owned);
    line.map_or(0, |value| value.parse().unwrap())
}

fn milliseconds(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// The same GET over both protocols: its status and body, or why there is no whole answer.
fn fetch(gate: &Portcullis, protocol: &str, path: &str) -> Result<(u16, Vec<u8>), String> {
    let response = gate.curl(path).user(ALICE).argument(protocol).argument("--max-time").argument("15").attempt()?;
    Ok((response.status, response.body))
}

const PROTOCOLS: [&str; 2] = ["--http1.1", "--http2"];
