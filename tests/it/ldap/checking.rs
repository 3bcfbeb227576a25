//! `portcullis check` with a directory.

use std::{fs, process::Stdio};

use serde_json::{Value, json};

use super::Scene;
use crate::support::{Ear, portcullis};

/// What it says of the configuration after a change, and how it ends.
fn check(scene: &Scene, arguments: &[&str], change: impl FnOnce(&mut Value)) -> (i32, String) {
    let mut config: Value = serde_json::from_slice(&fs::read(scene.gate.configuration()).unwrap()).unwrap();
    change(&mut config["identity"]["providers"][0]["ldap"]);
    let file = scene.gate.dir().join("changed.yml");
    fs::write(&file, serde_json::to_string_pretty(&config).unwrap()).unwrap();
    let mut command = portcullis();
    let output = command.arg("check").arg("-c").arg(file).args(arguments).stdin(Stdio::null()).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_directory_is_tried_out() {
    let scene = Scene::new(|_, _| {});
    assert_eq!(check(&scene, &[], |_| {}).0, 0);

    let wrong = scene.secrets.path().join("wrong");
    fs::write(&wrong, "not the password\n").unwrap();
    let (code, said) = check(&scene, &[], |ldap| ldap["bind_password_file"] = json!(wrong));
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("error: identity.providers[0].ldap.bind_password_file: "), "{said}");
    assert!(said.contains("the service account is refused: wrong password"), "{said}");
    let place = said.lines().next().unwrap().split(':').nth(1).unwrap().parse::<usize>().unwrap();
    assert!(place > 1 && !said.contains("not the password"), "{said}");
    assert_eq!(check(&scene, &["--syntax-only"], |ldap| ldap["bind_password_file"] = json!(wrong)).0, 0);

    let (code, said) = check(&scene, &[], |ldap| ldap["bind_dn"] = json!("cn=nobody,dc=example,dc=test"));
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("the service account is refused"), "{said}");

    // A name that is in no certificate; one that nobody listens at is no fault of the configuration.
    let url = scene.slapd.ldaps();
    let (code, said) = check(&scene, &[], |ldap| ldap["urls"] = json!([url.replace("127.0.0.1", "localhost")]));
    assert_eq!(code, 78, "{said}");
    assert!(
        said.contains("ldap.urls[0]: ldaps://localhost") && said.contains("write the name that is in the"),
        "{said}"
    );
    let gone = Ear::answering("").url().replace("http://", "ldaps://");
    for (arguments, expected) in [(&[][..], 0), (&["--strict"], 78)] {
        let (code, said) = check(&scene, arguments, |ldap| ldap["urls"] = json!([url, gone]));
        assert_eq!(code, expected, "{said}");
        assert!(said.contains("warning: identity.providers[0].ldap.urls[1]: "), "{said}");
        assert!(said.contains("until it answers"), "{said}");
    }

    // A search that begins nowhere finds nobody, and says so to nobody.
    for (section, base) in [("users", "ou=poeple,dc=example,dc=test"), ("groups", "ou=groups,dc=example,dc=com")] {
        let (code, said) = check(&scene, &[], |ldap| ldap[section]["base"] = json!(base));
        assert_eq!(code, 78, "{said}");
        let problem = format!("ldap.{section}.base: {url}: there is nothing");
        let line = said.lines().find(|line| line.contains(&problem)).unwrap_or_else(|| panic!("{said}"));
        assert!(line.split(':').nth(1).unwrap().parse::<usize>().unwrap() > 1, "{line}");
    }

    let (code, said) = check(&scene, &[], |ldap| ldap["ca_file"] = json!("none.crt"));
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("ldap.ca_file: ") && said.contains("cannot be read"), "{said}");
}
