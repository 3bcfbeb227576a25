//! What a connection's stream and its server tell each other.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Shared by a [`super::ClientStream`] and whoever serves it.
#[derive(Debug, Default)]
pub struct Activity {
    heard: AtomicU64,
    taken: AtomicU64,
    /// Milliseconds.
    lingers: AtomicU64,
}

impl Activity {
    /// Bytes the client has said so far, inside TLS.
    pub fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    pub(super) fn hear(&self, count: usize) {
        self.heard.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Grows whenever the socket takes something: the client reads.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    pub(super) fn take(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
    }

    /// Has the stream read and drop what the client still sends when it is closed, for at most so long. A connection
    /// that is closed on unread bytes is reset, and the reset overtakes the answer.
    pub fn linger(&self, time: Duration) {
        self.lingers.store(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn lingers(&self) -> Option<Duration> {
        Some(Duration::from_millis(self.lingers.load(Ordering::Relaxed))).filter(|time| !time.is_zero())
    }
}
