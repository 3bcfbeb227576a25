//! Every way a registry can be reached, and what is said when it cannot.

use std::fs;

use crate::support::{ALICE, Ear, Image, Login, Pki, Portcullis, Registry, Skopeo, http_get};

/// Pushes through the gate and pulls back.
fn works(gate: &Portcullis) {
    let image = Image::new(30, &[500_000]);
    let skopeo = Skopeo::logged_in(gate.pki(), &gate.host(), ALICE);
    skopeo.copy(&image.reference(), &gate.image("team-a/app")).succeeded();
    let dir = tempfile::tempdir().unwrap();
    let layout = dir.path().join("pulled");
    skopeo.copy(&gate.image("team-a/app"), &format!("oci:{}:v1", layout.display())).succeeded();
    image.assert_same(&layout);
}

/// 502 or 503 with a code and a request id, and nothing about the inside.
#[track_caller]
fn is_down(gate: &Portcullis, inner: &str) {
    let answer = gate.curl("/v2/team-a/app/tags/list").user(ALICE).send();
    assert!(matches!(answer.status, 502 | 503), "{} {}", answer.status, answer.text());
    assert!(!answer.code().is_empty(), "{}", answer.text());
    let said = format!("{:?} {}", answer.headers, answer.text());
    assert!(!said.contains(inner), "the registry's address is shown: {said}");
}

#[test]
fn over_http() {
    let registry = Registry::start();
    works(&Portcullis::start(&registry));
}

#[test]
fn over_a_unix_socket() {
    let registry = Registry::setup().on_unix_socket().start();
    works(&Portcullis::start(&registry));
}

#[test]
fn over_https_with_a_private_ca() {
    let pki = Pki::new();
    let registry = Registry::setup().with_tls(&pki, &["localhost"]).start();
    let ca = pki.ca_file();
    works(
        &Portcullis::before(&registry)
            .with_upstream(|upstream| upstream["tls"]["ca_file"] = ca.to_str().into())
            .start(),
    );
}

#[test]
fn an_upstream_certificate_must_be_signed_by_the_ca() {
    let pki = Pki::new();
    let registry = Registry::setup().with_tls(&pki, &["localhost"]).start();
    is_down(&Portcullis::start(&registry), &registry.url);

    let stranger = Pki::new();
    let other = stranger.ca_file();
    let gate = Portcullis::before(&registry)
        .with_upstream(|upstream| upstream["tls"]["ca_file"] = other.to_str().into())
        .start();
    is_down(&gate, &registry.url);
    assert_eq!(registry.acted(), []);
}

#[test]
fn an_upstream_certificate_must_name_the_server() {
    let pki = Pki::new();
    let registry = Registry::setup().with_tls(&pki, &["registry.internal"]).start();
    let ca = pki.ca_file();
    let before = |name: Option<&str>| {
        let setup = Portcullis::before(&registry);
        setup
            .with_upstream(|upstream| {
                upstream["tls"] = serde_json::json!({ "ca_file": ca, "server_name": name });
            })
            .start()
    };
    is_down(&before(None), &registry.url);
    is_down(&before(Some("other.internal")), &registry.url);
    works(&before(Some("registry.internal")));
}

#[test]
fn a_registry_with_its_own_login_is_given_ours() {
    let inner = Login::new("gate", "between the two");
    let registry = Registry::setup().with_login(inner).start();
    let secret = tempfile::tempdir().unwrap();
    let file = secret.path().join("password");
    fs::write(&file, format!("{}\n", inner.password)).unwrap();
    let credentials = serde_json::json!({ "username": inner.name, "password_file": file });
    let gate = Portcullis::before(&registry).with_upstream(|upstream| upstream["credentials"] = credentials).start();
    works(&gate);

    // Ours stay ours: a client's own credentials are not what reaches the registry, and the registry's do not pass for a client's.
    let port = registry.url.rsplit_once(':').unwrap().1.parse().unwrap();
    assert_eq!(http_get(port, "/v2/").map(|answer| answer.status), Some(401));
    assert_eq!(gate.curl("/v2/").user(inner).send().status, 401);
}

#[test]
fn a_registry_that_refuses_us_does_not_challenge_the_client() {
    let registry = Registry::setup().with_login(Login::new("gate", "between the two")).start();
    let gate = Portcullis::start(&registry);
    let answer = gate.curl("/v2/team-a/app/tags/list").user(ALICE).send();
    assert!(matches!(answer.status, 502 | 503), "{} {}", answer.status, answer.text());
    assert_eq!(answer.header("www-authenticate"), None, "a client would send its password for somebody else's realm");
}

#[test]
fn a_challenge_from_behind_stays_behind() {
    for (status, header) in [("401 Unauthorized", "WWW-Authenticate"), ("407 Proxy Required", "Proxy-Authenticate")] {
        let said = format!("HTTP/1.1 {status}\r\n{header}: Basic realm=\"inner\"\r\nContent-Length: 5\r\n\r\ninner");
        let ear = Ear::answering(said);
        let gate = Portcullis::before_url(&ear.url()).start();
        let answer = gate.curl("/v2/team-a/app/tags/list").user(ALICE).send();
        assert_eq!(answer.status, 502, "{status}");
        assert!(!format!("{:?}{}", answer.headers, answer.text()).contains("inner"), "{answer:?}");
        assert!(gate.log().contains("it wants credentials: see upstream.credentials"), "{}", gate.log());
    }
}

#[test]
fn a_registry_that_is_down_is_a_plain_503_and_comes_back() {
    let mut registry = Registry::start();
    let gate = Portcullis::start(&registry);
    works(&gate);
    registry.stop();
    is_down(&gate, &registry.url);
    registry.start_again();
    works(&gate);
}
