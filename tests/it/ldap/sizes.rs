//! Groups with very many members, and users in very many groups.

use std::fmt::Write as _;

use serde_json::json;

use super::{Scene, reaches, status};
use crate::support::{LDAP_ALICE, LDAP_BOB};

const GROUPS: &str = "ou=groups,dc=example,dc=test";
const ALICE: &str = "uid=alice,ou=people,dc=example,dc=test";

/// One group that has her among thousands, and more groups than the server shows at a time.
#[test]
fn many_members_and_many_groups() {
    let mut scene = Scene::new(|_, _| {});
    let mut ldif = format!("dn: cn=everybody,{GROUPS}\nobjectClass: groupOfNames\ncn: everybody\n");
    (0..5000).for_each(|number| writeln!(ldif, "member: uid=u{number},ou=people,dc=example,dc=test").unwrap());
    writeln!(ldif, "member: {ALICE}\n").unwrap();
    for number in 0..520 {
        writeln!(ldif, "dn: cn=g{number},{GROUPS}\nobjectClass: groupOfNames\ncn: g{number}\nmember: {ALICE}\n")
            .unwrap();
    }
    scene.slapd.add(&ldif);
    scene.gate.reload_with(|config| {
        let grant = |name: &str| json!({ "name": name, "repositories": [name], "actions": ["pull"], "to": [format!("group:{name}")] });
        config["access"]["grants"] = ["everybody", "devs", "g0", "g519"].map(grant).into();
        config["identity"]["providers"][0]["ldap"]["timeout"] = json!("5s");
    });
    // As many as the server shows: none of the others gives a right, and the log says so.
    let reached =
        |scene: &Scene| ["everybody", "devs", "g0", "g519"].map(|name| reaches(&scene.gate, LDAP_ALICE, name));
    assert_eq!(reached(&scene), [true, true, true, false]);
    let log = scene.gate.log();
    let told = log.lines().find(|line| line.contains("does not show all groups")).expect("it is told");
    assert!(told.contains("\"user\":\"alice\"") && told.contains("\"shown\":500"), "{told}");
    // From the entry there is no such limit, but our own of a thousand.
    scene.reload(|provider| provider["groups"] = json!({ "attribute": "memberOf", "base": GROUPS }));
    assert_eq!(reached(&scene), [true; 4]);
    assert_eq!(status(&scene.gate, LDAP_BOB, "/v2/"), 200);
}
