//! A login with every step of it told, for who administers the gate.

use std::sync::Arc;

use super::{Chain, LoginError, member::Member};
use crate::{
    config::Secret,
    identity::{BasicCredentials, Outcome, Principal, Standing},
};

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
        self.try_out_user(&login.username, Some(&login.password)).await
    }

    /// What a login with this name and the right password would come to, without trying one.
    pub async fn trial_without_password(&self, user: &str) -> Trial {
        self.try_out_user(user, None).await
    }

    async fn try_out_user(&self, user: &str, password: Option<&Secret>) -> Trial {
        let mut steps = Vec::new();
        let outcome = self.take_steps(user, password, &mut steps).await;
        Trial { steps, outcome }
    }

    async fn take_steps(
        &self,
        user: &str,
        password: Option<&Secret>,
        steps: &mut Vec<Step>,
    ) -> Result<Principal, LoginError> {
        let step = |provider: &str, lines, verdict: String| Step { provider: provider.to_owned(), lines, verdict };
        if user.is_empty() || password.is_some_and(|password| password.reveal().is_empty()) {
            steps.push(step(
                "identity",
                Vec::new(),
                "refused: an empty name or password is never asked about".to_owned(),
            ));
            return Err(LoginError::Rejected);
        }
        if self.disabled.contains(user) {
            steps.push(step("identity", Vec::new(), "refused: the name is in disabled_users".to_owned()));
            return Err(LoginError::Rejected);
        }
        for (place, member) in self.members.iter().enumerate() {
            let (lines, answer) = member.provider.trial(user, password).await;
            let (verdict, outcome) = match answer {
                Ok(Outcome::Accepted(standing)) => {
                    let how =
                        if password.is_some() { "accepted as" } else { "the password was not tried; the user is" };
                    self.judge(place, member, (user, how), standing).await
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

    async fn judge(
        &self,
        place: usize,
        member: &Member,
        (typed, how): (&str, &str),
        standing: Standing,
    ) -> (String, Option<Result<Principal, LoginError>>) {
        let name = Arc::clone(&standing.name);
        if self.bans(member, &name) {
            return (format!("refused: {name:?} is in disabled_users"), Some(Err(LoginError::Rejected)));
        }
        match self.is_taken(place, typed, &name).await {
            Ok(false) => (format!("{how} {name:?}"), Some(Ok(Principal::user(self.user(member, standing))))),
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
