//! SIGHUP: a changed configuration is in force as a whole, or not at all.

use std::fs;

use serde_json::json;

use crate::support::{ALICE, BOB, Portcullis, Registry};

fn success(gate: &Portcullis) -> String {
    let metrics = gate.admin("/metrics").text();
    let line = metrics.lines().find_map(|line| line.strip_prefix("portcullis_config_reload_success "));
    line.expect("the metric").to_owned()
}

fn status(gate: &Portcullis, login: crate::support::Login) -> u16 {
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
    let opens = |config: &mut serde_json::Value| config["identity"]["groups"]["team-a"] = json!(["bob"]);

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
    let mut client = crate::support::Tls::connect(gate.pki(), gate.port(), "localhost");
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
