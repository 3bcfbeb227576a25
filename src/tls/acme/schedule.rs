//! When a certificate is renewed, and when a failed attempt is followed by another. Nothing here asks a clock.

use std::time::Duration;

use super::{Moment, State, Window};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Seconds from one failure in a row to the next attempt; the last one holds from then on.
const RETRIES: &[u64] = &[
    MINUTE,
    2 * MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    10 * MINUTE,
    10 * MINUTE,
    20 * MINUTE,
    20 * MINUTE,
    20 * MINUTE,
    20 * MINUTE,
    30 * MINUTE,
    30 * MINUTE,
    30 * MINUTE,
    30 * MINUTE,
    30 * MINUTE,
    30 * MINUTE,
    HOUR,
    HOUR,
    HOUR,
    2 * HOUR,
    2 * HOUR,
    3 * HOUR,
    3 * HOUR,
    6 * HOUR,
];

/// An authority may ask for more patience, but not for more than this.
const MOST_PATIENCE: Duration = Duration::from_secs(DAY);
/// Between two certificates, whatever clocks, lives and windows say; less where a quarter of the life is less.
const AT_REST: Duration = Duration::from_secs(6 * HOUR);
/// Attempts in a row that ended with their process and are followed by another at once.
const CUT_OFF: u32 = 3;
/// Certificates with a shorter life are renewed at half of it.
const SHORT_LIFE: Duration = Duration::from_secs(10 * DAY);
/// How often an authority is asked for its window: more often would bother it, less often could miss a change.
const ASKING: (Duration, Duration) = (Duration::from_secs(MINUTE), Duration::from_secs(12 * HOUR));

/// What counts of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) not_before: Moment,
    pub(super) not_after: Moment,
    /// Another one for each certificate, evenly spread, and the same for every portcullis.
    pub(super) chance: u32,
    /// As RFC 9773 §4.1 writes it; None where the certificate does not say whose key signed it.
    pub(super) id: Option<String>,
}

impl Life {
    /// When it is time for another one: in the authority's window, else when a third of the life is left, of a short one a
    /// half; and not later than when a twentieth is left.
    pub(super) fn due(&self, window: Option<&Window>) -> Moment {
        let life = self.not_after.since(self.not_before);
        let last = self.not_after.minus(life / 20);
        let suggested = window.filter(|window| self.id.as_ref() == Some(&window.certificate));
        if let Some((start, end)) = suggested.and_then(|window| window.suggested) {
            return start.plus(self.part_of(end.since(start))).min(last);
        }
        let left = if life < SHORT_LIFE { life / 2 } else { life / 3 };
        // Not all at once that were issued at once.
        self.not_after.minus(left + self.part_of(life / 50))
    }

    /// True where the authority is to be asked for its window. What lies further ahead than any answer puts it was written
    /// by a clock that was wrong.
    pub(super) fn is_to_be_asked(&self, window: Option<&Window>, now: Moment) -> bool {
        let Some(id) = &self.id else { return false };
        match window.filter(|window| window.certificate == *id) {
            Some(known) => known.ask_again <= now || known.ask_again > now.plus(ASKING.1),
            None => self.not_before <= now,
        }
    }

    fn part_of(&self, span: Duration) -> Duration {
        span.mul_f64(f64::from(self.chance) / f64::from(u32::MAX))
    }
}

/// When to ask for a window again that was answered now; `retry_after` is what the authority said.
pub(super) fn ask_again(now: Moment, retry_after: Duration) -> Moment {
    now.plus(retry_after.clamp(ASKING.0, ASKING.1))
}

impl State {
    /// An attempt begins; whatever becomes of the process, it was made. What a person asks for stays asked for until there
    /// is a certificate.
    pub(super) fn begins(&self, now: Moment, settings: &str, is_asked: bool) -> Self {
        let asked = self.asked.or_else(|| is_asked.then_some(now));
        Self { began: Some(now), asked, settings: Some(settings.to_owned()), ..self.clone() }
    }

    /// Until when no attempt is made. What lies further ahead than any failure puts it was written by a clock that was
    /// wrong.
    pub(super) fn rests_until(&self, now: Moment) -> Option<Moment> {
        self.not_before.filter(|not_before| now < *not_before && *not_before <= now.plus(MOST_PATIENCE))
    }

    /// A window that is always past, or a life that is half over when it begins, must not have one order follow another.
    pub(super) fn succeeded(&self, now: Moment, life: &Life) -> Self {
        let rest = (life.not_after.since(now) / 4).min(AT_REST);
        Self {
            not_before: Some(now.plus(rest)),
            window: self.window.clone(),
            settings: self.settings.clone(),
            ..Self::default()
        }
    }

    /// The next attempt waits for as long as the schedule says, longer where the authority asked for it. One that a person
    /// had made ahead of its time does not put off the one that has its time already.
    pub(super) fn failed(&self, failure: super::Failure, retry_after: Option<Duration>) -> Self {
        let step = usize::try_from(self.failures).unwrap_or(usize::MAX);
        let seconds = RETRIES.get(step).or(RETRIES.last()).copied().unwrap_or(HOUR);
        let patience = retry_after.unwrap_or_default().min(MOST_PATIENCE);
        let planned = self.rests_until(failure.at).filter(|_| self.failures > 0);
        let (not_before, failures) = match planned {
            Some(planned) => (planned.max(failure.at.plus(patience)), self.failures),
            None => (failure.at.plus(patience.max(Duration::from_secs(seconds))), self.failures.saturating_add(1)),
        };
        Self {
            began: None,
            cut_off: 0,
            failures,
            not_before: Some(not_before),
            asked: self.asked,
            error: Some(failure),
            settings: self.settings.clone(),
            window: self.window.clone(),
        }
    }

    /// What to make of a state that was found with nobody at work: an attempt ended with its process. A process that ends in
    /// each attempt makes no more of them than one whose attempts fail.
    pub(super) fn found(&self, now: Moment) -> Self {
        let Some(began) = self.began else { return self.clone() };
        if self.cut_off < CUT_OFF {
            return Self { began: None, cut_off: self.cut_off.saturating_add(1), ..self.clone() };
        }
        let reason = "the process ended in the middle of several attempts, one after another".to_owned();
        let failed = self.failed(super::Failure { at: began.min(now), reason }, None);
        Self { cut_off: self.cut_off, ..failed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::acme::Failure;

    const DAYS: i64 = 86_400;

    fn life(days: i64, chance: u32) -> Life {
        Life { not_before: Moment(0), not_after: Moment(days * DAYS), chance, id: Some("a.b".to_owned()) }
    }

    fn window(certificate: &str, start: i64, end: i64) -> Window {
        Window {
            certificate: certificate.to_owned(),
            suggested: Some((Moment(start), Moment(end))),
            explanation: None,
            ask_again: Moment(5),
        }
    }

    #[test]
    fn a_third_of_the_life_is_left_and_of_a_short_one_half() {
        assert_eq!(life(90, 0).due(None), Moment(60 * DAYS));
        assert_eq!(life(90, u32::MAX).due(None), Moment(60 * DAYS - 90 * DAYS / 50));
        assert_eq!(life(45, 0).due(None), Moment(30 * DAYS));
        assert_eq!(life(6, 0).due(None), Moment(3 * DAYS));
        let seconds = Life { not_after: Moment(6), ..life(1, 0) };
        assert_eq!(seconds.due(None), Moment(3));
    }

    #[test]
    fn the_authoritys_window_comes_first_but_not_too_late() {
        let (start, end) = (10 * DAYS, 20 * DAYS);
        let inside = window("a.b", start, end);
        assert_eq!(life(90, 0).due(Some(&inside)), Moment(start));
        assert_eq!(life(90, u32::MAX).due(Some(&inside)), Moment(end));
        assert_eq!(life(90, u32::MAX / 2).due(Some(&inside)).0 / DAYS, 14);
        assert_eq!(life(90, 0).due(Some(&window("a.b", -5, -1))), Moment(-5), "the past is now");
        let late = window("a.b", 100 * DAYS, 200 * DAYS);
        assert_eq!(life(90, 0).due(Some(&late)), Moment(90 * DAYS - 90 * DAYS / 20));
        assert_eq!(life(90, 0).due(Some(&window("of.another", start, end))), Moment(60 * DAYS));
        assert_eq!(life(90, 0).due(Some(&Window { suggested: None, ..inside })), Moment(60 * DAYS));
    }

    #[test]
    fn the_authority_is_asked_at_its_own_pace_within_bounds() {
        let asks = |life: &Life, window: Option<&Window>, now| life.is_to_be_asked(window, Moment(now));
        let (known, of_another) = (window("a.b", 0, 1), window("of.another", 0, 1));
        assert!(asks(&life(90, 0), None, 0) && !asks(&life(90, 0), None, -1));
        assert!(asks(&life(90, 0), Some(&known), 5) && !asks(&life(90, 0), Some(&known), 4));
        assert!(asks(&life(90, 0), Some(&of_another), 0));
        assert!(!asks(&Life { id: None, ..life(90, 0) }, None, 0));
        let ahead = |seconds| Window { ask_again: Moment(seconds), ..known.clone() };
        assert!(!asks(&life(90, 0), Some(&ahead(12 * 3600)), 0));
        assert!(asks(&life(90, 0), Some(&ahead(12 * 3600 + 1)), 0), "the clock was wrong then");
        for (said, asked) in [(0, 60), (3600, 3600), (u64::MAX, 12 * 3600)] {
            assert_eq!(ask_again(Moment(0), Duration::from_secs(said)), Moment(asked));
        }
    }

    fn failure(at: i64) -> Failure {
        Failure { at: Moment(at), reason: "it was away".to_owned() }
    }

    #[test]
    fn pauses_grow_up_to_six_hours() {
        let (mut state, mut at, mut pauses) = (State::default(), 0, Vec::new());
        for _ in 0..30 {
            state = state.begins(Moment(at), "", false).failed(failure(at), None);
            let next = state.not_before.unwrap().0;
            pauses.push((next - at) / 60);
            at = next;
        }
        assert_eq!(&pauses[..8], [1, 2, 2, 5, 10, 10, 10, 20]);
        assert_eq!(&pauses[23..], [180, 360, 360, 360, 360, 360, 360]);
        assert_eq!(state.failures, 30);
    }

    #[test]
    fn one_certificate_does_not_follow_another_at_once() {
        let state = State::default().begins(Moment(0), "", false).failed(failure(0), None);
        let after = |now, days| state.succeeded(Moment(now), &life(days, 0));
        let rests =
            |until| State { settings: Some(String::new()), not_before: Some(Moment(until)), ..State::default() };
        assert_eq!(after(0, 90), rests(6 * 3600));
        assert_eq!(after(DAYS - 3600, 1), rests(DAYS - 2700), "it will not have ended by then");
        assert_eq!(after(2 * DAYS, 1), rests(2 * DAYS));
    }

    #[test]
    fn what_a_person_asks_for_stays_until_it_is_there_and_puts_nothing_off() {
        let asked = State::default().begins(Moment(7), "", true);
        let failed = asked.failed(failure(10), None);
        assert_eq!((failed.asked, failed.not_before, failed.failures), (Some(Moment(7)), Some(Moment(70)), 1));
        let again = failed.begins(Moment(20), "", true).failed(failure(30), None);
        assert_eq!((again.asked, again.not_before, again.failures), (Some(Moment(7)), Some(Moment(70)), 1));
        let patient = again.begins(Moment(40), "", true).failed(failure(40), Some(Duration::from_secs(3600)));
        assert_eq!(patient.not_before, Some(Moment(3640)), "but the authority may");
        let in_time = again.begins(Moment(70), "", false).failed(failure(70), None);
        assert_eq!((in_time.asked, in_time.not_before, in_time.failures), (Some(Moment(7)), Some(Moment(190)), 2));
        let rests = in_time.succeeded(Moment(80), &life(90, 0));
        assert_eq!(rests.asked, None);
        let failed = rests.begins(Moment(90), "", true).failed(failure(90), None);
        assert_eq!(failed.not_before, Some(Moment(150)), "a rest after a success is no plan");
    }

    /// A machine that began in 2050 and was then told that it is not.
    #[test]
    fn a_clock_that_was_ahead_holds_nothing_up() {
        let state = State::default().failed(failure(0), Some(Duration::MAX));
        assert_eq!(state.rests_until(Moment(0)), Some(Moment(DAYS)));
        assert_eq!(state.rests_until(Moment(DAYS - 1)), Some(Moment(DAYS)));
        assert_eq!(state.rests_until(Moment(DAYS)), None);
        assert_eq!(state.rests_until(Moment(-1)), None);
    }

    #[test]
    fn an_authority_may_ask_for_more_patience_and_not_for_less() {
        for (asked, pause) in [(0, 60), (59, 60), (3600, 3600), (u64::MAX, 86_400)] {
            let state = State::default().failed(failure(0), Some(Duration::from_secs(asked)));
            assert_eq!(state.not_before, Some(Moment(pause)), "{asked}");
        }
    }

    #[test]
    fn a_process_that_always_ends_does_not_hammer() {
        let mut state = State::default();
        for _ in 0..3 {
            state = state.begins(Moment(100), "", false).found(Moment(101));
            assert_eq!((state.not_before, state.began), (None, None), "at once");
        }
        state = state.begins(Moment(100), "", false).found(Moment(101));
        assert_eq!(state.not_before, Some(Moment(160)));
        state = state.begins(Moment(160), "", false).found(Moment(161));
        assert_eq!(state.not_before, Some(Moment(280)));
        assert_eq!(state.begins(Moment(1), "", false).failed(failure(300), None).cut_off, 0);
    }
}
