//! What becomes of logins and tokens once the directory says something else.

use std::{thread, time::Duration};

use serde_json::json;

use super::{Scene, reaches, status};
use crate::support::{LDAP_ALICE, LDAP_BOB, LDAP_JOHN, Login, Portcullis, eventually};

const DEVS: &str = "dn: cn=devs,ou=groups,dc=example,dc=test\nchangetype: modify\n";
const ALICE: &str = "uid=alice,ou=people,dc=example,dc=test";

fn scene() -> Scene {
    let mut scene = Scene::new(|_, _| {});
    scene.gate.reload_with(|config| {
        config["identity"]["cache"] = json!("1s");
        config["tokens"]["refresh"] = json!({ "enabled": true });
        config["access"]["grants"] = json!([
            { "name": "devs", "repositories": ["devs"], "actions": ["pull"], "to": ["group:devs"] },
            { "name": "home", "repositories": ["home/$user/**"], "actions": ["pull"], "to": ["authenticated"] },
        ]);
    });
    scene
}

fn with_token(gate: &Portcullis, token: &str, repository: &str) -> u16 {
    gate.curl(&format!("/v2/{repository}/tags/list")).bearer(token).send().status
}

#[test]
fn a_group() {
    let scene = scene();
    let token = scene.gate.token(Some(LDAP_ALICE), "repository:devs:pull");
    assert_eq!(with_token(&scene.gate, &token, "devs"), 404);
    assert!(reaches(&scene.gate, LDAP_ALICE, "devs"));
    scene.slapd.modify(&format!("{DEVS}delete: member\nmember: {ALICE}\n"));
    eventually("the token gives no more", || with_token(&scene.gate, &token, "devs") == 403);
    eventually("nor does the password", || !reaches(&scene.gate, LDAP_ALICE, "devs"));
    scene.slapd.modify(&format!("{DEVS}add: member\nmember: {ALICE}\n"));
    eventually("the group is back", || with_token(&scene.gate, &token, "devs") == 404);
}

#[test]
fn an_account() {
    let scene = scene();
    let token = scene.gate.token(Some(LDAP_BOB), "repository:home/bob/app:pull");
    assert_eq!(with_token(&scene.gate, &token, "home/bob/app"), 404);
    scene.slapd.modify("dn: uid=bob,ou=people,dc=example,dc=test\nchangetype: delete\n");
    eventually("the token is refused", || with_token(&scene.gate, &token, "home/bob/app") == 401);
    eventually("the password is refused", || status(&scene.gate, LDAP_BOB, "/v2/") == 401);
}

/// L14: slapd's password policy shows when a password was changed.
#[test]
fn a_password() {
    let scene = scene();
    let alice = |password| status(&scene.gate, Login::new("alice", password), "/v2/");
    let token = scene.gate.token(Some(LDAP_ALICE), "repository:home/alice/app:pull");
    assert_eq!((alice("alicepw"), with_token(&scene.gate, &token, "home/alice/app")), (200, 404));
    scene.slapd.modify(&format!("dn: {ALICE}\nchangetype: modify\nreplace: userPassword\nuserPassword: another\n"));
    eventually("the old one is refused", || alice("alicepw") == 401);
    assert_eq!(alice("another"), 200);
    eventually("what it proved is refused", || with_token(&scene.gate, &token, "home/alice/app") == 401);
}

/// A refresh token must end with the password: without a time of its last change there is none.
#[test]
fn refresh_tokens() {
    let scene = scene();
    let refresh = |login: Login| {
        let answer = scene.gate.curl("/token?service=localhost&offline_token=true").user(login).send();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["refresh_token"].as_str().map(str::to_owned)
    };
    // The passwords of the first hour were never changed under the policy.
    assert_eq!(refresh(LDAP_JOHN), None);
    scene.slapd.modify(&format!("dn: {ALICE}\nchangetype: modify\nreplace: userPassword\nuserPassword: another\n"));
    let token = refresh(Login::new("alice", "another")).expect("a refresh token");
    let renewed = || {
        let form = [("grant_type", "refresh_token"), ("refresh_token", &token), ("service", "localhost")];
        scene.gate.curl("/token").form(&form).send().status
    };
    assert_eq!(renewed(), 200);
    // The directory tells the time of a change to the second.
    thread::sleep(Duration::from_millis(1100));
    scene.slapd.modify(&format!("dn: {ALICE}\nchangetype: modify\nreplace: userPassword\nuserPassword: third\n"));
    assert_eq!(renewed(), 401, "it ends with the password, at once");
}

/// They prove a login, which takes a directory that answers.
#[test]
fn refresh_tokens_while_the_directory_is_down() {
    let mut scene = scene();
    scene.gate.reload_with(|config| config["identity"]["cache"] = json!("5m"));
    scene.slapd.modify(&format!("dn: {ALICE}\nchangetype: modify\nreplace: userPassword\nuserPassword: another\n"));
    let path = "/token?service=localhost&offline_token=true&scope=repository:devs:pull";
    let answer = scene.gate.curl(path).user(Login::new("alice", "another")).send().json();
    let [refresh, access] = ["refresh_token", "token"].map(|key| answer[key].as_str().unwrap().to_owned());
    let used = |gate: &Portcullis| {
        let form = [("grant_type", "refresh_token"), ("refresh_token", &*refresh), ("service", "localhost")];
        (gate.curl("/token").form(&form).send().status, with_token(gate, &access, "devs"))
    };
    assert_eq!(used(&scene.gate), (200, 404));
    scene.slapd.process().kill();
    assert_eq!(used(&scene.gate), (503, 404));
}

/// What was last known holds for `identity.cache`, then nobody knows.
#[test]
fn while_the_directory_is_down() {
    let mut scene = scene();
    scene.gate.reload_with(|config| config["identity"]["cache"] = json!("2s"));
    let token = scene.gate.token(Some(LDAP_ALICE), "repository:devs:pull");
    assert_eq!(with_token(&scene.gate, &token, "devs"), 404);
    scene.slapd.process().kill();
    assert_eq!(with_token(&scene.gate, &token, "devs"), 404, "it holds");
    eventually("nobody knows", || with_token(&scene.gate, &token, "devs") == 503);
    scene.slapd.start_again();
    eventually("it is known again", || with_token(&scene.gate, &token, "devs") == 404);
}

/// What did not change is the same afterwards: no connection is opened anew.
#[test]
fn a_reload_keeps_what_is_known() {
    let mut scene = Scene::new(|_, _| {});
    assert_eq!(status(&scene.gate, LDAP_ALICE, "/v2/"), 200);
    let connections = |scene: &Scene| scene.slapd.log().matches(" ACCEPT from").count();
    let before = connections(&scene);
    scene.gate.reload_with(|config| config["identity"]["realm"] = json!("Another"));
    assert_eq!(status(&scene.gate, LDAP_BOB, "/v2/"), 200);
    assert_eq!(connections(&scene), before);
    // Another password of the service account is another provider, and a wrong one is no answer.
    let said = scene.gate.until_it_says("left out until it answers again", || {
        std::fs::write(scene.secrets.path().join("ldap-password"), "wrong\n").unwrap();
        eventually("the file is seen", || status(&scene.gate, LDAP_JOHN, "/v2/") == 503);
        status(&scene.gate, LDAP_JOHN, "/v2/");
    });
    assert!(said.contains("the service account is refused"), "{said}");
    std::fs::write(scene.secrets.path().join("ldap-password"), "bindpw\n").unwrap();
    eventually("mended", || status(&scene.gate, LDAP_JOHN, "/v2/") == 200);
}
