//! A login with every step of it told, for who administers the gate.

use std::sync::Arc;

use super::{Chain, LoginError, member::Member};
use crate::identity::{BasicCredentials, Outcome, Principal, Standing};

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
        for (place, member) in self.members.iter().enumerate() {
            let (lines, answer) = member.provider.trial(login).await;
            let (verdict, outcome) = match answer {
                Ok(Outcome::Accepted(standing)) => self.judge(place, member, login, standing).await,
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
    async fn judge(
        &self,
        place: usize,
        member: &Member,
        login: &BasicCredentials,
        standing: Standing,
    ) -> (String, Option<Result<Principal, LoginError>>) {
        let name = Arc::clone(&standing.name);
        if self.bans(member, &name) {
            return (format!("refused: {name:?} is in disabled_users"), Some(Err(LoginError::Rejected)));
        }
        match self.is_taken(place, &login.username, &name).await {
            Ok(false) => (format!("accepted as {name:?}"), Some(Ok(Principal::user(self.user(member, standing))))),
            Ok(true) => {
                let why =
                    format!("refused: it calls the user {name:?}, which is the name of one of a provider before it");
                (why, Some(Err(LoginError::Rejected)))
            }
            Err(error) => {
                let why = format!("cannot tell: it calls the user {name:?}, and a provider before it does not answer");
                (why, Some(Err(error)))
            }
        }
    }
}
