//! How long a server took to answer of late.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// One answer counts for this part of the mean, so that the last two dozen make it.
const PART: u64 = 8;
/// What is older says nothing of now.
const RECENT: Duration = Duration::from_secs(300);

/// A mean in which later answers count for more. Answers that come at the same time may miss each other.
#[derive(Debug, Default)]
pub(super) struct Latency {
    /// Nanoseconds; 0 where nothing was measured.
    mean: AtomicU64,
    /// By [`clock`].
    at: AtomicU64,
}

impl Latency {
    /// Counts another answer.
    pub(super) fn note(&self, took: Duration, now: Instant) {
        let now = clock(now);
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1);
        let is_old = now.saturating_sub(self.at.swap(now, Ordering::Relaxed)) > millis(RECENT);
        let mean = self.mean.load(Ordering::Relaxed);
        let mean = if mean == 0 || is_old { took } else { mean - mean / PART + took / PART };
        self.mean.store(mean, Ordering::Relaxed);
    }

    /// The mean; None where nothing was answered for five minutes.
    pub(super) fn mean(&self) -> Option<Duration> {
        let mean = self.mean.load(Ordering::Relaxed);
        let age = clock(Instant::now()).saturating_sub(self.at.load(Ordering::Relaxed));
        (mean != 0 && age <= millis(RECENT)).then(|| Duration::from_nanos(mean))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds of this process.
fn clock(now: Instant) -> u64 {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    millis(now.saturating_duration_since(*BEGIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_answers_count_for_more() {
        let latency = Latency::default();
        let note = |took| latency.note(took, Instant::now());
        assert_eq!(latency.mean(), None);
        note(Duration::from_millis(8));
        assert_eq!(latency.mean(), Some(Duration::from_millis(8)));
        note(Duration::from_millis(16));
        assert_eq!(latency.mean(), Some(Duration::from_millis(9)));
        (0..50).for_each(|_| note(Duration::from_millis(100)));
        assert!(latency.mean().unwrap() > Duration::from_millis(99));
        note(Duration::ZERO);
        assert!(latency.mean().is_some());
    }
}
