use super::*;
use crate::{
    access::fixtures::{Place, access, grant, group_subject, host, patterns, repository, user},
    config::Subject,
    identity::Principal,
};

use Action::{Delete, Pull, Push};

fn policy() -> Policy {
    let mut team = grant("team-a", &["team-a/**", "*/app"], &[Pull, Push], &[group_subject("team-a")]);
    team.except = patterns(&["team-a/release/**"]);
    team.from = vec!["10.0.0.0/8".parse().unwrap()];
    team.registries = vec![host("registry.example.com")];
    let all = grant("read all", &["**"], &[Pull], &[Subject::Authenticated]);
    Policy::compile(&access(vec![team, all]))
}

fn explain(place: &Place, principal: &Principal, action: Action, name: &str) -> String {
    policy().explain(place.asker(principal), action, &repository(name)).to_string()
}

#[test]
fn names_the_grant_that_allows() {
    let alice = user("alice", &["team-a"]);
    assert_eq!(
        explain(&Place::default(), &alice, Push, "team-a/app"),
        "ALLOW  push team-a/app  by grant \"team-a\" (line 10)\n  \
         near miss: grant \"read all\" (line 20): it allows pull only"
    );
}

#[test]
fn the_first_of_two_that_allow_is_named() {
    let alice = user("alice", &["team-a"]);
    let text = explain(&Place::default(), &alice, Pull, "team-a/app");
    assert_eq!(text, "ALLOW  pull team-a/app  by grant \"team-a\" (line 10)");
}

#[test]
fn says_why_each_near_miss_misses() {
    let place = Place::new(&["hub.example.com"], "::ffff:192.0.2.1");
    let bob = user("bob", &[]);
    assert_eq!(
        explain(&place, &bob, Delete, "team-a/release/x"),
        "DENY   delete team-a/release/x  no grant allows it\n  \
         near miss: grant \"team-a\" (line 10): its except \"team-a/release/**\" takes the repository out; \
         it is for group:team-a, and the caller is none of these; \
         it holds from 10.0.0.0/8, and the client is 192.0.2.1; \
         it holds on registry.example.com, and hub.example.com is asked; \
         it allows pull,push only\n  \
         near miss: grant \"read all\" (line 20): it allows pull only"
    );
}

#[test]
fn nothing_near_is_one_line() {
    let empty = Policy::compile(&access(Vec::new()));
    let place = Place::default();
    let text = empty.explain(place.asker(&Principal::anonymous()), Pull, &repository("a")).to_string();
    assert_eq!(text, "DENY   pull a  no grant allows it");
}

#[test]
fn places_grants_in_the_file() {
    let alice = user("alice", &["team-a"]);
    let place = Place::default();
    let explanation = policy().explain(place.asker(&alice), Pull, &repository("team-a/app"));
    let text = explanation.located(Path::new("portcullis.yml")).to_string();
    assert_eq!(text, "ALLOW  pull team-a/app  by grant \"team-a\" (portcullis.yml:10)");
}
