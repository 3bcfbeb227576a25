//! One provider of a chain: how it is asked, and what is told of its troubles.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::LoginError;
use crate::identity::{BasicCredentials, Outcome, Provider, ProviderError, turns::Turn};

/// A provider and its name, which is unique.
pub(super) struct Member {
    pub(super) name: Arc<str>,
    pub(super) provider: Arc<dyn Provider>,
    /// It could not answer when it was asked last.
    troubled: AtomicBool,
}

impl Member {
    pub(super) fn new(name: Arc<str>, provider: Arc<dyn Provider>) -> Self {
        Self { name, provider, troubled: AtomicBool::new(false) }
    }

    /// On a task of its own: what was begun is ended, whoever goes away, and has its turn until then.
    pub(super) async fn authenticate(
        &self,
        login: &BasicCredentials,
        turn: Option<Turn>,
    ) -> Result<Outcome, ProviderError> {
        let (provider, login) = (Arc::clone(&self.provider), login.clone());
        let work = async move {
            let _turn = turn;
            provider.authenticate(&login).await
        };
        let broken = |_| ProviderError { provider: self.name.to_string(), reason: "the check broke off".to_owned() };
        tokio::spawn(work).await.map_err(broken)?
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
