//! Lines that would come as often as somebody provokes them.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// So many kinds are told apart.
const KINDS: usize = 256;

/// Lets one line of a kind through in a while, and counts the others.
#[derive(Debug)]
pub struct Sparing {
    interval: Duration,
    kinds: Mutex<HashMap<String, Since>>,
}

#[derive(Debug)]
struct Since {
    last: Instant,
    left_out: u64,
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spared {
    /// It is written, and says how many of its kind were not since the last one.
    Due {
        left_out: u64,
    },
    NotDue,
}

impl Sparing {
    /// One line of each kind in this time.
    pub fn new(interval: Duration) -> Self {
        Self { interval, kinds: Mutex::default() }
    }

    /// Whether a line of this kind is due. Kinds beyond the first 256 of late are one.
    pub fn spare(&self, kind: &str) -> Spared {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if kinds.len() >= KINDS && !kinds.contains_key(kind) {
            kinds.retain(|_, since| since.last + self.interval > now);
        }
        let kind = if kinds.len() >= KINDS && !kinds.contains_key(kind) { "" } else { kind };
        let Some(since) = kinds.get_mut(kind) else {
            kinds.insert(kind.to_owned(), Since { last: now, left_out: 0 });
            return Spared::Due { left_out: 0 };
        };
        if since.last + self.interval > now {
            since.left_out += 1;
            return Spared::NotDue;
        }
        since.last = now;
        Spared::Due { left_out: std::mem::take(&mut since.left_out) }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn one_of_a_kind_and_the_number_of_the_others() {
        let sparing = Sparing::new(SECOND);
        let due = |left_out| Spared::Due { left_out };
        assert_eq!([sparing.spare("a"), sparing.spare("a"), sparing.spare("b")], [due(0), Spared::NotDue, due(0)]);
        assert_eq!(sparing.spare("a"), Spared::NotDue);
        advance(SECOND).await;
        assert_eq!([sparing.spare("a"), sparing.spare("b"), sparing.spare("a")], [due(2), due(0), Spared::NotDue]);
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_kinds_as_somebody_makes_up_take_no_more_memory() {
        let sparing = Sparing::new(SECOND);
        let all = || (0..10 * KINDS).filter(|kind| sparing.spare(&kind.to_string()) != Spared::NotDue).count();
        assert_eq!(all(), KINDS + 1);
        assert_eq!(sparing.kinds.lock().unwrap().len(), KINDS + 1);
        advance(SECOND).await;
        assert_eq!(all(), KINDS + 1, "those of before are forgotten");
    }
}
