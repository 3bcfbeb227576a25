//! A login with every step of it told, for who administers the gate.

use super::{Chain, LoginError};
use crate::identity::{BasicCredentials, Outcome, Principal};

/// What became of a login.
#[derive(Debug)]
pub struct Trial {
    /// In the order of asking.
    pub steps: Vec<Step>,
    pub outcome: Result<Principal, LoginError>,
}

/// One provider.
#[derive(Debug)]
pub struct Step {
    pub provider: String,
    /// What was asked and what came back.
    pub lines: Vec<String>,
    /// What it means for the login.
    pub verdict: String,
}

impl Chain {
    /// Decides as [`Chain::login`] does, without anything that is remembered.
    pub async fn trial(&self, login: &BasicCredentials) -> Trial {
        let mut steps = Vec::new();
        let outcome = self.take_steps(login, &mut steps).await;
        Trial { steps, outcome }
    }

    async fn take_steps(&self, login: &BasicCredentials, steps: &mut Vec<Step>) -> Result<Principal, LoginError> {
        let step = |provider: &str, lines, verdict: String| Step { provider: provider.to_owned(), lines, verdict };
        if login.username.is_empty() || login.password.reveal().is_empty() {
            steps.push(step(
                "identity",
                Vec::new(),
                "refused: an empty name or password is never asked about".to_owned(),
            ));
            return Err(LoginError::Rejected);
        }
        if self.disabled.contains(&login.username) {
            steps.push(step("identity", Vec::new(), "refused: the name is in disabled_users".to_owned()));
            return Err(LoginError::Rejected);
        }
        for member in &self.members {
            let (lines, answer) = member.provider.trial(login).await;
            let (verdict, outcome) = match answer {
                Ok(Outcome::Accepted(standing)) if self.disabled.contains(&*standing.name) => {
                    (format!("refused: {:?} is in disabled_users", standing.name), Some(Err(LoginError::Rejected)))
                }
                Ok(Outcome::Accepted(standing)) => {
                    (format!("accepted as {:?}", standing.name), Some(Ok(Principal::user(self.user(member, standing)))))
                }
                Ok(Outcome::Rejected) => (
                    "refused: it has this name, and no other provider is asked".to_owned(),
                    Some(Err(LoginError::Rejected)),
                ),
                Ok(Outcome::Unknown) => ("it does not have this name".to_owned(), None),
                Err(error) => (format!("cannot tell: {}", error.reason), Some(Err(LoginError::Unavailable))),
            };
            steps.push(step(&member.name, lines, verdict));
            if let Some(outcome) = outcome {
                return outcome;
            }
        }
        Err(LoginError::Rejected)
    }
}
