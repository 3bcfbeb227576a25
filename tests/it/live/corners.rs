//! Reloads that nobody plans: too many at a time, at the wrong moment, of what is no file.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{ALICE, BOB, GateSetup, Image, Login, Portcullis, Registry, Skopeo, Tls, eventually};

const READ: &str = "the configuration was read again";
const UNUSABLE: &str = "the configuration cannot be used";

fn before(registry: &Registry) -> GateSetup {
    Portcullis::before(registry).with(|config| config["shutdown"] = json!({ "drain": "30s" }))
}

fn status(gate: &Portcullis, login: Login) -> u16 {
    gate.curl("/v2/team-a/app/tags/list").user(login).send().status
}

fn changed(gate: &Portcullis, change: impl FnOnce(&mut Value)) -> Value {
    let mut config = serde_json::from_slice(&fs::read(gate.configuration()).unwrap()).unwrap();
    change(&mut config);
    config
}

/// So many SIGHUP, as fast as they can be sent.
fn storm(gate: &Portcullis, count: usize) {
    let each = r#"i=0; while [ $i -lt "$0" ]; do kill -HUP "$1"; i=$((i+1)); done"#;
    let sent = Command::new("sh").args(["-c", each, &count.to_string(), &gate.pid().to_string()]).status();
    assert!(sent.unwrap().success());
}

#[test]
fn a_storm_of_signals_ends_with_what_was_written_last() {
    let registry = Registry::start();
    let gate = before(&registry).start();
    thread::scope(|scope| {
        let storms = scope.spawn(|| storm(&gate, 1000));
        for members in [vec![BOB.name], vec![], vec![ALICE.name, BOB.name], vec![BOB.name]] {
            gate.write_configuration(
                &changed(&gate, |config| config["identity"]["groups"]["team-a"] = json!(members)).to_string(),
            );
            assert!(matches!(status(&gate, ALICE), 404 | 403));
        }
        storms.join().unwrap();
    });
    storm(&gate, 1);
    eventually("the last one is in force", || (status(&gate, ALICE), status(&gate, BOB)) == (403, 404));
    let reloads = gate.log().lines().filter(|line| line.contains(READ)).count();
    assert!(reloads < 900, "signals that come while it reads are one: {reloads} reloads");
}

#[test]
fn a_reload_in_the_middle_of_a_stop_cuts_nothing() {
    let registry = Registry::start();
    let mut gate = before(&registry).start();
    let image = Image::new(510, &[3 << 20]);
    Skopeo::logged_in(gate.pki(), &gate.host(), ALICE).copy(&image.reference(), &gate.image("team-a/app")).succeeded();
    let token = gate.token(Some(ALICE), "repository:team-a/app:pull");
    let mut client = Tls::connect(gate.pki(), gate.port(), "localhost");
    let path = format!("/v2/team-a/app/blobs/{}", image.layer);
    client.send(format!("GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\r\n", gate.host()));
    let head = client.answer_with_interim().expect("a head");
    gate.until_it_says(r#""stopping""#, || gate.signal("TERM"));
    gate.write_configuration(&changed(&gate, |config| config["access"]["grants"] = json!([])).to_string());
    storm(&gate, 10);
    gate.write_configuration("version: [");
    storm(&gate, 10);
    let answer = client.rest_of(head, false).expect("the whole blob");
    assert!(answer.body == fs::read(image.blob(&image.layer)).unwrap());
    drop(client);
    let process = gate.process();
    eventually("it ends", || process.ended().is_some());
    assert!(process.ended().unwrap().success());
    assert!(process.log().contains(r#""message":"stopped","cut":0"#), "{}", process.log());
}

#[test]
fn a_configuration_that_is_gone_or_no_file_changes_nothing() {
    let registry = Registry::start();
    let gate = before(&registry).start();
    let (file, good) = (gate.configuration(), fs::read(gate.configuration()).unwrap());
    fs::remove_file(&file).unwrap();
    gate.until_it_says(UNUSABLE, || storm(&gate, 1));
    assert_eq!(status(&gate, ALICE), 404);
    fs::create_dir(&file).unwrap();
    gate.until_it_says(UNUSABLE, || storm(&gate, 1));
    assert_eq!(status(&gate, ALICE), 404);
    fs::remove_dir(&file).unwrap();
    fs::write(&file, good).unwrap();
    gate.until_it_says(READ, || storm(&gate, 1));
    assert_eq!(status(&gate, ALICE), 404);
}

/// A new process that neither serves nor ends.
#[test]
fn an_upgrade_that_hangs_holds_up_nothing() {
    let registry = Registry::start();
    let mut gate = before(&registry).with_own_binary().start();
    let script = gate.dir().join("script");
    fs::write(&script, "#!/bin/sh\necho hangs >&2\nexec sleep 60\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    gate.write_binary(&script);
    let now = gate.pid();
    gate.until_it_says("hangs\n", || gate.signal("USR2"));
    gate.until_it_says("a new process was started already", || gate.signal("USR2"));
    let closed = changed(&gate, |config| config["identity"]["groups"]["team-a"] = json!([])).to_string();
    gate.write_configuration(&closed);
    storm(&gate, 1);
    eventually("the change is in force", || status(&gate, ALICE) == 403);
    assert_eq!(gate.status()["pid"], now);
    let child = child_of(now).expect("the new process");
    let process = gate.process();
    process.signal("TERM");
    eventually("it ends", || process.ended().is_some());
    assert!(process.ended().unwrap().success());
    let line = fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default();
    assert!(!line.contains("sleep"), "the new process is ended too: {line}");
}

fn make_fifo(file: &Path) {
    assert!(Command::new("mkfifo").arg(file).status().unwrap().success());
}

/// Whoever opens a FIFO to read it waits for a writer.
#[test]
fn a_fifo_holds_up_nothing() {
    let registry = Registry::start();
    let mut gate = before(&registry).start();
    let mut leaf = json!(null);
    gate.reload_with(|config| leaf = config["tls"]["certificates"][0].clone());
    let [certificate, key] = ["certificate_file", "key_file"].map(|name| PathBuf::from(leaf[name].as_str().unwrap()));
    let token_key = gate.dir().join("token.key");
    for file in [gate.htpasswd(), gate.configuration(), certificate, key, token_key] {
        let was = fs::read(&file).unwrap();
        let mode = fs::metadata(&file).unwrap().permissions();
        fs::remove_file(&file).unwrap();
        make_fifo(&file);
        storm(&gate, 1);
        thread::sleep(Duration::from_millis(500));
        assert_eq!(status(&gate, ALICE), 404, "{}", file.display());
        fs::remove_file(&file).unwrap();
        fs::write(&file, was).unwrap();
        fs::set_permissions(&file, mode).unwrap();
        gate.until_it_says(READ, || storm(&gate, 1));
    }
    fs::remove_file(gate.htpasswd()).unwrap();
    make_fifo(&gate.htpasswd());
    storm(&gate, 1);
    assert!(gate.process().stop().expect("it ends on SIGTERM").success());
}

fn child_of(parent: u32) -> Option<u32> {
    let processes =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let of = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse().ok()) == Some(parent)
    };
    processes.into_iter().find(of)
}
