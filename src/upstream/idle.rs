//! Connections that wait for their next exchange.

use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use tokio::time::Instant;

use super::client::Wire;

/// Kept for one server, or one origin of object storage.
const CONNECTIONS: usize = 256;
/// An idle connection older than this is not used again: the other side or a middlebox may be about to close it.
const AGE: Duration = Duration::from_secs(30);

/// Idle connections to one place. Bounded; a surplus one is closed.
pub(super) struct Idle(ArrayQueue<Wire>);

impl Default for Idle {
    fn default() -> Self {
        Self(ArrayQueue::new(CONNECTIONS))
    }
}

impl Idle {
    /// One that is still good now.
    pub(super) fn take(&self, now: Instant) -> Option<Wire> {
        while let Some(mut wire) = self.0.pop() {
            if now.saturating_duration_since(wire.idle_since) < AGE && wire.is_usable() {
                return Some(wire);
            }
        }
        None
    }

    /// Keeps a usable connection for the next exchange.
    pub(super) fn keep(&self, mut wire: Wire) {
        wire.idle_since = Instant::now();
        // A full queue gives the connection back, and dropping it closes it.
        drop(self.0.push(wire));
    }
}
