//! A changed configuration is in force as a whole, or not at all: by SIGHUP here, by its content in the other files.

mod content;
mod errors;

use std::fs;

use serde_json::{Value, json};

use crate::support::{ALICE, BOB, Login, Portcullis, Registry, Tls, claims, eventually};

fn metric(gate: &Portcullis, name: &str) -> String {
    let metrics = gate.admin("/metrics").text();
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.expect("the metric").to_owned()
}

fn success(gate: &Portcullis) -> String {
    metric(gate, "portcullis_config_reload_success")
}

/// What `/status` says of it.
fn shown(gate: &Portcullis) -> Value {
    gate.admin("/status").json()["configuration"].clone()
}

fn status(gate: &Portcullis, login: Login) -> u16 {
    gate.curl("/v2/team-a/app/tags/list").user(login).send().status
}

#[test]
fn a_configuration_that_cannot_be_used_changes_nothing() {
    let registry = Registry::start();
    let mut gate = Portcullis::start(&registry);
    assert_eq!((status(&gate, ALICE), status(&gate, BOB)), (404, 403));
    assert_eq!(success(&gate), "1");
    let file = gate.dir().join("portcullis.yml");
    let good = fs::read_to_string(&file).unwrap();
    let opens = |config: &mut Value| config["identity"]["groups"]["team-a"] = json!(["bob"]);

    gate.reload_with(|config| {
        opens(config);
        config["acess"] = json!({});
    });
    gate.reload_with(|config| {
        opens(config);
        config.as_object_mut().unwrap().remove("acess");
        config["identity"]["providers"] = json!([{ "htpasswd": { "file": "missing" } }]);
    });
    gate.reload_with(|config| {
        config["identity"]["providers"] = json!([{ "htpasswd": { "file": "htpasswd" } }]);
        config["tokens"]["keys"] = json!(["no-folder/token.key"]);
    });
    assert_eq!((status(&gate, ALICE), status(&gate, BOB)), (404, 403), "what was in force still is");
    assert_eq!(success(&gate), "0");
    let log = gate.log();
    for told in ["portcullis.yml:", "did you mean", "missing", "no-folder"] {
        assert!(log.to_lowercase().contains(told), "{told}: {log}");
    }

    fs::write(&file, good).unwrap();
    gate.reload_with(opens);
    assert_eq!((status(&gate, ALICE), status(&gate, BOB)), (403, 404));
    assert_eq!(success(&gate), "1");
}

#[test]
fn a_request_under_way_ends_as_it_began() {
    let registry = Registry::start();
    let mut gate = Portcullis::start(&registry);
    let session = gate.curl("/v2/team-a/app/blobs/uploads/").user(ALICE).method("POST").send();
    let path = session.header("location").unwrap().replace(&gate.url(""), "");
    let token = gate.token(Some(ALICE), "repository:team-a/app:pull,push");
    let mut client = Tls::connect(gate.pki(), gate.port(), "localhost");
    let head = format!("Host: {}\r\nAuthorization: Bearer {token}\r\nContent-Length: 10", gate.host());
    client.send(format!("PATCH {path} HTTP/1.1\r\n{head}\r\n\r\nhello"));
    gate.reload_with(|config| config["identity"]["groups"]["team-a"] = json!([]));
    assert_eq!(status(&gate, ALICE), 403);
    client.send("world");
    let answer = client.answer(false).expect("an answer");
    assert_eq!((answer.status, answer.header("range")), (202, Some("0-9")));
    let next = answer.header("location").unwrap().replace(&gate.url(""), "");
    assert_eq!(gate.curl(&next).bearer(&token).method("GET").send().status, 403, "the next one is judged anew");
}

#[test]
fn a_renewed_certificate_is_shown_and_a_broken_one_changes_nothing() {
    let registry = Registry::start();
    let mut gate = Portcullis::start(&registry);
    let shown = |gate: &Portcullis| Tls::connect(gate.pki(), gate.port(), "localhost").certificate();
    let first = shown(&gate);
    let leaf = gate.pki().issue(&["localhost"]);
    let entry = json!([{ "certificate_file": leaf.certificate, "key_file": leaf.key, "default": true }]);
    gate.reload_with(|config| config["tls"]["certificates"] = entry);
    let second = shown(&gate);
    assert_ne!(first, second);

    fs::write(&leaf.certificate, "garbage").unwrap();
    gate.reload_with(|config| config["identity"]["disabled_users"] = json!(["alice"]));
    assert_eq!((shown(&gate), success(&gate)), (second, "0".to_owned()));
    assert_eq!(status(&gate, ALICE), 404, "nothing of it is in force");
}

#[test]
fn what_an_operator_should_know_is_said() {
    let registry = Registry::start();
    let mut gate = Portcullis::start(&registry);
    let told = |gate: &Portcullis| gate.log().lines().filter(|line| line.contains("WARN")).map(String::from).collect();
    let before: Vec<String> = told(&gate);
    gate.reload_with(|config| config["identity"]["groups"]["team-b"] = json!([]));
    assert_eq!(told(&gate), before, "nothing to be said");
    gate.reload_with(|config| config["registries"][0]["hosts"] = json!(["registry.test", "localhost"]));
    let warnings: Vec<String> = told(&gate);
    let service = warnings.iter().find(|line| line.contains("token service of localhost")).expect("a warning");
    assert!(service.contains("was localhost and is registry.test"), "{service}");
}

#[test]
fn a_reload_makes_no_key() {
    let registry = Registry::start();
    let mut gate = Portcullis::start(&registry);
    let token = gate.token(Some(ALICE), "repository:team-a/app:pull");
    gate.reload_with(|config| config["tokens"]["keys"] = json!(["tokn.key"]));
    assert_eq!(success(&gate), "0");
    assert!(!gate.dir().join("tokn.key").exists());
    assert_eq!(gate.curl("/v2/team-a/app/tags/list").bearer(&token).send().status, 404);
    assert!(gate.log().contains("made a new signing key"), "the first start says that it made one");
}

/// An operator learns which token was refused, and why; the client does not.
#[test]
fn the_log_says_why_a_token_was_refused() {
    let registry = Registry::start();
    let mut gate = Portcullis::start(&registry);
    gate.reload_with(|config| config["tokens"]["refresh"] = json!({ "enabled": true }));
    let answer = gate.curl("/token?service=localhost&offline_token=true").user(ALICE).send().json();
    let refresh = answer["refresh_token"].as_str().unwrap().to_owned();
    let id = claims(&refresh)["jti"].as_str().unwrap().to_owned();
    let exchange = |gate: &Portcullis| {
        let form = format!("grant_type=refresh_token&refresh_token={refresh}&service=localhost");
        gate.curl("/token").argument("--data").argument(form).send()
    };
    let access = exchange(&gate).json()["access_token"].as_str().unwrap().to_owned();
    let last = |gate: &Portcullis| -> Value {
        let log = gate.log();
        serde_json::from_str(log.lines().rfind(|line| line.contains(r#""log":"access""#)).unwrap()).unwrap()
    };
    let refused = |gate: &Portcullis| {
        let bearer = gate.curl("/v2/").bearer(&access).send();
        assert_eq!(bearer.status, 401);
        eventually("the line is written", || last(gate)["route"] == "base");
        let line = last(gate);
        assert_eq!((&line["claimed"], &line["token"], &line["user"]), (&json!("alice"), &json!(id), &json!(null)));
        line["refused"].as_str().unwrap().to_owned()
    };
    for (change, reason) in [
        (("tokens", "revoked", json!([id])), "token_revoked"),
        (("identity", "disabled_users", json!(["alice"])), "token_user_changed"),
    ] {
        let (section, key, value) = change;
        gate.reload_with(|config| config[section][key] = value);
        assert_eq!(refused(&gate), reason);
        assert_eq!(exchange(&gate).status, 401);
        eventually("the line is written", || last(&gate)["route"] == "token");
        assert_eq!((&last(&gate)["refused"], &last(&gate)["token"]), (&json!(reason), &json!(id)));
        gate.reload_with(|config| config[section][key] = json!([]));
    }
    let forged = gate.curl("/v2/").bearer(&format!("{access}x")).send();
    assert_eq!(forged.status, 401);
    eventually("the line is written", || last(&gate)["refused"] == "invalid_token");
    assert_eq!(last(&gate)["claimed"], json!(null), "nothing of a forged token is believed");
    let metrics = gate.admin("/metrics").text();
    assert!(metrics.contains(r#"portcullis_refused_total{reason="token_revoked"} 2"#), "{metrics}");
    let elsewhere = gate.curl("/v2/").header("Host: elsewhere.test").send();
    assert_eq!(elsewhere.status, 421);
    eventually("the line is written", || last(&gate)["host"] == "elsewhere.test");
}

/// Connections wait for their next request long before it comes.
#[test]
fn a_waiting_connection_is_judged_by_what_is_in_force_when_it_asks() {
    let registry = Registry::start();
    let mut gate = Portcullis::start(&registry);
    let token = gate.token(Some(ALICE), "repository:team-a/app:pull,push");
    let ask = |method: &str| {
        let head = format!("Host: {}\r\nAuthorization: Bearer {token}\r\nContent-Length: 0", gate.host());
        format!("{method} /v2/team-a/app/blobs/uploads/ HTTP/1.1\r\n{head}\r\n\r\n")
    };
    let connect = || Tls::connect(gate.pki(), gate.port(), "localhost");
    let (mut kept, mut silent) = (connect(), connect());
    kept.send(ask("POST"));
    assert_eq!(kept.answer(false).expect("an answer").status, 202);
    let asked = ask("POST");
    gate.reload_with(|config| config["identity"]["disabled_users"] = json!(["alice"]));
    for (name, client) in [("kept", &mut kept), ("silent", &mut silent)] {
        client.send(&asked);
        assert_eq!(client.answer(false).expect("an answer").status, 401, "{name}");
    }
}
