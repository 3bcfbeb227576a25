//! Another `tls.acme` while the gate runs.

use serde_json::json;

use super::scene::Scene;
use crate::support::{Pebble, eventually, portcullis};

/// More names are another certificate; until that is there, the one that was serves the names it has.
#[test]
fn other_names_are_ordered_and_the_old_certificate_serves_meanwhile() {
    let mut scene = Scene::issued(Pebble::start(), &[&["registry.test"]]);
    let before = scene.leaf("registry.test");
    scene.pebble.process().signal("STOP");
    let more = json!([{ "names": ["registry.test", "hub.test"] }]);
    scene.gate.reload_with(|config| config["tls"]["acme"]["certificates"] = more.clone());
    eventually("the new one is ordered", || scene.standing(0)["under_way"] == true);
    assert_eq!(scene.leaf("registry.test"), before);
    assert_ne!(scene.leaf("hub.test"), before);
    let ready = scene.gate.admin("/readyz");
    let told = "ready: a temporary self-signed certificate alone for hub.test\n";
    assert_eq!((ready.status, ready.text().as_str()), (200, told), "nobody is kept from the other name");
    scene.gate.process().kill();
    scene.gate.start_again();
    assert_eq!(scene.leaf("registry.test"), before, "after a restart too");

    scene.pebble.signal("CONT");
    scene.await_certificates();
    assert_ne!(scene.leaf("registry.test"), before);
    assert_eq!(scene.leaf("hub.test"), scene.leaf("registry.test"));
    assert!(scene.is_trusted("hub.test"));

    scene.gate.reload_with(|config| config["access"]["grants"] = json!([]));
    let orders = super::scene::orders(&scene.pebble);
    assert_eq!(orders, 2, "nothing else has anything ordered");
}

/// Nobody is kept from any name: that is no reason to wake somebody.
#[test]
fn names_that_another_certificate_serves_are_no_alarm() {
    let mut scene = Scene::issued(Pebble::start(), &[&["registry.test", "hub.test"]]);
    scene.pebble.process().stop();
    scene.gate.reload_with(|config| config["tls"]["acme"]["certificates"] = json!([{ "names": ["hub.test"] }]));
    scene.failure(0);
    let log = scene.gate.log();
    assert!(log.contains("none of its own; others serve its names") && !log.contains("\"ERROR\""), "{log}");
    let status = |scene: &Scene| {
        let status = portcullis().args(["cert", "status", "-c"]).arg(scene.gate.configuration()).output().unwrap();
        (status.status.code(), String::from_utf8_lossy(&status.stdout).into_owned())
    };
    let words = "none of its own; another one serves it until 20";
    for running in [true, false] {
        let (code, told) = status(&scene);
        assert!(code == Some(0) && told.contains(words), "{running}: {told}");
        scene.gate.process().stop();
    }
    scene.gate.change_configuration(|config| {
        config["tls"]["acme"]["certificates"] = json!([{ "names": ["hub.test", "other.test"] }]);
    });
    let (code, told) = status(&scene);
    assert!(code == Some(1) && told.contains("there is none yet"), "{told}");
}

/// A mistake that is mended need not wait for the time that its failure had earned; nor does a restart with nothing changed
/// make an attempt of its own.
#[test]
fn what_is_mended_is_tried_at_once() {
    let mut scene = Scene::new(Pebble::start(), &[&["registry.test"]], |config| {
        config["tls"]["acme"]["directory_ca_file"] = json!(null);
    });
    let failure = scene.failure(0);
    assert!(failure.contains("see tls.acme.directory_ca_file"), "{failure}");
    let attempts = |scene: &Scene| scene.gate.counted("portcullis_acme_attempts_total", "");
    scene.gate.process().stop();
    scene.gate.start_again();
    eventually("it is told why there is none", || scene.gate.log().contains("and the next one has its time"));
    assert_eq!(attempts(&scene), 0.0);

    let ca = scene.pebble.ca_file();
    scene.gate.reload_with(|config| config["tls"]["acme"]["directory_ca_file"] = json!(ca));
    scene.await_certificates();
    assert!(scene.is_trusted("registry.test"));
}

#[test]
fn a_folder_that_cannot_be_used_keeps_what_is_in_force() {
    let mut scene = Scene::issued(Pebble::start(), &[&["registry.test"]]);
    let before = scene.leaf("registry.test");
    scene.gate.reload_with(|config| config["tls"]["acme"]["storage"] = json!("htpasswd/acme"));
    let error = scene.gate.status()["configuration"]["error"].as_str().unwrap().to_owned();
    assert!(error.contains("tls.acme.storage: "), "{error}");
    let told = portcullis().args(["cert", "status", "-c"]).arg(scene.gate.configuration()).output().unwrap().stdout;
    let told = String::from_utf8_lossy(&told).into_owned();
    assert!(told.contains("the configuration that was read last is not in force: ") && told.contains(&error), "{told}");
    assert_eq!(scene.leaf("registry.test"), before);
}

#[test]
fn what_is_in_force_serves_until_another_folder_has_something() {
    let mut scene = Scene::issued(Pebble::start(), &[&["registry.test"]]);
    let before = scene.leaf("registry.test");
    scene.pebble.process().signal("STOP");
    scene.gate.reload_with(|config| config["tls"]["acme"]["storage"] = json!("elsewhere"));
    eventually("a new one is ordered", || scene.standing(0)["under_way"] == true);
    assert_eq!(scene.leaf("registry.test"), before);
    scene.pebble.signal("CONT");
    eventually("it is in force", || scene.leaf("registry.test") != before && scene.is_trusted("registry.test"));
}
