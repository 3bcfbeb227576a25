//! Counting what is still under way.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time};

/// Counts connections, so that a stop can wait for them; clones share the count.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    active: Arc<watch::Sender<usize>>,
}

/// One connection under way, until it is dropped.
#[derive(Debug)]
pub struct DrainGuard {
    active: Arc<watch::Sender<usize>>,
}

impl Drain {
    /// Counts one more until the guard is dropped.
    #[must_use = "the count falls again when the guard is dropped"]
    pub fn enter(&self) -> DrainGuard {
        self.active.send_modify(|active| *active += 1);
        DrainGuard { active: Arc::clone(&self.active) }
    }

    /// How many guards live.
    pub fn active(&self) -> usize {
        *self.active.borrow()
    }

    /// Waits until nothing is active or the deadline passed; returns how many were still active
    /// then.
    pub async fn wait(&self, deadline: Duration) -> usize {
        let mut active = self.active.subscribe();
        let idle = async { active.wait_for(|active| *active == 0).await.is_ok() };
        match time::timeout(deadline, idle).await {
            Ok(_) => 0,
            Err(_) => self.active(),
        }
    }
}

impl Drop for DrainGuard {
    fn drop(&mut self) {
        self.active.send_modify(|active| *active = active.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_for_the_last_guard() {
        let drain = Drain::default();
        assert_eq!(drain.wait(Duration::ZERO).await, 0);
        let (first, second) = (drain.enter(), drain.clone().enter());
        assert_eq!(drain.active(), 2);
        drop(first);
        let waiting = tokio::spawn({
            let drain = drain.clone();
            async move { drain.wait(Duration::from_secs(60)).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(second);
        assert_eq!(waiting.await.unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn says_what_the_deadline_cut() {
        let drain = Drain::default();
        let _guards = (drain.enter(), drain.enter());
        assert_eq!(drain.wait(Duration::from_secs(30)).await, 2);
    }
}
