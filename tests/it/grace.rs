//! An upload session goes on after its token expired: for who opened it, for a time, as far as the policy still allows.

use std::fs;

use portcullis::token;
use serde_json::{Value, json};

use crate::support::{ALICE, BOB, Image, Login, Portcullis, Registry, Response, forged};

const SCOPE: &str = "repository:team-a/app:pull,push";
const HOUR: u64 = 60 * 60;

struct Scene {
    registry: Registry,
    gate: Portcullis,
    image: Image,
}

impl Scene {
    fn new(seed: u64) -> Self {
        let registry = Registry::start();
        let gate = Portcullis::start(&registry);
        Self { registry, gate, image: Image::new(seed, &[1000]) }
    }

    /// A token of alice's that was good until `ago` seconds before now.
    fn expired(&self, ago: u64) -> String {
        self.expired_with(ago, SCOPE)
    }

    fn expired_with(&self, ago: u64, scope: &str) -> String {
        forged(&self.gate, &self.gate.token(Some(ALICE), scope), |claims| {
            for (name, date) in [("exp", ago), ("nbf", ago + 960), ("iat", ago + 960)] {
                claims[name] = json!(token::now() - date);
            }
        })
    }

    /// The path of a session that the registry holds, as if `subject` had opened it so many seconds ago.
    fn opened(&self, subject: Login, ago: u64) -> String {
        let opened = self.gate.curl("/v2/team-a/app/blobs/uploads/").user(ALICE).method("POST").send();
        let path = opened.header("location").unwrap().replace(&self.gate.url(""), "");
        self.gate.sealed_at(subject, path.split_once("&_seal=").unwrap().0, token::now() - ago)
    }

    fn send(&self, token: &str, method: &str, path: &str) -> Response {
        let request = self.gate.curl(path).method(method).bearer(token);
        let body = matches!(method, "PATCH" | "PUT").then(|| self.image.blob(&self.image.layer));
        body.map_or_else(|| request.clone(), |body| request.clone().body_file(&body)).send()
    }

    fn patch(&self, token: &str, path: &str) -> Response {
        self.send(token, "PATCH", path)
    }
}

fn refused(answer: &Response) -> bool {
    answer.status == 401 && answer.challenge().contains(r#"error="invalid_token""#)
}

#[test]
fn a_session_outlives_the_token_that_opened_it() {
    let scene = Scene::new(140);
    let token = scene.expired(HOUR / 2);
    let session = scene.opened(ALICE, HOUR * 3 / 4);
    assert!(refused(&scene.send(&token, "GET", "/v2/")), "the token itself is over");
    let sent = scene.patch(&token, &session);
    assert_eq!(sent.status, 202, "{}", sent.text());

    // The next address says when the session was opened, not when it was last used.
    let next = sent.header("location").unwrap().replace(&scene.gate.url(""), "");
    assert_eq!(scene.send(&token, "GET", &next).status, 204);
    let seal = |path: &str| path.split_once("_seal=").unwrap().1.to_owned();
    assert_eq!(seal(&next), seal(&session));

    let end = format!("{next}&digest={}", scene.image.layer);
    let made = scene.gate.curl(&end).method("PUT").bearer(&token).header("Content-Length: 0").send();
    assert_eq!(made.status, 201, "{}", made.text());
    assert!(refused(&scene.send(&token, "HEAD", &format!("/v2/team-a/app/blobs/{}", scene.image.layer))));

    let another = scene.opened(ALICE, HOUR * 3 / 4);
    assert_eq!(scene.send(&token, "DELETE", &another).status, 204, "it can be given up too");
}

#[test]
fn nothing_but_the_session_goes_on() {
    let scene = Scene::new(141);
    let token = scene.expired(HOUR / 2);
    let session = scene.opened(ALICE, HOUR * 3 / 4);
    let before = scene.registry.requests();
    for (method, path) in [
        ("GET", "/v2/".to_owned()),
        ("GET", "/v2/_catalog".to_owned()),
        ("GET", "/v2/team-a/app/tags/list".to_owned()),
        ("PUT", "/v2/team-a/app/manifests/v1".to_owned()),
        ("POST", "/v2/team-a/app/blobs/uploads/".to_owned()),
        ("POST", format!("/v2/team-a/app/blobs/uploads/?{}", session.split_once('?').unwrap().1)),
        ("PATCH", session.replacen("team-a/app", "home/alice/app", 1)),
        ("PATCH", session.split_once("&_seal=").unwrap().0.to_owned()),
        ("PATCH", session.replacen("uploads/", "uploads/a", 1)),
        ("PATCH", scene.gate.sealed_at(BOB, session.split_once("&_seal=").unwrap().0, token::now() - HOUR)),
    ] {
        let answer = scene.send(&token, method, &path);
        assert!(refused(&answer), "{method} {path}: {answer:?}");
    }
    assert_eq!(scene.registry.requests(), before);
}

#[test]
fn the_time_is_bounded_by_the_tokens_end() {
    let mut scene = Scene::new(142);
    let late = scene.opened(ALICE, 2 * HOUR);
    assert_eq!(scene.patch(&scene.expired(HOUR - 30), &late).status, 202);
    assert!(refused(&scene.patch(&scene.expired(HOUR + 30), &late)), "an hour, and no more");
    // Leeway for clocks aside, a token that was over could not have opened it.
    assert!(refused(&scene.patch(&scene.expired(HOUR / 2), &scene.opened(ALICE, HOUR / 2 - 90))));

    scene.gate.reload_with(|config| config["tokens"]["upload_grace"] = json!("0s"));
    assert!(refused(&scene.patch(&scene.expired(HOUR / 2), &late)), "switched off");
    let good = scene.gate.token(Some(ALICE), SCOPE);
    assert_eq!(scene.patch(&good, &scene.opened(ALICE, 30 * HOUR)).status, 202, "a good token is never too late");
}

#[test]
fn user_and_policy_are_asked_as_ever() {
    let mut scene = Scene::new(143);
    let token = scene.expired(HOUR / 2);
    let narrow = scene.expired_with(HOUR / 2, "repository:team-a/app:pull");
    let session = scene.opened(ALICE, HOUR * 3 / 4);
    let original: Value = json!(["alice"]);
    let answer = scene.patch(&narrow, &session);
    assert!(answer.status == 401 && answer.challenge().contains("insufficient_scope"), "{answer:?}");

    scene.gate.reload_with(|config| config["identity"]["groups"]["team-a"] = json!([]));
    let answer = scene.patch(&token, &session);
    assert_eq!((answer.status, answer.code().as_str()), (403, "DENIED"), "the grant is gone");
    scene.gate.reload_with(|config| config["identity"]["groups"]["team-a"] = original);
    assert_eq!(scene.patch(&token, &session).status, 202);

    scene.gate.reload_with(|config| config["identity"]["disabled_users"] = json!(["alice"]));
    assert!(refused(&scene.patch(&token, &session)), "disabled");
    scene.gate.reload_with(|config| config["identity"]["disabled_users"] = json!([]));
    let session = scene.opened(ALICE, HOUR * 3 / 4);
    assert_eq!(scene.patch(&token, &session).status, 202);

    fs::write(scene.gate.htpasswd(), "bob:x\n").unwrap();
    scene.gate.reload_with(|_| {});
    assert!(refused(&scene.patch(&token, &session)), "gone from the password file");
}
