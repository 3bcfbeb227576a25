//! An authority that is away, in trouble, hanging, or refuses: the gate serves on, says what to do, and comes back in time.

use std::{fs, thread, time::Duration};

use super::scene::{NAMES, Scene, moment};
use crate::support::{Pebble, Pebbled, Portcullis, Registry, dial, eventually};

#[test]
fn stopped() {
    let mut scene = Scene::issued(Pebble::start(), NAMES);
    let before = scene.leaf("hub.test");
    scene.pebble.process().stop();
    scene.make_due("hub.test");
    let failure = scene.failure(1);
    assert!(failure.contains("cannot be reached") && failure.contains("tls.acme.directory"), "{failure}");
    assert_eq!(scene.pause(1), 60);
    comes_back_in_time(&scene, &before, &["no certificate was issued, the one in force stays", &failure]);

    scene.pebble.start_again();
    fs::write(scene.slot("hub.test").join("renew"), "").unwrap();
    eventually("the certificate is renewed", || scene.leaf("hub.test") != before);
    assert!(scene.gate.log().contains("the authority does not know the account any more"));
    assert!(scene.is_trusted("hub.test") && scene.standing(1)["error"].is_null());
}

#[test]
fn an_end_that_comes_is_told_once() {
    let short = Pebbled { life: Duration::from_secs(4), ..Pebbled::default() };
    let mut scene = Scene::new(Pebble::start_with(short), &[&["registry.test"]], |_| {});
    scene.await_certificates();
    scene.pebble.process().stop();
    let told = || scene.gate.log().matches("a certificate has ended, and there is no other one").count();
    eventually("it ends", || told() == 1);
    thread::sleep(Duration::from_millis(2200));
    assert_eq!(told(), 1);
}

/// Long before it is due, a key may be known to others: the wish outlives a failure and a restart.
#[test]
fn what_a_person_asks_for_stays_asked_for() {
    let mut scene = Scene::issued(Pebble::start(), &[&["registry.test"]]);
    let before = scene.leaf("registry.test");
    scene.pebble.process().stop();
    fs::write(scene.slot("registry.test").join("renew"), "").unwrap();
    scene.failure(0);
    assert!(scene.standing(0)["asked"] == true && scene.pause(0) == 60, "{}", scene.standing(0));
    scene.gate.process().stop();
    scene.gate.start_again();
    eventually("it is told when the next one is", || scene.gate.log().contains("and the next one has its time"));
    eventually("it is shown", || scene.standing(0)["next_attempt"].is_string());
    let next = scene.standing(0)["next_attempt"].clone();
    let log = scene.gate.log();
    let named = log.lines().filter(|line| line.contains(next.as_str().unwrap())).count();
    assert_eq!(named, 2, "after the failure and at the start: {next} {log}");
    let shown = scene.gate.counted("portcullis_acme_next_attempt_timestamp_seconds", "name=\"registry.test\"");
    #[allow(clippy::cast_possible_truncation)]
    let shown = shown as i64;
    assert_eq!(shown, moment(&next));

    scene.pebble.start_again();
    scene.end_wait("registry.test");
    eventually("the certificate is renewed", || scene.leaf("registry.test") != before);
    eventually("nothing is asked for any more", || scene.standing(0)["asked"] == false);
}

#[test]
fn answering_500_and_asking_for_patience() {
    let mut scene = Scene::issued(Pebble::start(), NAMES);
    let before = scene.leaf("hub.test");
    let _stand_in = scene.pebble.replace(500, &[("Retry-After", "3600")]);
    scene.make_due("hub.test");
    let failure = scene.failure(1);
    assert!(failure.contains("answered 500") && failure.contains("the authority has trouble of its own"), "{failure}");
    assert_eq!(scene.pause(1), 3600);
    comes_back_in_time(&scene, &before, &[&failure]);
}

/// It takes connections and answers nothing. With more than 10 seconds of that the attempt fails; with less it goes on.
#[test]
fn hanging() {
    let mut scene = Scene::issued(Pebble::start(), NAMES);
    let before = scene.leaf("hub.test");
    scene.pebble.process().signal("STOP");
    scene.make_due("hub.test");
    eventually("an attempt begins", || scene.standing(1)["under_way"] == true);
    let seconds = dial("ACME_HANG_SECONDS", 1);
    thread::sleep(Duration::from_secs(seconds));
    assert_eq!(scene.leaf("hub.test"), before);
    assert_eq!(scene.gate.admin("/readyz").status, 200);
    if seconds > 10 {
        let failure = scene.failure(1);
        assert!(failure.contains("did not answer within 10 s"), "{failure}");
        assert_eq!(scene.pause(1), 60);
    }
    scene.pebble.process().signal("CONT");
    if seconds < 10 {
        eventually("the certificate is renewed", || scene.leaf("hub.test") != before);
    }
}

/// The authority looks where nobody answers: by both kinds, in that order.
#[test]
fn refusing_the_proof() {
    let registry = Registry::start();
    let pebble = Pebble::start();
    let elsewhere = crate::support::free_port();
    let ports = [elsewhere, crate::support::free_port()];
    let gate = pebble.guards(Portcullis::before(&registry), &[&["registry.test"]]).ports(ports).start();
    let status = || gate.status()["acme"][0].clone();
    eventually("an attempt fails", || status()["error"].is_string());
    let failure = status()["error"].as_str().unwrap().to_owned();
    for words in [
        "registry.test was not proven to be ours by tls-alpn-01: ",
        "port 443 be reached by the authority",
        "; registry.test was not proven to be ours by http-01: ",
        "port 80 be reached by the authority",
    ] {
        assert!(failure.contains(words), "{words}\n{failure}");
    }
    assert!(gate.log().contains("no certificate was issued, and there is no valid one"));
    assert_eq!(gate.counted("portcullis_acme_attempts_total", "result=\"challenge\""), 1.0);
    let shown = "portcullis_certificate_expiry_timestamp_seconds{name=\"registry.test\"} 0\n";
    assert!(gate.admin("/metrics").text().contains(shown), "{}", gate.admin("/metrics").text());
    assert_eq!(gate.admin("/readyz").status, 503);
}

#[test]
fn refusing_the_name() {
    let pebble = Pebble::start_with(Pebbled { blocked: vec!["hub.test".to_owned()], ..Pebbled::default() });
    let scene = Scene::new(pebble, NAMES, |_| {});
    let failure = scene.failure(1);
    assert!(failure.contains("take it out of tls.acme.certificates"), "{failure}");
    eventually("the other certificate is there all the same", || scene.is_trusted("registry.test"));
}

/// Nothing is asked before that; what was in force is in force; the log says all of it once.
fn comes_back_in_time(scene: &Scene, before: &[u8], said: &[&str]) {
    let attempts = || scene.gate.counted("portcullis_acme_attempts_total", "");
    let made = attempts();
    thread::sleep(Duration::from_millis(2200));
    assert_eq!(attempts(), made, "too soon");
    assert_eq!(scene.leaf("hub.test"), before);
    assert_eq!(scene.gate.admin("/readyz").status, 200);
    let log = scene.gate.log();
    for words in said {
        let escaped = words.replace('"', "\\\"");
        let lines = log.lines().filter(|line| line.contains(&escaped)).count();
        assert_eq!(lines, 1, "{words}\n{log}");
    }
}
