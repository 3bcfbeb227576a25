//! What waits for one endpoint, in order and bounded.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::telemetry::metrics::EventCounts;

/// What an event may take on average, so that the bound is one of memory too.
const USUAL_BODY: usize = 4 * 1024;

/// An event that is not delivered yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    /// When it happened, in nanoseconds since 1970.
    pub(super) at: i128,
    pub(super) body: Bytes,
}

/// How an endpoint stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its name.
    pub endpoint: String,
    /// Events that wait, the one under way too.
    pub queued: usize,
    /// The most that may wait.
    pub limit: usize,
    /// Since the start.
    pub delivered: u64,
    /// Since the start: there was no room, or the endpoint would not have them.
    pub dropped: u64,
    /// None: the last attempt succeeded, or there was none.
    pub failing_since: Option<SystemTime>,
    /// Why the last attempt failed, in words for an operator.
    pub error: Option<String>,
}

/// The queue of one endpoint; the same through reloads.
pub(super) struct Queue {
    name: String,
    state: Mutex<State>,
    /// Something is to be done, or is to be done otherwise.
    changed: Notify,
    metrics: EventCounts,
}

#[derive(Default)]
struct State {
    limit: usize,
    waiting: VecDeque<Waiting>,
    /// Of those that wait.
    bytes: usize,
    /// It is no longer in the queue, so that nothing drops it while it is under way.
    under_way: Option<Waiting>,
    delivered: u64,
    dropped: u64,
    failing: Option<Failing>,
    /// Nothing is taken until that is over.
    held: bool,
    closed: bool,
}

struct Failing {
    since: SystemTime,
    error: String,
    told: bool,
    /// When it began.
    dropped_before: u64,
}

/// What somebody should hear of a failure.
pub(super) struct News {
    pub(super) waiting: usize,
}

/// What somebody should hear of the end of failures.
pub(super) struct Recovery {
    pub(super) since: SystemTime,
    /// Those that are sent late: the one that was delivered just now, and what waits behind it.
    pub(super) late: usize,
    pub(super) dropped: u64,
}

impl Queue {
    pub(super) fn new(name: &str, limit: usize, held: bool) -> Self {
        let metrics = EventCounts::of(name);
        metrics.limit(limit);
        let state = State { limit, held, ..State::default() };
        Self { name: name.to_owned(), state: Mutex::new(state), changed: Notify::new(), metrics }
    }

    pub(super) fn metrics(&self) -> &EventCounts {
        &self.metrics
    }

    /// Where there is no room, the oldest go: what is true by now is in the newest. None is kept once this is closed.
    pub(super) fn push(&self, event: Waiting) {
        let mut state = self.state();
        if state.closed {
            return;
        }
        state.bytes = state.bytes.saturating_add(event.body.len());
        state.waiting.push_back(event);
        self.trim(&mut state);
        drop(state);
        self.changed.notify_one();
    }

    /// Events of another process, or of an earlier one, each at its time.
    pub(super) fn adopt(&self, events: Vec<Waiting>) {
        let mut state = self.state();
        state.bytes = events.iter().fold(state.bytes, |bytes, event| bytes.saturating_add(event.body.len()));
        state.waiting.extend(events);
        state.waiting.make_contiguous().sort_by_key(|event| event.at);
        self.trim(&mut state);
        drop(state);
        self.changed.notify_one();
    }

    /// The next one to be delivered, which is under way from now on; the one that was, where it failed. None once nothing
    /// is to be delivered any more.
    pub(super) async fn next(&self) -> Option<Waiting> {
        loop {
            if let Some(next) = self.try_next() {
                return next;
            }
            self.changed.notified().await;
        }
    }

    fn try_next(&self) -> Option<Option<Waiting>> {
        let mut state = self.state();
        if state.closed {
            return Some(None);
        }
        if state.held {
            return None;
        }
        if state.under_way.is_none() {
            let next = state.waiting.pop_front()?;
            state.bytes = state.bytes.saturating_sub(next.body.len());
            state.under_way = Some(next);
        }
        Some(state.under_way.clone())
    }

    /// The one under way has arrived. Tells where that ends what somebody was told of.
    pub(super) fn delivered(&self) -> Option<Recovery> {
        let mut state = self.state();
        let event = state.under_way.take();
        state.delivered = state.delivered.saturating_add(1);
        let late = state.waiting.len().saturating_add(1);
        let failing = state.failing.take().filter(|failing| failing.told);
        let dropped = state.dropped;
        self.count(&state);
        drop(state);
        event.iter().for_each(|event| self.metrics.delivered(event.at));
        failing.map(|failing| Recovery {
            since: failing.since,
            late,
            dropped: dropped.saturating_sub(failing.dropped_before),
        })
    }

    /// The one under way did not arrive. `attempts` counts those of it: a single one that fails is nobody's news.
    pub(super) fn failed(&self, error: &str, attempts: u32) -> Option<News> {
        let mut state = self.state();
        let waiting = state.waiting.len().saturating_add(1);
        let dropped_before = state.dropped;
        let failing = state.failing.get_or_insert_with(|| Failing {
            since: SystemTime::now(),
            error: String::new(),
            told: false,
            dropped_before,
        });
        error.clone_into(&mut failing.error);
        let is_news = attempts > 1 && !failing.told;
        failing.told |= is_news;
        is_news.then_some(News { waiting })
    }

    /// The one under way is given up: the endpoint will never have it.
    pub(super) fn refused(&self) {
        let mut state = self.state();
        if state.under_way.take().is_some() {
            self.drop_one(&mut state);
        }
        self.count(&state);
    }

    pub(super) fn set_limit(&self, limit: usize) {
        let mut state = self.state();
        state.limit = limit;
        self.metrics.limit(limit);
        self.trim(&mut state);
    }

    /// From now on, or until it is called again, nothing is taken from here for delivery.
    pub(super) fn hold(&self, held: bool) {
        self.state().held = held;
        self.changed.notify_one();
    }

    /// All that is not delivered, and none is kept from now on.
    pub(super) fn close(&self) -> Vec<Waiting> {
        self.state().closed = true;
        let left = self.take(true);
        self.changed.notify_one();
        left
    }

    /// Takes what waits; also what is under way where nobody delivers it any more.
    pub(super) fn take(&self, under_way: bool) -> Vec<Waiting> {
        let mut state = self.state();
        let first = if under_way { state.under_way.take() } else { None };
        state.bytes = 0;
        let left = first.into_iter().chain(std::mem::take(&mut state.waiting)).collect();
        self.count(&state);
        left
    }

    /// True where nothing waits.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.state();
        state.under_way.is_none() && state.waiting.is_empty()
    }

    pub(super) fn is_held(&self) -> bool {
        self.state().held
    }

    pub(super) fn is_failing(&self) -> bool {
        self.state().failing.is_some()
    }

    pub(super) fn report(&self) -> Report {
        let state = self.state();
        Report {
            endpoint: self.name.clone(),
            queued: state.queued(),
            limit: state.limit,
            delivered: state.delivered,
            dropped: state.dropped,
            failing_since: state.failing.as_ref().map(|failing| failing.since),
            error: state.failing.as_ref().map(|failing| failing.error.clone()),
        }
    }

    fn trim(&self, state: &mut State) {
        let most = state.limit.saturating_mul(USUAL_BODY);
        while state.waiting.len() > state.limit || state.bytes > most && state.waiting.len() > 1 {
            let Some(oldest) = state.waiting.pop_front() else { break };
            state.bytes = state.bytes.saturating_sub(oldest.body.len());
            self.drop_one(state);
        }
        self.count(state);
    }

    fn drop_one(&self, state: &mut State) {
        state.dropped = state.dropped.saturating_add(1);
        self.metrics.dropped();
    }

    fn count(&self, state: &State) {
        self.metrics.queued(state.queued());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn queued(&self) -> usize {
        self.waiting.len().saturating_add(usize::from(self.under_way.is_some()))
    }
}

/// What several queues hold, by the names of their endpoints.
pub(super) type Kept = Vec<(String, Vec<Waiting>)>;

/// What a queue is shared by.
pub(super) type SharedQueue = Arc<Queue>;

#[cfg(test)]
mod tests;
