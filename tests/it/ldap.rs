//! A directory as the source of users and groups, with a real slapd.

mod checking;
mod groups;
mod logins;
mod outages;
mod revoking;
mod sizes;
mod spelling;
mod trying;

use serde_json::{Value, json};

use crate::support::{Asked, Http2, Login, Pki, Portcullis, Registry, Slapd, ldap_provider, service_secret};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// A gate whose users are a directory's, and the registry behind it.
struct Scene {
    slapd: Slapd,
    gate: Portcullis,
    pki: Pki,
    secrets: tempfile::TempDir,
    _registry: Registry,
}

impl Scene {
    fn new(change: impl Fn(&mut Value, &Slapd) + 'static) -> Self {
        let pki = Pki::new();
        let slapd = Slapd::start(&pki);
        let secrets = tempfile::tempdir().unwrap();
        let mut provider = ldap_provider(&[slapd.ldaps()], &pki.ca_file(), &service_secret(secrets.path()));
        change(&mut provider, &slapd);
        let registry = Registry::start();
        let gate = Portcullis::before(&registry)
            .with(move |config| config["identity"]["providers"] = json!([{ "ldap": provider }]))
            .start();
        Self { slapd, gate, pki, secrets, _registry: registry }
    }

    /// Changes the provider and has it read.
    fn reload(&mut self, change: impl FnOnce(&mut Value)) {
        self.gate.reload_with(|config| change(&mut config["identity"]["providers"][0]["ldap"]));
    }
}

/// A login with any bytes, encoded by the test: curl would make others of some.
fn asked(user: &[u8], password: &[u8], path: &str) -> Asked<'static> {
    let encoded = STANDARD.encode([user, b":", password].concat());
    let headers = vec![("authorization", format!("Basic {encoded}"))];
    Asked { method: "GET", path: path.to_owned(), headers, body: None }
}

fn status_of(http: &Http2, user: &[u8], password: &[u8], path: &str) -> u16 {
    http.ask(&asked(user, password, path)).unwrap().status
}

/// None of these names and passwords is anybody's.
fn nobody_is(http: &Http2, logins: &[(&[u8], &[u8])]) {
    let requests: Vec<_> = logins.iter().map(|(user, password)| asked(user, password, "/v2/")).collect();
    for (answer, (user, _)) in http.ask_all(&requests).into_iter().zip(logins) {
        assert_eq!(answer.unwrap().status, 401, "{}", String::from_utf8_lossy(user));
    }
}

fn status(gate: &Portcullis, login: Login, path: &str) -> u16 {
    status_of(&Http2::connect(gate), login.name.as_bytes(), login.password.as_bytes(), path)
}

/// Whether the grants let them see a repository, which does not exist.
fn reaches(gate: &Portcullis, login: Login, repository: &str) -> bool {
    match status(gate, login, &format!("/v2/{repository}/tags/list")) {
        404 => true,
        403 => false,
        other => panic!("{} at {repository}: {other}", login.name),
    }
}
