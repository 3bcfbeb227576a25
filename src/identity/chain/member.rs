//! One provider of a chain: how it is asked, and what is told of its troubles.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::LoginError;
use crate::{
    identity::{BasicCredentials, Outcome, Provider, ProviderError, turns::Turn},
    telemetry::metrics::ProviderCounts,
};

/// A provider and its name, which is unique.
pub(super) struct Member {
    pub(super) name: Arc<str>,
    pub(super) provider: Arc<dyn Provider>,
    pub(super) counts: Arc<ProviderCounts>,
    /// It could not answer when it was asked last.
    troubled: Arc<AtomicBool>,
}

impl Member {
    pub(super) fn new(name: Arc<str>, provider: Arc<dyn Provider>) -> Self {
        Self { counts: Arc::new(ProviderCounts::new(&name)), name, provider, troubled: Arc::default() }
    }

    /// The same, where this follows what had its name under an earlier configuration: the log says of the troubles of that
    /// one that they are over.
    pub(super) fn following(self, before: &[Self]) -> Self {
        let former = before.iter().find(|former| former.name == self.name);
        let Some(former) = former else { return self };
        Self { troubled: Arc::clone(&former.troubled), counts: Arc::clone(&former.counts), ..self }
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
                let (provider, reason) = (&*self.name, error.reason);
                if self.troubled.swap(true, Ordering::Relaxed) {
                    tracing::debug!(provider, reason, "an identity provider cannot answer");
                } else {
                    let what = "an identity provider cannot answer: its users get 503 until it does";
                    tracing::warn!(provider, reason, "{what}");
                }
                Err(LoginError::Unavailable)
            }
        }
    }
}
