//! The first certificates and their renewal, while connections pull blobs.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use serde_json::json;

use super::scene::{NAMES, Scene, is_new, moment};
use crate::support::{
    AtEnd, EAB_KEY, EAB_KEY_ID, Pebble, Pebbled, Portcullis, Registry, Tls, dial, dialled, eventually, free_port,
};

/// As of an authority that is under load.
fn troubled() -> Pebbled {
    Pebbled { bad_nonces: 20, life: Duration::from_secs(dial("ACME_LIFE_SECONDS", 8)), ..Pebbled::default() }
}

#[test]
fn by_tls_alpn_01() {
    issued_and_renewed(troubled(), "tls-alpn-01", "answered a tls-alpn-01 challenge");
}

#[test]
fn by_http_01_with_an_external_account() {
    issued_and_renewed(Pebbled { with_eab: true, ..troubled() }, "http-01", "answered an http-01 challenge");
}

/// Two certificates with three names, from nothing, and each renewed at half of its short life. Connections that stood before
/// there was any certificate pull through all of it.
fn issued_and_renewed(settings: Pebbled, challenge: &'static str, answered: &str) {
    let (life, with_eab) = (i64::try_from(settings.life.as_secs()).unwrap(), settings.with_eab);
    let mut pebble = Pebble::start_with(settings);
    // Nothing is issued before everybody is connected.
    pebble.process().signal("STOP");
    let key = tempfile::tempdir().unwrap();
    let key_file = key.path().join("key");
    fs::write(&key_file, format!("{EAB_KEY}\n")).unwrap();
    let scene = Scene::new(pebble, NAMES, move |config| {
        config["tls"]["acme"]["challenge"] = json!(challenge);
        if with_eab {
            config["tls"]["acme"]["external_account"] = json!({ "key_id": EAB_KEY_ID, "hmac_key_file": key_file });
        }
    });
    assert_eq!(scene.gate.admin("/readyz").status, 503, "there is a temporary certificate alone");

    let clients = dialled("ACME_PULLS", 32);
    let (over, pulled, connected) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        let _over = AtEnd(&over);
        (0..clients).for_each(|_| scene.pull(scope, &over, &pulled, &connected));
        eventually("all are connected", || connected.load(Ordering::SeqCst) == clients);
        scene.pebble.signal("CONT");
        scene.await_certificates();
        for name in NAMES.iter().copied().flatten() {
            assert!(scene.is_trusted(name), "{name}");
        }
        assert!(!scene.is_trusted("localhost"));
        let mut kept = scene.pebble.dial(scene.gate.port(), "hub.test").unwrap();
        let (first, not_after) = (scene.leaf("hub.test"), moment(&scene.standing(1)["not_after"]));
        assert_eq!(kept.certificate(), first);
        assert_eq!(scene.leaf("registry.test"), scene.leaf("www.registry.test"));
        assert_ne!(scene.leaf("registry.test"), first);

        let mut renewed = 0;
        eventually("a renewal", || {
            renewed = moment(&scene.standing(1)["not_after"]) - not_after;
            renewed != 0 && scene.leaf("hub.test") != first
        });
        // An authority that says when has it at any time of the life; others at half of it.
        let earliest = if is_new(&scene.pebble) { 1 } else { life / 2 - 1 };
        assert!((earliest..=life).contains(&renewed), "after {renewed} s of {life}");
        assert!(scene.is_trusted("hub.test"));
        assert!(kept.is_open(), "whoever shook hands before goes on");
        asks(&mut kept);
    });
    assert!(pulled.load(Ordering::SeqCst) > clients);
    assert!(scene.gate.log().contains(answered));
    let attempts = scene.gate.counted("portcullis_acme_attempts_total", "");
    let issued = scene.gate.counted("portcullis_acme_attempts_total", "result=\"issued\"");
    assert!(attempts >= 3.0 && issued >= attempts, "{issued} of {attempts}: {}", scene.gate.log());
    assert_eq!(open_files(&scene.gate.dir().join("acme")), Vec::<String>::new());
    let answers = || fs::read_dir(scene.gate.dir().join("acme/challenges")).unwrap().count();
    eventually("answers are closed again", || answers() == 0);
    assert!(!scene.gate.log().contains("PRIVATE KEY") && !scene.gate.log().contains(EAB_KEY));
}

/// Where port 443 of the name does not lead here, port 80 does.
#[test]
fn by_the_other_kind_where_the_first_fails() {
    let registry = Registry::start();
    let pebble = Pebble::start();
    let [_, http] = pebble.ports();
    let gate = pebble.guards(Portcullis::before(&registry), &[&["registry.test"]]).ports([free_port(), http]).start();
    eventually("the gate is ready", || gate.admin("/readyz").status == 200);
    assert!(pebble.dial(gate.port(), "registry.test").is_ok());
    let log = gate.log();
    assert!(
        log.contains("tls-alpn-01 failed and another kind was tried") && log.contains("answered an http-01 challenge")
    );
    assert_eq!(gate.counted("portcullis_acme_attempts_total", ""), 1.0);
}

/// Clients that dial an address ask for no name.
#[test]
fn for_an_address() {
    let scene = Scene::issued(Pebble::start(), &[&["127.0.0.1", "registry.test"]]);
    assert!(scene.is_trusted("127.0.0.1") && scene.is_trusted("registry.test"));
    assert!(scene.gate.log().contains("answered a tls-alpn-01 challenge"));
}

fn asks(tls: &mut Tls) {
    tls.send("GET /v2/ HTTP/1.1\r\nHost: registry.test\r\n\r\n");
    assert!(matches!(tls.answer(false).map(|answer| answer.status), Some(401 | 421)));
}

/// What others than the owner can read.
fn open_files(path: &Path) -> Vec<String> {
    let mode = fs::metadata(path).unwrap().permissions().mode();
    let mut open: Vec<String> =
        (mode & 0o077 != 0).then(|| format!("{} {mode:o}", path.display())).into_iter().collect();
    if path.is_dir() {
        open.extend(fs::read_dir(path).unwrap().flat_map(|entry| open_files(&entry.unwrap().path())));
    }
    open
}
