//! Users and groups of a directory: search and bind, over TLS alone.
//!
//! A login is a search for the name, a bind with the password as the entry that was found, and a search for its groups.
//! What is known of a user is read again while its tokens are used: from half of `identity.cache` on in the background,
//! and before an answer once it is older than that. So nothing counts that was read longer ago, and a directory that is
//! down for less than half of it is not noticed.

mod account;
mod connection;
mod fault;
mod frame;
mod groups;
mod pace;
mod reason;
mod servers;
mod session;
mod trial;
mod try_out;
mod wire;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use aws_lc_rs::digest;
use moka::sync::Cache;
use tokio::{sync::Semaphore, task::JoinSet, time};

pub use self::try_out::{DirectoryProblem, DirectoryTrouble};
pub(super) use self::try_out::{check, try_out};
use self::{
    account::Account,
    pace::Pace,
    servers::{Admission, Server, Service},
    session::{Answer, Question, Session},
};
use super::{
    BasicCredentials, Outcome, Provider, ProviderError, Standing,
    cache::{Flights, Key},
    turns::Turns,
};
use crate::{
    config::{self, Secret},
    tls::{ContentHash, FileFault, Roots},
};

/// How many users are remembered.
const CAPACITY: u64 = 10_000;

/// How long a question may wait until it is asked. From then on it has `timeout`, so that a crowd is not taken for a server
/// that does not answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A directory.
pub(super) struct Ldap(Arc<Directory>);

struct Directory {
    name: Arc<str>,
    settings: config::Ldap,
    /// Of the files that the settings name.
    content: ContentHash,
    servers: Vec<Arc<Server>>,
    /// How old what is known may be.
    lifetime: Duration,
    known: Cache<String, Known>,
    flights: Flights<Result<Seen, ProviderError>>,
    pace: Pace,
    /// Logins: networks take turns, before their time runs.
    turns: Arc<Turns>,
    /// As many as are asked at a time: no more than one server has connections for.
    places: Semaphore,
    /// The tasks that probe the servers; they end with this.
    watchers: Mutex<JoinSet<()>>,
}

/// What a directory answered, and how.
struct Reply {
    answer: Answer,
    server: String,
    /// From when it was asked, whoever had to wait for that.
    took: Duration,
    /// What stood in the way at the servers before.
    before: Vec<String>,
}

/// What was seen under a name, and when.
#[derive(Clone)]
struct Known {
    seen: Seen,
    at: Instant,
}

#[derive(Clone)]
enum Seen {
    Nobody,
    /// Somebody who must not log in.
    Barred,
    Account(Arc<Account>),
}

impl Ldap {
    /// Reads the files, and asks nobody yet. `before` is what had the same name under an earlier configuration.
    pub(super) fn new(
        name: Arc<str>,
        settings: &config::Ldap,
        lifetime: Duration,
        before: Option<&Self>,
    ) -> Result<Self, FileFault> {
        let files = Files::read(settings)?;
        let tls = wire::client_config(&files.roots)?;
        let server = |address: &config::LdapServer| {
            let (service, tls) = (files.service.clone(), Arc::clone(&tls));
            let was_left_out = before.is_some_and(|before| before.leaves_out(address));
            Arc::new(Server::new(Arc::clone(&name), address.clone(), tls, service, settings.pool, was_left_out))
        };
        let servers = settings.servers.iter().map(server).collect();
        let known = Cache::builder().max_capacity(CAPACITY).time_to_live(lifetime).build();
        let (settings, content) = (settings.clone(), files.content());
        let (flights, pace) = (Flights::new(), Pace::default());
        let (turns, places) = (Arc::new(Turns::new(settings.pool)), Semaphore::new(settings.pool));
        Ok(Self(Arc::new(Directory {
            name,
            settings,
            content,
            servers,
            lifetime,
            known,
            flights,
            pace,
            turns,
            places,
            watchers: Mutex::default(),
        })))
    }

    pub(super) fn has_name(&self, name: &str) -> bool {
        *self.0.name == *name
    }

    fn leaves_out(&self, address: &config::LdapServer) -> bool {
        let name = address.to_string();
        self.0.servers.iter().any(|server| server.name == name && server.is_left_out())
    }

    /// Begins to probe the servers, unless they are probed already; it ends with this directory, or by
    /// [`Ldap::rest`]. To be called within a tokio runtime.
    pub(super) fn watch(&self) {
        let mut watchers = self.0.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        if watchers.is_empty() {
            for server in &self.0.servers {
                watchers.spawn(Arc::clone(server).watch(self.0.settings.timeout));
            }
        }
    }

    /// Probes no more. Requests that began under an earlier configuration may still ask.
    pub(super) fn rest(&self) {
        self.0.watchers.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }

    /// True for the provider of this name with these settings, where the files are as they were.
    pub(super) fn is(&self, name: &str, settings: &config::Ldap, lifetime: Duration) -> bool {
        let Directory { name: own, settings: known, content, lifetime: same, .. } = &*self.0;
        let unchanged = **own == *name && known == settings && *same == lifetime;
        unchanged && Files::read(settings).is_ok_and(|files| files.content() == *content)
    }

    /// The names of its servers in metrics.
    pub(super) fn servers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.servers.iter().map(|server| (&*self.0.name, server.name.as_str()))
    }

    /// How its servers are.
    pub(super) fn states(&self) -> impl Iterator<Item = DirectoryState> {
        let state = |server: &Arc<Server>| DirectoryState {
            provider: Arc::clone(&self.0.name),
            server: server.name.clone(),
            trouble: server.trouble(),
        };
        self.0.servers.iter().map(state)
    }
}

/// How one server of a directory is.
#[derive(Clone, Debug)]
pub struct DirectoryState {
    pub provider: Arc<str>,
    /// Its address as configured.
    pub server: String,
    /// Why it is left out; None while it is asked.
    pub trouble: Option<String>,
}

/// What the settings name.
struct Files {
    roots: Roots,
    service: Option<Service>,
}

impl Files {
    fn read(settings: &config::Ldap) -> Result<Self, FileFault> {
        let roots = settings.ca_file.as_ref().map_or_else(|| Ok(Roots::of_system()), |file| Roots::of_file(file))?;
        let service = settings.service.as_ref().map(|service| {
            let fault = |error: std::io::Error| FileFault {
                file: Some(service.password_file.clone()),
                reason: format!("cannot be used: {error}"),
            };
            Ok(Service { dn: service.dn.clone(), password: service.password().map_err(fault)? })
        });
        Ok(Self { roots, service: service.transpose()? })
    }

    fn content(&self) -> ContentHash {
        let password = self.service.as_ref().map(|service| service.password.reveal().as_bytes());
        ContentHash::of(self.roots.parts().chain(password))
    }
}

#[async_trait]
impl Provider for Ldap {
    fn name(&self) -> &str {
        &self.0.name
    }

    async fn authenticate(&self, login: &BasicCredentials) -> Result<Outcome, ProviderError> {
        let (user, password) = (login.username.clone(), login.password.clone());
        // The chain refuses an empty one too; a directory would take it for an anonymous bind, which succeeds.
        if password.reveal().is_empty() || !account::is_usable(&user) {
            return Ok(Outcome::Unknown);
        }
        let question = Question::Login { user: user.clone(), password };
        let Reply { answer, before, took, .. } = Arc::clone(&self.0).ask(question).await?;
        // What another server cost that did not answer shows in all refusals of the time.
        if before.is_empty() {
            self.0.pace.note(took, answer.shows_a_bind());
        }
        match &answer {
            Answer::Wrong(why) => tracing::debug!(provider = &*self.0.name, user, why, "the directory refuses a login"),
            Answer::Unusable(why) => tracing::warn!(provider = &*self.0.name, user, why, "a login cannot succeed"),
            Answer::Account(account) => drop(self.0.remember(&account.standing.name, Seen::of(Arc::clone(account)))),
            Answer::Nobody => {}
        }
        Ok(outcome(answer))
    }

    async fn standing(&self, user: &str) -> Result<Option<Standing>, ProviderError> {
        Ok(self.0.seen(user).await?.standing())
    }

    async fn standing_now(&self, user: &str) -> Result<Option<Standing>, ProviderError> {
        if self.0.settings.asks_as_user() || !account::is_usable(user) {
            return self.standing(user).await;
        }
        Ok(self.0.look(user).await?.standing())
    }

    fn longest_refusal(&self) -> Duration {
        self.0.pace.longest()
    }

    async fn trial(&self, user: &str, password: Option<&Secret>) -> (Vec<String>, Result<Outcome, ProviderError>) {
        trial::of(&self.0, user, password).await
    }

    fn folds_names(&self) -> bool {
        true
    }

    fn turns(&self) -> Option<&Arc<Turns>> {
        Some(&self.0.turns)
    }

    async fn knows(&self, user: &str) -> Result<bool, ProviderError> {
        Ok(match self.0.seen(user).await? {
            Seen::Account(_) | Seen::Barred => true,
            Seen::Nobody => false,
        })
    }
}

/// What an answer to a login means.
fn outcome(answer: Answer) -> Outcome {
    match answer {
        Answer::Nobody => Outcome::Unknown,
        Answer::Account(account) if !account.disabled => Outcome::Accepted(account.standing.clone()),
        Answer::Wrong(_) | Answer::Unusable(_) | Answer::Account(_) => Outcome::Rejected,
    }
}

impl Seen {
    fn of(account: Arc<Account>) -> Self {
        if account.disabled { Self::Barred } else { Self::Account(account) }
    }

    fn standing(self) -> Option<Standing> {
        match self {
            Self::Account(account) => Some(account.standing.clone()),
            Self::Nobody | Self::Barred => None,
        }
    }
}

impl Directory {
    /// What is known of a name: never older than `lifetime`.
    async fn seen(self: &Arc<Self>, user: &str) -> Result<Seen, ProviderError> {
        if !account::is_usable(user) {
            return Ok(Seen::Nobody);
        }
        let known = self.known.get(user).map(|known| (known.at.elapsed(), known.seen));
        match known.filter(|(age, _)| *age < self.lifetime) {
            // Nobody can be asked but the user, by logging in.
            Some((_, seen)) if self.settings.asks_as_user() => Ok(seen),
            None if self.settings.asks_as_user() => Ok(Seen::Nobody),
            Some((age, seen)) => {
                if age >= self.lifetime / 2 {
                    let (directory, user) = (Arc::clone(self), user.to_owned());
                    tokio::spawn(async move { directory.look(&user).await.map(drop) });
                }
                Ok(seen)
            }
            None => self.look(user).await,
        }
    }

    /// Reads what the directory says now, once for all who want to know it at the same time.
    async fn look(self: &Arc<Self>, user: &str) -> Result<Seen, ProviderError> {
        let work = async {
            let seen = match Arc::clone(self).ask(Question::Look { user: user.to_owned() }).await?.answer {
                Answer::Nobody => Seen::Nobody,
                Answer::Unusable(_) | Answer::Wrong(_) => Seen::Barred,
                Answer::Account(account) => Seen::of(account),
            };
            Ok(self.remember(user, seen))
        };
        self.flights.run(key(user), work).await
    }

    fn remember(&self, user: &str, seen: Seen) -> Seen {
        if !self.lifetime.is_zero() {
            self.known.insert(user.to_owned(), Known { seen: seen.clone(), at: Instant::now() });
        }
        seen
    }

    /// On a task of its own: what was begun is ended, whoever goes away, and the library may give up on an answer that it
    /// cannot read.
    async fn ask(self: Arc<Self>, question: Question) -> Result<Reply, ProviderError> {
        let name = Arc::clone(&self.name);
        let work = async move {
            let place = time::timeout(PATIENCE, self.places.acquire()).await;
            let _place = place.map_err(|_| "too many ask at once".to_owned())?;
            self.ask_in_turn(&question).await
        };
        let reason = match tokio::spawn(work).await {
            Ok(Ok(reply)) => return Ok(reply),
            Ok(Err(reason)) => reason,
            Err(_) => "the answer cannot be read".to_owned(),
        };
        Err(ProviderError { provider: name.to_string(), reason })
    }

    /// The servers to ask, in order. Those that were left out for their time are tried on the side, or where there is no
    /// other.
    fn admitted(&self) -> Vec<(&Arc<Server>, Admission)> {
        let admitted = self.servers.iter().filter_map(|server| Some((server, server.admits()?)));
        let (usual, due): (Vec<_>, Vec<_>) = admitted.partition(|(_, admission)| *admission == Admission::Usual);
        if usual.is_empty() {
            return due;
        }
        for (server, admission) in due {
            let (server, timeout) = (Arc::clone(server), self.settings.timeout);
            tokio::spawn(async move { server.probe(admission, timeout).await });
        }
        usual
    }

    /// The first server that can answer does. Each gets its share of the time that is left.
    async fn ask_in_turn(&self, question: &Question) -> Result<Reply, String> {
        let begun = time::Instant::now();
        let end = begun + self.settings.timeout;
        let mut reasons = Vec::new();
        let admitted = self.admitted();
        for ((server, admission), left) in admitted.iter().zip((1..=admitted.len()).rev()) {
            let share = end.saturating_duration_since(time::Instant::now()) / u32::try_from(left).unwrap_or(u32::MAX);
            let session = Session { server, settings: &self.settings, deadline: time::Instant::now() + share };
            match session.answer(question).await {
                Ok(answer) => {
                    server.succeeded();
                    return Ok(Reply { answer, server: server.name.clone(), took: begun.elapsed(), before: reasons });
                }
                Err(fault) => {
                    let fault = fault.after(share);
                    server.failed(&fault, *admission);
                    reasons.push(format!("{}: {fault}", server.name));
                }
            }
        }
        Err(if reasons.is_empty() { "every server is left out for a moment".to_owned() } else { reasons.join("; ") })
    }
}

fn key(user: &str) -> Key {
    let mut key = Key::default();
    let digest = digest::digest(&digest::SHA256, user.as_bytes());
    key.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    key
}

#[cfg(test)]
mod tests;
