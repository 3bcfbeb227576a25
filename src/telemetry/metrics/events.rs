//! What is counted of an endpoint that is told of events.

use std::time::{SystemTime, UNIX_EPOCH};

use metrics::{Counter, Gauge, Histogram};

use super::{catalogue, family::Counters};

/// The series of one endpoint, all of which exist from now on.
pub struct EventCounts {
    queued: Gauge,
    limit: Gauge,
    dropped: Counter,
    sent: Counters,
    delivery: Histogram,
}

impl EventCounts {
    /// By the endpoint's configured name.
    pub fn of(endpoint: &str) -> Self {
        let queued = catalogue::EVENTS_QUEUED.gauge(&[endpoint]);
        queued.set(0.0);
        Self {
            queued,
            limit: catalogue::EVENTS_LIMIT.gauge(&[endpoint]),
            dropped: catalogue::EVENTS_DROPPED.counter(&[endpoint]),
            sent: Counters::of(&catalogue::EVENTS_SENT, &[endpoint]),
            delivery: catalogue::EVENTS_DELIVERY.histogram(&[endpoint]),
        }
    }

    #[allow(clippy::cast_precision_loss)] // counts fit a double's mantissa
    pub fn queued(&self, count: usize) {
        self.queued.set(count as f64);
    }

    #[allow(clippy::cast_precision_loss)]
    pub fn limit(&self, count: usize) {
        self.limit.set(count as f64);
    }

    pub fn dropped(&self) {
        self.dropped.increment(1);
    }

    /// `outcome` is `delivered`, `refused` or `failed`.
    pub fn attempted(&self, outcome: &'static str) {
        self.sent.count([outcome]);
    }

    /// When the events happened, in nanoseconds since 1970.
    #[allow(clippy::cast_precision_loss)]
    pub fn delivered(&self, happened: impl Iterator<Item = i128>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let now = i128::try_from(now).unwrap_or(i128::MAX);
        happened.for_each(|at| self.delivery.record(now.saturating_sub(at).max(0) as f64 / 1e9));
    }
}

/// The endpoint is no longer in the configuration.
pub fn event_endpoint_gone(endpoint: &str) {
    for metric in [&catalogue::EVENTS_QUEUED, &catalogue::EVENTS_LIMIT] {
        metric.gauge(&[endpoint]).set(f64::NAN);
    }
}
