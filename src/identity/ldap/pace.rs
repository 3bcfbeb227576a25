//! How long a wrong password takes, so that an unknown name takes no less: of that there is nothing to bind as.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// An average over the last few refusals, in microseconds.
#[derive(Debug, Default)]
pub(super) struct Pace(AtomicU64);

impl Pace {
    /// Takes a refusal of a password into account.
    pub(super) fn observe(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        // Of two at the same time one may be lost, which matters to nobody.
        let before = self.0.load(Ordering::Relaxed);
        let average = if before == 0 { took } else { before - before / 4 + took / 4 };
        self.0.store(average, Ordering::Relaxed);
    }

    /// Waits until what began then has taken as long.
    pub(super) async fn keep(&self, begun: Instant) {
        sleep_until(begun + Duration::from_micros(self.0.load(Ordering::Relaxed))).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_quick_takes_as_long_as_what_is_not() {
        let pace = Pace::default();
        let begun = Instant::now();
        pace.keep(begun).await;
        assert_eq!(begun.elapsed(), Duration::ZERO, "nothing is known yet");
        pace.observe(Duration::from_millis(400));
        tokio::time::advance(Duration::from_millis(100)).await;
        pace.keep(begun).await;
        let took = begun.elapsed();
        assert!((400..=401).contains(&took.as_millis()), "{took:?}");
        (0..30).for_each(|_| pace.observe(Duration::from_millis(20)));
        let begun = Instant::now();
        pace.keep(begun).await;
        assert!((20..=22).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
        pace.observe(Duration::MAX);
    }
}
