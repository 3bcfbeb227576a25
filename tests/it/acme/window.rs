//! When the authority would have a certificate renewed, and which kinds it issues: where it can say so, it counts.

use serde_json::json;

use super::scene::{NAMES, Scene, is_new, moment};
use crate::support::{Pebble, eventually, portcullis};

#[test]
fn an_authority_is_asked_when_to_renew() {
    let scene = Scene::issued(Pebble::start(), NAMES);
    let standing = || scene.standing(0);
    if !is_new(&scene.pebble) {
        assert!(standing()["window"].is_null());
        let left = moment(&standing()["not_after"]) - moment(&standing()["next_attempt"]);
        assert!((30..=32).contains(&(left / 86_400)), "a third of 90 days, and a little: {left} s");
        return;
    }
    eventually("the window is known", || standing()["window"].is_object());
    let (window, next) = (standing()["window"].clone(), moment(&standing()["next_attempt"]));
    assert!((moment(&window["start"])..=moment(&window["end"])).contains(&next), "{next}: {window}");
    let start = scene.gate.counted("portcullis_acme_renewal_window_start_timestamp_seconds", "name=\"registry.test\"");
    #[allow(clippy::cast_possible_truncation)]
    let start = start as i64;
    assert_eq!(start, moment(&window["start"]));

    let before = scene.leaf("hub.test");
    scene.make_due("hub.test");
    eventually("the certificate is renewed", || scene.leaf("hub.test") != before);
    assert!(scene.pebble.log().contains("has been marked as replaced"), "{}", scene.pebble.log());
}

#[test]
fn a_profile_counts_where_there_is_one() {
    let scene = Scene::new(Pebble::start(), &[&["registry.test"]], |config| {
        config["tls"]["acme"]["profile"] = json!("shortlived");
    });
    if is_new(&scene.pebble) {
        scene.await_certificates();
        let left = moment(&scene.standing(0)["not_after"]) - time::OffsetDateTime::now_utc().unix_timestamp();
        assert!((5..=6).contains(&(left / 86_400)), "{left} s");
    } else {
        assert!(scene.failure(0).contains("the authority has no profile \"shortlived\""));
    }
}

#[test]
fn a_profile_that_is_not_there_is_told() {
    let scene = Scene::new(Pebble::start(), &[&["registry.test"]], |config| {
        config["tls"]["acme"]["profile"] = json!("everlasting");
    });
    let failure = scene.failure(0);
    assert!(
        failure.contains("the authority has no profile \"everlasting\"") && failure.contains("tls.acme.profile"),
        "{failure}"
    );
}

/// Before anything is in force.
#[test]
fn check_asks_the_authority() {
    let mut scene = Scene::new(Pebble::start(), &[&["registry.test"]], |_| {});
    let check = || {
        let output = portcullis().arg("check").arg("-c").arg(scene.gate.configuration()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(check().0, Some(0));
    scene.gate.change_configuration(|config| config["tls"]["acme"]["profile"] = json!("everlasting"));
    let (code, told) = check();
    let warns = |told: &str| told.contains("warning: tls.acme: ") && told.contains("nothing is issued");
    assert!(code == Some(0) && warns(&told), "a reload of something else must not fail by it: {told}");
    assert!(told.contains("the authority has no profile \"everlasting\""), "{told}");
    let elsewhere = scene.pebble.directory().replace("/dir", "/elsewhere");
    scene.gate.change_configuration(|config| {
        config["tls"]["acme"]["profile"] = json!(null);
        config["tls"]["acme"]["directory"] = json!(elsewhere);
    });
    let (code, told) = check();
    assert!(
        code == Some(0)
            && warns(&told)
            && told.contains("/elsewhere answered 404 Not Found: that is no ACME directory"),
        "{told}"
    );
    let directory = scene.pebble.directory();
    scene.gate.change_configuration(|config| config["tls"]["acme"]["directory"] = json!(directory));
    scene.pebble.process().stop();
    let output = portcullis().arg("check").arg("-c").arg(scene.gate.configuration()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && warns(&told), "{told}");
}
