//! What is counted of one server of an upstream.

use std::{sync::OnceLock, time::Duration};

use metrics::{Counter, Histogram};

use super::{catalogue, family::Counters};

/// The counters of one server. They are shown from the first call of [`ServerCounts::show`] on, or the first event.
pub struct ServerCounts {
    registry: Box<str>,
    server: Box<str>,
    handles: OnceLock<Handles>,
}

struct Handles {
    requests: Counter,
    latency: Histogram,
    errors: Counters,
    ejections: Counter,
    moves: Counters,
    resumes: Counters,
    probes: Counters,
}

impl ServerCounts {
    /// By the registry's first host and the server's address as configured.
    pub fn new(registry: &str, server: &str) -> Self {
        Self { registry: registry.into(), server: server.into(), handles: OnceLock::new() }
    }

    /// Shows them all, at 0.
    pub fn show(&self) {
        self.handles();
    }

    /// A request was sent, which is no probe.
    pub fn asked(&self) {
        self.handles().requests.increment(1);
    }

    /// A request without a body was answered.
    pub fn answered(&self, took: Duration) {
        self.handles().latency.record(took);
    }

    /// An attempt came to nothing; `kind` is an error's, or `status`.
    pub fn erred(&self, kind: &'static str) {
        self.handles().errors.count([kind]);
    }

    /// It lost its turn.
    pub fn ejected(&self) {
        self.handles().ejections.increment(1);
    }

    /// Another one is asked, where there is one. `reason` is an error's kind, `status` or `lacking`.
    pub fn moved_on(&self, reason: &'static str) {
        self.handles().moves.count([reason]);
    }

    /// It died in the middle of a body. `reason` is an error's kind, `outcome` is `resumed` or `lost`.
    pub fn resumed(&self, reason: &'static str, outcome: &'static str) {
        self.handles().resumes.count([reason, outcome]);
    }

    /// It was probed.
    pub fn probed(&self, good: bool) {
        self.handles().probes.count([if good { "good" } else { "bad" }]);
    }

    fn handles(&self) -> &Handles {
        self.handles.get_or_init(|| {
            let labels: [&str; 2] = [&self.registry, &self.server];
            Handles {
                requests: catalogue::UPSTREAM_REQUESTS.counter(&labels),
                latency: catalogue::UPSTREAM_LATENCY.histogram(&labels),
                errors: Counters::of(&catalogue::UPSTREAM_ERRORS, &labels),
                ejections: catalogue::UPSTREAM_EJECTIONS.counter(&labels),
                moves: Counters::of(&catalogue::UPSTREAM_MOVES, &labels),
                resumes: Counters::of(&catalogue::UPSTREAM_RESUMES, &labels),
                probes: Counters::of(&catalogue::UPSTREAM_PROBES, &labels),
            }
        })
    }
}
