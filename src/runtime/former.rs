//! The end of a snapshot.

use std::{sync::Arc, time::Duration};

use super::Runtime;

/// How often it is looked whether requests still hold a snapshot, at first and later on.
const LOOKS: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

/// Holds a snapshot that is not in force any more until nobody else does: taking ten thousand grants apart takes its time,
/// and must not take that of whoever ends the last request under it. To be called within a tokio runtime.
pub fn outlive(before: Arc<Runtime>) {
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
