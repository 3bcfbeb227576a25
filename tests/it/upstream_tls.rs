//! TLS towards the registry: who it is, and who asks it.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{ALICE, Image, Leaf, Pki, Portcullis, Registry, Skopeo, portcullis, run};

/// What `upstream.tls` says.
#[derive(Clone, Copy)]
struct Terms<'a> {
    roots: &'a Pki,
    name: &'a str,
    client: Option<&'a Leaf>,
}

/// A registry under a name that is not its address's, for those who show a certificate of this authority alone.
fn closed_registry(pki: &Pki, clients: &Pki) -> Registry {
    let authority = clients.ca_file();
    Registry::setup()
        .with_tls(pki, &["registry.internal"])
        .with(move |config| config["http"]["tls"]["clientcas"] = json!([authority]))
        .start()
}

fn gate(registry: &Registry, terms: Terms<'_>) -> Portcullis {
    Portcullis::before(registry)
        .with_upstream(|upstream| {
            upstream["tls"] = json!({
                "ca_file": terms.roots.ca_file(),
                "server_name": terms.name,
                "client_certificate_file": terms.client.map(|leaf| &leaf.certificate),
                "client_key_file": terms.client.map(|leaf| &leaf.key),
            });
        })
        .start()
}

/// 502 that tells the client nothing, and a line in the log that holds one of these words.
#[track_caller]
fn fails(registry: &Registry, terms: Terms<'_>, words: &[&str]) {
    let gate = gate(registry, terms);
    let answer = gate.curl("/v2/team-a/app/tags/list").user(ALICE).send();
    assert_eq!((answer.status, answer.code().as_str()), (502, "UNAVAILABLE"), "{}", answer.text());
    for inner in ["certificate", "registry.internal", "alert", "tls", &registry.port().to_string()] {
        assert!(!answer.text().to_lowercase().contains(inner), "{inner}: {}", answer.text());
    }
    let log = gate.log();
    let line = log.lines().find(|line| line.contains("upstream failed")).expect("a line in the log");
    let line: Value = serde_json::from_str(line).unwrap();
    let error = line["error"].as_str().unwrap();
    assert!(words.iter().any(|word| error.contains(word)), "{error}");
    assert_eq!(registry.acted(), []);
}

#[test]
fn a_registry_that_wants_to_know_who_asks_is_shown_a_certificate() {
    let (pki, clients) = (Pki::new(), Pki::new());
    let registry = closed_registry(&pki, &clients);
    let leaf = clients.issue_client("gate.internal");
    let gate = gate(&registry, Terms { roots: &pki, name: "registry.internal", client: Some(&leaf) });
    let image = Image::new(401, &[300_000]);
    let skopeo = Skopeo::logged_in(gate.pki(), &gate.host(), ALICE);
    skopeo.copy(&image.reference(), &gate.image("team-a/app")).succeeded();
    let dir = tempfile::tempdir().unwrap();
    skopeo.copy(&gate.image("team-a/app"), &format!("oci:{}:v1", dir.path().display())).succeeded();
    image.assert_same(dir.path());
}

#[test]
fn what_does_not_fit_is_said_in_the_log_alone() {
    let (pki, clients, strangers) = (Pki::new(), Pki::new(), Pki::new());
    let registry = closed_registry(&pki, &clients);
    let [leaf, stranger] = [&clients, &strangers].map(|pki| pki.issue_client("gate.internal"));
    let right = Terms { roots: &pki, name: "registry.internal", client: Some(&leaf) };
    fails(&registry, Terms { roots: &clients, ..right }, &["UnknownIssuer", "BadSignature"]);
    fails(&registry, Terms { name: "registry.example.com", ..right }, &["not valid for name \"registry.example.com\""]);
    let demands = ["upstream.tls.client_certificate_file"];
    fails(&registry, Terms { client: None, ..right }, &demands);
    fails(&registry, Terms { client: Some(&stranger), ..right }, &demands);
}

#[test]
fn a_pair_that_is_none_is_an_error_before_anything_is_served() {
    let (pki, clients) = (Pki::new(), Pki::new());
    let registry = Registry::start();
    let mut gate = gate(&registry, Terms { roots: &pki, name: "registry.internal", client: None });
    let (one, other) = (clients.issue_client("gate.internal"), clients.issue_client("gate.internal"));
    let missing = gate.dir().join("none.key");
    for (key, words) in [
        (other.key.as_path(), "does not belong to the certificate"),
        (one.certificate.as_path(), "are certificate_file and key_file swapped?"),
        (missing.as_path(), "there is no such file"),
    ] {
        refuses(&mut gate, &one.certificate, key, words);
    }
}

fn refuses(gate: &mut Portcullis, certificate: &Path, key: &Path, words: &str) {
    gate.reload_with(|config| {
        config["registries"][0]["upstream"]["servers"] = json!([{ "url": "https://127.0.0.1:1" }]);
        let tls = &mut config["registries"][0]["upstream"]["tls"];
        tls["client_certificate_file"] = json!(certificate);
        tls["client_key_file"] = json!(key);
    });
    let told = |text: &str| text.contains("registries[0].upstream.tls.client_") && text.contains(words);
    assert!(told(gate.log().lines().last().unwrap_or_default()), "{}", gate.log());
    let checked = run(portcullis().arg("check").arg("-c").arg(gate.configuration()), "");
    assert!(!checked.success && told(&checked.stderr), "{checked:?}");
}
