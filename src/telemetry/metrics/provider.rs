//! What is counted of one identity provider.

use std::{sync::OnceLock, time::Duration};

use metrics::Histogram;

use super::{catalogue, family::Counters};
use crate::telemetry::pulse;

/// The counters of one provider. They are shown from the first call of [`ProviderCounts::show`] on, or the first login.
pub struct ProviderCounts {
    name: Box<str>,
    handles: OnceLock<(Counters, Histogram)>,
}

impl ProviderCounts {
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), handles: OnceLock::new() }
    }

    /// Shows them all, at 0.
    pub fn show(&self) {
        self.handles();
    }

    /// What it said of a login: `accepted`, `cached`, `rejected`, `unknown`, `error` or `overload`.
    pub fn login(&self, outcome: &'static str) {
        self.handles().0.count([outcome]);
        pulse::login(&self.name, outcome);
    }

    /// It checked a password.
    pub fn checked(&self, took: Duration) {
        self.handles().1.record(took);
    }

    fn handles(&self) -> &(Counters, Histogram) {
        self.handles.get_or_init(|| {
            let labels: [&str; 1] = [&self.name];
            (Counters::of(&catalogue::AUTHENTICATIONS, &labels), catalogue::AUTHENTICATION_TIME.histogram(&labels))
        })
    }
}
