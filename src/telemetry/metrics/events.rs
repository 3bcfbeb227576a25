//! What is counted of the endpoints that are told of events.

use std::time::{SystemTime, UNIX_EPOCH};

use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

const QUEUED: &str = "portcullis_events_queued";
const LIMIT: &str = "portcullis_events_queue_limit";
const SENT: &str = "portcullis_events_sent_total";
const DROPPED: &str = "portcullis_events_dropped_total";
pub(super) const DELIVERY: &str = "portcullis_events_delivery_seconds";
pub(super) const DELIVERY_BUCKETS: &[f64] = &[0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0, 300.0, 1800.0, 7200.0];

const OUTCOMES: [&str; 3] = ["delivered", "refused", "failed"];

pub(super) fn describe() {
    describe_gauge!(QUEUED, "Events that wait for an endpoint; NaN once it is out of the configuration.");
    describe_gauge!(LIMIT, "The most that may wait for an endpoint; NaN once it is out of the configuration.");
    describe_counter!(
        SENT,
        "Attempts to deliver an event, by endpoint and outcome: delivered, refused (its answer was neither 2xx nor 3xx), failed (there was none)."
    );
    describe_counter!(
        DROPPED,
        "Events that an endpoint never got: there was no room for them, or it would not have them."
    );
    describe_histogram!(
        DELIVERY,
        metrics::Unit::Seconds,
        "Time from an event to its delivery, waiting and repeated attempts included."
    );
}

/// The series of one endpoint, all of which exist from now on.
pub struct EventMetrics {
    queued: Gauge,
    limit: Gauge,
    dropped: Counter,
    sent: [(&'static str, Counter); 3],
    delivery: Histogram,
}

impl EventMetrics {
    /// By the endpoint's configured name.
    pub fn of(endpoint: &str) -> Self {
        let label = || endpoint.to_owned();
        let sent = OUTCOMES.map(|outcome| (outcome, counter!(SENT, "endpoint" => label(), "outcome" => outcome)));
        sent.iter().for_each(|(_, counter)| counter.increment(0));
        let dropped = counter!(DROPPED, "endpoint" => label());
        dropped.increment(0);
        let queued = gauge!(QUEUED, "endpoint" => label());
        queued.set(0.0);
        let delivery = histogram!(DELIVERY, "endpoint" => label());
        Self { queued, limit: gauge!(LIMIT, "endpoint" => label()), dropped, sent, delivery }
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
        self.sent.iter().filter(|(word, _)| *word == outcome).for_each(|(_, counter)| counter.increment(1));
    }

    /// `at` is when the event happened, in nanoseconds since 1970.
    #[allow(clippy::cast_precision_loss)]
    pub fn delivered(&self, at: i128) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let took = i128::try_from(now).unwrap_or(i128::MAX).saturating_sub(at).max(0);
        self.delivery.record(took as f64 / 1e9);
    }
}

/// The endpoint is no longer in the configuration.
pub fn event_endpoint_gone(endpoint: &str) {
    for name in [QUEUED, LIMIT] {
        gauge!(name, "endpoint" => endpoint.to_owned()).set(f64::NAN);
    }
}
