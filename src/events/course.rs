//! What follows an attempt: whether it was the last one of its events, and how long the next one waits.

use std::time::Duration;

use http::StatusCode;

use super::client::{Answer, CallError};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The longest that an endpoint is waited for because it says so.
const MOST_PATIENCE: Duration = Duration::from_secs(5 * 60);
/// After so many attempts at an event that the endpoint will not have, it gets the next one: about a minute.
const MOST_REFUSALS: u32 = 8;

/// The attempts at one event, or at several that go together.
#[derive(Debug, Default)]
pub(super) struct Course {
    attempts: u32,
    refusals: u32,
}

/// What an attempt came to.
#[derive(Debug)]
pub(super) enum Outcome {
    Delivered,
    /// The endpoint answered, and does not have the event.
    Refused(Answer),
    Failed(CallError),
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Pause(Duration),
    /// One of these events, or that there are several, is what it will not have.
    Part,
    /// This event will never be taken, and must not keep all others.
    GiveUp,
}

impl Outcome {
    /// As docker-registry has it, a redirect is as good as a success: it is not followed, since that would carry events to
    /// where nobody configured them to go.
    pub(super) fn of(result: Result<Answer, CallError>) -> Self {
        match result {
            Ok(answer) if answer.status.is_success() || answer.status.is_redirection() => Self::Delivered,
            Ok(answer) => Self::Refused(answer),
            Err(error) => Self::Failed(error),
        }
    }

    /// A fixed word for metrics.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Refused(_) => "refused",
            Self::Failed(_) => "failed",
        }
    }

    /// What is wrong, in words for an operator.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Delivered => String::new(),
            Self::Refused(answer) => format!("it answered {}{}", answer.status, advice(answer.status)),
            Self::Failed(error) => error.to_string(),
        }
    }
}

impl Course {
    /// Attempts that did not deliver.
    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// After one at so many events that did not. `chance` is from 0 to 1: those who wait for the same endpoint must not come back at once.
    pub(super) fn after(&mut self, outcome: &Outcome, events: usize, chance: f64) -> Next {
        self.attempts = self.attempts.saturating_add(1);
        let mut asked = None;
        if let Outcome::Refused(answer) = outcome {
            asked = answer.retry_after;
            if events > 1 && is_about_the_event(answer.status) {
                return Next::Part;
            }
            self.refusals = if is_about_the_event(answer.status) { self.refusals.saturating_add(1) } else { 0 };
            if self.refusals >= MOST_REFUSALS {
                return Next::GiveUp;
            }
        }
        let doubled = FIRST_PAUSE.saturating_mul(1_u32.checked_shl(self.attempts - 1).unwrap_or(u32::MAX));
        let pause = doubled.min(LONGEST_PAUSE).mul_f64(chance.clamp(0.0, 1.0).mul_add(0.5, 0.5));
        Next::Pause(asked.map_or(pause, |asked| asked.min(MOST_PATIENCE).max(pause)))
    }
}

/// Where the same endpoint may well take the next event. Everything else is about the endpoint or its configuration: a
/// person has to mend that, and finds the events waiting.
fn is_about_the_event(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY)
}

fn advice(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            ": see authorization_file and hmac_key_file of the endpoint"
        }
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::GONE => ": see url of the endpoint",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ": see media_type of the endpoint",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, retry_after: Option<u64>) -> Outcome {
        let retry_after = retry_after.map(Duration::from_secs);
        Outcome::of(Ok(Answer { status: StatusCode::from_u16(status).unwrap(), retry_after }))
    }

    fn pauses(outcome: &Outcome, chance: f64, count: usize) -> Vec<u128> {
        let mut course = Course::default();
        let pause = |next| match next {
            Next::Pause(pause) => pause.as_millis(),
            Next::GiveUp | Next::Part => 0,
        };
        (0..count).map(|_| pause(course.after(outcome, 1, chance))).collect()
    }

    #[test]
    fn pauses_double_up_to_a_bound() {
        let down = refused(503, None);
        assert_eq!(pauses(&down, 1.0, 9), [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
        assert_eq!(pauses(&down, 0.0, 8), [250, 500, 1000, 2000, 4000, 8000, 15000, 15000]);
        assert_eq!(pauses(&down, 1.0, 100)[99], 30000, "and no end of it");
    }

    #[test]
    fn who_asks_for_patience_gets_it_within_reason() {
        assert_eq!(pauses(&refused(429, Some(7)), 1.0, 3), [7000, 7000, 7000]);
        assert_eq!(pauses(&refused(503, Some(1)), 1.0, 4), [1000, 1000, 2000, 4000]);
        assert_eq!(pauses(&refused(503, Some(1 << 40)), 1.0, 1), [300_000]);
    }

    #[test]
    fn an_event_that_is_refused_for_itself_is_given_up_and_no_other() {
        for (status, is_given_up) in [
            (400, true),
            (413, true),
            (422, true),
            (401, false),
            (403, false),
            (404, false),
            (405, false),
            (410, false),
            (415, false),
            (429, false),
            (500, false),
            (503, false),
        ] {
            let mut course = Course::default();
            let ends = (0..MOST_REFUSALS).map(|_| course.after(&refused(status, None), 1, 1.0)).collect::<Vec<_>>();
            let (last, before) = ends.split_last().unwrap();
            assert!(before.iter().all(|next| *next != Next::GiveUp), "{status}");
            assert_eq!(*last == Next::GiveUp, is_given_up, "{status}");
            let of_several = Course::default().after(&refused(status, None), 2, 1.0);
            assert_eq!(of_several == Next::Part, is_given_up, "{status}: each by itself first");
        }
        let mut course = Course::default();
        for _ in 0..100 {
            assert_ne!(course.after(&refused(400, None), 1, 1.0), Next::GiveUp);
            course.after(&refused(503, None), 1, 1.0);
        }
    }

    #[test]
    fn success_is_2xx_and_3xx() {
        for (status, is_delivered) in [(200, true), (204, true), (302, true), (308, true), (400, false), (500, false)] {
            assert_eq!(matches!(refused(status, None), Outcome::Delivered), is_delivered, "{status}");
        }
    }
}
