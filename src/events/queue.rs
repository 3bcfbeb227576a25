//! What waits for one endpoint, in order and bounded.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio::{sync::Notify, time::timeout};

use super::event::content;
use crate::telemetry::metrics::EventCounts;

/// What an event may take on average, so that the bound is one of memory too.
const USUAL_BODY: usize = 4 * 1024;
/// The most that several events take which go together; a single one may be larger. Many receivers take no more than 100 KiB.
const LARGEST_BATCH: usize = 64 * 1024;

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
    /// Events that wait, those under way too.
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
    /// They are no longer in the queue, so that nothing drops them while they are under way.
    under_way: Vec<Waiting>,
    /// So many of the next ones go one at a time.
    alone: usize,
    /// Who delivers is to be woken once so many wait; 0: it waits for none.
    awaited: usize,
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
    /// Those that are sent late: what was delivered just now, and what waits behind it.
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
        let is_awaited = state.awaited > 0 && state.has(state.awaited);
        drop(state);
        if is_awaited {
            self.changed.notify_one();
        }
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

    /// The next ones to be delivered together, at most so many, which are under way from now on; those that were, where they
    /// failed. None once nothing is to be delivered any more.
    pub(super) async fn next(&self, most: usize) -> Option<Vec<Bytes>> {
        loop {
            if let Some(next) = self.try_next(most) {
                return next;
            }
            self.changed.notified().await;
        }
    }

    fn try_next(&self, most: usize) -> Option<Option<Vec<Bytes>>> {
        let mut state = self.state();
        state.awaited = 1;
        if state.closed {
            return Some(None);
        }
        if state.held {
            return None;
        }
        if state.under_way.is_empty() {
            state.depart(most);
        }
        if state.under_way.is_empty() {
            return None;
        }
        state.awaited = 0;
        Some(Some(state.under_way.iter().map(|event| event.body.clone()).collect()))
    }

    /// Lets events come together until there are so many as may go together, at most for this time.
    pub(super) async fn gather(&self, most: usize, time: Duration) {
        let enough = async {
            while self.expects(most) {
                self.changed.notified().await;
            }
        };
        let _ = timeout(time, enough).await;
    }

    /// True where more are worth waiting for.
    fn expects(&self, most: usize) -> bool {
        let mut state = self.state();
        state.awaited = most;
        !state.closed && !state.has(most)
    }

    /// Those under way have arrived. Tells where that ends what somebody was told of.
    pub(super) fn delivered(&self) -> Option<Recovery> {
        let mut state = self.state();
        let late = state.queued();
        let events = state.arrive();
        state.delivered = state.delivered.saturating_add(events.len() as u64);
        let failing = state.failing.take().filter(|failing| failing.told);
        let dropped = state.dropped;
        self.count(&state);
        drop(state);
        self.metrics.delivered(events.iter().map(|event| event.at));
        failing.map(|failing| Recovery {
            since: failing.since,
            late,
            dropped: dropped.saturating_sub(failing.dropped_before),
        })
    }

    /// Those under way did not arrive. `attempts` counts those of them: a single one that fails is nobody's news.
    pub(super) fn failed(&self, error: &str, attempts: u32) -> Option<News> {
        let mut state = self.state();
        let waiting = state.queued();
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
        for _ in state.arrive() {
            self.drop_one(&mut state);
        }
        self.count(&state);
    }

    /// Those under way go one at a time: the endpoint will not have all of them.
    pub(super) fn part(&self) {
        let mut state = self.state();
        let events = std::mem::take(&mut state.under_way);
        state.alone = events.len();
        for event in events.into_iter().rev() {
            state.bytes = state.bytes.saturating_add(event.body.len());
            state.waiting.push_front(event);
        }
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
        let first = if under_way { std::mem::take(&mut state.under_way) } else { Vec::new() };
        (state.bytes, state.alone) = (0, 0);
        let left = first.into_iter().chain(std::mem::take(&mut state.waiting)).collect();
        self.count(&state);
        left
    }

    /// True where nothing waits.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.state();
        state.queued() == 0
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
            state.alone = state.alone.saturating_sub(1);
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
        self.waiting.len().saturating_add(self.under_way.len())
    }

    /// True where so many wait, or as much as goes together.
    fn has(&self, count: usize) -> bool {
        self.waiting.len() >= count || self.bytes >= LARGEST_BATCH
    }

    /// The next ones go, in their order, as far as they go together.
    fn depart(&mut self, most: usize) {
        let most = if self.alone > 0 { 1 } else { most };
        let mut size = 0_usize;
        while let Some(next) = self.waiting.front().filter(|_| self.under_way.len() < most) {
            size = size.saturating_add(next.body.len());
            let joins = size <= LARGEST_BATCH && content(&next.body).is_some();
            let is_first = self.under_way.is_empty();
            if !is_first && !joins {
                break;
            }
            let Some(next) = self.waiting.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(next.body.len());
            self.under_way.push(next);
            if !joins {
                break;
            }
        }
    }

    /// Those under way are dealt with.
    fn arrive(&mut self) -> Vec<Waiting> {
        let events = std::mem::take(&mut self.under_way);
        self.alone = self.alone.saturating_sub(events.len());
        events
    }
}

/// What several queues hold, by the names of their endpoints.
pub(super) type Kept = Vec<(String, Vec<Waiting>)>;

/// What a queue is shared by.
pub(super) type SharedQueue = Arc<Queue>;

#[cfg(test)]
mod tests;
