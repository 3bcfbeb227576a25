//! `identity.providers[].ldap`.

use std::time::Duration;

use super::{
    super::{LdapFind, LdapGroupSource, Provider},
    read, told, with_line, with_more,
};

const URLS: &str = r#"urls: ["ldaps://a.example.com"]"#;
const USERS: &str = r#"users: { base: "ou=people,dc=x", filter: "(uid=$user)" }"#;

fn provider(keys: &[&str]) -> String {
    with_line(7, &format!("identity: {{ providers: [ldap: {{ {} }}] }}", keys.join(", ")))
}

#[track_caller]
fn ldap(keys: &[&str]) -> super::super::Ldap {
    let text = provider(keys);
    let config = read(&text).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.warnings, []);
    match config.identity.providers.into_iter().next() {
        Some(Provider::Ldap(ldap)) => *ldap,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(keys: &[&str], words: &str) {
    let told = told(&provider(keys));
    assert!(matches!(told.as_slice(), [one] if one.contains(words)), "{told:#?}");
}

#[test]
fn defaults_and_forms() {
    let least = ldap(&[URLS, USERS]);
    assert_eq!(least.servers[0].to_string(), "ldaps://a.example.com:636");
    assert_eq!((least.timeout, least.pool, least.starttls), (Duration::from_secs(5), 8, false));
    assert!(least.service.is_none() && least.groups.is_none() && least.ca_file.is_none());
    assert_eq!(least.users.attribute, "uid");

    let more = ldap(&[
        r#"urls: ["ldap://[2001:db8::1]:3890/", "ldap://B.example.com"]"#,
        "starttls: true",
        r#"bind_dn: "portcullis@example.com", bind_password_file: "secret""#,
        r#"users: { base: "dc=x", filter: "(&(objectClass=user)(sAMAccountName=$user))" }"#,
        r#"groups: { base: "dc=x", filter: "(member:1.2.840.113556.1.4.1941:=$dn)" }"#,
    ]);
    let names: Vec<String> = more.servers.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["ldap://[2001:db8::1]:3890", "ldap://b.example.com:389"]);
    assert_eq!(more.users.attribute, "sAMAccountName");
    assert!(matches!(more.groups.unwrap().source, LdapGroupSource::Search { .. }));

    let direct = ldap(&[URLS, r#"users: { dn: "uid=$user,ou=people,dc=x" }, groups: { attribute: memberOf }"#]);
    assert!(matches!(direct.users.find, LdapFind::Direct { filter: None, .. }) && direct.asks_as_user());
    assert!(matches!(direct.groups.unwrap().source, LdapGroupSource::Attribute { base: None, .. }));
}

#[test]
fn both_files_are_named() {
    let text = provider(&[URLS, USERS, r#"ca_file: "ca", bind_dn: "cn=x", bind_password_file: "secret""#]);
    let config = read(&text).unwrap();
    for key in ["identity.providers[0].ldap.ca_file", "identity.providers[0].ldap.bind_password_file"] {
        assert!(config.files().iter().any(|file| file.key == key), "{key}");
    }
}

#[test]
fn a_password_never_travels_in_the_clear() {
    refused(&[r#"urls: ["ldap://a.example.com"]"#, USERS], "passwords would travel in the clear");
    refused(&[URLS, USERS, "starttls: true"], "starttls: true is for ldap://");
}

#[test]
fn addresses() {
    for (url, words) in [
        ("a.example.com", "is not a directory server"),
        ("https://a.example.com", "is not a directory server"),
        ("ldapi:///run/ldapi", "is not a directory server"),
        ("ldaps://a.example.com/dc=x", "scheme, host and port alone"),
        ("ldaps://u@a.example.com", "scheme, host and port alone"),
        ("ldaps://", "cannot be read"),
        ("ldaps://a:0", "cannot be read"),
    ] {
        let words = words.trim_start_matches("is ");
        refused(&[&format!("urls: [\"{url}\"]"), USERS], words);
    }
    refused(&[r#"urls: ["ldaps://a", "ldaps://A:636"]"#, USERS], "given twice");
    refused(&["urls: []", USERS], "must not be empty");
}

#[test]
fn names_filters_and_accounts() {
    for (users, words) in [
        (r#"{ base: "people", filter: "(uid=$user)" }"#, "not a distinguished name"),
        (r#"{ base: "dc=x", filter: "(uid=alice)" }"#, "must hold $user"),
        (r#"{ base: "dc=x", filter: "(uid=$name)" }"#, "must begin $user or $dn"),
        (r#"{ base: "dc=x", filter: "(&(uid=$user)" }"#, "is not a filter"),
        (r#"{ base: "dc=x", filter: "uid=$user" }"#, "is not a filter"),
        (r#"{ base: "dc=x", filter: "($user=x)" }"#, "stand for values alone"),
        (r#"{ base: "dc=x" }"#, "the key \"filter\" is missing"),
        (r#"{ dn: "uid=alice,dc=x" }"#, "must hold $user as a value"),
        (r#"{ dn: "$user,dc=x" }"#, "must hold $user as a value"),
        (r#"{ dn: "$user@example.com" }"#, "must hold $user as a value"),
        (r#"{ dn: "uid=$user,dc=x", base: "dc=x" }"#, "leave base out"),
        (r#"{ base: "dc=x", filter: "(uid=$user)", attribute: "u id" }"#, "not the name of an attribute"),
        (r#"{ base: "dc=x", filter: "(uid=$user)", bse: "x" }"#, "did you mean \"base\""),
    ] {
        refused(&[URLS, &format!("users: {users}")], words);
    }
    for (groups, words) in [
        (r#"{ base: "dc=x", filter: "(objectClass=group)" }"#, "everybody is in every group"),
        (r#"{ base: "dc=x", filter: "(memberUid=$user)", nested: true }"#, "leave nested out"),
        (r#"{ attribute: memberOf, filter: "(member=$dn)" }"#, "leave one of the two out"),
        (r#"{ filter: "(member=$dn)" }"#, "the key \"base\" is missing"),
    ] {
        refused(&[URLS, USERS, &format!("groups: {groups}")], words);
    }
    for (account, words) in [
        (r#"bind_dn: "cn=x""#, "bind_password_file is missing"),
        (r#"bind_password_file: "x""#, "bind_dn is missing"),
        (r#"bind_dn: "x", bind_password_file: "x""#, "not a distinguished name"),
    ] {
        refused(&[URLS, USERS, account], words);
    }
}

/// What was seen at a login is all that is known of its user.
#[test]
fn who_is_asked_as_the_user_needs_a_memory() {
    let identity = |users: &str, cache: &str| {
        told(&with_line(7, &format!("identity: {{ providers: [{{ ldap: {{ {URLS}, {users} }} }}], cache: {cache} }}")))
    };
    let direct = "users: { dn: \"uid=$user,dc=x\" }";
    let told = identity(direct, "0s");
    assert!(matches!(told.as_slice(), [one] if one.contains("identity.cache: users.dn without bind_dn")), "{told:#?}");
    for (users, cache) in [(direct, "1s"), (USERS, "0s")] {
        assert_eq!(identity(users, cache), Vec::<String>::new());
    }
}

#[test]
fn who_cannot_tell_users_apart_comes_last() {
    let direct = format!("ldap: {{ {URLS}, users: {{ dn: \"uid=$user,dc=x\" }} }}");
    let order = |first: &str, second: &str| {
        told(&with_line(7, &format!("identity: {{ providers: [{{ {first} }}, {{ {second} }}] }}")))
    };
    assert_eq!(order("htpasswd: { file: h }", &direct), Vec::<String>::new());
    let told = order(&direct, "htpasswd: { file: h }");
    assert!(matches!(told.as_slice(), [one] if one.contains("put it last")), "{told:#?}");
    let both =
        super::told(&with_line(7, &format!("identity: {{ providers: [{{ htpasswd: {{ file: h }}, {direct} }}] }}")));
    assert!(matches!(both.as_slice(), [one] if one.contains("two providers in one")), "{both:#?}");
}

#[test]
fn groups_of_grants_may_be_the_directorys() {
    let grant = "access: { grants: [{ repositories: [a], actions: [pull], to: [\"group:devs\"] }] }";
    let groups = |keys: &[&str]| told(&format!("{}\n{grant}\n", provider(keys)));
    assert_eq!(groups(&[URLS, USERS]).len(), 1);
    assert_eq!(groups(&[URLS, USERS, "groups: { base: \"dc=x\" }"]), Vec::<String>::new());
    assert_eq!(told(&with_more(grant)).len(), 1);
}
