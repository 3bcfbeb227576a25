//! By which a request is found again elsewhere.

use serde_json::json;

use super::{of, said};
use crate::support::{ALICE, Ear, Portcullis, eventually};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn ear() -> Ear {
    Ear::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Request-Id: the-registrys\r\nConnection: close\r\n\r\n{}")
}

/// What the registry hears, and what the client is told.
fn ids(proxies: &[&str], given: &str) -> (String, String, Portcullis) {
    let ear = ear();
    let proxies = json!(proxies);
    let gate = Portcullis::before_url(&ear.url())
        .with(move |config| config["listen"]["trusted_proxies"] = proxies.clone())
        .start();
    let asked = gate.curl("/v2/team-a/app/tags/list").user(ALICE);
    let answer = asked.header(&format!("X-Request-Id: {given}")).header("X-Forwarded-For: 192.0.2.7").send();
    assert_eq!(answer.status, 200);
    let heard = ear.only_request().1.header("x-request-id").unwrap().to_owned();
    (heard, answer.header("x-request-id").unwrap().to_owned(), gate)
}

#[test]
fn a_trusted_proxys_request_id_goes_all_the_way_and_nobody_elses() {
    let (heard, told, gate) = ids(&["127.0.0.0/8"], "proxy-4711");
    assert_eq!((heard.as_str(), told.as_str()), ("proxy-4711", "proxy-4711"));
    eventually("the line is there", || !of(&gate, "audit").is_empty());
    let line = of(&gate, "audit").remove(0);
    assert_eq!(said(&line, ["request_id", "client", "peer"]), ["proxy-4711", "192.0.2.7", "127.0.0.1"]);
    for (proxies, given) in [(&["10.0.0.0/8"], "proxy-4711"), (&["127.0.0.0/8"], "two words"), (&["127.0.0.0/8"], "")] {
        let (heard, told, gate) = ids(proxies, given);
        assert!(heard == told && heard.len() == 16 && heard != given, "{heard} {told}");
        eventually("the line is there", || of(&gate, "access").iter().any(|line| line["request_id"] == *heard));
    }
}

#[test]
fn every_answer_says_its_request_id() {
    let ear = ear();
    let gate = Portcullis::before_url(&ear.url()).start();
    for path in ["/", "/v2/", "/v2/nothing", "/nowhere", "/token?service=wrong"] {
        let answer = gate.curl(path).send();
        let id = answer.header("x-request-id").unwrap_or_else(|| panic!("{path}: {answer:?}")).to_owned();
        eventually("the line is there", || of(&gate, "access").iter().any(|line| line["request_id"] == *id));
    }
}

#[test]
fn a_trace_goes_on_at_the_registry() {
    for (sent, continues) in [(Some(PARENT), true), (Some("00-nonsense-01"), false), (None, false)] {
        let ear = ear();
        let gate = Portcullis::before_url(&ear.url()).start();
        let asked = gate.curl("/v2/team-a/app/tags/list").user(ALICE).header("Tracestate: a=1");
        let asked = sent.map_or(asked.clone(), |sent| asked.header(&format!("Traceparent: {sent}")));
        assert_eq!(asked.send().status, 200);
        let heard = ear.only_request().1;
        let parent = heard.header("traceparent").map(str::to_owned);
        assert_eq!(parent.is_some(), sent.is_some());
        let same = parent.as_ref().is_some_and(|parent| parent[3..35] == PARENT[3..35] && parent.ends_with("-01"));
        assert_eq!((same, heard.header("tracestate").is_some()), (continues, continues));
        assert!(parent.as_ref().is_none_or(|parent| parent.len() == 55 && parent[36..52] != PARENT[36..52]));
        eventually("the line is there", || !of(&gate, "access").is_empty());
        let trace = said(&of(&gate, "access").remove(0), ["trace"]);
        assert_eq!(trace, [parent.map_or_else(String::new, |parent| parent[3..35].to_owned())]);
    }
}
