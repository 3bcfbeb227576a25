//! Whose turn it is where many logins wait to be verified: a queue for each network, served one after the other.
//!
//! However many logins one network sends, those of another wait for one of them at most, for each thread. The wait is
//! bounded, and so is their number.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, oneshot},
    time::{self, Instant},
};

use super::network::Network;
use crate::telemetry::metrics;

/// How many may wait.
const QUEUE: usize = 4096;
/// How long one may wait. A client that gives up earlier and asks again goes on where it was, or finds itself remembered.
const PATIENCE: Duration = Duration::from_secs(600);

/// Why nobody's turn came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Overload {
    #[error("too many logins wait to be verified")]
    Full,
    #[error("no thread became free in time to verify the login")]
    TooLate,
}

pub struct Turns {
    /// One place for each that waits.
    places: Semaphore,
    patience: Duration,
    waiting: Mutex<Waiting>,
}

struct Waiting {
    /// Turns that nobody has.
    free: usize,
    queues: HashMap<Network, VecDeque<oneshot::Sender<Turn>>>,
    /// The networks that have a queue, the next one first.
    order: VecDeque<Network>,
}

/// The right to work, until it is dropped.
pub(super) struct Turn(Option<Arc<Turns>>);

impl Turns {
    pub(super) fn new(at_a_time: usize) -> Self {
        Self::with(at_a_time, QUEUE, PATIENCE)
    }

    fn with(at_a_time: usize, queue: usize, patience: Duration) -> Self {
        let waiting = Waiting { free: at_a_time, queues: HashMap::new(), order: VecDeque::new() };
        Self { places: Semaphore::new(queue), patience, waiting: Mutex::new(waiting) }
    }

    /// Waits for a turn, after those of this network who came earlier.
    pub(super) async fn take(self: &Arc<Self>, network: Network) -> Result<Turn, Overload> {
        let _place = self.places.try_acquire().map_err(|_| Overload::Full)?;
        let _waits = metrics::verification_waits();
        let begun = Instant::now();
        let called = self.line_up(network);
        self.call();
        let turn = time::timeout(self.patience, called).await.map_err(|_| Overload::TooLate)?;
        metrics::verification_waited(begun.elapsed());
        // Nobody drops a sender but with the queue itself.
        turn.map_err(|_| Overload::TooLate)
    }

    fn line_up(&self, network: Network) -> oneshot::Receiver<Turn> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.lock();
        let queue = waiting.queues.entry(network).or_default();
        let first = queue.is_empty();
        queue.push_back(sender);
        if first {
            waiting.order.push_back(network);
        }
        receiver
    }

    /// Gives the turns that are free to those who wait.
    fn call(self: &Arc<Self>) {
        while let Some(next) = self.lock().next() {
            if let Err(mut refused) = next.send(Turn(Some(Arc::clone(self)))) {
                // Left meanwhile. Not dropped as it is, which would call anew, and so on.
                refused.0 = None;
                self.lock().free += 1;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Who has a turn now, where there is a free one.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        while self.free > 0 {
            let network = self.order.pop_front()?;
            let Some(queue) = self.queues.get_mut(&network) else { continue };
            let next = std::iter::from_fn(|| queue.pop_front()).find(|sender| !sender.is_closed());
            if queue.is_empty() {
                self.queues.remove(&network);
            } else {
                self.order.push_back(network);
            }
            if next.is_some() {
                self.free -= 1;
                return next;
            }
        }
        None
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.0.take() {
            turns.lock().free += 1;
            turns.call();
        }
    }
}

#[cfg(test)]
mod tests;
