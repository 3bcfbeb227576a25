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
    pub(super) fn new(certificate: &AcmeCertificate, life: Option<&Life>, state: &State) -> Self {
        let window = state.window.as_ref().filter(|window| life.is_some_and(|life| is_of(window, life)));
        Self {
            names: certificate.names.iter().map(ToString::to_string).collect(),
            not_after: life.map(|life| life.not_after),
            next: Moment::now().is_plausible().then(|| next(life, state)),
            window: window.and_then(|window| window.suggested),
            explanation: window.and_then(|window| window.explanation.clone()),
            error: state.error.clone(),
            under_way: state.began.is_some(),
        }
    }
}

/// When an order is due, as far as that is known now.
fn next(life: Option<&Life>, state: &State) -> Moment {
    let due = life.map_or(Moment(0), |life| life.due(state.window.as_ref()));
    state.rests_until(Moment::now()).map_or(due, |rested| due.max(rested))
}

fn is_of(window: &Window, life: &Life) -> bool {
    life.id.as_ref() == Some(&window.certificate)
}
