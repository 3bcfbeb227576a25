use clap::Parser as _;

use super::*;

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    list: ListArgs,
}

const CONFIGURATION: &str = r#"
version: 1
listen: {}
tls: { certificates: [{ certificate_file: "tls.crt", key_file: "tls.key" }] }
registries:
  - hosts: ["registry.example.com"]
    read_only: ["team-a/**"]
    upstream: { servers: [{ url: "http://127.0.0.1:5000" }] }
  - hosts: ["hub.example.com"]
    upstream: { servers: [{ url: "http://127.0.0.1:5001" }] }
identity:
  disabled_users: ["mallory"]
  groups: { team-a: ["alice", "mallory"] }
  providers: [{ htpasswd: { file: "htpasswd" } }]
access:
  grants:
    - { name: "team", repositories: ["team-a/**"], except: ["team-a/$user"], actions: [pull, push], to: ["group:team-a", "user:bob"], from: ["10.0.0.0/8"], registries: ["registry.example.com"] }
    - { name: "public", repositories: ["library/**"], actions: [pull], to: [anyone] }
    - { name: "homes", repositories: ["home/$user/**"], actions: [pull, push, delete], to: [authenticated] }
    - { name: "seen", repositories: ["$user/**"], actions: [pull], to: ["user:bob"] }
"#;

fn list(arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("portcullis.yml");
    std::fs::write(&path, CONFIGURATION).unwrap();
    let arguments = ["list", "-c", path.to_str().unwrap()].into_iter().chain(arguments.iter().copied());
    let text = answer(&Cli::try_parse_from(arguments).unwrap().list).unwrap();
    text.replace(&format!("{}/", folder.path().display()), "")
}

fn grants(arguments: &[&str]) -> Vec<String> {
    let answer: serde_json::Value = serde_json::from_str(&list(&[arguments, &["--json"]].concat())).unwrap();
    let grants = answer["grants"].as_array().unwrap();
    grants.iter().map(|grant| grant["grant"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_a_user_may_do() {
    assert_eq!(
        list(&["--user", "alice"]),
        "pull,push on team-a/** except team-a/alice\n  \
           as group:team-a (alice); from 10.0.0.0/8; at registry.example.com\n  \
           by grant \"team\" (portcullis.yml:17)\n\
         pull on library/**\n  as anyone\n  by grant \"public\" (portcullis.yml:18)\n\
         pull,push,delete on home/alice/**\n  as authenticated\n  by grant \"homes\" (portcullis.yml:19)\n\
         read-only at the moment at registry.example.com: team-a/** (nobody pushes or deletes there; open uploads: finish)"
    );
    assert_eq!(list(&["--user", "mallory"]), "\"mallory\" is in identity.disabled_users: nothing is allowed");
    assert_eq!(grants(&["--user", "zoe", "--group", "team-a"]), ["team", "public", "homes"]);
    assert_eq!(grants(&["--user", "Zoe@example.com"]), ["public"], "whose name is no segment");
}

#[test]
fn where_conditions_do_not_hold_a_grant_is_left_out() {
    let alice = |more: &[&str]| grants(&[&["--user", "alice"], more].concat());
    assert_eq!(alice(&["--from", "10.1.2.3"]), ["team", "public", "homes"]);
    assert_eq!(alice(&["--from", "192.0.2.1"]), ["public", "homes"]);
    assert_eq!(alice(&["--registry", "hub.example.com"]), ["public", "homes"]);
    assert!(!list(&["--user", "alice", "--registry", "hub.example.com"]).contains("read-only"));
}

#[test]
fn groups_and_everybody() {
    assert_eq!(grants(&["--group", "team-a"]), ["team", "public", "homes"]);
    assert!(list(&["--group", "team-a"]).contains("home/$user/**"));
    assert_eq!(grants(&["--authenticated"]), ["public", "homes"]);
    assert_eq!(grants(&["--anyone"]), ["public"]);
}

#[test]
fn who_may_do_something_to_a_repository() {
    assert_eq!(
        list(&["--repository", "team-a/alice", "--action", "push"]),
        "pull,push on team-a/** except team-a/$user\n  \
           to group:team-a (alice), user:bob, but not users named alice; from 10.0.0.0/8; at registry.example.com\n  \
           by grant \"team\" (portcullis.yml:17)\n\
         read-only at the moment at registry.example.com: team-a/** (nobody pushes or deletes there; open uploads: finish)"
    );
    assert!(list(&["--repository", "home/carol/x"]).contains("\n  to authenticated, users named carol alone\n"));
    assert_eq!(grants(&["--repository", "team-a/app", "--action", "delete"]), [""; 0]);
    assert_eq!(list(&["--repository", "other", "--action", "delete"]), "no grant allows anything");
    assert_eq!(grants(&["--repository", "bob/x"]), ["seen"]);
    assert_eq!(grants(&["--repository", "carol/x"]), [""; 0], "the grant is for bob");
}

#[test]
fn json_has_the_same() {
    let answer: serde_json::Value = serde_json::from_str(&list(&["--repository", "team-a/app", "--json"])).unwrap();
    assert_eq!(answer["repository"], "team-a/app");
    let grant = &answer["grants"][0];
    assert_eq!(grant["actions"], serde_json::json!(["pull", "push"]));
    assert_eq!(grant["to"][0], serde_json::json!({ "subject": "group:team-a", "members": ["alice"] }));
    assert_eq!((&grant["line"], &grant["file"]), (&17.into(), &"portcullis.yml".into()));
    assert_eq!(answer["read_only"][0]["repositories"], serde_json::json!(["team-a/**"]));
}

#[test]
fn one_question_at_a_time() {
    for arguments in [
        &[] as &[&str],
        &["--json"],
        &["--anyone", "--authenticated"],
        &["--user", "a", "--repository", "b"],
        &["--group", "a", "--anyone"],
        &["--user", "a", "--action", "push"],
        &["--repository", "A"],
    ] {
        assert!(Cli::try_parse_from(["list"].iter().chain(arguments)).is_err(), "{arguments:?}");
    }
}

/// For every caller, repository and action: a grant is listed in both ways just where `acl explain` allows by one.
#[test]
fn lists_and_decisions_agree() {
    use crate::{
        access::{Asker, Holders},
        config::Subject,
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("portcullis.yml");
    std::fs::write(&path, CONFIGURATION).unwrap();
    let config = Config::load(&path).unwrap();
    let policy = Policy::compile(&config.access);
    let client: IpAddr = "10.1.1.1".parse().unwrap();
    for registry in &config.registries {
        let whence = Whence { hosts: Some(&registry.hosts), client: Some(client) };
        for name in [None, Some("alice"), Some("bob"), Some("carol"), Some("Carol")] {
            let principal = caller(&config.identity, name, &[]);
            for text in [
                "team-a",
                "team-a/alice",
                "team-a/bob",
                "library/x",
                "home/alice/x",
                "home/bob",
                "bob/x",
                "carol/x",
                "home",
            ] {
                let repository = RepositoryName::parse(text).unwrap();
                for action in Action::ALL {
                    let asker =
                        Asker { principal: &principal, registry: &registry.hosts[0], hosts: &registry.hosts, client };
                    let expected = policy.explain(asker, action, &repository).allowed();
                    let matching = |given: &Given| {
                        let matches = |patterns: &[crate::registry::Pattern]| {
                            patterns.iter().any(|pattern| pattern.matches(&repository, None))
                        };
                        given.actions.contains(action) && matches(&given.repositories) && !matches(&given.except)
                    };
                    let given = policy.given(&principal, whence).into_iter().filter_map(|given| given.filled(name));
                    assert_eq!(given.into_iter().any(|given| matching(&given)), expected, "{name:?} {action} {text}");
                    let holds = |holders: &Holders| match (holders, name) {
                        (Holders::Everybody { but }, Some(name)) => !but.iter().any(|but| but == name),
                        (Holders::Everybody { .. }, None) => true,
                        (Holders::Only(names), name) => names.iter().any(|only| Some(&**only) == name),
                    };
                    let is = |subject: &Subject| match (subject, name) {
                        (Subject::Anyone, _) | (Subject::Authenticated, Some(_)) => true,
                        (Subject::User(user), Some(name)) => user == name,
                        (Subject::Group(group), Some(name)) => groups_of(&config.identity, name).contains(&&**group),
                        (_, None) => false,
                    };
                    let holdings = policy.holdings(&repository, Some(action), whence);
                    let held =
                        holdings.iter().any(|holding| holds(&holding.holders) && holding.given.to.iter().any(is));
                    assert_eq!(held, expected, "{name:?} {action} {text}");
                }
            }
        }
    }
}
