//! How long a wrong password takes, so that an unknown name takes no less: of that there is nothing to bind as.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

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

    /// What is left of that time after so much of it.
    pub(super) fn rest(&self, took: Duration) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed)).saturating_sub(took)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_average_of_the_last_few() {
        let milliseconds = Duration::from_millis;
        let pace = Pace::default();
        assert_eq!(pace.rest(Duration::ZERO), Duration::ZERO, "nothing is known yet");
        pace.observe(milliseconds(400));
        assert_eq!([0, 100, 400, 500].map(|took| pace.rest(milliseconds(took)).as_millis()), [400, 300, 0, 0]);
        (0..30).for_each(|_| pace.observe(milliseconds(20)));
        assert!((20..=21).contains(&pace.rest(Duration::ZERO).as_millis()));
    }
}
