//! Counting what is still under way.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time,
};

/// How long requests that are cut may take to be written into the log.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Counts connections and requests, so that a stop can wait for them, and ends what lasts too long; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    connections: Arc<Count>,
    requests: Arc<Count>,
    cut: Arc<watch::Sender<bool>>,
}

/// How much is under way. To count takes no lock: every request does it.
#[derive(Debug, Default)]
struct Count {
    active: AtomicUsize,
    /// There was a moment without any.
    none: Notify,
}

/// One connection or request under way, until it is dropped.
#[derive(Debug)]
pub struct DrainGuard {
    count: Arc<Count>,
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
        self.connections.active()
    }

    /// How many requests are under way.
    pub fn requests(&self) -> usize {
        self.requests.active()
    }

    /// Waits until the last connection is gone.
    pub async fn wait(&self) {
        self.connections.none_left().await;
    }

    /// Ends the requests under way; returns how many there were. What there is to say of them is said by then.
    pub async fn cut(&self) -> usize {
        let requests = self.requests();
        self.cut.send_replace(true);
        let _ = time::timeout(LAST_LINES, self.requests.none_left()).await;
        requests
    }

    /// Ends when requests are to end that have not.
    pub async fn is_cut(&self) {
        // The value behind the watch must not be held over an await.
        let _ = async { self.cut.subscribe().wait_for(|cut| *cut).await.map(drop) }.await;
    }
}

impl Count {
    fn active(&self) -> usize {
        self.active.load(Ordering::SeqCst)
    }

    async fn none_left(&self) {
        loop {
            let none = self.none.notified();
            // From here on no notice is missed.
            if self.active() == 0 {
                return;
            }
            none.await;
        }
    }
}

impl DrainGuard {
    fn of(count: &Arc<Count>) -> Self {
        count.active.fetch_add(1, Ordering::SeqCst);
        Self { count: Arc::clone(count) }
    }
}

impl Drop for DrainGuard {
    fn drop(&mut self) {
        if self.count.active.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.count.none.notify_waiters();
        }
    }
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
