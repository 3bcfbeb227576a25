//! What clients did, counted.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

#[derive(Default)]
pub(super) struct Tally {
    done: AtomicUsize,
    bytes: AtomicU64,
    /// The longest that one took, in milliseconds.
    longest: AtomicU64,
    failures: Mutex<Vec<String>>,
}

impl Tally {
    pub(super) fn count(&self, who: &str, took: Duration, outcome: Result<u64, String>) {
        match outcome {
            Ok(bytes) => {
                self.done.fetch_add(1, Ordering::SeqCst);
                self.bytes.fetch_add(bytes, Ordering::SeqCst);
                self.longest.fetch_max(u64::try_from(took.as_millis()).unwrap(), Ordering::SeqCst);
            }
            Err(reason) => {
                let failure = format!("{who} after {took:.1?}: {reason}");
                eprintln!("failed: {failure}");
                self.failures.lock().unwrap_or_else(PoisonError::into_inner).push(failure);
            }
        }
    }

    pub(super) fn done(&self) -> usize {
        self.done.load(Ordering::SeqCst)
    }

    pub(super) fn mebibytes(&self) -> u64 {
        self.bytes.load(Ordering::SeqCst) >> 20
    }

    pub(super) fn longest(&self) -> Duration {
        Duration::from_millis(self.longest.load(Ordering::SeqCst))
    }

    pub(super) fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
