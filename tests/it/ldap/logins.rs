//! Who logs in, and who does not.

use std::time::Duration;

use serde_json::json;

use super::{Scene, asked, nobody_is, reaches, status, status_of};
use crate::support::{Asked, Http2, LDAP_ALICE, LDAP_BOB, LDAP_JOHN, LDAP_JUERGEN, Login, Response, Slapd, SlowRelay};

const HASH: Login = Login::new("#h+a=s,h;<>\"", "hashpw");

/// L1 to L6.
fn all_logins(scene: &Scene) {
    let http = Http2::connect(&scene.gate);
    let mut wrong: Vec<(&[u8], &[u8])> = Vec::new();
    for login in [LDAP_ALICE, LDAP_BOB, LDAP_JOHN, LDAP_JUERGEN, HASH] {
        assert_eq!(status_of(&http, login.name.as_bytes(), login.password.as_bytes(), "/v2/"), 200, "{}", login.name);
        wrong.push((login.name.as_bytes(), b"wrong"));
    }
    nobody_is(&http, &wrong);
    let injected = injections();
    nobody_is(&http, &injected.iter().map(|name| (*name, &b"alicepw"[..])).collect::<Vec<_>>());
    let passwords = [&b""[..], b" ", b"   ", b"\0", b"alicepw\0", b"alicepw "];
    nobody_is(&http, &passwords.map(|password| (&b"alice"[..], password)));
    nobody_is(&http, &[(b"", b"alicepw"), (b"locked", b"lockedpw"), (b"", b"")]);
}

fn injections() -> Vec<&'static [u8]> {
    vec![
        b"*",
        b"a*",
        b"alice)(uid=*",
        b"*)(|(uid=*",
        b"alice)(|(objectClass=*)",
        b"alice)(&",
        b"admin)(!(&(1=0",
        b"alice\\",
        b"alice\\2a",
        b"alice\0",
        b"alice\xff",
        b"\xc3",
        b"alice,ou=admins",
        b"alice+cn=x",
        b"alice,ou=people,dc=example,dc=test",
        b" alice",
        b"alice ",
        b"#alice",
        b"a\"b",
        b"a;b",
        b"a=b",
        b"$user",
        b"$dn",
        b"uid=alice,ou=people,dc=example,dc=test",
    ]
}

#[test]
fn over_ldaps() {
    let scene = Scene::new(|_, _| {});
    all_logins(&scene);
    // Two entries have the name, with the same password.
    assert_eq!(status(&scene.gate, Login::new("carol", "carolpw"), "/v2/"), 401);
    // The name is what the directory says, not what was typed.
    let typed = Login::new("ALICE", "alicepw");
    assert!(reaches(&scene.gate, typed, "home/alice/app"));
    let log = scene.gate.log();
    assert!(log.contains("several entries have this name"), "{log}");
    for secret in ["alicepw", "bindpw", "päss"] {
        assert!(!log.contains(secret), "the log holds a password");
    }
}

#[test]
fn over_starttls() {
    let scene = Scene::new(|provider, slapd| {
        provider["urls"] = json!([slapd.ldap()]);
        provider["starttls"] = json!(true);
    });
    all_logins(&scene);
    let said = scene.slapd.log();
    assert!(said.contains("STARTTLS"), "{said}");
}

/// They take longer together than the directory may take for one.
#[test]
fn who_comes_in_a_crowd_waits_for_a_turn() {
    const CROWD: usize = 40;
    const PEOPLE: &str = "dn: uid=crowd-@,ou=people,dc=example,dc=test
objectClass: inetOrgPerson
uid: crowd-@
cn: crowd
sn: C
userPassword: crowdpw

";
    let mut scene = Scene::new(|_, _| {});
    scene.slapd.add(&(0..CROWD).map(|number| PEOPLE.replace('@', &number.to_string())).collect::<String>());
    let relay = SlowRelay::to(scene.slapd.ldaps_port(), Duration::from_millis(15));
    scene.reload(|provider| {
        provider["urls"] = json!([format!("ldaps://127.0.0.1:{}", relay.port())]);
        provider["timeout"] = json!("1s");
        provider["pool"] = json!(1);
    });
    let names: Vec<_> = (0..CROWD).map(|number| format!("crowd-{number}")).collect();
    let http = Http2::connect(&scene.gate);
    let all = |requests: &[Asked<'static>]| -> Vec<_> {
        let answers = http.ask_all(requests).into_iter().map(Result::unwrap);
        answers.inspect(|answer| assert_eq!(answer.status, 200, "{}", answer.text())).collect()
    };
    let path = "/token?service=localhost";
    let tokens = all(&names.iter().map(|name| asked(name.as_bytes(), b"crowdpw", path)).collect::<Vec<_>>());

    // And who comes with a token, where nobody is known any more.
    scene.gate.reload_with(|config| config["identity"]["cache"] = json!("299s"));
    let bearer = |answer: Response| {
        let token = format!("Bearer {}", answer.json()["token"].as_str().unwrap());
        Asked { method: "GET", path: "/v2/".to_owned(), headers: vec![("authorization", token)], body: None }
    };
    all(&tokens.into_iter().map(bearer).collect::<Vec<_>>());
    assert!(!scene.gate.log().contains("left out"), "a crowd is no failure of the server");
}

/// Names are put into the distinguished name itself.
#[test]
fn by_the_name_of_the_entry() {
    const DN: &str = "uid=$user,ou=people,dc=example,dc=test";
    // As the user alone, and with a service account.
    for alone in [true, false] {
        let scene = Scene::new(move |provider, _| {
            provider["users"] = json!({ "dn": DN });
            if alone {
                let keys = provider.as_object_mut().unwrap();
                keys.remove("bind_dn");
                keys.remove("bind_password_file");
                // Only the service account sees groups.
                keys.remove("groups");
            }
        });
        let http = Http2::connect(&scene.gate);
        for login in [LDAP_ALICE, LDAP_JUERGEN, HASH] {
            assert_eq!(status(&scene.gate, login, "/v2/"), 200, "{}", login.name);
        }
        // No entry has this name in its own name.
        assert_eq!(status(&scene.gate, LDAP_JOHN, "/v2/"), 401);
        nobody_is(&http, &injections().iter().map(|name| (*name, &b"alicepw"[..])).collect::<Vec<_>>());
        nobody_is(&http, &[(b"alice", b"wrong"), (b"alice", b"")]);
        // A token goes on for as long as the login is remembered.
        let token = scene.gate.token(Some(LDAP_ALICE), "repository:home/alice/app:pull");
        let seen = scene.gate.curl("/v2/home/alice/app/tags/list").bearer(&token).send();
        assert_eq!(seen.status, 404, "{}", seen.text());
    }
}

/// A directory that lets anybody bind without a password still hears of no such bind.
#[test]
fn an_empty_password_is_never_sent() {
    let scene = Scene::new(|_, _| {});
    assert_eq!(status(&scene.gate, LDAP_ALICE, "/v2/"), 200);
    let binds = |slapd: &Slapd| slapd.log().matches("BIND dn=\"uid=alice").count();
    let before = binds(&scene.slapd);
    assert!(before > 0, "{}", scene.slapd.log());
    for password in ["", "\0"] {
        let http = Http2::connect(&scene.gate);
        assert_eq!(status_of(&http, b"alice", password.as_bytes(), "/v2/"), 401);
    }
    assert_eq!(binds(&scene.slapd), before);
}

/// Connections for searches and for passwords are used again, and a login on one does not stay.
#[test]
fn few_connections_serve_many() {
    let scene = Scene::new(|provider, _| provider["pool"] = json!(2));
    let gate = &scene.gate;
    std::thread::scope(|scope| {
        for worker in 0..4 {
            scope.spawn(move || {
                let http = Http2::connect(gate);
                for turn in 0..5 {
                    let (name, password) = [("alice", "alicepw"), ("bob", "bobpw")][(worker + turn) % 2];
                    let wrong = format!("wrong-{worker}-{turn}");
                    assert_eq!(status_of(&http, name.as_bytes(), password.as_bytes(), "/v2/"), 200);
                    assert_eq!(status_of(&http, name.as_bytes(), wrong.as_bytes(), "/v2/"), 401);
                }
            });
        }
    });
    let log = scene.slapd.log();
    let accepted = log.matches(" ACCEPT from").count();
    // Two for searches, two for passwords, and those of the test itself.
    assert!(accepted <= 4 + 12, "{accepted} connections");
    for line in log.lines().filter(|line| line.contains("SRCH base=\"ou=people")) {
        assert!(line.contains("filter=\"(uid="), "{line}");
    }
}
