//! Looks after one certificate: has it issued, has it renewed in time, sees what others on the folder did.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Challenges, Failure, Lock, Moment, Report, Slot, State, Storage,
    board::Board,
    client::Client,
    error::{AttemptError, in_one_line},
    issued::Issued,
    order::{Job, blocking},
    report::next,
    schedule::Life,
    storage::Stamp,
    window,
};
use crate::{
    config::{Acme, AcmeCertificate},
    telemetry::metrics,
};

/// How often the folder is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// An attempt that takes longer has failed.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(6 * 60);
/// Nor does another portcullis need longer for an attempt, and for what comes after it.
const LONGEST_TURN: Duration = Duration::from_secs(10 * 60);
/// After a folder could not be written to.
const PAUSE: Duration = Duration::from_secs(60);

pub(super) struct Keeper {
    pub(super) acme: Arc<Acme>,
    pub(super) certificate: AcmeCertificate,
    pub(super) storage: Storage,
    pub(super) slot: Slot,
    pub(super) challenges: Arc<Challenges>,
    pub(super) client: Client,
    pub(super) board: Arc<Board>,
    /// Of the certificate in the configuration.
    pub(super) index: usize,
    pub(super) known: Known,
    /// What may make an attempt go otherwise than the last one.
    pub(super) settings: String,
    /// The settings are others than at the last attempt, so that its failure says nothing of the next one.
    pub(super) is_changed: bool,
}

/// What was found in storage, and is in force.
#[derive(Clone, Default)]
pub(super) struct Known {
    stamp: Option<Stamp>,
    pub(super) issued: Option<Issued>,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Wait,
    /// The authority is to be asked when to renew.
    Ask,
    Order,
}

/// How long another one has been waited for.
#[derive(Default)]
struct Turn {
    since: Option<Instant>,
    is_told: bool,
}

impl Turn {
    /// True once, where it takes too long.
    fn is_long_awaited(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let is_long = now.duration_since(since) > LONGEST_TURN;
        is_long && !std::mem::replace(&mut self.is_told, true)
    }
}

impl Known {
    /// Blocks.
    pub(super) fn read(slot: &Slot) -> Self {
        Self::default().again(slot)
    }

    /// What is there by now; what cannot be used is told once, and what was there before stays. Blocks.
    fn again(&self, slot: &Slot) -> Self {
        let stamp = slot.stamp();
        if stamp == self.stamp {
            return self.clone();
        }
        let file = slot.path();
        let stored = slot.certificate().map_err(|error| error.reason);
        let issued = stored.and_then(|stored| stored.map(|stored| Issued::load(&stored, &file)).transpose());
        let issued = issued.unwrap_or_else(|reason| {
            tracing::error!(file = %file.display(), reason, "a stored certificate cannot be used: what was in force stays, else another one is ordered");
            None
        });
        Self { stamp, issued: issued.or_else(|| self.issued.clone()) }
    }
}

impl Keeper {
    pub(super) async fn run(mut self) {
        let (mut told_clock, mut turn) = (false, Turn::default());
        self.begin().await;
        loop {
            self.look().await;
            let state = self.state().await;
            let now = Moment::now();
            if !now.is_plausible() && !told_clock {
                tracing::error!(%now, "the clock of this machine is wrong: set it; no certificate is ordered before");
            }
            told_clock = !now.is_plausible();
            let is_asked = self.is_asked().await;
            self.tell(&state, is_asked);
            let step = step(now, self.life(), &state, is_asked);
            let outcome = match step {
                Step::Wait => None,
                Step::Ask | Step::Order => Some(self.locked(step).await),
            };
            if !matches!(outcome, Some(Ok(false))) {
                turn = Turn::default();
            } else if turn.is_long_awaited(Instant::now()) {
                let lock = self.slot.path().with_file_name("lock");
                tracing::error!(names = self.names(), lock = %lock.display(), "another portcullis holds the lock for longer than any attempt takes, and nothing is ordered: find it, and end it");
            }
            let pause = match outcome {
                None => self.pause(&state),
                Some(Ok(true)) => Duration::ZERO,
                // Somebody else is at it.
                Some(Ok(false)) => LOOK,
                Some(Err(error)) => {
                    tracing::error!(names = self.names(), %error, "the certificate cannot be looked after");
                    PAUSE
                }
            };
            sleep(pause).await;
        }
    }

    async fn begin(&mut self) {
        let state = self.state().await;
        self.is_changed = state.settings.as_ref().is_some_and(|settings| *settings != self.settings);
        let next_attempt = next(self.life(), &state, Moment::now());
        if let Some(error) = state.error.as_ref().filter(|_| next_attempt > Moment::now())
            && !self.is_changed
        {
            tracing::warn!(
                names = self.names(),
                %next_attempt,
                "the last attempt failed, and the next one has its time; `portcullis cert renew` has one made at once: {}",
                error.reason,
            );
        }
    }

    /// Puts in force what another one stored.
    async fn look(&mut self) {
        let (slot, known) = (self.slot.clone(), self.known.clone());
        let found = blocking(move || Ok::<_, AttemptError>(known.again(&slot))).await;
        let Ok(found) = found else { return };
        if found.stamp != self.known.stamp {
            let is_gone = found.stamp.is_none();
            self.known = found;
            if is_gone {
                tracing::warn!(names = self.names(), file = %self.slot.path().display(), "the stored certificate is gone; the one in force stays until it is renewed, but for a restart");
            } else if let Some(issued) = &self.known.issued {
                tracing::info!(names = self.names(), not_after = %issued.life.not_after, "a certificate was found in storage and is in force");
            }
            self.board.put(self.index, self.known.issued.clone());
        }
    }

    /// Does what is due, unless another one holds the lock, or has done it by now.
    async fn locked(&mut self, step_before: Step) -> Result<bool, AttemptError> {
        let slot = self.slot.clone();
        let Some(lock) = blocking(move || slot.lock()).await? else { return Ok(false) };
        self.look().await;
        let (found, now) = (self.state().await, Moment::now());
        let state = found.found(now);
        if state != found {
            self.save(&lock, &state).await?;
        }
        let is_asked = self.is_asked().await;
        match step(now, self.life(), &state, is_asked) {
            Step::Order => self.attempt(&lock, state, is_asked).await?,
            Step::Ask => self.ask(&lock, state).await?,
            Step::Wait => {
                tracing::debug!(?step_before, "done by another portcullis, or not to be done yet");
            }
        }
        Ok(true)
    }

    /// What the attempt was for holds, whatever comes of it.
    async fn attempt(&mut self, lock: &Lock, state: State, is_asked: bool) -> Result<(), AttemptError> {
        let state = state.begins(Moment::now(), &self.settings, is_asked);
        self.is_changed = false;
        self.save(lock, &state).await?;
        let slot = self.slot.clone();
        blocking(move || slot.renewal_begins()).await?;
        self.tell(&state, false);
        tracing::info!(names = self.names(), directory = self.acme.directory, "ordering a certificate");
        // In a task of its own: what an authority sends must not end this one.
        let attempt = AbortOnDropHandle::new(tokio::spawn(self.job(lock.clone()).run()));
        let outcome = match timeout(LONGEST_ATTEMPT, attempt).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(AttemptError::Timeout(LONGEST_ATTEMPT)),
        };
        let state = match outcome {
            Ok(issued) => self.succeeded(issued, &state),
            Err(error) => self.failed(&error, &state),
        };
        self.save(lock, &state).await
    }

    fn succeeded(&mut self, issued: Issued, state: &State) -> State {
        metrics::acme_attempt("issued");
        let state = state.succeeded(Moment::now(), &issued.life);
        let not_after = issued.life.not_after;
        let next = issued.life.due(None);
        tracing::info!(names = self.names(), %not_after, renewal = %next, "a certificate was issued and is in force");
        self.known = Known { stamp: self.slot.stamp(), issued: Some(issued.clone()) };
        // Whoever is shown the certificate can read of it.
        self.tell(&state, false);
        self.board.put(self.index, Some(issued));
        state
    }

    fn failed(&self, error: &AttemptError, state: &State) -> State {
        metrics::acme_attempt(error.kind());
        let (now, reason) = (Moment::now(), in_one_line(&error.to_string()));
        let state = state.failed(Failure { at: now, reason: reason.clone() }, error.retry_after());
        let next_attempt = next(self.life(), &state, now).max(now);
        let own = self.life().map(|life| life.not_after).filter(|not_after| *not_after > now);
        match (own, self.board.lasts_until(&self.certificate.names)) {
            (Some(until), _) => {
                tracing::warn!(names = self.names(), %next_attempt, in_force_until = %until, "no certificate was issued, the one in force stays: {reason}");
            }
            (None, Ok(until)) => {
                tracing::warn!(names = self.names(), %next_attempt, in_force_until = %until, "no certificate was issued, and there is none of its own; others serve its names: {reason}");
            }
            (None, Err(names)) => {
                tracing::error!(names = names.join(", "), %next_attempt, "no certificate was issued, and there is no valid one: {reason}");
            }
        }
        state
    }

    async fn ask(&self, lock: &Lock, state: State) -> Result<(), AttemptError> {
        let Some(id) = self.life().and_then(|life| life.id.clone()) else { return Ok(()) };
        let (storage, client, known) = (self.storage.clone(), self.client.fresh(), state.window.clone());
        let asked = id.clone();
        // In a task of its own, as an attempt.
        let asking = tokio::spawn(async move { window::ask(&storage, &client, &asked, known.as_ref()).await });
        let window = AbortOnDropHandle::new(asking).await;
        let window = window.unwrap_or_else(|error| {
            tracing::error!(names = self.names(), %error, "an error in portcullis or in what the authority sent");
            window::unanswered(&id, state.window.as_ref())
        });
        if let Some((start, end)) = window.suggested
            && state.window.as_ref().and_then(|window| window.suggested) != window.suggested
        {
            let explanation = window.explanation.as_deref();
            tracing::info!(names = self.names(), %start, %end, explanation, "the authority says when to renew");
        }
        self.save(lock, &State { window: Some(window), ..state }).await
    }

    fn job(&self, lock: Lock) -> Job {
        Job {
            lock,
            acme: Arc::clone(&self.acme),
            certificate: self.certificate.clone(),
            storage: self.storage.clone(),
            slot: self.slot.clone(),
            challenges: Arc::clone(&self.challenges),
            client: self.client.fresh(),
            former: self.known.issued.clone(),
        }
    }

    /// Until the next step, but no longer than until the folder is looked at again.
    fn pause(&self, state: &State) -> Duration {
        let now = Moment::now();
        let next = [self.life().map(|life| life.due(state.window.as_ref())), state.rests_until(now)];
        let next = next.into_iter().flatten().filter(|next| *next > now).min();
        next.map_or(LOOK, |next| next.since(now).min(LOOK))
    }

    fn life(&self) -> Option<&Life> {
        self.known.issued.as_ref().map(|issued| &issued.life)
    }

    fn tell(&self, state: &State, is_asked: bool) {
        self.board.tell(self.index, Report::new(&self.certificate, self.life(), state, is_asked));
    }

    async fn state(&self) -> State {
        let slot = self.slot.clone();
        let state = blocking(move || Ok::<_, AttemptError>(slot.state())).await.unwrap_or_default();
        State { not_before: state.not_before.filter(|_| !self.is_changed), ..state }
    }

    async fn save(&self, lock: &Lock, state: &State) -> Result<(), AttemptError> {
        let (lock, slot, state) = (lock.clone(), self.slot.clone(), state.clone());
        blocking(move || (slot.set_state(&state), drop(lock)).0).await
    }

    async fn is_asked(&self) -> bool {
        let slot = self.slot.clone();
        blocking(move || Ok::<_, AttemptError>(slot.is_renewal_asked())).await.unwrap_or(false)
    }

    fn names(&self) -> String {
        self.certificate.names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// What a person asks for comes at once; patience counts after a failure, of that too.
fn step(now: Moment, life: Option<&Life>, state: &State, is_asked: bool) -> Step {
    if !now.is_plausible() {
        return Step::Wait;
    }
    if is_asked {
        return Step::Order;
    }
    let window = state.window.as_ref();
    if life.is_some_and(|life| life.is_to_be_asked(window, now)) {
        return Step::Ask;
    }
    if next(life, state, now) <= now { Step::Order } else { Step::Wait }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::acme::Window;

    /// Seconds after a moment at which clocks are believed.
    fn at(seconds: i64) -> Moment {
        Moment(1_800_000_000 + seconds)
    }

    fn life() -> Life {
        Life { not_before: at(0), not_after: at(9_000_000), chance: 0, id: Some("a.b".to_owned()) }
    }

    fn asked(ask_again: i64) -> State {
        let window =
            Window { certificate: "a.b".to_owned(), suggested: None, explanation: None, ask_again: at(ask_again) };
        State { window: Some(window), ..State::default() }
    }

    #[test]
    fn each_thing_has_its_time() {
        let patient = State { not_before: Some(at(100)), ..State::default() };
        assert_eq!(step(at(0), None, &State::default(), false), Step::Order);
        assert_eq!(step(at(99), None, &patient, false), Step::Wait);
        assert_eq!(step(at(100), None, &patient, false), Step::Order);
        assert_eq!(step(at(0), Some(&life()), &State::default(), false), Step::Ask);
        assert_eq!(step(at(0), Some(&life()), &asked(600), false), Step::Wait);
        assert_eq!(step(at(6_000_000), Some(&life()), &asked(6_000_600), false), Step::Order);
        assert_eq!(
            step(at(6_000_600), Some(&life()), &asked(6_000_600), false),
            Step::Ask,
            "it may know better by now"
        );
        let rests = State { not_before: Some(at(6_000_100)), ..asked(6_000_600) };
        assert_eq!(step(at(6_000_000), Some(&life()), &rests, false), Step::Wait);
    }

    #[test]
    fn another_one_that_hangs_is_told_once() {
        let (begin, mut turn) = (Instant::now(), Turn::default());
        let told = [0, 600, 601, 602, 9000].map(|seconds| turn.is_long_awaited(begin + Duration::from_secs(seconds)));
        assert_eq!(told, [false, false, true, false, false]);
    }

    #[test]
    fn a_person_need_not_wait() {
        let patient = State { not_before: Some(at(100)), ..asked(600) };
        assert_eq!(step(at(0), Some(&life()), &patient, true), Step::Order);
        let failed = State { asked: Some(at(0)), ..patient };
        assert_eq!(step(at(99), Some(&life()), &failed, false), Step::Wait);
        assert_eq!(step(at(100), Some(&life()), &failed, false), Step::Order, "long before it is due");
    }

    /// A machine whose clock starts in 1970 would take every certificate for one of the future, or order one for a year
    /// long past.
    #[test]
    fn a_wrong_clock_orders_nothing() {
        for now in [Moment(0), Moment(1_700_000_000)] {
            for is_asked in [true, false] {
                assert_eq!(step(now, None, &State::default(), is_asked), Step::Wait);
                assert_eq!(step(now, Some(&life()), &State::default(), is_asked), Step::Wait);
            }
        }
    }
}
