//! `portcullis cert`: what a person sees of certificates, and how one is renewed by hand.

use std::fs;

use serde_json::{Value, json};

use super::{all, run};
use crate::{
    acme::slot,
    support::{Curl, Pebble, Portcullis, Registry, eventually, portcullis, run as run_to_end},
};

fn cert(gate: &Portcullis, words: &[&str]) -> (Option<i32>, String) {
    let file = gate.configuration();
    let words = [&["cert"], words, &["-c", file.to_str().unwrap()]].concat();
    let output = run(&words);
    (output.status.code(), all(&output))
}

fn found(gate: &Portcullis) -> Value {
    let (_, said) = cert(gate, &["status", "--json"]);
    serde_json::from_str(&said[said.find('{').unwrap()..]).unwrap_or_else(|error| panic!("{error}: {said}"))
}

#[test]
fn certificates_are_shown_and_renewed_by_hand() {
    let registry = Registry::start();
    let mut pebble = Pebble::start();
    let gate = pebble.guards(Portcullis::before(&registry), &[&["registry.test", "localhost"]]).start();
    let ready = || gate.admin("/readyz").status == 200;
    eventually("a certificate was issued", ready);
    let (code, said) = cert(&gate, &["status"]);
    assert_eq!(code, Some(0), "{said}");
    for words in ["registry.test, localhost\n", "source        acme (", " days left", "next attempt  20"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let before = found(&gate);
    assert_eq!(before["certificates"][0]["source"], "acme");
    assert_eq!(before["acme"][0]["not_after"], before["certificates"][0]["not_after"]);
    let answer = Curl::new(gate.url_of("registry.test", "/v2/")).trusting(pebble.root()).send();
    assert_eq!((answer.status, answer.header("strict-transport-security")), (401, Some("max-age=31536000")));

    let leaf = || pebble.dial(gate.port(), "registry.test").unwrap().certificate();
    let first = leaf();
    for name in ["REGISTRY.test.", "localhost"] {
        let before = leaf();
        assert_eq!(cert(&gate, &["renew", name]), (Some(0), "a certificate was issued and is in force\n".to_owned()));
        eventually("it is shown", || leaf() != before);
    }
    assert_ne!(leaf(), first);
    let (code, said) = cert(&gate, &["renew", "other.test"]);
    assert!(code == Some(1) && said.contains("it has some for: registry.test, localhost"), "{said}");

    pebble.process().stop();
    let (code, said) = cert(&gate, &["renew", "registry.test"]);
    assert!(code == Some(1) && said.contains("no certificate was issued: "), "{said}");
    let (mut code, mut said) = (None, String::new());
    eventually("the error is shown", || {
        (code, said) = cert(&gate, &["status"]);
        said.contains("last error")
    });
    assert!(said.contains("asked for by hand"), "{said}");
    assert_eq!(code, Some(0), "what is there still serves: {said}");
}

#[test]
fn what_is_stored_is_shown_where_nothing_runs() {
    let registry = Registry::start();
    let pebble = Pebble::start();
    let mut gate = pebble.guards(Portcullis::before(&registry), &[&["registry.test"]]).start();
    eventually("a certificate was issued", || gate.admin("/readyz").status == 200);
    gate.process().stop();
    let (code, said) = cert(&gate, &["status"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("so this is what is stored") && said.contains(" days left"), "{said}");

    let file = gate.configuration();
    let mut renew = portcullis();
    renew.args(["cert", "renew", "registry.test", "--timeout", "1s", "-c", file.to_str().unwrap()]);
    let done = run_to_end(&mut renew, "");
    assert!(!done.success && done.stderr.contains("no portcullis that runs has begun"), "{done:?}");

    let slot = slot(&gate.dir().join("acme"), "registry.test");
    let (kept, state) = (slot.join("certificate.json"), slot.join("state.json"));
    let mut cut_off: Value = serde_json::from_slice(&fs::read(&state).unwrap()).unwrap();
    cut_off["began"] = json!(1_800_000_000);
    fs::write(&state, cut_off.to_string()).unwrap();
    let (_, said) = cert(&gate, &["status"]);
    assert!(said.contains("asked for by hand") && !said.contains("under way"), "by nobody: {said}");
    fs::rename(&kept, slot.join("kept")).unwrap();
    // Also for root, who may read every file.
    fs::create_dir(&kept).unwrap();
    let (code, said) = cert(&gate, &["status"]);
    assert!(code == Some(1) && said.contains("certificate.json: ") && !said.contains("there is none"), "{said}");
    fs::remove_dir(&kept).unwrap();
    fs::rename(slot.join("kept"), &kept).unwrap();

    gate.change_configuration(|config| config["tls"]["acme"]["certificates"] = json!([{ "names": ["new.test"] }]));
    let (code, said) = cert(&gate, &["status"]);
    assert!(code == Some(1) && said.contains("there is none yet") && said.contains("at once"), "{said}");
    let (code, said) = cert(&gate, &["renew", "new.test"]);
    assert!(code == Some(1) && said.contains("No such file"), "{said}");
    assert!(fs::read_dir(gate.dir().join("acme")).is_ok(), "nothing was made or lost");

    let plain = Portcullis::start(&registry);
    let (code, said) = cert(&plain, &["status"]);
    assert!(code == Some(0) && said.contains("source        files (") && said.contains(" days left"), "{said}");
    let (code, said) = cert(&plain, &["renew", "localhost"]);
    assert!(code == Some(1) && said.contains("no tls.acme"), "{said}");
}
