//! The process that this one took over from, and the one that may take over from it.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// How long its open writes count after its end: as long as any write whose end nobody saw.
const REMEMBERED: Duration = Duration::from_secs(60);

/// What the process before this one may still have open. It drains after the upgrade and lets requests in that were on
/// their way, so it counts as a write for as long as it lives.
#[derive(Debug, Default)]
pub struct Predecessor(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    #[default]
    None,
    Draining {
        pid: u32,
    },
    Left {
        open: usize,
        at: Instant,
    },
}

impl Predecessor {
    pub fn drains(&self, pid: u32) {
        self.set(State::Draining { pid });
    }

    /// It ended and left writes open; None where it did not say how many.
    pub fn ended(&self, open: Option<usize>) {
        self.set(State::Left { open: open.unwrap_or(1), at: Instant::now() });
    }

    /// While it lives.
    pub fn pid(&self) -> Option<u32> {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Draining { pid } => Some(pid),
            State::None | State::Left { .. } => None,
        }
    }

    /// How many writes count as open at each registry.
    pub fn open_writes(&self) -> usize {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            State::None => 0,
            State::Draining { .. } => 1,
            State::Left { open, at } => {
                if at.elapsed() < REMEMBERED {
                    open
                } else {
                    0
                }
            }
        }
    }

    fn set(&self, state: State) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

/// A process that may take over from this one at any moment. It lets clients in before this one has heard of it, and reads
/// the configuration on its own, so it counts as a write too.
#[derive(Debug, Default)]
pub struct Awaited(AtomicBool);

impl Awaited {
    pub fn set(&self, awaited: bool) {
        self.0.store(awaited, Ordering::SeqCst);
    }

    /// How many writes count as open at each registry.
    pub fn open_writes(&self) -> usize {
        usize::from(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_counts_while_it_lives_and_what_it_left_for_a_minute() {
        let predecessor = Predecessor::default();
        assert_eq!((predecessor.open_writes(), predecessor.pid()), (0, None));
        predecessor.drains(7);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!((predecessor.open_writes(), predecessor.pid()), (1, Some(7)));
        for (said, counted) in [(Some(0), 0), (Some(3), 3), (None, 1)] {
            predecessor.ended(said);
            assert_eq!((predecessor.open_writes(), predecessor.pid()), (counted, None), "{said:?}");
        }
        tokio::time::advance(REMEMBERED).await;
        assert_eq!(predecessor.open_writes(), 0);
    }
}
