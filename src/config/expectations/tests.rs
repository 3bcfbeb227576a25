use super::*;

const CONFIGURATION: &str = r#"
version: 1
listen: {}
tls: { certificates: [{ certificate_file: "tls.crt", key_file: "tls.key" }] }
registries:
  - hosts: ["registry.example.com", "192.0.2.1"]
    upstream: { servers: [{ url: "http://127.0.0.1:5000" }] }
identity:
  groups: { team-a: ["alice"] }
  providers: [{ htpasswd: { file: "htpasswd" } }]
"#;

fn read(text: &str) -> Result<Expectations, Problems> {
    let folder = tempfile::tempdir().unwrap();
    let (config, file) = (folder.path().join("portcullis.yml"), folder.path().join("e.yml"));
    std::fs::write(&config, CONFIGURATION).unwrap();
    std::fs::write(&file, text).unwrap();
    Expectations::load(&file, &Config::load(&config).unwrap())
}

/// What is told of one expectation, and that it is told where `at` stands in it; at its beginning for `{`.
#[track_caller]
fn refused(expectation: &str, at: &str, words: &[&str]) {
    let place = expectation.find(at).map_or(5, |position| position + 7);
    let problems = read(&format!("version: 1\nexpect:\n  - {{ {expectation} }}\n")).unwrap_err();
    let told = problems.to_string();
    assert_eq!(problems.0.len(), 1, "{told}");
    assert!(told.contains(&format!("e.yml:3:{place}: error: expect[0]")), "{told}");
    assert!(words.iter().all(|word| told.contains(word)), "{told}");
}

#[test]
fn what_is_left_out_comes_from_the_file_or_is_the_usual() {
    let text = r#"
version: 1
registry: "192.0.2.1"
from: "10.1.2.3"
expect:
  - { user: "alice", groups: [team-a], allow: [pull, push], deny: [delete], repository: "team-a/app" }
  - { anonymous: true, deny: [pull], repository: "a", registry: "registry.example.com", from: "::1" }
"#;
    let all = read(text).unwrap().all;
    let [first, second] = &all[..] else { panic!("{all:?}") };
    assert_eq!((first.user.as_deref(), &first.groups[..]), (Some("alice"), &["team-a".to_owned()][..]));
    assert_eq!((first.allow.to_string(), first.deny.to_string()), ("pull,push".to_owned(), "delete".to_owned()));
    assert_eq!(first.registry.as_ref().unwrap().to_string(), "192.0.2.1");
    assert_eq!((first.from.to_string(), first.line, first.column), ("10.1.2.3".to_owned(), 6, 5));
    assert_eq!((second.user.as_deref(), second.from.to_string()), (None, "::1".to_owned()));
    assert_eq!(second.registry.as_ref().unwrap().to_string(), "registry.example.com");

    let usual = read("version: 1\nexpect: [{ anonymous: true, deny: [pull], repository: a }]").unwrap();
    assert_eq!((&usual.all[0].registry, usual.all[0].from.to_string()), (&None, "127.0.0.1".to_owned()));
}

#[test]
fn what_is_meant_is_guessed_and_its_place_is_named() {
    refused("user: a, allow: [pul], repository: b", "pul", &["\"pul\" is not one of", "Did you mean \"pull\"?"]);
    refused("user: a, alow: [pull], deny: [push], repository: b", "alow", &["unknown key \"alow\"", "mean \"allow\"?"]);
    refused(
        "user: a, groups: [teem-a], deny: [push], repository: b",
        "teem-a",
        &["no group", "did you mean \"team-a\"?"],
    );
    refused(
        "user: a, deny: [push], repository: b, registry: registry.exmple.com",
        "registry.exmple",
        &["did you mean"],
    );
    refused("user: a, deny: [push], repository: \"b/**\"", "\"b", &["b/**"]);
    refused("user: a, deny: [push], repository: b, from: 10.0.0.0/8", "10.0", &["is not an address"]);
}

/// A test that asks something else than was meant would hold for no reason.
#[test]
fn who_and_what_must_be_said() {
    refused("deny: [push], repository: b", "{", &["neither user nor anonymous"]);
    refused("user: a, anonymous: true, deny: [push], repository: b", "anonymous", &["write one of both"]);
    refused("anonymous: false, deny: [push], repository: b", "false", &["or a user instead"]);
    refused("anonymous: true, groups: [team-a], deny: [push], repository: b", "groups", &["in no group"]);
    refused("user: a, repository: b", "{", &["neither allow nor deny"]);
    refused("user: a, allow: [], repository: b", "allow", &["must not be empty"]);
    refused("user: a, allow: [pull, push], deny: [push], repository: b", "{", &["push is expected to be allowed and"]);
    refused("user: a, allow: [pull]", "{", &["\"repository\" is missing"]);
}

#[test]
fn a_file_that_is_none() {
    for (text, word) in [
        ("", "the file is empty"),
        ("version: 1\n", "\"expect\" is missing"),
        ("version: 1\nexpect: []\n", "must not be empty"),
        ("version: 2\nexpect: [{ anonymous: true, deny: [pull], repository: a }]\n", "reads version: 1"),
        ("expect: [", "not valid YAML"),
    ] {
        let told = read(text).unwrap_err().to_string();
        assert!(told.contains(word), "{text:?}: {told}");
    }
}
