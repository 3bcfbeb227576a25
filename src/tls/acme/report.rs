//! What operators are told of a certificate.

use super::{Failure, Moment, State, Window, schedule::Life};
use crate::config::AcmeCertificate;

/// How a certificate of `tls.acme` stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub names: Vec<String>,
    /// Of the one that is stored; None: there is none.
    pub not_after: Option<Moment>,
    /// When the next attempt is made; in the past: at once. None: only once the clock is right.
    pub next: Option<Moment>,
    /// A person asked for a renewal that has not come about yet.
    pub asked: bool,
    /// When the authority would have it renewed, where it says so.
    pub window: Option<(Moment, Moment)>,
    /// A page of the authority that says why then.
    pub explanation: Option<String>,
    /// Why the last attempt failed.
    pub error: Option<Failure>,
    /// An attempt is being made, by whichever portcullis.
    pub under_way: bool,
}

impl Report {
    /// `is_asked` where a person asked for a renewal that has not begun yet.
    pub(super) fn new(certificate: &AcmeCertificate, life: Option<&Life>, state: &State, is_asked: bool) -> Self {
        let now = Moment::now();
        let window = state.window.as_ref().filter(|window| life.is_some_and(|life| is_of(window, life)));
        Self {
            names: certificate.names.iter().map(ToString::to_string).collect(),
            not_after: life.map(|life| life.not_after),
            next: now.is_plausible().then(|| if is_asked { now } else { next(life, state, now) }),
            asked: is_asked || state.asked.is_some(),
            window: window.and_then(|window| window.suggested),
            explanation: window.and_then(|window| window.explanation.clone()),
            error: state.error.clone(),
            under_way: state.began.is_some(),
        }
    }
}

/// When an order is due, as far as that is known now; in the past: at once.
pub(super) fn next(life: Option<&Life>, state: &State, now: Moment) -> Moment {
    let due = life.filter(|_| state.asked.is_none()).map_or(Moment(0), |life| life.due(state.window.as_ref()));
    state.rests_until(now).map_or(due, |rested| due.max(rested))
}

fn is_of(window: &Window, life: &Life) -> bool {
    life.id.as_ref() == Some(&window.certificate)
}
