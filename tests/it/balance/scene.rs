//! Several servers behind a gate, and which of them was asked.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::support::{ALICE, Asked, Dice, Http2, Portcullis, Registry, digest};

pub(super) struct Scene {
    pub(super) registries: Vec<Registry>,
}

impl Scene {
    /// Servers that share their storage.
    pub(super) fn new(servers: usize) -> Self {
        let first = Registry::start();
        let storage = first.storage();
        let others = (1..servers).map(|_| Registry::setup().storage(storage.clone()).start());
        Self { registries: std::iter::once(first).chain(others).collect() }
    }

    pub(super) fn gate(&self, balance: &str, weights: &[u16]) -> Portcullis {
        self.gate_with(balance, weights, |_| {})
    }

    pub(super) fn gate_with(&self, balance: &str, weights: &[u16], more: impl FnOnce(&mut Value)) -> Portcullis {
        let servers = self.registries.iter().zip(weights);
        let servers: Vec<_> =
            servers.map(|(registry, weight)| json!({ "url": registry.url, "weight": weight })).collect();
        let setup = Portcullis::before(&self.registries[0]).with_upstream(|upstream| {
            upstream["servers"] = json!(servers);
            upstream["balance"] = json!(balance);
            more(upstream);
        });
        setup.start()
    }

    /// How many requests each server had so far, probes left out.
    pub(super) fn asked(&self) -> Vec<usize> {
        self.registries.iter().map(|registry| registry.acted().len()).collect()
    }

    /// The same of what `act` brings about.
    pub(super) fn asked_by(&self, act: impl FnOnce()) -> Vec<usize> {
        let before = self.asked();
        act();
        self.asked().iter().zip(before).map(|(after, before)| after - before).collect()
    }

    /// Which servers answered for each blob since they had had this many requests.
    pub(super) fn places(&self, since: &[usize]) -> BTreeMap<String, BTreeSet<usize>> {
        let mut places = BTreeMap::<String, BTreeSet<usize>>::new();
        for (number, (registry, since)) in self.registries.iter().zip(since).enumerate() {
            for acted in registry.acted().into_iter().skip(*since) {
                let digest = acted.target.rsplit('/').next().unwrap_or_default().to_owned();
                places.entry(digest).or_default().insert(number);
            }
        }
        places
    }
}

/// Digests of nothing: every server says 404, quickly.
pub(super) fn digests(seed: u64, count: usize) -> Vec<String> {
    let mut dice = Dice::new(seed);
    (0..count).map(|_| digest(&dice.bytes(8))).collect()
}

/// Asks for each blob's head, many at a time.
pub(super) fn ask(gate: &Portcullis, digests: &[String]) {
    let requests: Vec<_> = digests.iter().map(|digest| head(digest)).collect();
    for answer in Http2::connect(gate).ask_all(&requests) {
        let status = answer.unwrap().status;
        assert!(matches!(status, 200 | 404), "{status}");
    }
}

/// The same one after the other.
pub(super) fn ask_in_turn(gate: &Portcullis, digests: &[String]) {
    let connection = Http2::connect(gate);
    for digest in digests {
        let status = connection.ask(&head(digest)).unwrap().status;
        assert!(matches!(status, 200 | 404), "{status}");
    }
}

/// The same by clients each of which waits for its answer before it asks for the next.
pub(super) fn ask_by(clients: usize, gate: &Portcullis, digests: &[String]) {
    thread::scope(|scope| {
        for some in digests.chunks(digests.len().div_ceil(clients)) {
            scope.spawn(|| ask_in_turn(gate, some));
        }
    });
}

fn head(digest: &str) -> Asked<'static> {
    let basic = format!("Basic {}", STANDARD.encode(format!("{}:{}", ALICE.name, ALICE.password)));
    Asked {
        method: "HEAD",
        path: format!("/v2/team-a/app/blobs/{digest}"),
        headers: vec![("authorization", basic)],
        body: None,
    }
}
