//! Two processes on one storage folder.

use serde_json::json;

use super::scene::{NAMES, Scene, leaf, orders};
use crate::support::{Pebble, Portcullis, Registry, eventually};

/// One of them orders; the authority asks the other one, which knows the answer from the folder; both serve what was issued.
#[test]
fn one_orders_and_both_serve() {
    for (challenge, answered) in
        [("tls-alpn-01", "answered a tls-alpn-01 challenge"), ("http-01", "answered an http-01 challenge")]
    {
        let registry = Registry::start();
        let folder = tempfile::tempdir().unwrap();
        let storage = folder.path().join("acme");
        let mut pebble = Pebble::start();
        // Who comes first has the lock, and waits.
        pebble.process().signal("STOP");
        let gate = |ports: Option<[u16; 2]>| {
            let storage = storage.clone();
            let gate = pebble.guards(Portcullis::before(&registry), &[&["registry.test"]]).with(move |config| {
                config["tls"]["acme"]["storage"] = json!(storage);
                config["tls"]["acme"]["challenge"] = json!(challenge);
            });
            if let Some(ports) = ports { gate.ports(ports).start() } else { gate.start() }
        };
        let orders_it = gate(Some([crate::support::free_port(), crate::support::free_port()]));
        eventually("one orders", || orders_it.log().contains("ordering a certificate"));
        let is_asked = gate(None);
        pebble.signal("CONT");

        for gate in [&orders_it, &is_asked] {
            eventually("both are ready", || gate.admin("/readyz").status == 200);
        }
        assert_eq!(leaf(orders_it.port(), "registry.test"), leaf(is_asked.port(), "registry.test"));
        assert_eq!(orders(&pebble), 1);
        assert!(is_asked.log().contains(answered) && !orders_it.log().contains(answered));
        assert!(orders_it.log().contains("a certificate was issued and is in force"));
        assert!(is_asked.log().contains("a certificate was found in storage and is in force"));
        assert!(!is_asked.log().contains("ordering a certificate"));
    }
}

/// While the binary is exchanged there are two processes for a time.
#[test]
fn another_process_goes_on_with_what_is_stored() {
    let scene = Scene::issued(Pebble::start(), NAMES);
    let before = scene.leaf("hub.test");
    scene.gate.upgrade();
    assert_eq!(scene.leaf("hub.test"), before);
    scene.make_due("hub.test");
    eventually("the certificate is renewed", || scene.leaf("hub.test") != before);
    assert!(scene.is_trusted("hub.test") && scene.is_trusted("registry.test"));
    assert_eq!(orders(&scene.pebble), NAMES.len() + 1);
}
