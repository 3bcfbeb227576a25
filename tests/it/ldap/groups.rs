//! The directory's groups in grants.

use serde_json::{Value, json};

use super::{Scene, reaches};
use crate::support::{LDAP_ALICE, LDAP_BOB, LDAP_JOHN, Login, Portcullis};

/// Repositories and the group each is for.
const GRANTS: &[(&str, &str)] = &[
    ("devs", "Devs"),
    ("by-dn", "CN=devs, OU=Groups,DC=example,DC=test"),
    ("ops", "ops (core), A*b"),
    ("ops-by-dn", "cn=Ops (core)\\, a*b,ou=groups,dc=example,dc=test"),
    ("all", "all"),
    ("loop", "loop"),
    ("posix", "posixdevs"),
    ("uniques", "uniques"),
    ("admins", "admins"),
];

fn grants() -> Value {
    let grant = |(repository, group): &(&str, &str)| json!({ "name": repository, "repositories": [repository], "actions": ["pull"], "to": [format!("group:{group}")] });
    GRANTS.iter().map(grant).collect()
}

fn reached(gate: &Portcullis, login: Login) -> Vec<&'static str> {
    GRANTS.iter().map(|(repository, _)| *repository).filter(|repository| reaches(gate, login, repository)).collect()
}

#[test]
fn every_way_to_find_groups() {
    const BASE: &str = "ou=groups,dc=example,dc=test";
    let mut scene = Scene::new(|_, _| {});
    scene.gate.reload_with(|config| config["access"]["grants"] = grants());

    // L9: john's distinguished name has a comma, quotes, brackets and an asterisk.
    let direct = |gate: &Portcullis| {
        assert_eq!(reached(gate, LDAP_ALICE), ["devs", "by-dn"]);
        assert_eq!(reached(gate, LDAP_JOHN), ["devs", "by-dn"]);
        assert_eq!(reached(gate, LDAP_BOB), ["ops", "ops-by-dn"]);
    };
    direct(&scene.gate);

    scene.reload(|provider| provider["groups"] = json!({ "attribute": "memberOf", "base": BASE }));
    direct(&scene.gate);

    let nested = |gate: &Portcullis| {
        assert_eq!(reached(gate, LDAP_ALICE), ["devs", "by-dn", "all", "loop"]);
        assert_eq!(reached(gate, LDAP_BOB), ["ops", "ops-by-dn", "all", "loop"]);
    };
    scene.reload(|provider| provider["groups"]["nested"] = json!(true));
    nested(&scene.gate);
    scene.reload(|provider| provider["groups"] = json!({ "base": BASE, "filter": "(member=$dn)", "nested": true }));
    nested(&scene.gate);

    // Groups elsewhere count where no base says otherwise.
    scene.reload(|provider| provider["groups"] = json!({ "attribute": "memberOf" }));
    assert_eq!(reached(&scene.gate, LDAP_ALICE), ["devs", "by-dn", "admins"]);

    scene.reload(|provider| provider["groups"] = json!({ "base": BASE, "filter": "(memberUid=$user)" }));
    assert_eq!(reached(&scene.gate, LDAP_ALICE), ["posix"]);
    assert_eq!(reached(&scene.gate, LDAP_JOHN), <[&str; 0]>::default());
    scene.reload(|provider| {
        provider["groups"] = json!({ "base": BASE, "filter": "(|(uniqueMember=$dn)(memberUid=$user)(member=$dn))" });
    });
    assert_eq!(reached(&scene.gate, LDAP_ALICE), ["devs", "by-dn", "posix", "uniques"]);

    // Active Directory's rule is sent as it is written; slapd knows none of its kind and finds nothing.
    scene.reload(|provider| {
        provider["groups"] = json!({ "base": BASE, "filter": "(member:1.2.840.113556.1.4.1941:=$dn)" });
    });
    assert_eq!(reached(&scene.gate, LDAP_ALICE), <[&str; 0]>::default());
    let searches = scene.slapd.log();
    let last = searches.lines().rfind(|line| line.contains("SRCH base=\"ou=groups")).expect("a search for groups");
    assert!(last.contains("(?"), "{last}");
}

/// Names are found by another attribute than the one in the group's own name.
#[test]
fn groups_named_by_another_attribute() {
    let mut scene = Scene::new(|provider, _| {
        provider["groups"] = json!({ "attribute": "memberOf", "name": "description" });
    });
    scene.slapd.modify(
        "dn: cn=devs,ou=groups,dc=example,dc=test\nchangetype: modify\nadd: description\ndescription: Developers\n",
    );
    scene.gate.reload_with(|config| {
        config["access"]["grants"] = json!([
            { "name": "d", "repositories": ["d"], "actions": ["pull"], "to": ["group:developers"] },
            { "name": "devs", "repositories": ["devs"], "actions": ["pull"], "to": ["group:devs"] },
        ]);
    });
    assert!(reaches(&scene.gate, LDAP_ALICE, "d"));
    assert!(!reaches(&scene.gate, LDAP_ALICE, "devs"));
}

/// Whoever may name groups cannot name one like the distinguished name of another.
#[test]
fn a_name_is_no_distinguished_name() {
    let mut scene = Scene::new(|_, _| {});
    scene.slapd.add(
        "dn: cn=fake,ou=groups,dc=example,dc=test\nobjectClass: groupOfNames\ncn: fake\n\
         cn: cn=admins,ou=elsewhere,dc=example,dc=test\nmember: uid=bob,ou=people,dc=example,dc=test\n",
    );
    scene.gate.reload_with(|config| {
        config["access"]["grants"] = json!([
            { "name": "a", "repositories": ["a"], "actions": ["pull"], "to": ["group:cn=admins,ou=elsewhere,dc=example,dc=test"] },
            { "name": "fake", "repositories": ["fake"], "actions": ["pull"], "to": ["group:fake"] },
        ]);
    });
    assert!(reaches(&scene.gate, LDAP_BOB, "fake"));
    assert!(!reaches(&scene.gate, LDAP_BOB, "a"));
}
