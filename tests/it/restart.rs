//! A configuration that changed while the gate was down: what clients still hold counts as much as the new one says.

use serde_json::json;

use crate::support::{ALICE, BOB, Image, Login, Portcullis, Registry, Skopeo};

const SCOPE: &str = "repository:team-a/app:pull";

fn status(gate: &Portcullis, login: Login) -> u16 {
    gate.curl("/v2/team-a/app/tags/list").user(login).send().status
}

fn status_with(gate: &Portcullis, token: &str) -> u16 {
    gate.curl("/v2/team-a/app/tags/list").bearer(token).send().status
}

#[test]
fn a_token_outlives_a_restart() {
    let registry = Registry::start();
    let mut gate = Portcullis::start(&registry);
    let token = gate.token(Some(ALICE), SCOPE);
    gate.restart_with(|_| {});
    assert_eq!(status_with(&gate, &token), 404, "allowed, and not there");
}

#[test]
fn a_token_does_not_outlive_its_key() {
    let registry = Registry::start();
    let mut gate = Portcullis::start(&registry);
    let token = gate.token(Some(ALICE), SCOPE);
    gate.restart_with(|config| config["tokens"]["keys"] = json!(["new.key", "token.key"]));
    assert_eq!(status_with(&gate, &token), 404, "the former key still verifies");
    gate.restart_with(|config| config["tokens"]["keys"] = json!(["new.key"]));
    assert_eq!(status_with(&gate, &token), 401);
}

#[test]
fn a_removed_grant_ends_what_a_token_allowed() {
    let registry = Registry::start();
    let mut gate = Portcullis::start(&registry);
    let token = gate.token(Some(ALICE), SCOPE);
    gate.restart_with(|config| config["identity"]["groups"]["team-a"] = json!([]));
    assert_eq!(status_with(&gate, &token), 403);
    assert_eq!(status(&gate, ALICE), 403);
}

#[test]
fn a_banned_user_is_out_with_password_and_token() {
    let registry = Registry::start();
    let mut gate = Portcullis::start(&registry);
    let token = gate.token(Some(ALICE), SCOPE);
    gate.restart_with(|config| config["identity"]["disabled_users"] = json!(["alice"]));
    assert_eq!(status(&gate, ALICE), 401);
    assert_eq!(status_with(&gate, &token), 401);
    assert_eq!(status(&gate, BOB), 403, "others are not touched");
}

#[test]
fn the_registry_behind_may_move() {
    let mut registry = Registry::start();
    let mut gate = Portcullis::start(&registry);
    let image = Image::new(70, &[10_000]);
    let skopeo = Skopeo::logged_in(gate.pki(), &gate.host(), ALICE);
    skopeo.copy(&image.reference(), &gate.image("team-a/app")).succeeded();

    let moved = Registry::setup().storage(registry.storage()).start();
    registry.stop();
    gate.restart_with(|config| {
        config["registries"][0]["upstream"]["servers"][0]["url"] = moved.url.as_str().into();
    });
    let dir = tempfile::tempdir().unwrap();
    let layout = dir.path().join("pulled");
    skopeo.copy(&gate.image("team-a/app"), &format!("oci:{}:v1", layout.display())).succeeded();
    image.assert_same(&layout);
}
