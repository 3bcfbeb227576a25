//! Names that a directory takes for one, and a gate does not by itself.

use serde_json::json;

use super::{Scene, asked, reaches, status};
use crate::support::{Http2, LDAP_ALICE, LDAP_BOB, Login, portcullis, run};

/// For slapd all of them are alice.
const ALICES: [&str; 4] = ["ALICE", "\u{ff41}lice", "ali\u{217d}e", "\u{ff21}lice"];

fn alice(name: &'static str) -> Login {
    Login::new(name, LDAP_ALICE.password)
}

/// The password file has the name, be it that nobody logs in by it.
#[test]
fn a_name_of_an_earlier_provider_is_taken_in_every_spelling() {
    let scene = Scene::new(|_, _| {});
    let with_file = |line: &str| {
        std::fs::write(scene.secrets.path().join("users"), line).unwrap();
        let users = json!({ "htpasswd": { "file": scene.secrets.path().join("users") } });
        scene.gate.change_configuration(move |config| {
            let providers = config["identity"]["providers"].as_array_mut().unwrap();
            providers.retain(|provider| provider.get("ldap").is_some());
            providers.insert(0, users);
        });
        crate::support::eventually("it is in force", || status(&scene.gate, LDAP_ALICE, "/v2/") == 401);
    };
    for name in ALICES {
        assert!(reaches(&scene.gate, alice(name), "home/alice/app"), "{name}");
    }
    with_file("alice:!\n");
    for name in ALICES {
        assert_eq!(status(&scene.gate, alice(name), "/v2/"), 401, "{name}");
    }
    let mut command = portcullis();
    command.args(["login-test", ALICES[0], "-c"]).arg(scene.gate.configuration());
    let said = run(&mut command, "alicepw\n");
    assert!(!said.success && said.stdout.contains("the name of one of a provider before it"), "{}", said.stdout);
    assert_eq!(status(&scene.gate, LDAP_BOB, "/v2/"), 200);
}

#[test]
fn a_ban_holds_in_every_spelling() {
    let mut scene = Scene::new(|_, _| {});
    assert_eq!(status(&scene.gate, LDAP_ALICE, "/v2/"), 200);
    let token = scene.gate.token(Some(LDAP_ALICE), "repository:home/alice/app:pull");
    scene.gate.reload_with(|config| config["identity"]["disabled_users"] = json!(["Alice"]));
    for name in ALICES.into_iter().chain(["alice"]) {
        assert_eq!(status(&scene.gate, alice(name), "/v2/"), 401, "{name}");
    }
    assert_eq!(scene.gate.curl("/v2/home/alice/app/tags/list").bearer(&token).send().status, 401);
}

/// However the name is spelt, the directory sees so many guesses.
#[test]
fn spellings_share_what_may_fail() {
    let mut scene = Scene::new(|_, _| {});
    scene.gate.reload_with(|config| config["limits"]["failed_logins"] = json!({ "count": 3, "per": "5m" }));
    let http = Http2::connect(&scene.gate);
    let names = ALICES.into_iter().chain(["\u{e1}lice", "al\u{ad}ice", "alice", "ALi\u{217d}E"]);
    let statuses: Vec<u16> =
        names.map(|name| http.ask(&asked(name.as_bytes(), b"guess", "/v2/")).unwrap().status).collect();
    assert_eq!(statuses, [401, 401, 401, 429, 429, 429, 429, 429]);
    let binds = scene.slapd.log().matches("BIND dn=\"uid=alice").count();
    assert_eq!(binds, 3, "{}", scene.slapd.log());
}

/// Who holds a token is looked up by the name in it.
#[test]
fn a_name_that_does_not_lead_to_its_entry_is_nobodys() {
    let mut scene = Scene::new(|provider, _| {
        provider["users"] =
            json!({ "base": "ou=people,dc=example,dc=test", "filter": "(mail=$user)", "attribute": "uid" });
    });
    let by_mail = Login::new("alice@example.test", LDAP_ALICE.password);
    assert_eq!(status(&scene.gate, by_mail, "/v2/"), 401);
    let log = scene.gate.log();
    assert!(log.contains("by its uid, and that name does not find it"), "{log}");
    scene.reload(|provider| provider["users"]["filter"] = json!("(|(mail=$user)(uid=$user))"));
    for login in [by_mail, LDAP_ALICE] {
        assert!(reaches(&scene.gate, login, "home/alice/app"), "{}", login.name);
    }
}
