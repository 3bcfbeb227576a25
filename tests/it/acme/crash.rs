//! The process is killed at random moments of issue and renewal.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use portcullis::tls::Pair;
use serde_json::Value;

use super::scene::{Scene, orders};
use crate::support::{Dice, Pebble, dial, eventually};

/// Whatever was under way: what is stored fits together, and soon there is a certificate in force that the authority signed.
#[test]
fn killed_at_any_moment() {
    let mut scene = Scene::issued(Pebble::start(), &[&["registry.test"]]);
    let seed = dial("SEED", u64::from(std::process::id()));
    eprintln!("seed {seed}");
    let mut dice = Dice::new(seed);
    for kill in 0..dial("ACME_KILLS", 4) {
        let first_issue = kill % 2 == 0;
        if first_issue {
            scene.gate.process().kill();
            fs::remove_dir_all(scene.gate.dir().join("acme")).unwrap();
            scene.gate.start_again();
        } else {
            scene.make_due("registry.test");
        }
        let before = scene.leaf("registry.test");
        if !first_issue {
            eventually("the renewal begins", || {
                scene.standing(0)["under_way"] == true || scene.leaf("registry.test") != before
            });
        }
        thread::sleep(Duration::from_millis(dice.between(0, dial("ACME_KILL_WITHIN_MS", 900))));
        scene.gate.process().kill();
        fits_together(&scene);
        scene.gate.start_again();
        eventually("a certificate of the authority", || {
            scene.is_trusted("registry.test") && scene.leaf("registry.test") != before && is_at_rest(&scene)
        });
        fits_together(&scene);
    }
}

/// Between the request for a certificate and the moment when it is stored.
#[test]
fn what_was_issued_is_not_lost() {
    let mut pebble = Pebble::start();
    pebble.process().signal("STOP");
    let mut scene = Scene::new(pebble, &[&["registry.test"]], |_| {});
    eventually("the folder of the certificate is there", || scene.gate.log().contains("ordering a certificate"));
    let order = scene.slot("registry.test").join("order.json");
    scene.pebble.signal("CONT");
    let end = Instant::now() + Duration::from_secs(10);
    while !order.exists() {
        assert!(Instant::now() < end, "there is no order");
        thread::sleep(Duration::from_millis(1));
    }
    scene.gate.process().kill();
    assert!(order.exists(), "killed too late");
    scene.gate.start_again();
    scene.await_certificates();
    assert!(scene.is_trusted("registry.test") && !order.exists());
    assert!(scene.gate.log().contains("going on with an order that was not finished"));
    assert_eq!(orders(&scene.pebble), 1);
}

fn is_at_rest(scene: &Scene) -> bool {
    let standing = scene.standing(0);
    standing["under_way"] == false && standing["error"].is_null()
}

/// Where a certificate is stored, its key is.
fn fits_together(scene: &Scene) {
    let acme = scene.gate.dir().join("acme");
    for authority in fs::read_dir(&acme).into_iter().flatten().map(|entry| entry.unwrap().path()) {
        for slot in fs::read_dir(authority).into_iter().flatten().map(|entry| entry.unwrap().path()) {
            let file = slot.join("certificate.json");
            let Ok(bytes) = fs::read(&file) else { continue };
            let stored: Value = serde_json::from_slice(&bytes).unwrap();
            let (chain, key) = (stored["chain"].as_str().unwrap(), stored["key"].as_str().unwrap());
            Pair::issued(&file, chain, key).load().unwrap();
        }
    }
}
