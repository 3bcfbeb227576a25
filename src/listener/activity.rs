//! What a connection's server and its stream tell each other.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Shared by a [`super::ClientStream`] and whoever serves it.
#[derive(Debug, Default)]
pub struct Activity {
    heard: AtomicU64,
    lingers: AtomicBool,
}

impl Activity {
    /// How often the client has said something: grows whenever bytes arrive.
    pub fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    pub(super) fn hear(&self) {
        self.heard.fetch_add(1, Ordering::Relaxed);
    }

    /// Has the stream read and drop what the client still sends when it is closed, within bounds. A connection that
    /// is closed on unread bytes is reset, and the reset overtakes the answer.
    pub fn linger(&self) {
        self.lingers.store(true, Ordering::Relaxed);
    }

    pub(super) fn lingers(&self) -> bool {
        self.lingers.load(Ordering::Relaxed)
    }
}
