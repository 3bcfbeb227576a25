//! How long a directory takes to refuse somebody.
//!
//! An unknown name takes it a search, a wrong password a bind besides, and some make that a slow one on purpose. So a
//! refusal takes as long as the longest of late, whatever it was for. What shows how long binds take is binds alone,
//! right passwords too: however many unknown names are tried, and however long nobody logs in, none is forgotten for that.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// After so many binds the ones before them are forgotten, at the latest after twice as many.
const BINDS: u32 = 100;

#[derive(Default)]
pub(super) struct Pace(Mutex<Longest>);

#[derive(Default)]
struct Longest {
    now: Duration,
    /// Of the binds before those that count for `now`.
    before: Duration,
    binds: u32,
}

impl Pace {
    /// A login was answered, after a bind or without one.
    pub(super) fn note(&self, took: Duration, bound: bool) {
        let mut longest = self.lock();
        longest.now = longest.now.max(took);
        if bound {
            longest.binds += 1;
        }
        if longest.binds >= BINDS {
            *longest = Longest { before: longest.now, ..Longest::default() };
        }
    }

    pub(super) fn longest(&self) -> Duration {
        let longest = self.lock();
        longest.now.max(longest.before)
    }

    fn lock(&self) -> MutexGuard<'_, Longest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEARCH: Duration = Duration::from_millis(20);
    const BIND: Duration = Duration::from_millis(250);

    #[test]
    fn no_number_of_unknown_names_hides_what_a_bind_takes() {
        let pace = Pace::default();
        assert_eq!(pace.longest(), Duration::ZERO);
        pace.note(BIND, true);
        (0..10 * BINDS).for_each(|_| pace.note(SEARCH, false));
        assert_eq!(pace.longest(), BIND);
    }

    #[test]
    fn a_bind_that_took_long_once_is_forgotten() {
        let pace = Pace::default();
        pace.note(20 * BIND, true);
        (0..BINDS).for_each(|_| pace.note(BIND, true));
        assert_eq!(pace.longest(), 20 * BIND);
        (0..BINDS).for_each(|_| pace.note(BIND, true));
        assert_eq!(pace.longest(), BIND);
    }
}
