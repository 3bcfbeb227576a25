//! Asking again, where every server failed.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// The first pause before the servers are asked again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Rounds over all servers without success.
pub(super) struct Rounds {
    begun: Instant,
    limit: Duration,
    pause: Duration,
}

impl Rounds {
    /// Rounds for as long as `limit`, which begins now.
    pub(super) fn new(limit: Duration) -> Self {
        Self { begun: Instant::now(), limit, pause: FIRST_PAUSE }
    }

    /// Waits before the next round, a little longer each time; false once the time is over.
    pub(super) async fn pause(&mut self) -> bool {
        if self.begun.elapsed() + self.pause > self.limit {
            return false;
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        true
    }
}
