//! Real processes for tests: free ports, waiting until they answer, logs shown on failure, an end in any case.

mod chromium;
mod curl;
mod dial;
mod dice;
mod done;
mod ear;
mod haproxy;
mod http2;
mod image;
mod ldap;
mod login;
mod notary;
mod pebble;
mod pki;
mod place;
mod portcullis;
mod ports;
mod private;
mod process;
mod prometheus;
mod raw;
mod receiver;
mod registry;
mod site;
mod skopeo;
mod slow;
mod token;
mod token_keys;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

pub(crate) use chromium::Chromium;
pub(crate) use curl::{Curl, Response};
pub(crate) use dial::{dial, dialled};
pub(crate) use dice::Dice;
pub(crate) use done::{Done, assert_installed, assert_root, run, run_within};
pub(crate) use ear::{Caller, Ear, Request, Signal};
pub(crate) use haproxy::Haproxy;
pub(crate) use http2::{Asked, Http2, Stream, Waiting};
pub(crate) use image::{Hash, Image, digest};
pub(crate) use ldap::{LDAP_ALICE, LDAP_BOB, LDAP_JOHN, LDAP_JUERGEN, Slapd, Slapped, ldap_provider, service_secret};
pub(crate) use login::{ADMIN, ALICE, BOB, CI, Login, default_htpasswd, htpasswd_line};
pub(crate) use notary::{Notary, NotaryServer};
pub(crate) use pebble::{EAB_KEY, EAB_KEY_ID, Pebble, Pebbled};
pub(crate) use pki::{Leaf, Pki};
pub(crate) use place::Place;
pub(crate) use portcullis::{BINARY, Portcullis, Setup as GateSetup, portcullis};
pub(crate) use ports::free_port;
pub(crate) use private::{Daemon, private};
pub(crate) use process::Process;
pub(crate) use prometheus::{Prometheus, Series};
pub(crate) use raw::{Tls, client_config, exchange, http_get, plain_from};
pub(crate) use receiver::{Act, Receiver};
pub(crate) use registry::{Acted, Registry};
pub(crate) use site::{INDEX, Site};
pub(crate) use skopeo::Skopeo;
pub(crate) use slow::SlowRelay;
pub(crate) use token::{Deploy, access, claims, forged, forged_as, form, header};
pub(crate) use token_keys::{TokenKeys, openssl};

/// A change of a configuration before it is written.
type Change = Box<dyn Fn(&mut serde_json::Value)>;

/// Asks until the answer is yes, for at most 10 s, then panics with what was waited for.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Says yes when it goes, however that comes about: what other threads wait for.
pub(crate) struct AtEnd<'a>(pub(crate) &'a AtomicBool);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
