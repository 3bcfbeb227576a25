//! Whatever an endpoint does: in order, at least once, within the bound, and no request is the slower for it.

use std::{thread::sleep, time::Duration};

use serde_json::json;

use super::{marks, published, pull, telling, told};
use crate::support::{Act, Portcullis, Receiver, Registry, dial, eventually};

#[test]
fn what_happens_while_the_receiver_is_down_arrives_in_order() {
    let registry = Registry::start();
    let receiver = Receiver::start();
    let (port, url) = (receiver.port(), receiver.url());
    let gate = telling(&registry, &url, |_| {}).start();
    published(&gate, Some(&receiver));
    pull(&gate, "m1");
    eventually("it is told", || told(&receiver) == marks(1..=1));
    drop(receiver);
    marks(2..=20).iter().for_each(|mark| pull(&gate, mark));
    eventually("somebody hears of it", || gate.log().contains("events are not delivered"));
    sleep(Duration::from_secs(dial("EVENTS_DOWN_SECONDS", 1)));
    let waiting = gate.counted("portcullis_events_queued", "endpoint=\"ear\"");
    assert!((waiting - 19.0).abs() < 0.5, "{waiting}");
    assert!(gate.counted("portcullis_events_sent_total", "outcome=\"failed\"") >= 1.0);
    let receiver = Receiver::again_at(port);
    // The longest pause between two attempts, and a little.
    for _ in 0..4 {
        if told(&receiver).len() < 19 {
            sleep(Duration::from_secs(dial("EVENTS_DOWN_SECONDS", 1).min(8)));
        }
    }
    eventually("all are told", || told(&receiver).len() >= 19);
    assert_eq!(told(&receiver), marks(2..=20), "in order, each once");
    eventually("somebody hears of it", || gate.log().contains("events are delivered again"));
    let log = gate.log();
    assert_eq!(log.matches("events are not delivered").count(), 1, "one line: {log}");
    assert!(log.contains("\"late\":19,\"dropped\":0"), "{log}");
    let ids: std::collections::BTreeSet<_> = receiver.events().iter().map(|event| event["id"].to_string()).collect();
    assert_eq!(ids.len(), 19);
}

#[test]
fn whatever_the_receiver_does_wrong_the_same_event_comes_again() {
    let registry = Registry::start();
    let receiver = Receiver::start();
    let gate = telling(&registry, &receiver.url(), |endpoint| endpoint["timeout"] = "300ms".into()).start();
    published(&gate, Some(&receiver));
    let wrongs = [
        Act::Hang,
        Act::Close,
        Act::Answer("500 Oops".to_owned()),
        Act::Answer("400 No".to_owned()),
        Act::Answer("404 Elsewhere".to_owned()),
        Act::Answer("429 Later\r\nRetry-After: 1".to_owned()),
    ];
    for (number, wrong) in (1..).zip(wrongs) {
        let before = receiver.attempts();
        receiver.acts(wrong.clone());
        pull(&gate, &format!("m{number}"));
        eventually("it is tried", || receiver.attempts() > before);
        assert_eq!(told(&receiver), marks(1..=number - 1), "{wrong:?}");
        receiver.answers("302 Found\r\nLocation: /elsewhere");
        eventually("it is told in the end", || told(&receiver) == marks(1..=number));
    }
    // A connection that was kept and breaks is followed by a fresh one within the same attempt.
    let counted = |metric: &str| gate.counted(metric, "endpoint=\"ear\"") as usize;
    assert!((12..=receiver.attempts()).contains(&counted("portcullis_events_sent_total")), "{}", receiver.attempts());
    assert_eq!(counted("portcullis_events_dropped_total"), 0);
}

/// What piles up behind a receiver that is slow goes together, and in pieces where it will not have that.
#[test]
fn what_waits_goes_in_one_request_where_the_receiver_takes_that() {
    let registry = Registry::start();
    let receiver = Receiver::start();
    let mut gate = telling(&registry, &receiver.url(), |_| {}).start();
    published(&gate, Some(&receiver));
    let mut told_so_far = 0;
    let mut requests_for = |gate: &Portcullis, before: Act, after: Act| {
        receiver.acts(before);
        let attempts = receiver.attempts();
        let first = told_so_far + 1;
        pull(gate, &format!("m{first}"));
        eventually("it is tried", || receiver.attempts() > attempts);
        told_so_far += 9;
        marks(first + 1..=told_so_far).iter().for_each(|mark| pull(gate, mark));
        let requests = receiver.taken().len();
        receiver.acts(after);
        eventually("all are told", || told(&receiver).len() == told_so_far);
        assert_eq!(told(&receiver), marks(1..=told_so_far), "in order, each once");
        receiver.taken().len() - requests
    };
    let ok = || Act::Answer("200 OK".to_owned());
    assert_eq!(requests_for(&gate, Act::Answer("503 Busy".to_owned()), ok()), 2, "the first, and all that waited");
    for refusal in ["413 Too Many", "500 Oops"] {
        let refuses = Act::TakeSingly(refusal.to_owned());
        assert_eq!(requests_for(&gate, Act::Answer("503 Busy".to_owned()), refuses), 9, "{refusal}: each by itself");
    }
    assert_eq!(gate.counted("portcullis_events_dropped_total", "endpoint=\"ear\"") as usize, 0);
    gate.reload_with(|config| config["events"]["endpoints"][0]["batch"] = 1.into());
    assert_eq!(requests_for(&gate, Act::Answer("503 Busy".to_owned()), ok()), 9, "as it is configured");
    let ids: std::collections::BTreeSet<_> = receiver.events().iter().map(|event| event["id"].to_string()).collect();
    assert_eq!(ids.len(), receiver.events().len());
}

/// The head of the answer says it all, however long the rest takes.
#[test]
fn an_answer_without_an_end_is_an_answer() {
    let registry = Registry::start();
    let receiver = Receiver::start();
    let gate = telling(&registry, &receiver.url(), |endpoint| endpoint["timeout"] = "200ms".into()).start();
    published(&gate, Some(&receiver));
    receiver.acts(Act::Drawl);
    marks(1..=2).iter().for_each(|mark| pull(&gate, mark));
    eventually("both are delivered", || gate.counted("portcullis_events_queued", "endpoint=\"ear\"") < 0.5);
    assert!(told(&receiver).contains(&"m2".to_owned()));
}

#[test]
fn over_the_bound_the_oldest_go_and_are_counted() {
    let registry = Registry::start();
    let receiver = Receiver::start();
    let (port, url) = (receiver.port(), receiver.url());
    let gate = telling(&registry, &url, |endpoint| endpoint["queue"] = 3.into()).start();
    published(&gate, Some(&receiver));
    drop(receiver);
    pull(&gate, "m1");
    eventually("it is tried", || gate.counted("portcullis_events_sent_total", "outcome=\"failed\"") > 0.0);
    marks(2..=9).iter().for_each(|mark| pull(&gate, mark));
    let counted = |metric: &str| gate.counted(metric, "endpoint=\"ear\"") as usize;
    assert_eq!((counted("portcullis_events_queued"), counted("portcullis_events_queue_limit")), (4, 3));
    assert_eq!(counted("portcullis_events_dropped_total"), 5);
    let receiver = Receiver::again_at(port);
    eventually("the newest are told", || told(&receiver).len() == 4);
    assert_eq!(told(&receiver), ["m1", "m7", "m8", "m9"]);
}

#[test]
fn a_reload_changes_who_is_told_and_no_queue_is_lost() {
    let registry = Registry::start();
    let first = Receiver::start();
    let url = first.url();
    let mut gate = telling(&registry, &url, |_| {}).start();
    published(&gate, Some(&first));
    drop(first);
    marks(1..=3).iter().for_each(|mark| pull(&gate, mark));
    let (elsewhere, other) = (Receiver::start(), Receiver::start());
    let urls = [elsewhere.url(), other.url()];
    gate.reload_with(|config| {
        config["events"]["endpoints"][0]["url"] = json!(urls[0]);
        let endpoints = config["events"]["endpoints"].as_array_mut().unwrap();
        endpoints.push(json!({ "name": "other", "url": urls[1] }));
    });
    eventually("what waited is told at the new address", || told(&elsewhere) == marks(1..=3));
    pull(&gate, "m4");
    eventually("both are told", || told(&elsewhere) == marks(1..=4) && told(&other) == ["m4"]);
    gate.reload_with(|config| drop(config["events"]["endpoints"].as_array_mut().unwrap().remove(0)));
    pull(&gate, "m5");
    eventually("the other is told", || told(&other) == ["m4", "m5"]);
    assert_eq!(told(&elsewhere), marks(1..=4));
    let gone = "portcullis_events_queue_limit{endpoint=\"ear\"} NaN";
    assert!(gate.admin("/metrics").text().contains(gone), "{}", gate.admin("/metrics").text());
}
