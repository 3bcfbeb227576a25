//! Asking again, where every server failed.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Error, RedirectError};

/// The first pause before the servers are asked again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Rounds over all servers without success.
pub(super) struct Rounds {
    begun: Instant,
    limit: Duration,
    pause: Duration,
    broken: bool,
}

impl Rounds {
    /// Rounds for as long as `limit`, which begins now.
    pub(super) fn new(limit: Duration) -> Self {
        Self { begun: Instant::now(), limit, pause: FIRST_PAUSE, broken: false }
    }

    /// True where a short wait may help: servers that are being restarted. A request at which they break off may be the
    /// cause of it, and gets one more round only.
    pub(super) fn may_help(&mut self, error: &Error) -> bool {
        match error {
            Error::Connect(_) => true,
            Error::Broken(_) => !std::mem::replace(&mut self.broken, true),
            Error::Redirect(RedirectError::Unreachable { .. }) => true,
            // The registry is asked again, and signs anew.
            Error::Redirect(RedirectError::Answered { .. } | RedirectError::Failed { .. }) => {
                !std::mem::replace(&mut self.broken, true)
            }
            Error::Redirect(_) => false,
            Error::Unusable(_) | Error::Refused(_) | Error::Unsigned(_) | Error::Silent(_) | Error::Corrupt { .. } => {
                false
            }
        }
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
