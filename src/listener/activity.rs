//! What a connection's stream and its server tell each other.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::budget::SMALLEST_FRAME;

/// Shared by a [`super::ClientStream`] and whoever serves it.
#[derive(Debug)]
pub struct Activity {
    heard: AtomicU64,
    taken: AtomicU64,
    /// Milliseconds.
    lingers: AtomicU64,
    transfers: AtomicUsize,
    frame: AtomicUsize,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            heard: AtomicU64::default(),
            taken: AtomicU64::default(),
            lingers: AtomicU64::default(),
            transfers: AtomicUsize::default(),
            frame: AtomicUsize::new(SMALLEST_FRAME),
        }
    }
}

/// A body that moves over a connection, until it is dropped.
#[derive(Debug)]
pub struct Transfer(Arc<Activity>);

impl Transfer {
    /// Lets the connection's own buffers hold a frame of this size, each way, while the transfer lives, and no less than an
    /// idle connection's. Of several transfers the smallest frame counts, since each has a place for its own.
    pub fn moves_in(&self, frame: usize) {
        let (activity, frame) = (&self.0, frame.max(SMALLEST_FRAME));
        // A transfer that ends or begins between these steps may leave the buffers smaller or larger than they need be.
        if activity.transfers.load(Ordering::Relaxed) == 1 {
            activity.frame.store(frame, Ordering::Relaxed);
        } else {
            activity.frame.fetch_min(frame, Ordering::Relaxed);
        }
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        if self.0.transfers.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.frame.store(SMALLEST_FRAME, Ordering::Relaxed);
        }
    }
}

impl Activity {
    /// Bytes the client has said so far, inside TLS.
    pub fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    pub(super) fn hear(&self, count: usize) {
        self.heard.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Bytes the socket has taken so far, TLS included: it takes more as the client reads.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    pub(crate) fn take(&self, count: usize) {
        self.taken.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Has the stream read and drop what the client still sends when it is closed, for at most so long. A connection
    /// that is closed on unread bytes is reset, and the reset overtakes the answer.
    pub fn linger(&self, time: Duration) {
        self.lingers.store(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn lingers(&self) -> Option<Duration> {
        Some(Duration::from_millis(self.lingers.load(Ordering::Relaxed))).filter(|time| !time.is_zero())
    }

    /// A body that is to move over the connection: it counts from now on. Tells how many others there are already.
    pub fn transfer(self: &Arc<Self>) -> (Transfer, usize) {
        let others = self.transfers.fetch_add(1, Ordering::Relaxed);
        (Transfer(Arc::clone(self)), others)
    }

    /// What the connection's own buffers may hold each way, in bytes of bodies.
    pub(super) fn frame(&self) -> usize {
        self.frame.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
impl Activity {
    /// A body that moves in frames of this size.
    pub(crate) fn moving(self: &Arc<Self>, frame: usize) -> Transfer {
        let (transfer, _) = self.transfer();
        transfer.moves_in(frame);
        transfer
    }
}
