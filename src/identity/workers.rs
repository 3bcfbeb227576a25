//! The threads that bcrypt may use, and the queue before them.

use std::{num::NonZero, sync::Arc, thread, time::Duration};

use tokio::{sync::Semaphore, task, time};

/// How many may wait for a thread.
const QUEUE: usize = 1024;
/// How long one may wait: a client that is older has given up, and its place is worth more to another.
const PATIENCE: Duration = Duration::from_secs(60);

/// Work of tenths of seconds of pure computing, kept off the event loop and off one of the cores, so that logins
/// never starve the transfers.
pub(super) struct Workers {
    threads: Arc<Semaphore>,
    /// One place for each that works or waits.
    places: Semaphore,
    patience: Duration,
}

/// Why the work was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Overload {
    #[error("too many logins wait to be verified")]
    Full,
    #[error("no thread became free in time to verify the login")]
    TooLate,
    #[error("the verification of the login was cut off")]
    CutOff,
}

impl Workers {
    pub(super) fn new() -> Self {
        Self::with(Self::threads(), QUEUE, PATIENCE)
    }

    /// All cores but one, and at least one thread.
    pub(super) fn threads() -> usize {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        cores.saturating_sub(1).max(1)
    }

    pub(super) fn with(threads: usize, queue: usize, patience: Duration) -> Self {
        Self { threads: Arc::new(Semaphore::new(threads)), places: Semaphore::new(threads + queue), patience }
    }

    /// Does the work on a thread of its own, after those who came earlier. Work that has begun is finished, and
    /// holds its thread, also where nobody waits for the result any more.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Overload> {
        let _place = self.places.try_acquire().map_err(|_| Overload::Full)?;
        let thread = time::timeout(self.patience, Arc::clone(&self.threads).acquire_owned())
            .await
            .map_err(|_| Overload::TooLate)?
            .map_err(|_| Overload::CutOff)?;
        task::spawn_blocking(move || {
            let _thread = thread;
            work()
        })
        .await
        .map_err(|_| Overload::CutOff)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Workers with one thread that is busy until the sender is dropped.
    async fn busy(queue: usize, patience: Duration) -> (Arc<Workers>, mpsc::Sender<()>) {
        let workers = Arc::new(Workers::with(1, queue, patience));
        let (release, held) = mpsc::channel::<()>();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let here = Arc::clone(&workers);
        tokio::spawn(async move {
            here.run(move || {
                let _ = begun.send(());
                let _ = held.recv();
            })
            .await
        });
        has_begun.await.expect("the work begins");
        (workers, release)
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_left_places_are_free_again() {
        let (workers, release) = busy(2, PATIENCE).await;
        let wait = |workers: &Arc<Workers>| {
            let workers = Arc::clone(workers);
            tokio::spawn(async move { workers.run(|| 7).await })
        };
        let (first, second) = (wait(&workers), wait(&workers));
        task::yield_now().await;
        assert_eq!(workers.run(|| 7).await, Err(Overload::Full));

        first.abort();
        assert!(first.await.expect_err("aborted").is_cancelled());
        let third = wait(&workers);
        task::yield_now().await;
        drop(release);
        assert_eq!(second.await.expect("runs"), Ok(7));
        assert_eq!(third.await.expect("runs"), Ok(7));
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let (workers, _release) = busy(2, Duration::from_millis(5)).await;
        assert_eq!(workers.run(|| 7).await, Err(Overload::TooLate));
    }

    #[tokio::test]
    async fn abandoned_work_still_holds_its_thread() {
        let workers = Arc::new(Workers::with(1, 4, Duration::from_millis(20)));
        let (release, held) = mpsc::channel::<()>();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let here = Arc::clone(&workers);
        let abandoned = tokio::spawn(async move {
            here.run(move || {
                let _ = begun.send(());
                let _ = held.recv();
            })
            .await
        });
        has_begun.await.expect("the work begins");
        abandoned.abort();
        assert!(abandoned.await.expect_err("aborted").is_cancelled());
        assert_eq!(workers.run(|| 7).await, Err(Overload::TooLate));
        drop(release);
        time::timeout(Duration::from_secs(10), async { while workers.run(|| 7).await.is_err() {} })
            .await
            .expect("the thread is given back");
    }
}
