//! What is not delivered outlives the process, whichever way it ends.

use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::json;

use super::{marks, published, pull, telling, told};
use crate::support::{ALICE, Portcullis, Receiver, Registry, Tls, digest, eventually};

fn kept(gate: &Portcullis) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(gate.dir().join("events")).unwrap();
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.to_string_lossy().ends_with(".events.json")).collect()
}

#[test]
fn a_restart_in_an_outage_loses_nothing() {
    let registry = Registry::start();
    let receiver = Receiver::start();
    let (port, url) = (receiver.port(), receiver.url());
    let mut gate = telling(&registry, &url, |_| {}).start();
    published(&gate, Some(&receiver));
    drop(receiver);
    marks(1..=5).iter().for_each(|mark| pull(&gate, mark));
    assert!(gate.process().stop().expect("ends on SIGTERM").success());
    let [file] = kept(&gate).try_into().unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    fs::write(gate.dir().join("events/0-broken.events.json"), "{ this is nothing").unwrap();
    gate.start_again();
    assert!(gate.log().contains("is not what portcullis writes there"), "{}", gate.log());
    marks(6..=8).iter().for_each(|mark| pull(&gate, mark));
    let receiver = Receiver::again_at(port);
    eventually("all are told", || told(&receiver).len() >= 8);
    assert_eq!(told(&receiver), marks(1..=8), "in order");
    assert!(kept(&gate).is_empty());
    // What can be delivered at the end is.
    pull(&gate, "m9");
    assert!(gate.process().stop().expect("ends on SIGTERM").success());
    assert_eq!(told(&receiver), marks(1..=9));
    assert!(kept(&gate).is_empty(), "{:?}", kept(&gate));
}

/// A session's last request, half sent.
fn half_a_push(gate: &Portcullis, content: &str) -> Tls {
    let session = gate.curl("/v2/team-a/app/blobs/uploads/").user(ALICE).method("POST").send();
    let path = session.header("location").unwrap().replace(&gate.url(""), "");
    let token = gate.token(Some(ALICE), "repository:team-a/app:pull,push");
    let mut client = Tls::connect(gate.pki(), gate.port(), "localhost");
    let (half, length) = (&content[..content.len() / 2], content.len());
    let head =
        format!("Host: {}\r\nUser-Agent: m7\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}", gate.host());
    client.send(format!("PUT {path}&digest={} HTTP/1.1\r\n{head}\r\n\r\n{half}", digest(content.as_bytes())));
    eventually("the push is under way", || gate.counted("portcullis_requests_in_flight", "") > 0.0);
    client
}

#[test]
fn an_exchange_of_the_binary_in_an_outage_loses_nothing_and_keeps_the_order() {
    let registry = Registry::start();
    let receiver = Receiver::start();
    let (port, url) = (receiver.port(), receiver.url());
    let setup = telling(&registry, &url, |_| {}).with(|config| config["shutdown"] = json!({ "drain": "30s" }));
    let mut gate = setup.start();
    published(&gate, Some(&receiver));
    drop(receiver);
    let content = "hello, world";
    let mut push = half_a_push(&gate, content);
    marks(1..=3).iter().for_each(|mark| pull(&gate, mark));
    let first = gate.pid();
    gate.upgrade();
    marks(4..=6).iter().for_each(|mark| pull(&gate, mark));
    eventually("what waited is handed over", || gate.log().contains("events of another process are delivered"));
    push.send(&content[content.len() / 2..]);
    assert_eq!(push.answer(false).expect("an answer").status, 201);
    let receiver = Receiver::again_at(port);
    eventually("all are told", || told(&receiver).len() >= 7);
    assert_eq!(told(&receiver), marks(1..=7), "in order, each once");
    let last = receiver.events().pop().unwrap();
    assert_eq!((&last["action"], &last["actor"]["name"]), (&json!("push"), &json!(ALICE.name)), "{last}");
    assert_eq!(last["target"]["size"], content.len());
    eventually("the process before ends", || gate.running() != [first] && gate.running().len() == 1);
    eventually("nothing is left", || kept(&gate).is_empty());
}

#[test]
fn without_a_folder_the_end_says_what_is_lost() {
    let registry = Registry::start();
    let receiver = Receiver::start();
    let url = receiver.url();
    let mut gate = telling(&registry, &url, |_| {}).with(|config| config["events"]["storage"] = json!(null)).start();
    published(&gate, Some(&receiver));
    drop(receiver);
    marks(1..=3).iter().for_each(|mark| pull(&gate, mark));
    assert!(gate.process().stop().expect("ends on SIGTERM").success());
    let log = gate.log();
    assert!(log.contains("\"lost\":3") && log.contains("events.storage is null"), "{log}");
}
