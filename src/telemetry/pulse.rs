//! What the status page shows of the traffic: counts since the start, and what happened in the last quarter of an hour.
//!
//! A request costs a few relaxed additions to memory that its thread shares with hardly any other one. What has a name
//! (a reason, a provider) is looked up in a short list that never shrinks: reasons are fixed words, providers are
//! configured ones, so nothing that a request says can fill it.

use std::{
    array,
    cell::Cell,
    collections::VecDeque,
    sync::{
        LazyLock, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::time::{MissedTickBehavior, interval};

/// From one point of the history to the next.
pub const STEP: Duration = Duration::from_secs(3);
/// The most points: a quarter of an hour.
pub const POINTS: usize = 300;

/// Threads are spread over so many sets of counters.
const SHARDS: usize = 16;
/// Status classes: 0 for requests that got no answer, then 1xx to 5xx.
const CLASSES: usize = 6;
/// Reasons that are told apart; what comes after them counts as the last.
const REASONS: usize = 48;
/// Pairs of provider and outcome that are told apart; what comes after them counts as the last.
const LOGINS: usize = 96;

static SHARED: [Shard; SHARDS] = [const { Shard::new() }; SHARDS];
static NAMES_OF_REASONS: [OnceLock<&'static str>; REASONS] = [const { OnceLock::new() }; REASONS];
static NAMES_OF_LOGINS: [OnceLock<(Box<str>, &'static str)>; LOGINS] = [const { OnceLock::new() }; LOGINS];
static HISTORY: LazyLock<Mutex<History>> = LazyLock::new(Mutex::default);

/// One set of counters, on cache lines of its own.
#[repr(align(128))]
struct Shard {
    answers: [AtomicU64; CLASSES],
    broken: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    throttled: AtomicU64,
    refusals: [AtomicU64; REASONS],
    logins: [AtomicU64; LOGINS],
}

impl Shard {
    const fn new() -> Self {
        Self {
            answers: [const { AtomicU64::new(0) }; CLASSES],
            broken: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            throttled: AtomicU64::new(0),
            refusals: [const { AtomicU64::new(0) }; REASONS],
            logins: [const { AtomicU64::new(0) }; LOGINS],
        }
    }
}

/// A request is over. A status of 0: nobody heard an answer; `broken`: it broke off half way through an upstream's fault;
/// `refused` is the access line's word.
pub fn answered(status: u16, broken: bool, refused: Option<&'static str>) {
    with_shard(|shard| {
        add(shard.answers.get(usize::from(status / 100)).or(shard.answers.first()), 1);
        if broken {
            add(Some(&shard.broken), 1);
        }
        if let Some(reason) = refused {
            let place = place(&NAMES_OF_REASONS, |known| *known == reason, || reason);
            add(shard.refusals.get(place), 1);
        }
    });
}

/// Bytes of a body came from a client.
pub fn received(bytes: u64) {
    with_shard(|shard| add(Some(&shard.received), bytes));
}

/// Bytes of a body went to a client.
pub fn sent(bytes: u64) {
    with_shard(|shard| add(Some(&shard.sent), bytes));
}

/// A provider was asked; `outcome` as the metric names it.
pub fn login(provider: &str, outcome: &'static str) {
    let place = place(
        &NAMES_OF_LOGINS,
        |(name, known)| **name == *provider && *known == outcome,
        || (Box::from(provider), outcome),
    );
    with_shard(|shard| add(shard.logins.get(place), 1));
}

/// A login was not verified, since too many had failed.
pub fn login_throttled() {
    with_shard(|shard| add(Some(&shard.throttled), 1));
}

/// Counts since the start of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// By the first digit of the status; the first: no answer.
    pub answers: [u64; CLASSES],
    /// Answers that broke off half way.
    pub broken: u64,
    /// Body bytes from clients.
    pub received: u64,
    /// Body bytes to clients.
    pub sent: u64,
    /// Logins that were not verified.
    pub throttled: u64,
    /// By reason, those that happened.
    pub refusals: Vec<(&'static str, u64)>,
    /// By provider and outcome, those that happened.
    pub logins: Vec<((&'static str, &'static str), u64)>,
}

impl Totals {
    pub fn requests(&self) -> u64 {
        self.answers.iter().sum()
    }

    /// Requests that failed through no fault of the client.
    pub fn failures(&self) -> u64 {
        self.answers.last().copied().unwrap_or_default().saturating_add(self.broken)
    }

    pub fn refused(&self) -> u64 {
        self.refusals.iter().map(|(_, count)| count).sum()
    }
}

/// What was counted until now.
pub fn totals() -> Totals {
    let sum = |of: &dyn Fn(&Shard) -> Option<&AtomicU64>| -> u64 {
        SHARED.iter().filter_map(of).map(|counter| counter.load(Relaxed)).fold(0, u64::wrapping_add)
    };
    let refusals = NAMES_OF_REASONS.iter().enumerate().filter_map(|(place, name)| {
        Some((*name.get()?, sum(&|shard| shard.refusals.get(place)))).filter(|(_, count)| *count > 0)
    });
    let logins = NAMES_OF_LOGINS.iter().enumerate().filter_map(|(place, name)| {
        let (provider, outcome) = name.get()?;
        Some(((&**provider, *outcome), sum(&|shard| shard.logins.get(place)))).filter(|(_, count)| *count > 0)
    });
    Totals {
        answers: array::from_fn(|class| sum(&|shard| shard.answers.get(class))),
        broken: sum(&|shard| Some(&shard.broken)),
        received: sum(&|shard| Some(&shard.received)),
        sent: sum(&|shard| Some(&shard.sent)),
        throttled: sum(&|shard| Some(&shard.throttled)),
        refusals: refusals.collect(),
        logins: logins.collect(),
    }
}

/// What happened between two points, in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    pub requests: f64,
    pub failures: f64,
    pub refused: f64,
    pub received: f64,
    pub sent: f64,
}

impl Rates {
    fn between(before: &Totals, after: &Totals, time: Duration) -> Self {
        let rate = |of: fn(&Totals) -> u64| per_second(of(after).saturating_sub(of(before)), time);
        Self {
            requests: rate(Totals::requests),
            failures: rate(Totals::failures),
            refused: rate(Totals::refused),
            received: rate(|totals| totals.received),
            sent: rate(|totals| totals.sent),
        }
    }
}

/// One point of the history.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// Its number, from 1.
    pub number: u64,
    /// Seconds since 1970.
    pub at: u64,
    /// Since the point before.
    pub rates: Rates,
}

#[derive(Default)]
struct History {
    number: u64,
    points: VecDeque<(Point, Instant, Totals)>,
}

impl History {
    fn note(&mut self, now: Instant, at: u64, totals: Totals) {
        let rates = self.points.back().map(|(_, then, before)| Rates::between(before, &totals, now - *then));
        self.number += 1;
        let point = Point { number: self.number, at, rates: rates.unwrap_or_default() };
        self.points.push_back((point, now, totals));
        // One more than is shown: what the first one counts from.
        if self.points.len() > POINTS + 1 {
            self.points.pop_front();
        }
    }
}

/// The last points, at most so many, the oldest first.
pub fn history(most: usize) -> Vec<Point> {
    let history = history_of_all();
    let shown = history.points.len().saturating_sub(1).min(most);
    history.points.iter().skip(history.points.len() - shown).map(|(point, ..)| *point).collect()
}

/// What was counted at the last point that is at least so long ago, or at the oldest one; and how long ago that is.
pub fn before(age: Duration) -> Option<(Totals, Duration)> {
    let history = history_of_all();
    let old = history.points.iter().rev().find(|(_, then, _)| then.elapsed() >= age);
    old.or(history.points.front()).map(|(_, then, totals)| (totals.clone(), then.elapsed()))
}

/// What happens now, as the mean of so long.
pub fn rates(age: Duration) -> Rates {
    before(age).map(|(before, time)| Rates::between(&before, &totals(), time)).unwrap_or_default()
}

/// Notes the points of the history; has no end.
pub async fn beat() {
    let mut ticks = interval(STEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        history_of_all().note(Instant::now(), at, totals());
    }
}

fn history_of_all() -> MutexGuard<'static, History> {
    HISTORY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The place of what has this name; the last where all are taken by others.
fn place<T>(names: &[OnceLock<T>], is: impl Fn(&T) -> bool, name: impl Fn() -> T) -> usize {
    let found = names.iter().position(|known| is(known.get_or_init(&name)));
    found.unwrap_or(names.len().saturating_sub(1))
}

fn with_shard(act: impl FnOnce(&Shard)) {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static MINE: Cell<Option<usize>> = const { Cell::new(None) });
    let mine = MINE.with(|mine| {
        mine.get().unwrap_or_else(|| {
            let next = NEXT.fetch_add(1, Relaxed) % SHARDS;
            mine.set(Some(next));
            next
        })
    });
    if let Some(shard) = SHARED.get(mine) {
        act(shard);
    }
}

fn add(counter: Option<&AtomicU64>, count: u64) {
    if let Some(counter) = counter {
        counter.fetch_add(count, Relaxed);
    }
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
fn per_second(count: u64, time: Duration) -> f64 {
    let rate = count as f64 / time.as_secs_f64().max(0.001);
    (rate * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<T: PartialEq>(counts: &[(T, u64)], name: &T) -> u64 {
        counts.iter().find(|(known, _)| known == name).map_or(0, |(_, count)| *count)
    }

    /// Other tests of the process may count too, but not under these names.
    #[test]
    fn nothing_is_lost_between_threads() {
        let before = totals();
        std::thread::scope(|scope| {
            for _ in 0..2 * SHARDS {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        answered(403, false, Some("a_test"));
                        login("a provider of a test", "accepted");
                        received(3);
                    }
                    answered(200, true, None);
                });
            }
        });
        let (after, all) = (totals(), 2000 * SHARDS as u64);
        assert_eq!(of(&after.refusals, &"a_test"), all);
        assert_eq!(of(&after.logins, &("a provider of a test", "accepted")), all);
        assert!(after.received - before.received >= 3 * all);
        assert!(after.answers[4] - before.answers[4] >= all);
        assert!(after.failures() - before.failures() >= 2 * SHARDS as u64);
    }

    #[test]
    fn what_finds_no_place_counts_as_the_last() {
        let names: [OnceLock<String>; 3] = array::from_fn(|_| OnceLock::new());
        let place = |name: &str| place(&names, |known| known == name, || name.to_owned());
        assert_eq!(["a", "b", "a", "c", "d", "e", "b"].map(place), [0, 1, 0, 2, 2, 2, 1]);
    }

    /// One of two in a minute is no rate of 0.
    #[test]
    fn what_happens_seldom_is_seen() {
        let [before, after] = [0, 1].map(|count| Totals { answers: [0, 0, count, 0, 0, count], ..Totals::default() });
        let rates = Rates::between(&before, &after, Duration::from_secs(60));
        assert_eq!((rates.requests, rates.failures), (0.033, 0.017));
    }

    #[test]
    fn a_status_that_is_none_counts_as_no_answer() {
        let before = totals().answers[0];
        answered(0, false, None);
        answered(999, false, None);
        assert!(totals().answers[0] - before >= 2);
    }

    #[test]
    fn a_point_says_what_happened_in_a_second() {
        let mut history = History::default();
        let begun = Instant::now();
        let totals = |answers, sent| Totals { answers: [0, 0, answers, 0, 0, 1], sent, ..Totals::default() };
        for step in 0..=u64::try_from(POINTS).unwrap() + 1 {
            // Late by twice its time: still by the second.
            history.note(begun + STEP * 2 * u32::try_from(step).unwrap(), step, totals(12 * step, 600 * step));
        }
        assert_eq!(history.points.len(), POINTS + 1);
        let (last, ..) = history.points.back().unwrap();
        let rates = Rates { requests: 2.0, sent: 100.0, ..Rates::default() };
        assert_eq!((last.rates, last.number), (rates, u64::try_from(POINTS).unwrap() + 2));
    }
}
