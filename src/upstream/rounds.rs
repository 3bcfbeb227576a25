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
    /// A redirect came to nothing before.
    again: bool,
}

impl Rounds {
    /// Rounds for as long as `limit`, which begins now.
    pub(super) fn new(limit: Duration) -> Self {
        Self { begun: Instant::now(), limit, pause: FIRST_PAUSE, again: false }
    }

    /// True where a short wait may help: servers that are being restarted. A registry whose redirect came to nothing is
    /// asked once more, since it signs anew. What broke off may have done so because of the request.
    pub(super) fn may_help(&mut self, error: &Error) -> bool {
        match error {
            Error::Connect(_) | Error::Redirect(RedirectError::Unreachable { .. }) => true,
            Error::Redirect(RedirectError::Answered { .. } | RedirectError::Failed { .. }) => {
                !std::mem::replace(&mut self.again, true)
            }
            Error::Redirect(_)
            | Error::Broken(_)
            | Error::Unusable(_)
            | Error::Refused(_)
            | Error::Unsigned(_)
            | Error::Silent(_)
            | Error::Corrupt { .. } => false,
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
