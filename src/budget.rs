//! Memory for bodies: `limits.buffers`, one budget for the whole process.
//!
//! Before a body goes through, a [`Place`] is taken for the most that the process may hold of it at a time, and given
//! back once its last byte is gone. As the budget fills, a place is smaller and so are the frames that a body moves in,
//! which costs CPU time instead of memory; when it is full, further bodies wait for their turn, and not for ever.
//!
//! Blobs leave a part of the budget alone. It is for what is small, so that manifests never wait behind blobs.
//!
//! While more than half of the budget is used, a client that holds more than a quarter of it gets nothing further: it
//! waits while others are served. What is small is counted apart, so that a client's manifests do not wait behind its own
//! blobs.

mod queue;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::time::timeout;

use self::queue::{Lane, Queue, Waiting};
use crate::telemetry::metrics;

/// The largest frame; above it the kernel's share of the work no longer falls.
pub const LARGEST_FRAME: usize = 256 * 1024;
/// The smallest frame, and what a connection's own buffers may hold while no body is under way on it.
pub const SMALLEST_FRAME: usize = 64 * 1024;
/// The frames that blobs may use, and up to which fill of the budget, in quarters.
const FRAMES: [(usize, u64); 3] = [(LARGEST_FRAME, 1), (128 * 1024, 2), (SMALLEST_FRAME, 4)];
/// One part in so many is for what is small.
const RESERVE: u64 = 8;
/// One client may hold one part in so many of the total once more than one part in [`FREE`] is used. A client that goes on
/// at the same moment on several threads may come to hold a few places more.
const PART: u64 = 4;
const FREE: u64 = 2;
/// How long a body waits for a place: a client that waits longer for the head of an answer may take the gate for dead.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most that one connection's window gets at a time.
const LARGEST_WINDOW: u64 = 2 << 20;
/// Below this a window is no better than what the protocol gives each connection anyway (RFC 9113 §6.9.2).
const LEAST_WINDOW: u64 = 128 * 1024;
/// A window is at most this part of what is left for windows, so that many connections still get one.
const SHARE: u64 = 16;

/// How much memory bodies may take, and how much they have taken. All sizes are in bytes.
#[derive(Debug)]
pub struct Budget {
    total: AtomicU64,
    used: AtomicU64,
    /// What of `used` is windows.
    windows: AtomicU64,
    blobs: Arc<Queue>,
    small: Arc<Queue>,
}

/// No place became free in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("limits.buffers is used up")]
pub struct Full;

/// What is taken of the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// `limits.buffers`, in bytes.
    pub total: u64,
    pub used: u64,
    /// Bodies that wait for a place now.
    pub waiting: usize,
    /// Bodies that have had to wait so far.
    pub waits: u64,
}

/// A body that wants to go through.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    pub direction: Direction,
    /// A blob's place comes out of what the reserve leaves.
    pub blob: bool,
    /// As it was announced.
    pub length: Option<u64>,
    /// A frame is kept back until the next has come.
    pub verified: bool,
    /// The largest frame, where the client's connection has no room for those that the budget allows.
    pub largest: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the client.
    Answer,
    /// From the client.
    Upload,
}

impl Demand {
    /// The most that the process holds of the body at a time when it moves in frames of this size.
    fn bytes(&self, frame: usize) -> u64 {
        /// What a transfer costs besides its body: tasks, heads, what lies between TLS and HTTP.
        const BESIDES: u64 = 48 * 1024;
        /// What the client's connection hands over at a time.
        const PIECES: u64 = 128 * 1024;
        let frame = size(frame);
        let body = self.length.map_or(frame, |length| length.min(frame));
        let held = match self.direction {
            // A frame, another as TLS records, and what was read of the next; over HTTP/2 two frames of which parts wait
            // for the client's window.
            Direction::Answer if self.verified => body * 7 / 2,
            Direction::Answer => body * 5 / 2,
            // A frame that is gathered, one on its way, and what was read of the next.
            Direction::Upload => body * 3,
        };
        match (self.blob, self.direction) {
            (false, _) => held,
            (true, Direction::Answer) => held + BESIDES,
            (true, Direction::Upload) => held + BESIDES + PIECES,
        }
    }
}

impl Budget {
    /// `total` is `limits.buffers`.
    pub fn new(total: u64) -> Self {
        metrics::buffer_limit(total);
        Self {
            total: AtomicU64::new(total),
            used: AtomicU64::default(),
            windows: AtomicU64::default(),
            blobs: Arc::default(),
            small: Arc::default(),
        }
    }

    /// Changes the total. Where more is in use than that, nothing is given until it is less.
    pub fn resize(&self, total: u64) {
        metrics::buffer_limit(total);
        self.total.store(total, SeqCst);
        self.wake();
    }

    /// Takes a place for the client at this address, at once where there is one and nobody waits for one of its kind,
    /// else when its turn comes: clients take turns, and one that has had its part lets the others go first. Cancel safe.
    ///
    /// # Errors
    /// [`Full`] where that takes more than five seconds.
    pub async fn place(self: &Arc<Self>, client: IpAddr, demand: Demand) -> Result<Place, Full> {
        let queue = if demand.blob { &self.blobs } else { &self.small };
        let lane = queue.lane(client);
        if lane.is_clear()
            && !self.is_over(&lane)
            && let Some(place) = self.try_place(&lane, demand)
        {
            return Ok(place);
        }
        let mut waiting = Waiting::join(&lane);
        let turn = lane.turn(|| self.is_over(&lane), || self.try_place(&lane, demand));
        let turn = timeout(PATIENCE, turn).await;
        waiting.outcome = if turn.is_ok() { "served" } else { "refused" };
        turn.map_err(|_| Full)
    }

    /// How many bodies have had to wait for a place so far.
    pub fn waits(&self) -> u64 {
        self.blobs.begun().wrapping_add(self.small.begun())
    }

    /// How it stands.
    pub fn state(&self) -> State {
        State {
            total: self.total.load(SeqCst),
            used: self.used.load(SeqCst),
            waiting: self.blobs.waiting.load(SeqCst) + self.small.waiting.load(SeqCst),
            waits: self.waits(),
        }
    }

    /// True where the client has had its part.
    fn is_over(&self, lane: &Lane) -> bool {
        let total = self.total.load(SeqCst);
        self.used.load(SeqCst) > total / FREE && lane.held() > total / PART
    }

    /// A place with the largest frames that the fill of the budget allows.
    fn try_place(self: &Arc<Self>, lane: &Arc<Lane>, demand: Demand) -> Option<Place> {
        let total = self.total.load(SeqCst);
        if !demand.blob {
            let frame = SMALLEST_FRAME.min(demand.largest);
            let taken = self.try_take(lane, demand.bytes(frame), total)?;
            return Some(Place::new(taken, frame));
        }
        let ceiling = for_blobs(total);
        FRAMES.iter().find_map(|(frame, quarters)| {
            let frame = demand.largest.min(*frame);
            let taken = self.try_take(lane, demand.bytes(frame), ceiling / 4 * quarters)?;
            Some(Place::new(taken, frame))
        })
    }

    /// A part of an HTTP/2 connection's window for its uploads: from 128 KiB to 2 MiB, no more than is wanted and than a
    /// sixteenth of what is left for windows. All windows together get at most half of the budget. It counts for the client
    /// like what its blobs hold. None where that is too little or the client has had its part; it is never waited for.
    pub fn window(self: &Arc<Self>, client: IpAddr, wanted: u64) -> Option<Window> {
        let lane = self.blobs.lane(client);
        if self.is_over(&lane) {
            return None;
        }
        let total = self.total.load(SeqCst);
        let free = for_blobs(total).saturating_sub(self.used.load(SeqCst));
        let part = |windows: u64| {
            let left = (total / 2).saturating_sub(windows).min(free);
            Some((left / SHARE).min(LARGEST_WINDOW).min(wanted)).filter(|part| *part >= LEAST_WINDOW)
        };
        let before = self.windows.fetch_update(SeqCst, SeqCst, |windows| Some(windows + part(windows)?)).ok()?;
        let bytes = part(before)?;
        let taken = self.try_take(&lane, bytes, for_blobs(total));
        if taken.is_none() {
            self.windows.fetch_sub(bytes, SeqCst);
        }
        taken.map(Window)
    }

    fn try_take(self: &Arc<Self>, lane: &Arc<Lane>, bytes: u64, ceiling: u64) -> Option<Taken> {
        let with = |used: u64| used.checked_add(bytes).filter(|used| *used <= ceiling);
        self.used.fetch_update(SeqCst, SeqCst, with).ok()?;
        lane.hold(bytes);
        metrics::buffers_taken(bytes);
        Some(Taken { budget: Arc::clone(self), lane: Arc::clone(lane), bytes })
    }

    fn wake(&self) {
        for queue in [&self.small, &self.blobs] {
            queue.wake();
        }
    }
}

/// What blobs and windows may use of the total.
fn for_blobs(total: u64) -> u64 {
    total - total / RESERVE
}

fn size(frame: usize) -> u64 {
    u64::try_from(frame).unwrap_or(u64::MAX)
}

/// A part of the budget, until it is dropped.
#[derive(Debug)]
struct Taken {
    budget: Arc<Budget>,
    lane: Arc<Lane>,
    bytes: u64,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.lane.give_back(self.bytes);
        self.budget.used.fetch_sub(self.bytes, SeqCst);
        metrics::buffers_given_back(self.bytes);
        self.budget.wake();
    }
}

/// Memory for one body. It is given back when the place and every frame that was [kept](Self::keep) in it are gone.
#[derive(Debug)]
pub struct Place {
    taken: Arc<Taken>,
    frame: usize,
}

impl Place {
    fn new(taken: Taken, frame: usize) -> Self {
        Self { taken: Arc::new(taken), frame }
    }

    /// The frame size that the body may move in: 256, 128 or 64 KiB, or the demand's largest.
    pub fn frame(&self) -> usize {
        self.frame
    }

    /// The same bytes, which hold the place, and what is given besides, for as long as any part of them lives: for what
    /// may wait on its way after the transfer itself is over.
    pub fn keep<T: Send + 'static>(&self, frame: Bytes, besides: T) -> Bytes {
        Bytes::from_owner(Kept { frame, _taken: Arc::clone(&self.taken), _besides: besides })
    }
}

struct Kept<T> {
    frame: Bytes,
    _taken: Arc<Taken>,
    _besides: T,
}

impl<T> AsRef<[u8]> for Kept<T> {
    fn as_ref(&self) -> &[u8] {
        &self.frame
    }
}

/// Memory for what a client may send unread over one HTTP/2 connection, or a part of it.
#[derive(Debug)]
pub struct Window(Taken);

impl Window {
    pub fn size(&self) -> u64 {
        self.0.bytes
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.0.budget.windows.fetch_sub(self.0.bytes, SeqCst);
    }
}

#[cfg(test)]
mod tests;
