//! Providers in order, groups from the configuration, disabled users, the success cache.

mod build;
mod claims;
mod grid;
mod member;
mod trial;

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use self::{grid::on_grid, member::Member};
use super::{
    BasicCredentials, Htpasswd, Outcome, Principal, Standing, User,
    admission::{Admission, Asked},
    cache::{Key, Successes},
    ldap::Ldap,
    network::Network,
    throttle::Throttled,
    turns::Turn,
    workers::Workers,
};
use crate::telemetry::metrics;

pub use build::ChainError;
pub use trial::{Step, Trial};

/// Why a login did not make a principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// Unknown user, wrong password, empty password, disabled user: not told apart.
    #[error("wrong credentials")]
    Rejected,
    #[error("no identity source can answer now")]
    Unavailable,
    /// More logins are to be verified than can be; the identity source is well.
    #[error("too many logins wait to be verified")]
    Overloaded,
    /// Too many logins with this name failed from there, or from there with any name. Nothing was verified.
    #[error("too many failed logins")]
    Throttled {
        /// Whole seconds until the next one is possible, at least one.
        retry_after: Duration,
    },
}

impl From<Throttled> for LoginError {
    fn from(Throttled { retry_after }: Throttled) -> Self {
        Self::Throttled { retry_after }
    }
}

/// The providers of the configuration, asked in order, and what the configuration itself says of users.
pub struct Chain {
    members: Vec<Member>,
    /// The members that are files.
    files: Vec<Arc<Htpasswd>>,
    /// The members that are directories.
    directories: Vec<Arc<Ldap>>,
    groups: HashMap<String, Vec<Arc<str>>>,
    disabled: HashSet<String>,
    /// The same, for providers that take several spellings for one name.
    disabled_folded: HashSet<String>,
    lifetime: Duration,
    successes: Arc<Successes>,
    admission: Admission,
    workers: Arc<Workers>,
}

/// Whether what a provider said earlier will do.
#[derive(Clone, Copy)]
enum Memory {
    Counts,
    DoesNot,
}

impl Chain {
    /// Who presents these credentials.
    ///
    /// Providers are asked in order: one that knows the user decides, and where one cannot answer nobody after it is
    /// asked, so that none can claim its names. Failures are answered at the next multiple of 250 ms since the login
    /// began, successes at once, and so is what the throttle has no room for: that says nothing of users.
    pub async fn login(&self, login: &BasicCredentials, client: IpAddr) -> Result<Principal, LoginError> {
        let begun = Instant::now();
        match self.decide(login, Network::of(client)).await {
            Ok(user) => Ok(Principal::user(user)),
            Err(error) => Err(on_grid(begun, error).await),
        }
    }

    /// Counts a login that was refused before any provider was asked, and waits until it may be answered.
    pub(crate) async fn refuse(&self, begun: Instant, name: &str, client: IpAddr) -> LoginError {
        let counted = self.admission.fail(name, Network::of(client));
        on_grid(begun, counted.err().unwrap_or(LoginError::Rejected)).await
    }

    /// The user of a token: still there, not disabled, with the same proof, and with a name that no provider before
    /// theirs has taken over. `Ok(None)` where not.
    pub(crate) async fn recall(&self, name: &str, via: &str, proof: &str) -> Result<Option<Arc<User>>, LoginError> {
        self.recall_as(name, via, proof, Memory::Counts).await
    }

    /// The same by what the provider says at this moment, for what proves a login anew: a directory that is down proves
    /// nothing.
    pub(crate) async fn recall_now(&self, name: &str, via: &str, proof: &str) -> Result<Option<Arc<User>>, LoginError> {
        self.recall_as(name, via, proof, Memory::DoesNot).await
    }

    async fn recall_as(
        &self,
        name: &str,
        via: &str,
        proof: &str,
        memory: Memory,
    ) -> Result<Option<Arc<User>>, LoginError> {
        let Some(place) = self.members.iter().position(|member| &*member.name == via) else {
            return Ok(None);
        };
        let (before, rest) = self.members.split_at(place);
        let Some(member) = rest.first().filter(|member| !self.bans(member, name)) else { return Ok(None) };
        for earlier in before {
            // One that cannot tell did not know the name when the token was issued.
            if let Ok(true) = earlier.provider.knows(name).await {
                return Ok(None);
            }
        }
        let standing = match memory {
            Memory::Counts => member.provider.standing(name).await,
            Memory::DoesNot => member.provider.standing_now(name).await,
        };
        Ok(member
            .observe(standing)?
            .filter(|standing| standing.proof.as_str() == proof && &*standing.name == name)
            .map(|standing| self.user(member, standing)))
    }

    /// The user of this name as a login would find it, without a login: at the first provider that knows it.
    /// `Ok(None)` where none does, or the user is disabled. For who administers the gate, never for who asks it.
    pub async fn find(&self, name: &str) -> Result<Option<User>, LoginError> {
        if self.disabled.contains(name) {
            return Ok(None);
        }
        for (place, member) in self.members.iter().enumerate() {
            let standing = member.provider.standing(name).await.map_err(|_| LoginError::Unavailable)?;
            if let Some(standing) = standing.filter(|standing| !self.bans(member, &standing.name)) {
                let taken = self.is_taken(place, name, &standing.name).await?;
                return Ok((!taken).then(|| Arc::unwrap_or_clone(self.user(member, standing))));
            }
            if member.provider.knows(name).await.map_err(|_| LoginError::Unavailable)? {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Groups the configuration gives a name (for `acl explain`).
    pub fn configured_groups(&self, name: &str) -> Vec<Arc<str>> {
        self.groups.get(name).cloned().unwrap_or_default()
    }

    async fn decide(&self, login: &BasicCredentials, network: Network) -> Result<Arc<User>, LoginError> {
        // Before any provider: a directory takes a bind with an empty password for an anonymous one, which succeeds
        // (RFC 4513, section 5.1.2).
        if login.username.is_empty() || login.password.reveal().is_empty() {
            metrics::login_of_nobody("rejected");
            return Err(LoginError::Rejected);
        }
        let disabled = self.disabled.contains(&login.username);
        if !disabled {
            let remembered = self.remembered(login).await;
            metrics::login_looked_up(remembered.is_some());
            if let Some(user) = remembered {
                return Ok(user);
            }
        }
        let asked = Asked {
            name: &login.username,
            network,
            here: self.successes.key(&network.to_string(), login),
            anywhere: self.successes.key("", login),
            known: !disabled && self.members.iter().any(|member| self.successes.knows(&self.key(member, login))),
        };
        // Most logins are remembered, and need no room for what asking comes to.
        let ask = Box::pin(async {
            if disabled {
                metrics::login_of_nobody("rejected");
                return self.spend(&self.members, network, Duration::ZERO).await;
            }
            self.ask(login, network).await
        });
        self.admission.verify(asked, ask).await
    }

    fn key(&self, member: &Member, login: &BasicCredentials) -> Key {
        self.successes.key(&member.name, login)
    }

    /// The user of a login that succeeded of late and would succeed now.
    async fn remembered(&self, login: &BasicCredentials) -> Option<Arc<User>> {
        let (place, key, success) = self.members.iter().enumerate().find_map(|(place, member)| {
            let key = self.key(member, login);
            self.successes.recall(&key, self.lifetime).map(|success| (place, key, success))
        })?;
        for earlier in self.members.iter().take(place) {
            // A provider before it has the name now, or cannot say.
            if !matches!(earlier.provider.knows(&login.username).await, Ok(false)) {
                return None;
            }
        }
        if self.is_taken(place, &login.username, &success.name).await != Ok(false) {
            return None;
        }
        let member = self.members.get(place)?;
        let standing = member.provider.standing(&success.name).await.ok()?;
        match standing.filter(|standing| standing.proof == success.proof && standing.name == success.name) {
            Some(standing) if !self.bans(member, &standing.name) => {
                member.counts.login("cached");
                Some(self.user(member, standing))
            }
            _ => {
                self.successes.forget(&key);
                None
            }
        }
    }

    /// Asks the providers. Every way to a refusal costs and takes what an unknown user costs and takes at all of them.
    async fn ask(&self, login: &BasicCredentials, network: Network) -> Result<Arc<User>, LoginError> {
        let (mut unasked, mut owed) = (Vec::new(), Duration::ZERO);
        let mut members = self.members.iter().enumerate();
        for (place, member) in members.by_ref() {
            // What this costs is spent at a refusal alone: most who are not in a file are in the directory behind it.
            if member.provider.computes()
                && let Ok(false) = member.provider.knows(&login.username).await
            {
                member.counts.login("unknown");
                unasked.push(member);
                continue;
            }
            let turn = self.turn(member, network).await?;
            let begun = Instant::now();
            let outcome = member.authenticate(login, turn).await;
            let took = begun.elapsed();
            member.counts.checked(took);
            owed += member.owes(took);
            match member.observe(outcome) {
                Ok(Outcome::Accepted(standing)) if self.admits(place, login, &standing).await? => {
                    member.counts.login("accepted");
                    self.successes.remember(self.key(member, login), &standing);
                    return Ok(self.user(member, standing));
                }
                Ok(Outcome::Accepted(_) | Outcome::Rejected) => {
                    member.counts.login("rejected");
                    break;
                }
                Ok(Outcome::Unknown) => member.counts.login("unknown"),
                Err(error) => {
                    member.counts.login("error");
                    return Err(error);
                }
            }
        }
        // Whoever it was right for before is gone, or has another password: from now on it is a guess like any other.
        self.members.iter().for_each(|member| self.successes.forget(&self.key(member, login)));
        unasked.extend(members.map(|(_, member)| member));
        self.spend(unasked, network, owed).await
    }

    /// Refuses after the work of these providers, and once they and those that were asked would have refused anybody: so
    /// much longer than they did is owed. Where there is no turn to be had for it, that shows here as in [`Self::ask`].
    async fn spend<'a>(
        &self,
        members: impl IntoIterator<Item = &'a Member> + Send,
        network: Network,
        mut owed: Duration,
    ) -> Result<Arc<User>, LoginError> {
        for member in members {
            let turn = self.turn(member, network).await?;
            let begun = Instant::now();
            member.provider.spend().await;
            drop(turn);
            owed += member.owes(begun.elapsed());
        }
        tokio::time::sleep(owed).await;
        Err(LoginError::Rejected)
    }

    async fn turn(&self, member: &Member, network: Network) -> Result<Option<Turn>, LoginError> {
        let turn = self.admission.turn(&*member.provider, network).await;
        turn.inspect_err(|_| member.counts.login("overload"))
    }

    fn user(&self, member: &Member, standing: Standing) -> Arc<User> {
        let Standing { name, groups: directory_groups, proof } = standing;
        let groups = self.configured_groups(&name);
        Arc::new(User { name, groups, directory_groups, via: Arc::clone(&member.name), proof })
    }
}

#[cfg(test)]
mod tests;
