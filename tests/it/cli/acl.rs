//! Questions to the grants, as a person and a pipeline ask them.

use std::{fs, path::Path};

use super::{all, file, folder, run};

fn examples() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/conf/examples"))
}

/// What `acl test` says of the example, its grants changed or not, and its exit code.
fn expected(change: impl Fn(String) -> String) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("portcullis.yml");
    fs::write(&config, change(fs::read_to_string(examples().join("public-and-teams.yml")).unwrap())).unwrap();
    let expectations = examples().join("expectations.yml");
    let output = run(&["acl", "test", "-c", config.to_str().unwrap(), expectations.to_str().unwrap()]);
    (output.status.code(), all(&output))
}

#[test]
fn the_example_of_expectations_holds() {
    let (code, said) = expected(|text| text);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("all ") && said.ends_with(" expectations hold\n"), "{said}");
}

#[test]
fn what_does_not_hold_is_told_with_its_place_and_the_reason() {
    let (code, said) = expected(|text| text.replace("from: [\"10.20.0.0/16\"]", "from: [\"0.0.0.0/0\"]"));
    assert_eq!(code, Some(1), "{said}");
    let line = position(&examples().join("expectations.yml"), "{ user: \"build\", deny: [pull, push]");
    assert!(
        said.contains(&format!("expectations.yml:{line}:5: build is allowed to push team-a/release/app")),
        "{said}"
    );
    assert!(said.contains("ALLOW  push team-a/release/app  by grant \"releases are pushed"), "{said}");
    assert!(said.ends_with("\n2 of 24 expectations do not hold\n"), "all of them, and how many: {said}");

    let (code, said) = expected(|text| text.replace("team-a: [\"alice\", \"bob\"]", "team-a: [\"bob\"]"));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("alice is not allowed to push team-a/app, unlike expected\n  DENY   push"), "{said}");
    assert!(said.contains("near miss: grant \"team-a\""), "{said}");
}

#[test]
fn a_file_of_expectations_that_cannot_be_used_is_78() {
    let dir = folder("");
    let expectations = dir.path().join("expectations.yml");
    fs::write(&expectations, "version: 1\nexpect:\n  - { user: a, alow: [pull], deny: [push], repository: b }\n")
        .unwrap();
    let test = |expectations: &Path| run(&["acl", "test", "-c", &file(dir.path()), expectations.to_str().unwrap()]);
    let output = test(&expectations);
    assert_eq!(output.status.code(), Some(78), "{}", all(&output));
    let said = all(&output);
    assert!(said.contains("expectations.yml:3:16: error: expect[0]: unknown key \"alow\": did you mean"), "{said}");
    let output = test(&dir.path().join("none.yml"));
    assert_eq!(output.status.code(), Some(78), "{}", all(&output));
}

#[test]
fn lists_name_grant_and_line() {
    let dir = folder("");
    let yaml = file(dir.path());
    let list = |more: &[&str]| all(&run(&[&["acl", "list", "-c", &yaml], more].concat()));
    let line = position(Path::new(&yaml), "team-a works");
    for question in [&["--user", "alice"][..], &["--group", "team-a"], &["--repository", "team-a/app"]] {
        let said = list(question);
        assert!(said.starts_with("pull,push on team-a/** except team-a/release/**\n"), "{said}");
        assert!(said.contains(&format!("portcullis.yml:{line})")), "{said}");
    }
    for question in [&["--user", "bob"][..], &["--anyone"], &["--repository", "team-a/release/app"]] {
        assert_eq!(list(question), "no grant allows anything\n");
    }
    let json: serde_json::Value = serde_json::from_str(&list(&["--user", "alice", "--json"])).unwrap();
    assert_eq!(json["grants"][0]["line"], line);
}

#[test]
fn check_tells_of_grants_for_nobody() {
    let dir = folder(
        "    - { name: \"stranger\", repositories: [\"b\"], actions: [pull], to: [\"user:alice\", \"user:mallory\"] }\n",
    );
    let output = run(&["check", "-c", &file(dir.path())]);
    assert_eq!(output.status.code(), Some(0), "{}", all(&output));
    let line = position(Path::new(&file(dir.path())), "stranger");
    let said = all(&output);
    assert!(
        said.contains(&format!(
            "portcullis.yml:{line}: warning: \"stranger\" is for \"mallory\", who is in no password file: "
        )),
        "{said}"
    );
    assert!(!said.contains("\"alice\""), "she is in the file: {said}");
}

fn position(file: &Path, words: &str) -> usize {
    fs::read_to_string(file).unwrap().lines().position(|line| line.contains(words)).unwrap() + 1
}
