//! What cannot be used: one message that says where to look, what was in force serves on, and mending is enough.

use std::{fs, net::TcpListener, path::Path};

use serde_json::{Value, json};

use super::{metric, shown, status, success};
use crate::support::{ALICE, Portcullis, Registry, eventually};

/// Breaks what is there. Returns the text of a line of the configuration that the message has to name, and its words.
type Break = fn(&Portcullis, &mut Value) -> (&'static str, &'static [&'static str]);

const MISTAKES: &[(&str, Break)] = &[
    ("an unknown key", |_, config| {
        config["acess"] = json!({});
        ("\"acess\"", &["unknown key", "did you mean \"access\"?"])
    }),
    ("a missing key file", |_, config| {
        config["tls"]["certificates"][0]["key_file"] = json!("none.key");
        ("\"key_file\"", &["tls.certificates[0].key_file: ", "none.key: there is no such file"])
    }),
    ("the key of another certificate", |gate, config| {
        let other = gate.pki().issue(&["localhost"]);
        config["tls"]["certificates"][0]["key_file"] = json!(other.key);
        ("\"key_file\"", &["tls.certificates[0].key_file: ", "does not belong to the certificate"])
    }),
    ("a key that is none", |gate, config| {
        fs::write(gate.dir().join("none.pem"), "not a key").unwrap();
        config["tls"]["certificates"][0]["key_file"] = json!("none.pem");
        ("\"key_file\"", &["tls.certificates[0].key_file: ", "none.pem: there is no private key in it"])
    }),
    ("a password file that cannot be read", |gate, config| {
        fs::create_dir_all(gate.dir().join("folder")).unwrap();
        config["identity"]["providers"] = json!([{ "htpasswd": { "file": "folder" } }]);
        ("\"file\"", &["identity.providers[0].htpasswd.file: ", "cannot read the password file", "a directory"])
    }),
    ("a missing token key", |_, config| {
        config["tokens"]["keys"] = json!(["token.key", "none.key"]);
        ("\"none.key\"", &["tokens.keys[1]: ", "none.key: "])
    }),
    ("a CA file that holds nothing", |gate, config| {
        fs::write(gate.dir().join("none.pem"), "not a certificate").unwrap();
        config["registries"][0]["upstream"] =
            json!({ "servers": [{ "url": "https://127.0.0.1:1" }], "tls": { "ca_file": "none.pem" } });
        ("\"ca_file\"", &["registries[0].upstream.tls.ca_file: ", "none.pem: holds no usable certificate"])
    }),
    ("a missing password of the upstream", |_, config| {
        config["registries"][0]["upstream"]["credentials"] = json!({ "username": "u", "password_file": "none" });
        ("\"password_file\"", &["registries[0].upstream.credentials.password_file: ", "No such file"])
    }),
];

#[test]
fn each_is_told_once_with_its_place_and_mended_without_a_signal() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let good = fs::read_to_string(gate.configuration()).unwrap();
    for (name, mistake) in MISTAKES {
        let mut config = serde_json::from_str(&good).unwrap();
        let (place, words) = mistake(&gate, &mut config);
        let text = serde_json::to_string_pretty(&config).unwrap();
        let line = text.lines().position(|line| line.contains(place)).unwrap() + 1;
        refused(&gate, name, &text, line, words);
        gate.write_configuration(&good);
        eventually(name, || success(&gate) == "1");
        assert_eq!((&shown(&gate)["error"], &shown(&gate)["failed_at"]), (&Value::Null, &Value::Null), "{name}");
    }
    let broken = format!("{good}\n]");
    let line = good.lines().count() + 1;
    refused(&gate, "broken YAML", &broken, line, &[]);
    let failures = metric(&gate, r#"portcullis_config_reloads_total{outcome="failure"}"#);
    assert_eq!(failures, (MISTAKES.len() + 1).to_string());
}

#[track_caller]
fn refused(gate: &Portcullis, name: &str, text: &str, line: usize, words: &[&str]) {
    let since = gate.log().len();
    let before = shown(gate);
    gate.write_configuration(text);
    eventually(name, || !shown(gate)["error"].is_null());
    let now = shown(gate);
    let error = now["error"].as_str().unwrap();
    assert_eq!(error.lines().count(), 1, "{name}: {error}");
    assert!(error.starts_with(&format!("{}:{line}:", gate.configuration().display())), "{name}: line {line}: {error}");
    assert!(words.iter().all(|word| error.contains(word)), "{name}: {error}");
    for same in ["generation", "fingerprint", "in_force_since"] {
        assert_eq!(before[same], now[same], "{name}");
    }
    assert_eq!((status(gate, ALICE), success(gate)), (404, "0".to_owned()), "{name}: what was in force serves on");
    let log = gate.log().split_off(since);
    let told: Vec<&str> = log.lines().filter(|line| line.contains("ERROR")).collect();
    let told: Vec<Value> = told.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let message = told[0]["message"].as_str().unwrap();
    assert!(told.len() == 1 && message.ends_with(error), "{name}: {told:?}");
}

/// The configuration came before the file that it names.
#[test]
fn a_file_that_appears_is_seen() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let leaf = gate.pki().issue(&["localhost"]);
    let at = |name: &str| gate.dir().join(name);
    gate.change_configuration(|config| {
        config["tls"]["certificates"][0] = json!({ "certificate_file": "new.crt", "key_file": "new.key" });
        config["identity"]["disabled_users"] = json!(["alice"]);
    });
    eventually("it is refused", || success(&gate) == "0");
    assert!(shown(&gate)["error"].as_str().unwrap().contains("new.crt: there is no such file"), "{}", shown(&gate));
    fs::copy(&leaf.certificate, at("new.crt")).unwrap();
    eventually("the next thing is missing", || shown(&gate)["error"].to_string().contains("new.key: there is no such"));
    assert_eq!(status(&gate, ALICE), 404);
    fs::copy(&leaf.key, at("new.key")).unwrap();
    eventually("it is in force", || status(&gate, ALICE) == 401);
    assert_eq!(success(&gate), "1");
}

/// It is no file that has to change.
#[test]
fn a_port_that_becomes_free_is_listened_on() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let own = format!("127.0.0.1:{}", gate.port());
    let text = |config: &Value| serde_json::to_string_pretty(config).unwrap();
    let mut config: Value = serde_json::from_slice(&fs::read(gate.configuration()).unwrap()).unwrap();
    config["listen"]["https"] = json!([own, taken.local_addr().unwrap().to_string()]);
    let line = text(&config).lines().position(|line| line.contains("\"https\": [")).unwrap() + 1;
    let address = taken.local_addr().unwrap().to_string();
    refused(&gate, "a port in use", &text(&config), line, &["listen.https: cannot listen on", &address]);
    drop(taken);
    eventually("it is in force", || success(&gate) == "1");
    assert!(std::net::TcpStream::connect(&address).is_ok());
    let told = gate.log().lines().filter(|line| line.contains("cannot be used")).count();
    assert_eq!(told, 1, "however often it was tried");
}

/// `check`, the start and a reload say the same, and say all of it.
#[test]
fn everything_is_told_and_everywhere_the_same() {
    let registry = Registry::start();
    let mut gate = Portcullis::start(&registry);
    gate.reload_with(|config| {
        config["tls"]["certificates"][0]["certificate_file"] = json!("none.crt");
        let other = json!({ "certificate_file": "other.crt", "key_file": "other.key" });
        config["tls"]["certificates"].as_array_mut().unwrap().push(other);
        config["tokens"]["keys"] = json!(["token.key", "second.key", "third.key"]);
        config["identity"]["providers"] = json!([{ "htpasswd": { "file": "a" } }, { "htpasswd": { "file": "b" } }]);
    });
    let told = shown(&gate)["error"].as_str().unwrap().to_owned();
    for name in ["none.crt", "other.crt", "second.key", "third.key", "htpasswd.file: cannot", "/b: "] {
        assert!(told.contains(name), "{name}: {told}");
    }
    assert_eq!(told.lines().count(), 6, "{told}");
    for command in ["check", "serve"] {
        let output = run(command, &gate.configuration());
        assert!(output.contains(&told), "{command}: {output}\n{told}");
    }
}

fn run(command: &str, file: &Path) -> String {
    let output = crate::support::portcullis().arg(command).arg("-c").arg(file).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    String::from_utf8(output.stderr).unwrap()
}
