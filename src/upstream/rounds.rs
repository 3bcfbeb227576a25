//! Asking again, where every server failed.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Error;

/// The first pause before the servers are asked again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What is left for a server whose turn comes late.
const LEAST_TURN: Duration = Duration::from_secs(1);

/// Rounds over all servers without success.
pub(super) struct Rounds {
    begun: Instant,
    refused: Duration,
    mixed: Duration,
    pause: Duration,
}

/// How long one server may take for the head of its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub(super) begun: Instant,
    pub(super) limit: Duration,
    /// Somebody else could be asked instead.
    pub(super) others: bool,
}

/// What the failures of one round have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Failures {
    #[default]
    None,
    /// Nobody could be reached: they are being restarted.
    Refused,
    /// Whoever was asked broke off or answered what is no answer, which may be because of the request.
    Broken,
    /// One server, and it is silent.
    Silent,
    /// While one was waited for, another may have come back.
    Mixed,
}

impl Failures {
    /// With another server's failure.
    pub(super) fn and(self, error: &Error) -> Self {
        let this = match error {
            Error::Connect(_) => Self::Refused,
            Error::Silent(_) => Self::Silent,
            Error::Broken(_)
            | Error::Unusable(_)
            | Error::Refused(_)
            | Error::Redirect(_)
            | Error::Unsigned(_)
            | Error::Corrupt { .. } => Self::Broken,
        };
        match (self, this) {
            (Self::None, this) => this,
            (before, this) if before == this && this != Self::Silent => this,
            _ => Self::Mixed,
        }
    }
}

impl Rounds {
    /// Rounds for as long as `refused` where nobody can be reached, and as `mixed` where some fail in other ways; both
    /// begin now.
    pub(super) fn new(refused: Duration, mixed: Duration) -> Self {
        Self { begun: Instant::now(), refused, mixed, pause: FIRST_PAUSE }
    }

    /// The turn of a server behind which so many others wait for theirs: an equal part of the time that is left for all, so
    /// that several servers that are silent do not take the time of each.
    pub(super) fn turn(&self, others: usize) -> Turn {
        let begun = Instant::now();
        let left = self.mixed.max(self.refused).saturating_sub(begun.saturating_duration_since(self.begun));
        let servers = u32::try_from(others.saturating_add(1)).unwrap_or(u32::MAX);
        Turn { begun, limit: (left / servers).max(LEAST_TURN.min(self.mixed)), others: others > 0 }
    }

    /// Waits before the next round, a little longer each time; false where none may help, or the time is over.
    pub(super) async fn pause(&mut self, failures: Failures) -> bool {
        let limit = match failures {
            Failures::None | Failures::Broken | Failures::Silent => return false,
            Failures::Refused => self.refused,
            Failures::Mixed => self.mixed.max(self.refused),
        };
        if self.begun.elapsed() + self.pause > limit {
            return false;
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(errors: &[Error]) -> Failures {
        errors.iter().fold(Failures::None, |failures, error| failures.and(error))
    }

    fn refused() -> Error {
        Error::Connect("refused".to_owned())
    }

    fn silent() -> Error {
        Error::Silent(Duration::ZERO)
    }

    fn broken() -> Error {
        Error::Unusable("nothing that could be read")
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_are_silent_share_the_time() {
        let rounds = Rounds::new(Duration::from_secs(3), Duration::from_secs(60));
        assert_eq!((rounds.turn(0).limit, rounds.turn(0).others), (Duration::from_secs(60), false));
        assert_eq!((rounds.turn(2).limit, rounds.turn(2).others), (Duration::from_secs(20), true));
        sleep(Duration::from_secs(50)).await;
        assert_eq!(rounds.turn(0).limit, Duration::from_secs(10));
        sleep(Duration::from_secs(50)).await;
        assert_eq!(rounds.turn(1).limit, Duration::from_secs(1));
    }

    #[test]
    fn failures_have_something_in_common_or_not() {
        assert_eq!(of(&[]), Failures::None);
        assert_eq!(of(&[refused(), refused()]), Failures::Refused);
        assert_eq!(of(&[broken(), broken()]), Failures::Broken);
        assert_eq!(of(&[silent()]), Failures::Silent);
        for mixed in [[silent(), silent()], [refused(), silent()], [silent(), broken()], [broken(), refused()]] {
            assert_eq!(of(&mixed), Failures::Mixed, "{mixed:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rounds_go_on_for_as_long_as_they_may_help() {
        for (failures, wanted) in [
            (Failures::Refused, Duration::from_secs(3)),
            (Failures::Mixed, Duration::from_secs(60)),
            (Failures::Broken, Duration::ZERO),
            (Failures::Silent, Duration::ZERO),
        ] {
            let begun = Instant::now();
            let mut rounds = Rounds::new(Duration::from_secs(3), Duration::from_secs(60));
            while rounds.pause(failures).await {}
            let (took, least) = (begun.elapsed(), wanted.saturating_sub(LONGEST_PAUSE));
            assert!((least..=wanted).contains(&took), "{failures:?}: {took:?}");
        }
    }
}
