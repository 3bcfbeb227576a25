//! The exchange of the binary: who serves, who drains, and what happens where the new one does not start.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    thread::sleep,
    time::Duration,
};

use serde_json::json;

use crate::{
    ending::{Manager, half_an_upload},
    support::{ALICE, GateSetup, Portcullis, Registry, eventually, portcullis, run},
};

fn before(registry: &Registry) -> GateSetup {
    Portcullis::before(registry).with_own_binary().with(|config| config["shutdown"] = json!({ "drain": "30s" }))
}

fn script(gate: &Portcullis, text: &str) {
    let file = gate.dir().join("script");
    fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    gate.write_binary(&file);
}

fn assert_serves(gate: &Portcullis, pid: u32) {
    assert_eq!(gate.curl("/v2/team-a/app/tags/list").user(ALICE).send().status, 404);
    assert_eq!(gate.admin("/readyz").status, 200);
    assert_eq!(gate.status()["pid"], json!(pid));
}

#[test]
fn the_process_before_drains_and_its_writes_count() {
    let registry = Registry::start();
    let mut gate = before(&registry).start();
    let mut upload = half_an_upload(&gate);
    let first = gate.pid();
    gate.upgrade();
    let (second, status) = (gate.pid(), gate.status());
    assert_eq!((&status["predecessor"], &status["open_writes"]), (&json!(first), &json!(1)), "{status}");
    assert!(gate.counted("portcullis_open_writes", "registry=\"localhost\"") > 0.0);
    assert_serves(&gate, second);
    assert_eq!(gate.running(), [first, second]);
    let said = gate.until_it_says("read again", || {
        assert!(std::process::Command::new("kill").args(["-HUP", &first.to_string()]).status().unwrap().success());
    });
    assert!(!said.contains("cannot be used"), "the one that drains listens on nothing, and follows bans: {said}");

    upload.send("world");
    let answer = upload.answer(false).expect("an answer");
    assert_eq!((answer.status, answer.header("connection")), (202, Some("close")));
    eventually("the process before ends", || gate.running() == [second]);
    eventually("it is heard of", || gate.status()["predecessor"].is_null());
    assert_eq!(gate.status()["open_writes"], json!(1), "the upload that it left open, for a minute");
    assert!(gate.log().contains("\"message\":\"stopped\",\"cut\":0"), "{}", gate.log());

    let next = answer.header("location").unwrap().replace(&gate.url(""), "");
    assert_eq!(gate.curl(&next).user(ALICE).send().status, 204, "the session goes on at the new process");
    gate.upgrade();
    let line = fs::read(format!("/proc/{}/cmdline", gate.pid())).unwrap();
    assert_eq!(String::from_utf8_lossy(&line).matches("--take-over").count(), 1);
}

/// What one leaves open counts through two exchanges: the process in between stays for as long as the first one.
#[test]
fn a_process_that_still_drains_counts_through_another_exchange() {
    let registry = Registry::start();
    let mut gate = before(&registry).start();
    let mut upload = half_an_upload(&gate);
    let first = gate.pid();
    gate.upgrade();
    let second = gate.pid();
    let said = gate.until_it_says("serves now", || gate.upgrade());
    assert!(!said.contains("the process before has ended"), "{said}");
    let third = gate.pid();
    eventually("the second has nothing left of its own", || gate.log().matches("\"requests\":0").count() == 1);
    sleep(Duration::from_millis(500));
    assert_eq!(gate.running(), [first, second, third]);
    let status = gate.status();
    assert_eq!((&status["predecessor"], &status["open_writes"]), (&json!(second), &json!(1)), "{status}");
    upload.send("world");
    assert_eq!(upload.answer(false).expect("an answer").status, 202);
    eventually("both have ended", || gate.running() == [third]);
    eventually("it is heard of", || gate.status()["predecessor"].is_null());
    assert_eq!(gate.status()["open_writes"], json!(1), "the upload that the first left open, for a minute");
}

#[test]
fn a_binary_that_does_not_start_changes_nothing() {
    let registry = Registry::start();
    let mut gate = before(&registry).start();
    let pid = gate.pid();
    script(&gate, "echo nothing doing >&2; exit 3");
    let said = gate.until_it_says("was not exchanged", || gate.signal("USR2"));
    assert!(said.contains("nothing doing\n") && said.contains("exit status: 3"), "{said}");
    assert_serves(&gate, pid);
    fs::remove_file(gate.dir().join("portcullis")).unwrap();
    let said = gate.until_it_says("was not exchanged", || gate.signal("USR2"));
    assert!(said.contains("cannot start") && said.contains("No such file"), "{said}");
    assert_serves(&gate, pid);
    assert_eq!(gate.running(), [pid]);
}

#[test]
fn a_configuration_that_cannot_be_used_changes_nothing() {
    let registry = Registry::start();
    let gate = before(&registry).start();
    let good = fs::read_to_string(gate.configuration()).unwrap();
    gate.write_configuration(&good.replace("\"version\": 1", "\"versoin\": 1"));
    let said = gate.until_it_says("was not exchanged", || gate.signal("USR2"));
    assert!(said.contains("did you mean \"version\"") && said.contains("exit status: 78"), "{said}");
    assert_serves(&gate, gate.pid());
    gate.write_configuration(&good);
    gate.upgrade();
    assert_serves(&gate, gate.pid());
}

#[test]
fn a_stop_ends_the_process_that_is_awaited_too() {
    let registry = Registry::start();
    for signal in ["TERM", "QUIT"] {
        let mut gate = before(&registry).start();
        let marker = gate.dir().join("awaited");
        script(&gate, &format!("echo $$ > {}.new; mv {0}.new {0}; sleep 20 <&0 & exec sleep 1000", marker.display()));
        gate.signal("USR2");
        eventually("the new process runs", || marker.exists());
        let pid = fs::read_to_string(&marker).unwrap().trim().to_owned();
        let process = gate.process();
        process.signal(signal);
        eventually("the gate ends", || process.ended().is_some());
        assert!(process.ended().unwrap().success());
        // Whoever inherits it may take its time to notice.
        let runs = || fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty());
        eventually("and so does the other", || !runs());
    }
}

/// What is told to one process counts for both, and until one has left nobody can say that nothing is written.
#[test]
fn a_reload_while_another_process_is_awaited_is_passed_on() {
    let registry = Registry::start();
    let mut gate = before(&registry).with(|config| config["reload"] = json!({ "watch": false })).start();
    let at = |name: &str| gate.dir().join(name);
    let (awaited, go, told) = (at("awaited"), at("go"), at("told"));
    let text = format!(
        "trap 'touch {}; exit' HUP; touch {}; while [ ! -e {} ]; do sleep 0.1; done; echo hello >&0; echo ready >&0; sleep 60 & wait",
        told.display(),
        awaited.display(),
        go.display()
    );
    script(&gate, &text);
    gate.signal("USR2");
    eventually("the new process runs", || awaited.exists());
    assert_eq!(gate.status()["open_writes"], json!(1), "it may let clients in at any moment");
    gate.until_it_says("read again", || gate.signal("HUP"));
    assert!(!told.exists());
    fs::write(&go, "").unwrap();
    eventually("it is told", || told.exists());
    let process = gate.process();
    eventually("the gate ends", || process.ended().is_some());
}

#[test]
fn operators_come_to_the_process_that_took_over() {
    let registry = Registry::start();
    let gate = before(&registry).start();
    let mut operator = TcpStream::connect(("127.0.0.1", gate.admin_port())).unwrap();
    operator.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: gate\r\n\r\n");
    operator.write_all(ask("/healthz").as_bytes()).unwrap();
    let mut said = [0; 4096];
    let length = operator.read(&mut said).unwrap();
    let first = String::from_utf8_lossy(&said[..length]).into_owned();
    assert!(first.starts_with("HTTP/1.1 200") && !first.contains("connection: close"), "{first}");
    let _upload = half_an_upload(&gate);
    let before = gate.pid();
    gate.upgrade();
    operator.write_all(ask("/status").as_bytes()).unwrap();
    let mut last = String::new();
    operator.read_to_string(&mut last).expect("one more answer, and the end");
    assert!(last.contains("connection: close") && last.contains(&format!("\"pid\": {before}")), "{last}");
    assert!(last.contains("\"open_writes\": 2"), "its own, and what the other process may have open: {last}");
}

#[test]
fn the_service_manager_hears_who_serves() {
    let registry = Registry::start();
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::at(&dir.path().join("notify"));
    let path = dir.path().join("notify").display().to_string();
    let gate = before(&registry).environment("NOTIFY_SOCKET", &path).start();
    manager.hears("READY=1");
    gate.upgrade();
    let heard = manager.hears(&format!("MAINPID={}", gate.pid()));
    assert!(heard.contains("WATCHDOG=1"), "the new one was not heard yet: {heard}");
    manager.hears("STATUS=serving");
}

#[test]
fn taking_over_is_not_for_people() {
    let registry = Registry::start();
    let gate = before(&registry).start();
    let mut command = portcullis();
    command.args(["serve", "--take-over", "-c"]).arg(gate.configuration());
    run(&mut command, "").failed_with(&["sigusr2"]);
    assert_serves(&gate, gate.pid());
}
