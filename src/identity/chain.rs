//! Providers in order, groups from the configuration, disabled users, the success cache.

mod claims;
mod member;
mod trial;

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    BasicCredentials, DirectoryProblem, Htpasswd, Outcome, Principal, Standing, User,
    admission::{Admission, Asked},
    cache::{Key, Successes},
    ldap::{self, Ldap},
    network::Network,
    spelling,
    throttle::Throttled,
    workers::Workers,
};
use crate::{
    config::{self, FailedLogins, Problem},
    telemetry::metrics,
    tls::FileFault,
};

use self::member::Member;
pub use self::trial::{Step, Trial};

/// Failed logins are answered at multiples of this time.
const GRID: Duration = Duration::from_millis(250);
/// The metric's label where no provider was asked.
const NO_PROVIDER: &str = "none";

/// Why a login did not make a principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// Unknown user, wrong password, empty password, disabled user: not told apart.
    #[error("wrong credentials")]
    Rejected,
    #[error("no identity source can answer now")]
    Unavailable,
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

/// The chain could not be built.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct ChainError {
    /// The file that is at fault.
    pub file: Option<PathBuf>,
    pub reason: String,
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
    /// Reads what the providers need. The error says which file cannot be read and what to do.
    pub fn build(config: &config::Identity) -> Result<Self, ChainError> {
        let without = |_| ChainError { file: None, reason: "the system gives no random numbers".to_owned() };
        let successes = Successes::new().map_err(without)?;
        Self::assemble(config, Arc::new(successes), Arc::new(Workers::new()), None)
    }

    /// A chain for a changed configuration. It goes on with the remembered logins of this one, as far as their proofs
    /// still hold, so that a reload does not have everybody verified anew. A password file that it had before and that
    /// cannot be read now keeps its last content: that must not stand in the way of a ban. One whose content did not change is not
    /// parsed again, and a directory that is configured as before keeps its connections and what it said. What failed of late
    /// still counts.
    pub fn rebuild(&self, config: &config::Identity) -> Result<Self, ChainError> {
        let next = Self::assemble(config, Arc::clone(&self.successes), Arc::clone(&self.workers), Some(self))?;
        Ok(Self { admission: self.admission.goes_on(), ..next })
    }

    /// The chain with a limit on failed logins; without one it has none.
    #[must_use]
    pub fn limited(self, failed_logins: Option<FailedLogins>) -> Self {
        Self { admission: self.admission.limited(failed_logins), ..self }
    }

    fn assemble(
        config: &config::Identity,
        successes: Arc<Successes>,
        workers: Arc<Workers>,
        before: Option<&Self>,
    ) -> Result<Self, ChainError> {
        let mut members = Vec::new();
        let (mut files, mut directories) = (Vec::new(), Vec::new());
        let known = before.map_or(&[][..], |before| &before.files);
        let known_directories = before.map_or(&[][..], |before| &before.directories);
        for provider in &config.providers {
            match provider {
                config::Provider::Htpasswd(htpasswd) => {
                    let name = numbered("htpasswd", files.len() + 1);
                    let open = || Htpasswd::open_as(Arc::clone(&name), htpasswd.file.clone(), Arc::clone(&workers));
                    let file = match known.iter().find(|file| file.is(&name, &htpasswd.file)) {
                        Some(known) => Arc::clone(known),
                        None => Arc::new(open().map_err(|error| unreadable(&htpasswd.file, &error))?),
                    };
                    files.push(Arc::clone(&file));
                    members.push(Member::new(name, file));
                }
                config::Provider::Ldap(settings) => {
                    let name = numbered("ldap", directories.len() + 1);
                    let lifetime = config.cache;
                    let open = || Ldap::new(Arc::clone(&name), settings, lifetime);
                    let same = |known: &&Arc<Ldap>| known.is(&name, settings, lifetime);
                    let directory = match known_directories.iter().find(same) {
                        Some(known) => Arc::clone(known),
                        None => Arc::new(open().map_err(|error| untrusted(&error))?),
                    };
                    directories.push(Arc::clone(&directory));
                    members.push(Member::new(name, directory));
                }
            }
        }
        let chain = Self {
            members,
            files,
            directories,
            groups: groups_by_user(config),
            disabled: config.disabled_users.iter().cloned().collect(),
            disabled_folded: config.disabled_users.iter().map(|name| spelling::folded(name)).collect(),
            lifetime: config.cache,
            successes,
            admission: Admission::new(),
            workers,
        };
        // What is new was read just now, the rest is looked at.
        if before.is_none_or(|before| before.files.is_empty()) {
            metrics::htpasswd_readable(true);
        } else {
            chain.refresh();
        }
        Ok(chain)
    }

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

    /// Reads what the providers need and keeps nothing of it: the lines that will never match, and each file that cannot
    /// be read.
    pub fn check(config: &config::Identity) -> (Vec<Problem>, Vec<ChainError>) {
        let (mut problems, mut errors) = (Vec::new(), Vec::new());
        for provider in &config.providers {
            match provider {
                config::Provider::Htpasswd(htpasswd) => match Htpasswd::check_file(&htpasswd.file) {
                    Ok(found) => problems.extend(found),
                    Err(error) => errors.push(unreadable(&htpasswd.file, &error)),
                },
                config::Provider::Ldap(settings) => {
                    errors.extend(ldap::check(settings).err().map(|error| untrusted(&error)));
                }
            }
        }
        (problems, errors)
    }

    /// Asks every server of every directory once, and says what stands in the way of each. Must not be called where a
    /// directory's roots cannot be used: [`Chain::check`] finds that.
    pub async fn try_out(config: &config::Identity) -> Vec<(&config::Ldap, DirectoryProblem)> {
        let mut found = Vec::new();
        for provider in &config.providers {
            let config::Provider::Ldap(settings) = provider else { continue };
            let problems = ldap::try_out(settings).await.unwrap_or_default();
            found.extend(problems.into_iter().map(|problem| (&**settings, problem)));
        }
        found
    }

    /// Takes the directory servers that are no longer asked out of the metrics.
    pub fn retires(&self, before: &Self) {
        let servers = |chain: &Self| -> HashSet<(String, String)> {
            let all = chain.directories.iter().flat_map(|directory| directory.servers());
            all.map(|(provider, server)| (provider.to_owned(), server.to_owned())).collect()
        };
        for (provider, server) in servers(before).difference(&servers(self)) {
            metrics::ldap_gone(provider, server);
        }
    }

    /// The files that cannot be read now, and why; what they said last is in force.
    pub fn unreadable(&self) -> impl Iterator<Item = (&Path, String)> {
        self.files.iter().filter_map(|file| Some((file.path(), file.trouble()?)))
    }

    /// Looks at changed files once; called at `reload.interval`. Blocks while the files are read.
    pub fn refresh(&self) {
        if self.files.is_empty() {
            return;
        }
        let unreadable = self.files.iter().filter(|file| !file.reread()).count();
        metrics::htpasswd_readable(unreadable == 0);
    }

    async fn decide(&self, login: &BasicCredentials, network: Network) -> Result<Arc<User>, LoginError> {
        // Before any provider: a directory takes a bind with an empty password for an anonymous one, which succeeds
        // (RFC 4513, section 5.1.2).
        if login.username.is_empty() || login.password.reveal().is_empty() {
            metrics::login(NO_PROVIDER, "rejected");
            return Err(LoginError::Rejected);
        }
        let disabled = self.disabled.contains(&login.username);
        if !disabled && let Some(user) = self.remembered(login).await {
            return Ok(user);
        }
        let asked = Asked {
            name: &login.username,
            network,
            here: self.successes.key(&network.to_string(), login),
            anywhere: self.successes.key("", login),
            known: !disabled && self.members.iter().any(|member| self.successes.knows(&self.key(member, login))),
        };
        let ask = async {
            if disabled {
                metrics::login(NO_PROVIDER, "rejected");
                return self.spend(&self.members, network).await;
            }
            self.ask(login, network).await
        };
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
                metrics::login(&member.name, "cached");
                Some(self.user(member, standing))
            }
            _ => {
                self.successes.forget(&key);
                None
            }
        }
    }

    /// Asks the providers. Every way to a refusal costs what an unknown user costs at all of them.
    async fn ask(&self, login: &BasicCredentials, network: Network) -> Result<Arc<User>, LoginError> {
        let mut strangers = Vec::new();
        for (place, member) in self.members.iter().enumerate() {
            let turn = self.admission.turn(&*member.provider, network).await?;
            let begun = Instant::now();
            match member.observe(member.authenticate(login, turn).await) {
                Ok(Outcome::Accepted(standing)) if self.admits(place, login, &standing).await? => {
                    metrics::login(&member.name, "accepted");
                    self.successes.remember(self.key(member, login), &standing);
                    return Ok(self.user(member, standing));
                }
                Ok(Outcome::Accepted(_) | Outcome::Rejected) => {
                    metrics::login(&member.name, "rejected");
                    self.members.iter().for_each(|member| self.successes.forget(&self.key(member, login)));
                    let behind = self.members.get(place.saturating_add(1)..).unwrap_or_default();
                    linger(strangers).await;
                    return self.spend(behind, network).await;
                }
                Ok(Outcome::Unknown) => {
                    metrics::login(&member.name, "unknown");
                    strangers.push((member, begun.elapsed()));
                }
                Err(error) => {
                    metrics::login(&member.name, "error");
                    return Err(error);
                }
            }
        }
        linger(strangers).await;
        Err(LoginError::Rejected)
    }

    /// Refuses after the work of these providers. Where there is no turn to be had for it, that shows here as in [`Self::ask`].
    async fn spend(&self, members: &[Member], network: Network) -> Result<Arc<User>, LoginError> {
        for member in members {
            let _turn = self.admission.turn(&*member.provider, network).await?;
            member.provider.spend().await;
        }
        Err(LoginError::Rejected)
    }

    fn user(&self, member: &Member, standing: Standing) -> Arc<User> {
        let Standing { name, groups: directory_groups, proof } = standing;
        let groups = self.configured_groups(&name);
        Arc::new(User { name, groups, directory_groups, via: Arc::clone(&member.name), proof })
    }
}

/// For each that did not know the name, and how long that took.
async fn linger(strangers: Vec<(&Member, Duration)>) {
    for (member, took) in strangers {
        member.provider.linger(took).await;
    }
}

/// Waits until an error may be told.
async fn on_grid(begun: Instant, error: LoginError) -> LoginError {
    match error {
        LoginError::Rejected | LoginError::Unavailable => {
            tokio::time::sleep_until(begun + next_tick(begun.elapsed())).await;
        }
        LoginError::Throttled { .. } => {}
    }
    error
}

/// The first point of the grid after the elapsed time.
fn next_tick(elapsed: Duration) -> Duration {
    let passed = elapsed.as_millis() / GRID.as_millis();
    GRID.saturating_mul(u32::try_from(passed).unwrap_or(u32::MAX).saturating_add(1))
}

/// `htpasswd`, `htpasswd-2`, …: tokens say by it who proved the name.
fn numbered(kind: &str, number: usize) -> Arc<str> {
    if number == 1 { Arc::from(kind) } else { Arc::from(format!("{kind}-{number}")) }
}

fn unreadable(file: &Path, error: &std::io::Error) -> ChainError {
    let reason = format!(
        "cannot read the password file {}: {error}; make it with `portcullis hash USER`, and let the user that portcullis runs as read it",
        file.display()
    );
    ChainError { file: Some(file.to_owned()), reason }
}

fn untrusted(error: &FileFault) -> ChainError {
    let file = error.file.clone();
    let reason = file.as_ref().map_or_else(|| error.reason.clone(), |file| format!("{}: {error}", file.display()));
    ChainError { file, reason }
}

fn groups_by_user(config: &config::Identity) -> HashMap<String, Vec<Arc<str>>> {
    let mut groups: HashMap<String, Vec<Arc<str>>> = HashMap::new();
    for (group, users) in &config.groups {
        let group: Arc<str> = Arc::from(group.as_str());
        for user in users {
            let of_user = groups.entry(user.clone()).or_default();
            if !of_user.contains(&group) {
                of_user.push(Arc::clone(&group));
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests;
