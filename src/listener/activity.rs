//! What a connection's server and its stream tell each other.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Shared by a [`super::ClientStream`] and whoever serves it.
#[derive(Debug, Default)]
pub struct Activity {
    heard: AtomicU64,
    /// Milliseconds.
    lingers: AtomicU64,
}

impl Activity {
    /// How many bytes the client has said.
    pub fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    pub(super) fn hear(&self, bytes: usize) {
        self.heard.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
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
