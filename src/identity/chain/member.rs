//! One provider of a chain.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::LoginError;
use crate::identity::{Provider, ProviderError, turns::Turns};

/// A provider and its name, which is unique.
pub(super) struct Member {
    pub(super) name: Arc<str>,
    pub(super) provider: Arc<dyn Provider>,
    /// Its own, where it has any.
    pub(super) turns: Option<Arc<Turns>>,
    /// It could not answer when it was asked last.
    troubled: AtomicBool,
}

impl Member {
    pub(super) fn new(name: Arc<str>, provider: Arc<dyn Provider>) -> Self {
        let turns = provider.at_a_time().map(|at_a_time| Arc::new(Turns::new(at_a_time)));
        Self { name, provider, turns, troubled: AtomicBool::new(false) }
    }

    /// How much longer a refusal here may take than what was done took.
    pub(super) fn owes(&self, took: Duration) -> Duration {
        self.provider.longest_refusal().saturating_sub(took)
    }

    /// Tells in the log when answers begin to fail and when they come again, not each that fails.
    pub(super) fn observe<T>(&self, answer: Result<T, ProviderError>) -> Result<T, LoginError> {
        match answer {
            Ok(answer) => {
                if self.troubled.swap(false, Ordering::Relaxed) {
                    tracing::info!(provider = &*self.name, "the identity provider answers again");
                }
                Ok(answer)
            }
            Err(error) => {
                if self.troubled.swap(true, Ordering::Relaxed) {
                    tracing::debug!(
                        provider = &*self.name,
                        reason = error.reason,
                        "an identity provider cannot answer"
                    );
                } else {
                    tracing::warn!(provider = &*self.name, reason = error.reason, "an identity provider cannot answer");
                }
                Err(LoginError::Unavailable)
            }
        }
    }
}
