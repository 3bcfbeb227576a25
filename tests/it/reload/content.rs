//! What changes is seen by its content, without a signal.

use std::{
    fs::{self, FileTimes, OpenOptions},
    os::unix::fs::symlink,
    path::Path,
    thread,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};

use super::{metric, shown, status, success};
use crate::support::{ALICE, BOB, Leaf, Login, Portcullis, Registry, Tls, eventually, htpasswd_line};

/// Longer than it takes to look, to wait until files are at rest, and to read them.
const SEVERAL_LOOKS: Duration = Duration::from_millis(700);

fn generation(gate: &Portcullis) -> u64 {
    shown(gate)["generation"].as_u64().unwrap()
}

fn team(name: &str) -> impl Fn(&mut Value) {
    let members = json!([name]);
    move |config| config["identity"]["groups"]["team-a"] = members.clone()
}

/// Writes in place, and turns the clock of the change back.
fn overwrite(path: &Path, content: &str) {
    let time = path.metadata().unwrap().modified().unwrap();
    fs::write(path, content).unwrap();
    OpenOptions::new().write(true).open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
}

#[test]
fn however_it_is_written() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    assert_eq!((status(&gate, ALICE), generation(&gate)), (404, 1));
    let file = gate.configuration();
    let with = |name: &str| {
        let mut config = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        team(name)(&mut config);
        serde_json::to_string_pretty(&config).unwrap()
    };

    gate.write_configuration(&with("alicf"));
    eventually("renamed into place", || status(&gate, ALICE) == 403);
    for (name, expected) in [("alice", 404), ("alicf", 403), ("alice", 404)] {
        overwrite(&file, &with(name));
        eventually("the same length and time", || status(&gate, ALICE) == expected);
    }
    assert_eq!(generation(&gate), 5);

    let touched = OpenOptions::new().write(true).open(&file).unwrap();
    touched.set_times(FileTimes::new().set_modified(SystemTime::UNIX_EPOCH)).unwrap();
    gate.write_configuration(&with("alice"));
    thread::sleep(SEVERAL_LOOKS);
    assert_eq!(generation(&gate), 5, "the content is the same");
    let log = gate.log();
    let line = log.lines().rfind(|line| line.contains("was read again")).unwrap();
    assert!(line.contains(r#""because":"a file changed""#) && line.contains(r#""changed":"identity""#), "{line}");
    assert_eq!(metric(&gate, r#"portcullis_config_reloads_total{outcome="success"}"#), "4");
}

/// A version of a folder as Kubernetes mounts it.
fn version(gate: &Portcullis, name: &str, leaf: &Leaf, login: Login, config: &Value) {
    let folder = gate.dir().join(name);
    fs::create_dir(&folder).unwrap();
    fs::copy(&leaf.certificate, folder.join("tls.crt")).unwrap();
    fs::copy(&leaf.key, folder.join("tls.key")).unwrap();
    fs::write(folder.join("htpasswd"), htpasswd_line(login)).unwrap();
    fs::write(folder.join("portcullis.yml"), config.to_string()).unwrap();
    symlink(name, gate.dir().join("..data_tmp")).unwrap();
    fs::rename(gate.dir().join("..data_tmp"), gate.dir().join("..data")).unwrap();
}

#[test]
fn a_folder_of_kubernetes_is_exchanged() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let certificate = |gate: &Portcullis| Tls::connect(gate.pki(), gate.port(), "localhost").certificate();
    let [first, second] = [(); 2].map(|()| gate.pki().issue(&["localhost"]));
    let mut config: Value = serde_json::from_slice(&fs::read(gate.configuration()).unwrap()).unwrap();
    config["tls"]["certificates"] = json!([{ "certificate_file": "tls.crt", "key_file": "tls.key" }]);

    version(&gate, "..v1", &first, ALICE, &config);
    for name in ["tls.crt", "tls.key", "htpasswd", "portcullis.yml"] {
        symlink(Path::new("..data").join(name), gate.dir().join("link")).unwrap();
        fs::rename(gate.dir().join("link"), gate.dir().join(name)).unwrap();
    }
    eventually("the folder is in force", || certificate(&gate) == first.der);
    eventually("its users too", || status(&gate, BOB) == 401);
    assert_eq!((status(&gate, ALICE), success(&gate)), (404, "1".to_owned()));

    let before = generation(&gate);
    team("bob")(&mut config);
    version(&gate, "..v2", &second, BOB, &config);
    eventually("all of the next one is in force", || certificate(&gate) == second.der && status(&gate, BOB) == 404);
    assert_eq!(status(&gate, ALICE), 401);
    assert_eq!(generation(&gate), before + 1, "at once: {}", gate.log());
}

/// Somebody who is to be kept out is kept out, whatever else is wrong.
#[test]
fn password_files_are_read_beside_a_configuration_that_is_broken() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    gate.write_configuration("version: 1\n");
    eventually("it is found to be broken", || success(&gate) == "0");
    assert_eq!(status(&gate, ALICE), 404);
    fs::write(gate.htpasswd(), htpasswd_line(BOB)).unwrap();
    eventually("alice is out", || status(&gate, ALICE) == 401);
    assert_eq!((status(&gate, BOB), success(&gate)), (403, "0".to_owned()));
    let told = gate.log().lines().filter(|line| line.contains("cannot be used")).count();
    assert_eq!(told, 1, "the same is said once");
}

#[test]
fn a_password_file_that_cannot_be_read_is_shown() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    assert_eq!(shown(&gate)["unreadable"], json!([]));
    fs::remove_file(gate.htpasswd()).unwrap();
    fs::create_dir(gate.htpasswd()).unwrap();
    eventually("it is noticed", || metric(&gate, "portcullis_password_file_readable") == "0");
    let shown = shown(&gate);
    let file = gate.htpasswd().display().to_string();
    assert_eq!((&shown["unreadable"][0]["file"], &shown["error"]), (&json!(file), &json!(null)), "{shown}");
    assert!(shown["unreadable"][0]["error"].as_str().unwrap().contains("a directory"), "{shown}");
    assert_eq!((status(&gate, ALICE), generation(&gate)), (404, 1), "what it said last is in force");

    fs::remove_dir(gate.htpasswd()).unwrap();
    fs::write(gate.htpasswd(), htpasswd_line(BOB)).unwrap();
    eventually("it is read again", || status(&gate, ALICE) == 401);
    assert_eq!(metric(&gate, "portcullis_password_file_readable"), "1");
}

#[test]
fn looking_can_be_switched_off_and_on() {
    let registry = Registry::start();
    let mut gate = Portcullis::start(&registry);
    gate.change_configuration(|config| config["reload"] = json!({ "watch": false, "interval": "1d" }));
    eventually("the last change that is looked for", || generation(&gate) == 2);
    gate.change_configuration(team("bob"));
    thread::sleep(SEVERAL_LOOKS);
    assert_eq!((status(&gate, ALICE), generation(&gate)), (404, 2));
    gate.reload_with(|config| config["reload"] = json!({ "watch": true, "interval": "100ms" }));
    assert_eq!(status(&gate, ALICE), 403);
    gate.change_configuration(team("alice"));
    eventually("it is looked for again", || status(&gate, ALICE) == 404);
}
