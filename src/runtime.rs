//! All that a request needs, built from one configuration and swapped as one snapshot.

mod check;
mod former;
mod predecessor;
mod public;
mod reloads;
mod writes;

pub use check::{BuildError, Check};
pub use former::outlive;
pub use predecessor::{Awaited, Predecessor};
pub use public::{PublicOrigin, PublicRegistry, service};
pub use reloads::{Failure, Reloads, Report};
pub use writes::{OpenWrite, Writes};

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use tokio::time::Instant;

use crate::{
    access::Policy,
    budget::Budget,
    config::{Config, Host, Limits, Tokens},
    events::Events,
    identity::{BasicCredentials, Chain, Credentials, LoginError, Principal},
    registry::Route,
    telemetry::metrics,
    tls::CertStore,
    token::{Issuer, Keys, Refusal, Seals, TokenKind, Verifier, VerifyError},
    upstream::{self, Pool},
};

/// The snapshot that a request keeps from its beginning to its end.
pub struct Runtime {
    registries: Vec<Arc<PublicRegistry>>,
    by_host: HashMap<Host, usize>,
    pub policy: Policy,
    pub chain: Chain,
    pub issuer: Issuer,
    verifier: Verifier,
    /// Says which upload sessions are whose.
    pub seals: Seals,
    /// The life of a refresh token; None: there are none.
    pub refresh: Option<Duration>,
    pub limits: Limits,
    /// The memory that `limits.buffers` speaks of: one budget for the whole process, whatever is read again.
    pub buffers: Arc<Budget>,
    /// Of registries that are none any more: what was open there may still be going on, and its storage may be another
    /// registry's now.
    orphans: Vec<Arc<Writes>>,
    /// The process that this one took over from.
    pub predecessor: Arc<Predecessor>,
    /// The process that may take over from this one.
    pub awaited: Arc<Awaited>,
    /// Who is told of what is done; the same through reloads.
    pub events: Arc<Events>,
    /// Those in force: it changes without the configuration.
    pub certificates: Arc<CertStore>,
    /// What became of the configurations that were read.
    pub reloads: Arc<Reloads>,
    pub token_path: String,
    /// What a browser's password prompt shows.
    pub prompt: String,
    hsts: Option<String>,
    pub trusted_proxies: Vec<IpNet>,
    /// Ports that clients may dial: the public one first.
    ports: Vec<u16>,
}

impl Runtime {
    pub fn build(config: &Config, keys: Arc<Keys>) -> Result<Self, BuildError> {
        let buffers = Arc::new(Budget::new(config.limits.buffers));
        let chain = Chain::build(&config.identity)?.limited(config.limits.failed_logins);
        Self::assemble(config, keys, chain, buffers, &[])
    }

    /// The snapshot of a changed configuration, which goes on with the logins that this one remembers as far as their
    /// proofs still hold, and counts on the writes that are open.
    pub fn rebuild(&self, config: &Config, keys: Arc<Keys>) -> Result<Self, BuildError> {
        let chain = self.chain.rebuild(&config.identity)?.limited(config.limits.failed_logins);
        let next = Self::assemble(config, keys, chain, Arc::clone(&self.buffers), &self.registries)?;
        Ok(Self {
            orphans: self.orphans(&next.registries),
            predecessor: Arc::clone(&self.predecessor),
            awaited: Arc::clone(&self.awaited),
            events: Arc::clone(&self.events),
            certificates: Arc::clone(&self.certificates),
            reloads: Arc::clone(&self.reloads),
            ..next
        })
    }

    /// The writes that would be counted nowhere with these registries.
    fn orphans(&self, next: &[Arc<PublicRegistry>]) -> Vec<Arc<Writes>> {
        // Requests of an earlier snapshot may still begin writes.
        let lasting = self.orphans.iter().filter(|writes| writes.open(true) > 0 || Arc::strong_count(writes) > 1);
        let mut orphans: Vec<Arc<Writes>> = Vec::new();
        for writes in self.registries.iter().map(|registry| &registry.writes).chain(lasting) {
            let is_counted =
                next.iter().map(|registry| &registry.writes).chain(&orphans).any(|known| Arc::ptr_eq(known, writes));
            if !is_counted {
                orphans.push(Arc::clone(writes));
            }
        }
        orphans
    }

    fn assemble(
        config: &Config,
        keys: Arc<Keys>,
        chain: Chain,
        buffers: Arc<Budget>,
        before: &[Arc<PublicRegistry>],
    ) -> Result<Self, BuildError> {
        // The same registry is one that has a host in common.
        let known: HashMap<&Host, &Arc<PublicRegistry>> =
            before.iter().flat_map(|known| known.hosts.iter().map(move |host| (host, known))).collect();
        let same = |hosts: &[Host]| hosts.iter().find_map(|host| known.get(host)).map(|known| &***known);
        let registries = config
            .registries
            .iter()
            .map(|one| PublicRegistry::new(one, &config.tokens, Some(&keys), same(&one.hosts)).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        let by_host = registries
            .iter()
            .enumerate()
            .flat_map(|(index, registry)| registry.hosts.iter().map(move |host| (host.clone(), index)))
            .collect();
        Ok(Self {
            registries,
            by_host,
            policy: Policy::compile(&config.access).under(&config.registries),
            chain,
            issuer: Issuer::new(Arc::clone(&keys), config.tokens.issuer.clone(), config.tokens.lifetime),
            verifier: verifier(&config.tokens, &keys),
            seals: Seals::new(keys),
            refresh: config.tokens.refresh,
            limits: config.limits.clone(),
            buffers,
            orphans: Vec::new(),
            predecessor: Arc::default(),
            awaited: Arc::default(),
            events: Arc::default(),
            certificates: Arc::default(),
            reloads: Arc::new(Reloads::new(config)),
            token_path: config.tokens.path.clone(),
            prompt: config.identity.realm.clone(),
            hsts: config.tls.hsts.map(|age| format!("max-age={}", age.as_secs())),
            trusted_proxies: config.listen.trusted_proxies.clone(),
            ports: dialled_ports(config),
        })
    }

    /// Shows what is counted, and begins to probe those servers of all upstreams and directories that are not probed yet; it ends for each with the
    /// last snapshot that has it, for a directory when another snapshot [retires](Self::retires) it. To be called within a
    /// tokio runtime.
    pub fn watch(&self) {
        self.registries.iter().for_each(|registry| registry.counts.show());
        self.all_pools().for_each(|pool| pool.watch());
        self.chain.watch();
    }

    /// How many writes count as open at each registry though they are none of its own: those of registries that are gone,
    /// and what other processes may have open.
    pub fn open_elsewhere(&self) -> usize {
        self.open_orphans() + self.predecessor.open_writes() + self.awaited.open_writes()
    }

    /// What this process leaves open at its end, and what it knows of the one before it.
    pub fn left_open(&self) -> usize {
        let own: usize = self.registries.iter().map(|registry| registry.open_writes()).sum();
        own + self.open_orphans() + self.predecessor.open_writes()
    }

    fn open_orphans(&self) -> usize {
        self.orphans.iter().map(|writes| writes.open(true)).sum()
    }

    fn all_pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.registries.iter().flat_map(|registry| registry.all_pools())
    }

    pub fn registries(&self) -> impl Iterator<Item = &Arc<PublicRegistry>> {
        self.registries.iter()
    }

    /// Takes the servers and registries that are no longer served out of the metrics.
    pub fn retires(&self, before: &Self) {
        upstream::retire(before.all_pools(), self.all_pools());
        self.chain.retires(&before.chain);
        let named: HashSet<_> = self.registries.iter().map(|registry| registry.name()).collect();
        let gone = before.registries.iter().map(|registry| registry.name()).filter(|name| !named.contains(name));
        gone.for_each(metrics::registry_gone);
    }

    /// The registry of a host: `name:port` where configured with one, else the name at any port.
    pub fn registry(&self, host: &Host) -> Option<&Arc<PublicRegistry>> {
        let nameless = Host { name: Arc::clone(&host.name), port: None };
        let index = self.by_host.get(host).or_else(|| self.by_host.get(&nameless))?;
        self.registries.get(*index)
    }

    /// True where the name is one of another registry's, and not one of this one's.
    pub fn names_another(&self, name: &str, registry: &PublicRegistry) -> bool {
        let has = |candidate: &PublicRegistry| candidate.hosts.iter().any(|host| *host.name == *name);
        !has(registry) && self.registries.iter().any(|candidate| has(candidate))
    }

    /// `https://host[:port]` as the client dialled it, where host and port are configured; else the first host's.
    pub fn origin<'a>(&self, dialled: &'a Host, registry: &'a PublicRegistry) -> PublicOrigin<'a> {
        let port = dialled.port.unwrap_or(443);
        let named = registry
            .hosts
            .iter()
            .any(|host| host.name == dialled.name && host.port.is_none_or(|configured| configured == port));
        if named && self.ports.contains(&port) {
            return PublicOrigin::new(&dialled.name, port);
        }
        let public = self.ports.first().copied().unwrap_or(443);
        let first = registry.first();
        PublicOrigin::new(&first.name, first.port.unwrap_or(public))
    }

    /// The `Strict-Transport-Security` value for a host; None for names a browser could not have learnt it for safely:
    /// localhost, single labels, IP addresses, and what has a temporary certificate.
    pub fn hsts_for(&self, host: &Host) -> Option<&str> {
        let lasting = host.name.contains('.') && !host.is_ip() && !host.name.ends_with(".localhost");
        self.hsts.as_deref().filter(|_| lasting && !self.certificates.is_missing(&host.name))
    }

    /// Who is asking: by password, by token, or nobody because nothing was sent.
    ///
    /// A token must be in time, but for the route that goes on with an upload session which its bearer opened: there
    /// `tokens.upload_grace` counts.
    pub async fn authenticate(
        &self,
        credentials: &Credentials,
        client: IpAddr,
        service: &str,
        route: &Route,
    ) -> Result<Principal, NotAuthenticated> {
        match credentials {
            Credentials::None => Ok(Principal::anonymous()),
            // What a login may come to is large, and most requests have a token.
            Credentials::Basic(login) => Box::pin(self.login(login, client, service)).await,
            Credentials::Bearer(token) => {
                Ok(self.verifier.access(service, token, &self.chain, route.upload_session()).await?)
            }
            Credentials::Malformed => Err(NotAuthenticated::InvalidToken(None)),
        }
    }

    /// Who has this name and this password, which may be a deploy token. Whatever looks like a token of ours is never
    /// shown to an identity provider.
    ///
    /// A token is no guess, so a good one is taken however many logins failed; a refused one counts, and is answered, like
    /// a wrong password.
    pub async fn login(
        &self,
        login: &BasicCredentials,
        client: IpAddr,
        service: &str,
    ) -> Result<Principal, NotAuthenticated> {
        let begun = Instant::now();
        let refusal = match TokenKind::claimed(login.password.reveal()) {
            None => return Ok(self.chain.login(login, client).await?),
            Some(TokenKind::Deploy) => match self.verifier.deploy(service, login, &self.chain).await {
                Ok(principal) => return Ok(principal),
                Err(VerifyError::Unavailable) => return Err(NotAuthenticated::Unavailable),
                Err(VerifyError::Invalid(refusal)) => Some(refusal),
            },
            Some(TokenKind::Access | TokenKind::Refresh) => None,
        };
        match self.chain.refuse(begun, &login.username, client).await {
            LoginError::Rejected => Err(NotAuthenticated::WrongCredentials(refusal)),
            error @ (LoginError::Unavailable | LoginError::Overloaded | LoginError::Throttled { .. }) => {
                Err(error.into())
            }
        }
    }

    /// Whose refresh token this is; nobody's where there are none.
    pub async fn refresh(&self, token: &str, service: &str) -> Result<Principal, NotAuthenticated> {
        Ok(self.verifier.refresh(service, token, &self.chain).await?)
    }
}

/// Why credentials did not make a principal.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotAuthenticated {
    /// What is known of a token that came as a password is for the log.
    #[error("wrong credentials")]
    WrongCredentials(Option<Box<Refusal>>),
    #[error("invalid token")]
    InvalidToken(Option<Box<Refusal>>),
    #[error("an identity source cannot answer")]
    Unavailable,
    #[error("too many logins wait to be verified")]
    Overloaded,
    /// Too many logins failed before; nothing was verified.
    #[error("too many failed logins")]
    Throttled { retry_after: Duration },
}

impl From<LoginError> for NotAuthenticated {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Rejected => Self::WrongCredentials(None),
            LoginError::Unavailable => Self::Unavailable,
            LoginError::Overloaded => Self::Overloaded,
            LoginError::Throttled { retry_after } => Self::Throttled { retry_after },
        }
    }
}

impl From<VerifyError> for NotAuthenticated {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Invalid(refusal) => Self::InvalidToken(Some(refusal)),
            VerifyError::Unavailable => Self::Unavailable,
        }
    }
}

/// What checks the tokens of a configuration.
pub fn verifier(tokens: &Tokens, keys: &Arc<Keys>) -> Verifier {
    Verifier::new(Arc::clone(keys), tokens.issuer.clone(), tokens.revoked.clone(), tokens.upload_grace)
}

/// The port that clients dial, where there is one.
pub fn public_port(config: &Config) -> Option<u16> {
    dialled_ports(config).first().copied()
}

fn dialled_ports(config: &Config) -> Vec<u16> {
    let listening = config.listen.https.iter().map(std::net::SocketAddr::port);
    config.listen.public_port.into_iter().chain(listening).collect()
}
