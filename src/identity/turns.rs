//! Whose turn it is where many logins wait to be verified: a queue for each network, served one after the other, and those
//! of a site of IPv6 together as one of IPv4.
//!
//! However many logins one network sends, those of another wait for one of them at most, for each thread. The wait is
//! bounded, and so is their number: where no more may wait, the latest of who has the most of them gives way.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit, oneshot},
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
    sites: Ring<Ring<Queue>>,
}

type Queue = VecDeque<oneshot::Sender<Turn>>;

/// Lines of those who wait, served one after the other.
struct Ring<L> {
    lines: HashMap<Network, L>,
    /// The lines that are there, the next one first.
    order: VecDeque<Network>,
}

/// The right to work, until it is dropped.
pub(super) struct Turn(Option<Arc<Turns>>);

impl Turns {
    pub(super) fn new(at_a_time: usize) -> Self {
        Self::with(at_a_time, QUEUE, PATIENCE)
    }

    fn with(at_a_time: usize, queue: usize, patience: Duration) -> Self {
        let waiting = Waiting { free: at_a_time, sites: Ring::default() };
        Self { places: Semaphore::new(queue), patience, waiting: Mutex::new(waiting) }
    }

    /// Waits for a turn, after those of this network who came earlier.
    pub(super) async fn take(self: &Arc<Self>, network: Network) -> Result<Turn, Overload> {
        let _place = self.place(network).await?;
        let _waits = metrics::verification_waits();
        let begun = Instant::now();
        let called = self.line_up(network);
        self.call();
        let turn = time::timeout(self.patience, called).await.map_err(|_| Overload::TooLate)?;
        metrics::verification_waited(begun.elapsed());
        turn.map_err(|_| Overload::Full)
    }

    /// One that is free, or that of another who has more than its share and leaves it at once.
    async fn place(&self, network: Network) -> Result<SemaphorePermit<'_>, Overload> {
        if let Ok(place) = self.places.try_acquire() {
            return Ok(place);
        }
        let displaced = self.lock().displaced_by(network).ok_or(Overload::Full)?;
        drop(displaced);
        self.places.acquire().await.map_err(|_| Overload::Full)
    }

    fn line_up(&self, network: Network) -> oneshot::Receiver<Turn> {
        let (sender, receiver) = oneshot::channel();
        self.lock().sites.line(site(network)).line(network).push_back(sender);
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
            let next = self.sites.next()?;
            if !next.is_closed() {
                self.free -= 1;
                return Some(next);
            }
        }
        None
    }

    /// Who came last of the site and the network that wait most, where that is more than this one would.
    fn displaced_by(&mut self, network: Network) -> Option<oneshot::Sender<Turn>> {
        let own = self.sites.lines.get(&site(network));
        let (of_site, of_network) =
            (own.map_or(0, Line::length), own.and_then(|own| own.lines.get(&network)).map_or(0, Line::length));
        if let Some(longest) = self.sites.longest(of_site + 1) {
            return longest.longest(0)?.pop_back();
        }
        self.sites.lines.get_mut(&site(network))?.longest(of_network + 1)?.pop_back()
    }
}

fn site(network: Network) -> Network {
    network.site().unwrap_or(network)
}

/// Those who wait behind one another.
trait Line: Default {
    fn next(&mut self) -> Option<oneshot::Sender<Turn>>;
    fn length(&self) -> usize;
}

impl Line for Queue {
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        self.pop_front()
    }

    fn length(&self) -> usize {
        self.len()
    }
}

impl<L: Line> Line for Ring<L> {
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        loop {
            let network = self.order.pop_front()?;
            let Some(line) = self.lines.get_mut(&network) else { continue };
            let next = line.next();
            if line.length() == 0 {
                self.lines.remove(&network);
            } else {
                self.order.push_back(network);
            }
            if next.is_some() {
                return next;
            }
        }
    }

    fn length(&self) -> usize {
        self.lines.values().map(Line::length).sum()
    }
}

impl<L: Line> Ring<L> {
    /// This network's, which is the last one where it is new.
    fn line(&mut self, network: Network) -> &mut L {
        self.lines.entry(network).or_insert_with(|| {
            self.order.push_back(network);
            L::default()
        })
    }

    /// The longest one, where it is longer than that.
    fn longest(&mut self, than: usize) -> Option<&mut L> {
        self.lines.values_mut().max_by_key(|line| line.length()).filter(|line| line.length() > than)
    }
}

impl<L> Default for Ring<L> {
    fn default() -> Self {
        Self { lines: HashMap::new(), order: VecDeque::new() }
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
