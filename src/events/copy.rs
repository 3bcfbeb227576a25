//! Manifests that pass by are kept for a moment where somebody wants to know what they refer to.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::references::{Descriptor, references};

/// For all manifests that pass at a time, in KiB. Where there is no more room, events say no references.
const ROOM: usize = 32 * 1024;

/// Memory for manifests that pass.
#[derive(Debug)]
pub(super) struct Room(Arc<Semaphore>);

/// What has passed so far.
#[derive(Debug)]
pub struct Passing {
    bytes: Vec<u8>,
    /// The most that it may hold.
    limit: usize,
    _room: OwnedSemaphorePermit,
}

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ROOM)))
    }
}

impl Room {
    /// For so many bytes; None where there is none.
    pub(super) fn take(&self, limit: u64) -> Option<Passing> {
        let limit = usize::try_from(limit).ok()?;
        let room = u32::try_from(limit.div_ceil(1024)).ok()?;
        let room = Arc::clone(&self.0).try_acquire_many_owned(room).ok()?;
        Some(Passing { bytes: Vec::new(), limit, _room: room })
    }
}

impl Passing {
    /// A further piece. What grows beyond its limit is forgotten.
    pub fn add(&mut self, piece: &[u8]) {
        if self.bytes.len().saturating_add(piece.len()) > self.limit {
            self.limit = 0;
            self.bytes = Vec::new();
        } else {
            self.bytes.extend_from_slice(piece);
        }
    }

    pub fn references(&self) -> Vec<Descriptor> {
        references(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_is_bounded_and_given_back() {
        let room = Room::default();
        let held: Vec<_> = (0..8).map(|_| room.take(4 << 20).unwrap()).collect();
        assert!(room.take(1).is_none());
        drop(held);
        let mut passing = room.take(30).unwrap();
        passing.add(br#"{"layers":["#);
        passing.add(br#"{"size":1}]}"#);
        assert_eq!(passing.references().len(), 1);
        passing.add(b"        ");
        assert!(passing.references().is_empty(), "it is larger than it said");
        passing.add(b"{}");
        assert!(passing.bytes.is_empty());
    }
}
