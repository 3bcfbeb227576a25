//! The exchange of the binary: who serves, who drains, and what happens where the new one does not start.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

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
    let mut gate = before(&registry).start();
    let marker = gate.dir().join("awaited");
    script(&gate, &format!("echo $$ > {}.new; mv {0}.new {0}; exec sleep 1000", marker.display()));
    gate.signal("USR2");
    eventually("the new process runs", || marker.exists());
    let pid = fs::read_to_string(&marker).unwrap().trim().to_owned();
    let process = gate.process();
    process.signal("TERM");
    eventually("the gate ends", || process.ended().is_some());
    assert!(process.ended().unwrap().success());
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "and so does the other");
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
    manager.hears(&format!("MAINPID={}", gate.pid()));
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
