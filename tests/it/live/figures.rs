//! What clients did and how long it took.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::client::Answered;

#[derive(Default)]
pub(super) struct Figures {
    /// Requests by what they were for and what was answered.
    answers: Mutex<BTreeMap<(&'static str, u16), usize>>,
    bytes: AtomicU64,
    /// How long small requests took: while nothing changed, and while everything did.
    quick: [Mutex<Vec<Duration>>; 2],
    changing: AtomicBool,
    failures: Mutex<Vec<String>>,
}

/// Small enough that only the gate decides how long it takes.
const SMALL: usize = 64 * 1024;

impl Figures {
    pub(super) fn answered(&self, what: &'static str, answered: &Answered, sent: usize) {
        let response = &answered.response;
        *self.answers.lock().unwrap().entry((what, response.status)).or_default() += 1;
        self.bytes.fetch_add((response.body.len() + sent) as u64, Ordering::SeqCst);
        if response.body.len() + sent <= SMALL {
            // The handshake belongs to it.
            let begin = answered.connecting.unwrap_or(answered.begin);
            let phase = usize::from(self.changing.load(Ordering::SeqCst));
            self.quick[phase].lock().unwrap().push(answered.end - begin);
        }
    }

    /// From now on everything changes.
    pub(super) fn changes_begin(&self) {
        self.changing.store(true, Ordering::SeqCst);
    }

    pub(super) fn failed(&self, failure: String) {
        eprintln!("failed: {failure}");
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).push(failure);
    }

    pub(super) fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many answers there were.
    pub(super) fn requests(&self) -> usize {
        self.answers.lock().unwrap().values().sum()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = self.bytes.load(Ordering::SeqCst) >> 20;
        writeln!(formatter, "{} requests, {mebibytes} MiB, {} failed", self.requests(), self.failures().len())?;
        let answers = self.answers.lock().unwrap();
        let answers: Vec<_> =
            answers.iter().map(|((what, status), count)| format!("{what} {status}: {count}")).collect();
        writeln!(formatter, "  {}", answers.join(", "))?;
        for (phase, quick) in ["while nothing changed", "while it changed"].into_iter().zip(&self.quick) {
            let mut quick = quick.lock().unwrap().clone();
            quick.sort();
            let at = |percent: usize| quick.get(quick.len() * percent / 1000).copied().unwrap_or_default();
            let longest = quick.last().copied().unwrap_or_default();
            let [middle, most, nearly] = [at(500), at(990), at(999)];
            writeln!(
                formatter,
                "  {} small requests {phase}: half within {middle:.1?}, 99 % {most:.1?}, 99.9 % {nearly:.1?}, the longest \
                 pause {longest:.1?}",
                quick.len()
            )?;
        }
        Ok(())
    }
}
