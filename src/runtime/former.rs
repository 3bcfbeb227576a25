//! The end of a snapshot.

use std::{sync::Arc, time::Duration};

/// How often it is looked whether somebody still holds a snapshot, at first and later on.
const LOOKS: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

/// Holds what is not in force any more until nobody else does: taking ten thousand grants apart takes its time, and must not
/// take that of the requests beside the last one which needed them. To be called within a tokio runtime.
pub fn outlive<T: Send + Sync + 'static>(before: Arc<T>) {
    tokio::spawn(async move {
        let [mut pause, longest] = LOOKS;
        // Nobody can get at it any more but those who have it.
        while Arc::strong_count(&before) > 1 {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
        let _ = tokio::task::spawn_blocking(move || drop(before)).await;
    });
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc::{Sender, channel},
        thread::{self, ThreadId},
    };

    use super::*;

    /// Tells who takes it apart.
    struct Heavy(Sender<ThreadId>);

    impl Drop for Heavy {
        fn drop(&mut self) {
            self.0.send(thread::current().id()).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_needs_it_last_does_not_take_it_apart() {
        let (tell, told) = channel();
        let heavy = Arc::new(Heavy(tell));
        outlive(Arc::clone(&heavy));
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(told.try_recv().is_err(), "somebody has it");
        drop(heavy);
        assert!(told.try_recv().is_err());
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_ne!(told.recv_timeout(Duration::from_secs(10)).unwrap(), thread::current().id());
    }
}
