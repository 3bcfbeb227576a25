use clap::Parser as _;

use super::*;

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    acl: AclArgs,
}

const CONFIGURATION: &str = r#"
version: 1
listen: { https: ["127.0.0.1:8443"] }
tls: { certificates: [{ certificate_file: "tls.crt", key_file: "tls.key" }] }
registries:
  - hosts: ["registry.example.com", "192.0.2.1"]
    upstream: { servers: [{ url: "http://127.0.0.1:5000" }] }
  - hosts: ["hub.example.com"]
    upstream: { servers: [{ url: "http://127.0.0.1:5001" }] }
identity:
  disabled_users: ["mallory"]
  groups: { team-a: ["alice", "mallory"] }
  providers: [{ htpasswd: { file: "htpasswd" } }]
access:
  grants:
    - name: "team-a works here"
      repositories: ["team-a/**"]
      actions: [pull, push]
      to: ["group:team-a"]
      from: ["127.0.0.0/8", "10.0.0.0/8"]
      registries: ["registry.example.com"]
    - name: "public"
      repositories: ["library/**"]
      actions: [pull]
      to: [anyone]
"#;

/// What `acl explain` prints for these arguments, and whether it allows.
fn ask(arguments: &[&str]) -> (String, bool) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("portcullis.yml");
    std::fs::write(&path, CONFIGURATION).unwrap();
    for file in ["tls.crt", "tls.key", "htpasswd"] {
        std::fs::write(folder.path().join(file), "").unwrap();
    }
    let config = Config::load(&path).unwrap();
    let question = question(arguments).unwrap();
    let (text, allowed) = Judge::new(&config).explain(&Asked::of(&config, &question).unwrap());
    (text.replace(&format!("{}/", folder.path().display()), ""), allowed)
}

fn question(arguments: &[&str]) -> Result<Explain, clap::Error> {
    let arguments = ["acl", "explain"].iter().chain(arguments);
    Cli::try_parse_from(arguments).map(|Cli { acl: AclArgs { question } }| match question {
        Question::Explain(question) => question,
        Question::List(_) | Question::Test(_) => panic!("{question:?}"),
    })
}

#[test]
fn a_group_of_the_configuration_allows() {
    let (text, allowed) = ask(&["--user", "alice", "pull", "team-a/app"]);
    assert!(allowed);
    assert_eq!(text, "ALLOW  pull team-a/app  by grant \"team-a works here\" (portcullis.yml:16)");
}

#[test]
fn a_group_on_the_command_line_allows() {
    assert!(!ask(&["--user", "bob", "push", "team-a/app"]).1);
    assert!(ask(&["--user", "bob", "--group", "x", "--group", "team-a", "push", "team-a/app"]).1);
}

#[test]
fn a_denial_names_near_misses() {
    let (text, allowed) =
        ask(&["--user", "bob", "--registry", "hub.example.com", "--from", "192.0.2.9", "delete", "team-a/app"]);
    assert!(!allowed);
    assert_eq!(
        text,
        "DENY   delete team-a/app  no grant allows it\n  \
         near miss: grant \"team-a works here\" (portcullis.yml:16): \
         it is for group:team-a, and the caller is none of these; \
         it holds from 127.0.0.0/8, 10.0.0.0/8, and the client is 192.0.2.9; \
         it holds on registry.example.com, and hub.example.com is asked; \
         it allows pull,push only"
    );
}

#[test]
fn the_client_address_and_any_host_of_the_registry_count() {
    let with = |more: &[&str]| ask(&[&["--user", "alice"], more, &["pull", "team-a/app"]].concat()).1;
    assert!(with(&["--from", "10.9.9.9"]));
    assert!(with(&["--from", "::ffff:10.9.9.9"]));
    assert!(!with(&["--from", "11.9.9.9"]));
    assert!(with(&["--registry", "192.0.2.1"]));
    assert!(!with(&["--registry", "hub.example.com"]));
}

#[test]
fn without_a_user_the_caller_is_anonymous() {
    assert!(ask(&["pull", "library/nginx"]).1);
    assert!(!ask(&["push", "library/nginx"]).1);
    assert!(!ask(&["pull", "team-a/app"]).1);
}

#[test]
fn a_disabled_user_is_denied_before_any_grant() {
    let (text, allowed) = ask(&["--user", "mallory", "pull", "library/nginx"]);
    assert!(!allowed);
    assert_eq!(text, "DENY   pull library/nginx  \"mallory\" is in identity.disabled_users");
}

#[test]
fn what_is_read_only_is_told_where_it_is_allowed() {
    let read_only = CONFIGURATION.replace(
        "    upstream: { servers: [{ url: \"http://127.0.0.1:5000\" }] }",
        "    read_only: [\"team-a/**\"]\n    upstream: { servers: [{ url: \"http://127.0.0.1:5000\" }] }",
    );
    let config = load(&read_only);
    let told = |action, repository| {
        let question = question(&["--user", "alice", action, repository]).unwrap();
        Judge::new(&config).explain(&Asked::of(&config, &question).unwrap()).0
    };
    const TOLD: &str = "\n  but not at the moment: registry.example.com is read-only there (registries[].read_only)";
    assert!(told("push", "team-a/app").ends_with(TOLD), "{}", told("push", "team-a/app"));
    assert!(!told("pull", "team-a/app").contains("moment") && !told("push", "library/x").contains("moment"));
}

fn load(text: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("portcullis.yml");
    std::fs::write(&path, text).unwrap();
    Config::load(&path).unwrap()
}

#[test]
fn arguments_outside_the_grammar_are_refused() {
    for arguments in [
        &["pull,push", "a"] as &[&str],
        &["PULL", "a"],
        &["*", "a"],
        &["pull", "A"],
        &["pull", "a/**"],
        &["pull"],
        &["--group", "team-a", "pull", "a"],
        &["--from", "10.0.0.0/8", "pull", "a"],
        &["--registry", "a/b", "pull", "a"],
    ] {
        assert!(question(arguments).is_err(), "{arguments:?}");
    }
}

#[test]
fn an_unknown_registry_lists_those_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("portcullis.yml");
    std::fs::write(&path, CONFIGURATION).unwrap();
    let config = Config::load(&path).unwrap();
    let question = question(&["--registry", "other", "pull", "a"]).unwrap();
    let error = Asked::of(&config, &question).unwrap_err();
    assert!(error.to_string().contains("registry.example.com, 192.0.2.1, hub.example.com"), "{error}");
}
