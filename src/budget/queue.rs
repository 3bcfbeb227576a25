//! Who holds places of one kind, and who waits for them: clients in turn, and of each client first come, first served.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
};

use tokio::sync::Notify;

use crate::telemetry::metrics;

#[derive(Debug, Default)]
pub(super) struct Queue {
    /// All that wait.
    pub(super) waiting: AtomicUsize,
    /// How many have begun to wait so far.
    begun: AtomicU64,
    /// Those of `waiting` that take what becomes free, one of each client: the others wait behind it, or until their
    /// client may have more.
    in_line: AtomicUsize,
    /// Held by the first in line.
    turn: tokio::sync::Mutex<()>,
    /// Wakes the first in line.
    freed: Notify,
    /// Wakes those whose client has had its part. They are few, since few clients can hold so much.
    eased: Notify,
    lanes: Mutex<HashMap<IpAddr, Weak<Lane>>>,
}

/// What one client holds and waits for. It vanishes with the last that refers to it.
#[derive(Debug)]
pub(super) struct Lane {
    queue: Arc<Queue>,
    client: IpAddr,
    /// In bytes.
    held: AtomicU64,
    waiting: AtomicUsize,
    /// Held by the first that waits.
    turn: tokio::sync::Mutex<()>,
}

impl Queue {
    /// The lane of the client at this address.
    pub(super) fn lane(self: &Arc<Self>, address: IpAddr) -> Arc<Lane> {
        let client = client(address);
        let mut lanes = self.lanes();
        let known = lanes.entry(client).or_default();
        known.upgrade().unwrap_or_else(|| {
            let lane = Arc::new(Lane {
                queue: Arc::clone(self),
                client,
                held: AtomicU64::default(),
                waiting: AtomicUsize::default(),
                turn: tokio::sync::Mutex::default(),
            });
            *known = Arc::downgrade(&lane);
            lane
        })
    }

    /// To be called after something was freed. Whoever waits looks after it has begun to: one of both sees the other.
    pub(super) fn wake(&self) {
        if self.in_line.load(SeqCst) > 0 {
            self.freed.notify_one();
        }
        if self.waiting.load(SeqCst) > 0 {
            self.eased.notify_waiters();
        }
    }

    pub(super) fn begun(&self) -> u64 {
        self.begun.load(SeqCst)
    }

    pub(super) fn lanes(&self) -> MutexGuard<'_, HashMap<IpAddr, Weak<Lane>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane {
    pub(super) fn held(&self) -> u64 {
        self.held.load(SeqCst)
    }

    pub(super) fn hold(&self, bytes: u64) {
        self.held.fetch_add(bytes, SeqCst);
    }

    pub(super) fn give_back(&self, bytes: u64) {
        self.held.fetch_sub(bytes, SeqCst);
    }

    /// True where a place may be taken without overtaking anybody.
    pub(super) fn is_clear(&self) -> bool {
        self.waiting.load(SeqCst) == 0 && self.queue.in_line.load(SeqCst) == 0
    }

    /// Waits until `take` gives something. It is asked in turn, and while `is_over` others go first. Cancel safe.
    pub(super) async fn turn<T>(&self, is_over: impl Fn() -> bool, take: impl Fn() -> Option<T>) -> T {
        let _first = self.turn.lock().await;
        loop {
            self.eased(&is_over).await;
            if let Some(taken) = self.in_line(&is_over, &take).await {
                return taken;
            }
        }
    }

    async fn eased(&self, is_over: impl Fn() -> bool) {
        loop {
            let mut eased = pin!(self.queue.eased.notified());
            // What is freed from here on is told.
            eased.as_mut().enable();
            if !is_over() {
                return;
            }
            eased.await;
        }
    }

    /// None where it stopped being the client's turn.
    async fn in_line<T>(&self, is_over: impl Fn() -> bool, take: impl Fn() -> Option<T>) -> Option<T> {
        let _in_line = InLine::join(&self.queue);
        let _turn = self.queue.turn.lock().await;
        loop {
            let mut freed = pin!(self.queue.freed.notified());
            freed.as_mut().enable();
            if is_over() {
                return None;
            }
            if let Some(taken) = take() {
                return Some(taken);
            }
            freed.await;
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let mut lanes = self.queue.lanes();
        // The client may have come back meanwhile.
        if lanes.get(&self.client).is_some_and(|lane| lane.strong_count() == 0) {
            lanes.remove(&self.client);
        }
    }
}

struct InLine<'a>(&'a Queue);

impl<'a> InLine<'a> {
    fn join(queue: &'a Queue) -> Self {
        queue.in_line.fetch_add(1, SeqCst);
        Self(queue)
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.in_line.fetch_sub(1, SeqCst);
    }
}

/// One that waits, until it is dropped.
pub(super) struct Waiting<'a> {
    lane: &'a Lane,
    pub(super) outcome: &'static str,
}

impl<'a> Waiting<'a> {
    pub(super) fn join(lane: &'a Lane) -> Self {
        lane.waiting.fetch_add(1, SeqCst);
        lane.queue.waiting.fetch_add(1, SeqCst);
        lane.queue.begun.fetch_add(1, SeqCst);
        metrics::buffer_wait_begins();
        Self { lane, outcome: "left" }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.lane.waiting.fetch_sub(1, SeqCst);
        self.lane.queue.waiting.fetch_sub(1, SeqCst);
        metrics::buffer_wait_ends(self.outcome);
    }
}

/// An IPv6 host commands a whole /64, so that is what counts as one client.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}
