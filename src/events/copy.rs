//! Manifests that pass by are kept for a moment where somebody wants to know what they refer to.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::references::{Descriptor, references};

/// For all manifests that pass at a time, in KiB. Of what comes when there is no more room, events say no references.
const ROOM: usize = 32 * 1024;
const KIB: usize = 1024;

/// Memory for manifests that pass.
#[derive(Debug)]
pub(super) struct Room(Arc<Semaphore>);

/// What has passed so far.
#[derive(Debug)]
pub struct Passing {
    bytes: Vec<u8>,
    /// The most that it may hold.
    limit: usize,
    room: Arc<Semaphore>,
    /// For what it holds, and no more: many small ones pass at a time.
    taken: Option<OwnedSemaphorePermit>,
}

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ROOM)))
    }
}

impl Room {
    /// For at most so many bytes.
    pub(super) fn open(&self, limit: u64) -> Passing {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Passing { bytes: Vec::new(), limit, room: Arc::clone(&self.0), taken: None }
    }
}

impl Passing {
    /// A further piece. What grows beyond its limit, or beyond the room that there is, is forgotten.
    pub fn add(&mut self, piece: &[u8]) {
        let length = self.bytes.len().saturating_add(piece.len());
        if length <= self.limit && self.takes(length) {
            self.bytes.extend_from_slice(piece);
        } else {
            (self.limit, self.bytes, self.taken) = (0, Vec::new(), None);
        }
    }

    pub fn references(&self) -> Vec<Descriptor> {
        references(&self.bytes)
    }

    /// Room for so many bytes in all; false where there is none.
    fn takes(&mut self, length: usize) -> bool {
        let has = self.taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let Ok(more) = u32::try_from(length.div_ceil(KIB).saturating_sub(has)) else { return false };
        let Ok(more) = Arc::clone(&self.room).try_acquire_many_owned(more) else { return false };
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            None => self.taken = Some(more),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_is_bounded_and_given_back() {
        const MANIFEST: &[u8] = br#"{"layers":[{"size":1}]}"#;
        let room = Room::default();
        let of = |size: usize| {
            let mut passing = room.open(u64::MAX);
            passing.add(MANIFEST);
            (MANIFEST.len()..size).step_by(KIB).for_each(|_| passing.add(&[b' '; KIB]));
            passing
        };
        let small: Vec<_> = (0..1000).map(|_| of(0)).collect();
        assert!(small.iter().all(|passing| passing.references().len() == 1), "many small ones pass");
        let large: Vec<_> = (0..8).map(|_| of(4 << 20)).collect();
        assert_eq!(large.iter().filter(|passing| passing.references().len() == 1).count(), 7);
        drop((small, large));
        assert_eq!(of(16 << 20).references().len(), 1);
        assert_eq!(room.0.available_permits(), ROOM);
    }

    #[test]
    fn what_is_larger_than_it_may_be_is_forgotten() {
        let mut passing = Room::default().open(30);
        passing.add(br#"{"layers":["#);
        passing.add(br#"{"size":1}]}"#);
        assert_eq!(passing.references().len(), 1);
        passing.add(b"        ");
        assert!(passing.references().is_empty());
        passing.add(b"{}");
        assert!(passing.bytes.is_empty());
    }
}
