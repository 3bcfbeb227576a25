//! HTTP/2 flow-control windows out of one budget: what clients may send unread is memory of ours.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

/// All windows together, beyond the least that the protocol gives each connection.
const BUDGET: u32 = 256 * 1024 * 1024;
/// With the protocol's 64 KiB uploads are slow over any distance, and dear; more than this gains nothing.
const LARGEST: u32 = 8 * 1024 * 1024;
/// The initial window of RFC 9113 §6.9.2, below which a connection's cannot be set.
const LEAST: u32 = 65_535;
/// A connection gets at most this part of what is left, so that many still get something.
const SHARE: u32 = 16;

/// What is left of the budget.
#[derive(Debug)]
pub(super) struct Windows(AtomicU32);

impl Default for Windows {
    fn default() -> Self {
        Self(AtomicU32::new(BUDGET))
    }
}

impl Windows {
    /// A connection's part, until the grant is dropped.
    pub(super) fn grant(self: &Arc<Self>) -> Grant {
        let part = |left: u32| Some(left / SHARE).map(|part| part.min(LARGEST)).filter(|part| *part > LEAST);
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| part(left).map(|part| left - part))
            .ok()
            .and_then(part);
        match taken {
            Some(bytes) => Grant { bytes, from: Some(Arc::clone(self)) },
            None => Grant::default(),
        }
    }
}

/// One connection's windows, in bytes.
#[derive(Debug)]
pub(super) struct Grant {
    bytes: u32,
    from: Option<Arc<Windows>>,
}

impl Default for Grant {
    /// The least that a connection can have.
    fn default() -> Self {
        Self { bytes: LEAST, from: None }
    }
}

impl Grant {
    pub(super) fn connection(&self) -> u32 {
        self.bytes
    }

    /// Half, so that one stream that is not read does not stop the others.
    pub(super) fn stream(&self) -> u32 {
        (self.bytes / 2).max(LEAST)
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if let Some(windows) = &self.from {
            windows.0.fetch_add(self.bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_holds_for_any_number_of_connections() {
        let windows = Arc::new(Windows::default());
        let grants: Vec<Grant> = (0..10_000).map(|_| windows.grant()).collect();
        assert_eq!(grants[0].connection(), LARGEST);
        assert_eq!(grants[0].stream(), LARGEST / 2);
        assert_eq!(grants[9_999].connection(), LEAST);
        assert_eq!(grants[9_999].stream(), LEAST);
        let granted: u64 = grants.iter().filter(|grant| grant.from.is_some()).map(|grant| u64::from(grant.bytes)).sum();
        assert!(granted <= u64::from(BUDGET), "{granted}");
        drop(grants);
        assert_eq!(windows.0.load(Ordering::Relaxed), BUDGET);
    }
}
