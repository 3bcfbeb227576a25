//! `portcullis login-test` with a password file and a directory.

use std::fs;

use serde_json::{Value, json};

use super::{Scene, status_of};
use crate::support::{CI, Done, Http2, Slapd, Slapped, eventually, portcullis, run};

fn try_out(scene: &Scene, user: &str, password: &str) -> Done {
    let mut command = portcullis();
    command.args(["login-test", user, "-c"]).arg(scene.gate.configuration());
    run(&mut command, &format!("{password}\n"))
}

#[test]
fn every_step_is_told() {
    let mut scene = Scene::new(|_, _| {});
    scene.gate.change_configuration(|config| {
        let ldap = config["identity"]["providers"][0].take();
        config["identity"]["providers"] = json!([{ "htpasswd": { "file": "htpasswd" } }, ldap]);
        config["identity"]["disabled_users"] = json!(["bob"]);
        config["access"]["grants"] = json!([
            { "name": "devs", "repositories": ["apps/**"], "actions": ["pull", "push"], "to": ["group:Devs"] },
            { "name": "ops", "repositories": ["ops/**"], "actions": ["pull"], "to": ["group:ops"] },
        ]);
    });
    let mut lines = fs::read_to_string(scene.gate.htpasswd()).unwrap();
    lines.push_str("barred:!\nmd5:$apr1$abcdefgh$0123456789012345678901\n");
    fs::write(scene.gate.htpasswd(), lines).unwrap();
    let john = try_out(&scene, "J(O)h*n\\x", "johnpw").succeeded().stdout;
    for words in [
        "htpasswd: it does not have this name",
        "ldap: accepted as \"j(o)h*n\\\\x\"",
        "bound as \"cn=portcullis,ou=services,dc=example,dc=test\"",
        "below \"ou=people,dc=example,dc=test\" by (uid=J\\28O\\29h\\2an\\5cx)",
        "whose password this is",
        "below \"ou=groups,dc=example,dc=test\" by (member=cn=Smith\\5c2C John",
        "\n    group:devs\n",
        "\n    group:cn=devs,ou=groups,dc=example,dc=test\n",
        "pull,push on apps/**  by grant \"devs\"",
    ] {
        assert!(john.contains(words), "{words}\n{john}");
    }
    assert!(!john.contains("ops/**") && !john.contains("johnpw"), "{john}");

    for (user, password, words) in [
        ("jürgen", "wrong", "the bind is refused: wrong password"),
        ("nobody", "x", "nobody has this name"),
        ("locked", "lockedpw", "ldap: refused"),
        ("locked", "wrong", "is disabled or expired: pwdAccountLockedTime: 000001010000Z"),
        ("waiting", "wrong", "may be locked for a time: pwdAccountLockedTime: 20200101000000Z"),
        ("carol", "carolpw", "several entries have this name"),
        ("bob", "bobpw", "is in disabled_users"),
        ("jürgen", "", "is never asked about"),
        (CI.name, "wrong", "  the password is wrong"),
        ("barred", "x", "  its line: it lets nobody in"),
        ("md5", "x", "  its line: Apache's MD5 is not accepted"),
    ] {
        let said = try_out(&scene, user, password);
        assert!(!said.success && said.stdout.contains(words), "{user}: {words}\n{}{}", said.stdout, said.stderr);
        assert!(said.stdout.contains("clients are answered 401"), "{}", said.stdout);
    }
    let ci = try_out(&scene, CI.name, CI.password).succeeded().stdout;
    assert!(ci.contains("no grant is for this user") && !ci.contains("ldap:"), "{ci}");

    scene.slapd.process().kill();
    let down = try_out(&scene, "jürgen", "päss");
    assert!(!down.success && down.stdout.contains("ldap: cannot tell: ldaps://127.0.0.1"), "{}", down.stdout);
    assert!(down.stdout.contains("clients are answered 503"), "{}", down.stdout);
}

/// Who the user is, and what it may do, with no password at all.
#[test]
fn a_user_is_looked_up() {
    let scene = Scene::new(|_, _| {});
    scene.gate.change_configuration(|config| {
        let ldap = config["identity"]["providers"][0].take();
        config["identity"]["providers"] = json!([{ "htpasswd": { "file": "htpasswd" } }, ldap]);
        config["access"]["grants"] = json!([
            { "name": "devs", "repositories": ["apps/**"], "actions": ["pull"], "to": ["group:Devs"] },
        ]);
    });
    let look_up = |user: &str| {
        let mut command = portcullis();
        command.args(["login-test", "--no-password", user, "-c"]).arg(scene.gate.configuration());
        run(&mut command, "")
    };
    let john = look_up("J(O)h*n\\x").succeeded().stdout;
    for words in [
        "ldap: the password was not tried; the user is \"j(o)h*n\\\\x\"",
        "answers: cn=Smith",
        "\n    group:devs\n",
        "pull on apps/**  by grant \"devs\"",
    ] {
        assert!(john.contains(words), "{words}\n{john}");
    }
    let ci = look_up(CI.name).succeeded().stdout;
    assert!(ci.contains("htpasswd: the password was not tried") && !ci.contains("ldap:"), "{ci}");
    for (user, words) in [
        ("locked", "is disabled or expired: pwdAccountLockedTime: 000001010000Z"),
        ("nobody", "nobody has this name"),
        ("carol", "several entries have this name"),
    ] {
        let said = look_up(user);
        assert!(!said.success && said.stdout.contains(words), "{user}: {words}\n{}{}", said.stdout, said.stderr);
        assert!(!said.stdout.contains("clients are answered"), "{}", said.stdout);
    }
    assert!(!scene.slapd.log().contains("BIND dn=\"uid="), "{}", scene.slapd.log());

    // Where nobody but the user can be asked.
    scene.gate.change_configuration(|config| {
        let ldap = config["identity"]["providers"][1]["ldap"].as_object_mut().unwrap();
        ldap.retain(|key, _| !key.starts_with("bind_"));
        ldap.insert("users".to_owned(), json!({ "dn": "uid=$user,ou=people,dc=example,dc=test" }));
    });
    let said = look_up("jürgen");
    assert!(!said.success && said.stdout.contains("only the user can be asked"), "{}", said.stdout);
}

/// Who is asked about itself, and may not say.
#[test]
fn an_entry_that_cannot_be_read_by_itself() {
    let scene = Scene::new(|_, _| {});
    let access = "access to dn.exact=\"uid=alice,ou=people,dc=example,dc=test\" by anonymous auth by * none";
    let closed = Slapd::start_with(&scene.pki, Slapped { access, ..Slapped::default() });
    let only_bob: fn(&mut Value) = |ldap| ldap["users"]["filter"] = json!("(uid=b*)");
    for (user, password, change, words) in [
        ("bob", "bobpw", None, "accepted as \"bob\""),
        ("alice", "alicepw", None, "the password is right, but the entry cannot be read by itself"),
        ("alice", "wrong", None, "the bind is refused"),
        ("bob", "bobpw", Some(only_bob), "accepted as \"bob\""),
        ("jürgen", "päss", Some(only_bob), "ldap: it does not have this name"),
    ] {
        scene.gate.change_configuration(|config| {
            let ldap = &mut config["identity"]["providers"][0]["ldap"];
            ldap["urls"] = json!([closed.ldaps()]);
            ldap["users"] = json!({ "dn": "uid=$user,ou=people,dc=example,dc=test" });
            ldap.as_object_mut().unwrap().retain(|key, _| !key.starts_with("bind_") && key != "groups");
            change.into_iter().for_each(|change| change(ldap));
        });
        let said = try_out(&scene, user, password);
        assert!(said.stdout.contains(words), "{user}: {words}\n{}{}", said.stdout, said.stderr);
    }
}

/// A deploy token is made for a user whom the directory knows, and ends with it.
#[test]
fn a_deploy_token_of_the_directorys_user() {
    let mut scene = Scene::new(|_, _| {});
    scene.gate.reload_with(|config| config["identity"]["cache"] = json!("1s"));
    let issue = |user: &str| {
        let mut command = portcullis();
        command.args(["token", "issue", "--grant", "home/**:pull", "--user", user, "-c"]);
        run(command.arg(scene.gate.configuration()), "")
    };
    issue("nobody").failed_with(&["no identity provider knows"]);
    let token = issue("bob").succeeded().stdout;
    let http = Http2::connect(&scene.gate);
    let pull = || status_of(&http, b"bob", token.trim().as_bytes(), "/v2/home/bob/app/tags/list");
    assert_eq!(pull(), 404);
    scene.slapd.modify("dn: uid=bob,ou=people,dc=example,dc=test\nchangetype: delete\n");
    eventually("it ends with its user", || pull() == 401);
}
