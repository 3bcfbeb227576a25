//! Counting what is still under way.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time};

/// How long requests that are cut may take to be written into the log.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Counts connections and requests, so that a stop can wait for them, and ends what lasts too long; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    connections: Arc<watch::Sender<usize>>,
    requests: Arc<watch::Sender<usize>>,
    cut: Arc<watch::Sender<bool>>,
}

/// One connection or request under way, until it is dropped.
#[derive(Debug)]
pub struct DrainGuard {
    active: Arc<watch::Sender<usize>>,
}

impl Drain {
    /// Counts one more connection until the guard is dropped.
    #[must_use = "the count falls again when the guard is dropped"]
    pub fn enter(&self) -> DrainGuard {
        DrainGuard::of(&self.connections)
    }

    /// Counts one more request until the guard is dropped.
    #[must_use = "the count falls again when the guard is dropped"]
    pub fn request(&self) -> DrainGuard {
        DrainGuard::of(&self.requests)
    }

    /// How many connections there are.
    pub fn active(&self) -> usize {
        *self.connections.borrow()
    }

    /// How many requests are under way.
    pub fn requests(&self) -> usize {
        *self.requests.borrow()
    }

    /// Waits until the last connection is gone.
    pub async fn wait(&self) {
        none_left(&self.connections).await;
    }

    /// Ends the requests under way; returns how many there were. What there is to say of them is said by then.
    pub async fn cut(&self) -> usize {
        let requests = self.requests();
        self.cut.send_replace(true);
        let _ = time::timeout(LAST_LINES, none_left(&self.requests)).await;
        requests
    }

    /// Ends when requests are to end that have not.
    pub async fn is_cut(&self) {
        // The value behind the watch must not be held over an await.
        let _ = async { self.cut.subscribe().wait_for(|cut| *cut).await.map(drop) }.await;
    }
}

impl DrainGuard {
    fn of(active: &Arc<watch::Sender<usize>>) -> Self {
        active.send_modify(|active| *active += 1);
        Self { active: Arc::clone(active) }
    }
}

impl Drop for DrainGuard {
    fn drop(&mut self) {
        self.active.send_modify(|active| *active = active.saturating_sub(1));
    }
}

async fn none_left(active: &watch::Sender<usize>) {
    let mut active = active.subscribe();
    let _ = async { active.wait_for(|active| *active == 0).await.map(drop) }.await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_for_the_last_guard() {
        let drain = Drain::default();
        drain.wait().await;
        let (first, second) = (drain.enter(), drain.clone().enter());
        assert_eq!(drain.active(), 2);
        drop(first);
        let waiting = tokio::spawn({
            let drain = drain.clone();
            async move { drain.wait().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(second);
        waiting.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_lasts_too_long_is_told_and_waited_for_a_moment() {
        let drain = Drain::default();
        assert_eq!(drain.cut().await, 0);
        let drain = Drain::default();
        let _connection = drain.enter();
        let polite = tokio::spawn({
            let (drain, request) = (drain.clone(), drain.request());
            async move {
                drain.is_cut().await;
                drop(request);
            }
        });
        tokio::task::yield_now().await;
        assert!(!polite.is_finished());
        assert_eq!(drain.cut().await, 1);
        polite.await.unwrap();
        let _deaf = drain.request();
        assert_eq!(drain.cut().await, 1, "it is not waited for in vain");
    }
}
