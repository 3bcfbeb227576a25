//! What stands before a verification: the throttle, the same login that is being verified already, the turns.

use std::{future::Future, sync::Arc};

use super::{
    LoginError, Provider, User,
    cache::{Flights, Key},
    network::Network,
    throttle::{Barred, Throttle},
    turns::{Turn, Turns},
    workers::Workers,
};
use crate::config::FailedLogins;

type Verdict = Result<Arc<User>, LoginError>;

/// Goes on through every reload, but for the limit itself.
pub(super) struct Admission {
    /// The same login from the same network: it counts once.
    flights: Flights<Verdict>,
    /// The same login, wherever it comes from: it is verified once.
    verifications: Flights<Verdict>,
    throttle: Arc<Throttle>,
    turns: Arc<Turns>,
    /// None: as many may fail as want to.
    limit: Option<FailedLogins>,
}

/// A login that nothing is known of yet.
pub(super) struct Asked<'a> {
    pub(super) name: &'a str,
    pub(super) network: Network,
    /// The same login from this network.
    pub(super) here: Key,
    /// The same login.
    pub(super) anywhere: Key,
    /// It succeeded before, so it is no guess: it needs no room in the throttle. Whoever fails cannot lock it out.
    pub(super) known: bool,
}

impl Admission {
    pub(super) fn new() -> Self {
        Self {
            flights: Flights::new(),
            verifications: Flights::new(),
            throttle: Arc::new(Throttle::new()),
            turns: Arc::new(Turns::new(Workers::threads())),
            limit: None,
        }
    }

    /// For another chain, which goes on with what failed and who waits.
    pub(super) fn goes_on(&self) -> Self {
        Self { throttle: Arc::clone(&self.throttle), turns: Arc::clone(&self.turns), limit: self.limit, ..Self::new() }
    }

    pub(super) fn limited(self, limit: Option<FailedLogins>) -> Self {
        Self { limit, ..self }
    }

    /// Has a login verified where there is room for its failure, and once, however many send it at a time.
    pub(super) async fn verify(&self, asked: Asked<'_>, work: impl Future<Output = Verdict>) -> Verdict {
        let Asked { name, network, here, anywhere, known } = asked;
        let counted = async {
            if known {
                let verdict = self.verifications.run(anywhere, work).await;
                if verdict == Err(LoginError::Rejected) {
                    self.fail(name, network)?;
                }
                return verdict;
            }
            let attempt = self.throttle.admit(self.limit, name, network)?;
            let verdict = self.verifications.run(anywhere, work).await;
            match verdict {
                // It counts.
                Err(LoginError::Rejected) => drop(attempt),
                Ok(_) | Err(LoginError::Unavailable | LoginError::Overloaded | LoginError::Throttled { .. }) => {
                    attempt.gives_back();
                }
            }
            verdict
        };
        self.flights.run(here, counted).await
    }

    /// Counts a login that has failed without a verification.
    pub(super) fn fail(&self, name: &str, network: Network) -> Result<(), LoginError> {
        Ok(self.throttle.fail(self.limit, name, network)?)
    }

    /// How much is without room for a failure now.
    pub(super) fn barred(&self) -> Barred {
        self.limit.map_or_else(Barred::default, |_| self.throttle.barred())
    }

    /// Waits for the right to have a provider check something; None where it needs none.
    pub(super) async fn turn(&self, provider: &dyn Provider, network: Network) -> Result<Option<Turn>, LoginError> {
        let turns = if provider.computes() { Some(&self.turns) } else { provider.turns() };
        let Some(turns) = turns else { return Ok(None) };
        turns.take(network).await.map(Some).map_err(|overload| {
            tracing::debug!(provider = provider.name(), %network, reason = %overload, "a login was not verified");
            LoginError::Overloaded
        })
    }
}
