//! All that a request needs, built from one configuration and swapped as one snapshot.

mod check;
mod predecessor;
mod reloads;
mod writes;

pub use check::{BuildError, Check};
pub use predecessor::Predecessor;
pub use reloads::{Failure, Reloads, Report};
pub use writes::{OpenWrite, Writes};

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;

use crate::{
    access::{Asker, Policy},
    budget::Budget,
    config::{Beside, Config, Host, Limits, OpenUploads, ReadOnly, Registry, ServerUrl, Tokens, Upstream},
    identity::{BasicCredentials, Chain, Credentials, LoginError, Principal},
    registry::{OwnHosts, Route, Surface},
    telemetry,
    token::{Issuer, Keys, Minter, Refusal, Seals, TokenKind, Verifier, VerifyError},
    upstream::{self, Catalogs, Pool, Pools, SetupError},
};

/// One public registry.
pub struct PublicRegistry {
    first: Host,
    /// The first host, its port too where it has one.
    label: Box<str>,
    pub hosts: Vec<Host>,
    /// The token service: `aud` of its tokens.
    pub service: String,
    pub pools: Arc<Pools>,
    pub catalogs: Catalogs,
    /// Serves the web UI.
    ui: Option<Arc<Pool>>,
    /// Keeps trust data.
    notary: Option<Arc<Pool>>,
    own_hosts: OwnHosts,
    /// Pages of these may ask with a person's credentials.
    origins: Vec<String>,
    pub read_only: ReadOnly,
    pub open_uploads: OpenUploads,
    /// The writes that are open; the same through reloads.
    pub writes: Arc<Writes>,
}

impl PublicRegistry {
    /// What there is besides the registry, for reading request lines.
    pub fn surface<'a>(&'a self, token_path: &'a str) -> Surface<'a> {
        let trust = self.notary.as_ref().map(|_| &self.own_hosts);
        Surface { token_path, ui: self.ui.is_some(), trust, preflights: !self.origins.is_empty() }
    }

    /// The hosts of this registry, where the names of trust collections begin with them.
    pub fn trusted_hosts(&self) -> Option<&OwnHosts> {
        self.notary.as_ref().map(|_| &self.own_hosts)
    }

    /// True where pages of some other origin may ask.
    pub fn shares(&self) -> bool {
        !self.origins.is_empty()
    }

    /// True where pages of this origin, as a browser names it, may ask.
    pub fn shares_with(&self, origin: &[u8]) -> bool {
        self.origins.iter().any(|known| known.as_bytes() == origin)
    }

    /// The first host, which names the registry in logs and metrics.
    pub fn name(&self) -> &str {
        &self.label
    }

    pub fn first(&self) -> &Host {
        &self.first
    }

    /// How many writes are open. An upload that waits for its next request is none where that would be refused.
    pub fn open_writes(&self) -> usize {
        let closed = self.read_only == ReadOnly::Everything && self.open_uploads == OpenUploads::Refuse;
        self.writes.open(!closed)
    }

    /// Where a route goes.
    ///
    /// # Errors
    /// Nothing serves it.
    pub fn pool(&self, route: &Route) -> Result<&Arc<Pool>, upstream::Error> {
        let pool = match route {
            Route::Ui { .. } => self.ui.as_ref(),
            Route::Notary { .. } => self.notary.as_ref(),
            Route::Base(_)
            | Route::Catalog { .. }
            | Route::TagList { .. }
            | Route::Manifest { .. }
            | Route::Blob { .. }
            | Route::Upload { .. }
            | Route::Referrers { .. } => self.pools.of(route),
            Route::Landing(_) | Route::Token(_) | Route::Preflight { .. } => None,
        };
        pool.ok_or(upstream::Error::Unusable("no upstream for the route"))
    }

    /// Those of routes, the UI and the Notary server too.
    pub fn all_pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.pools.all().iter().chain(&self.ui).chain(&self.notary)
    }

    /// What was known of servers stays known: that they are dead, or on their way back.
    fn goes_on_from(&self, before: &Self) {
        let known: Vec<&Pool> = before.all_pools().map(|pool| &**pool).collect();
        self.all_pools().for_each(|pool| pool.goes_on_from(&known));
    }

    /// The policy's question for a caller of this registry.
    pub fn asker<'a>(&'a self, principal: &'a Principal, client: IpAddr) -> Asker<'a> {
        Asker { principal, registry: &self.first, hosts: &self.hosts, client }
    }
}

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
    /// The process that this one took over from.
    pub predecessor: Arc<Predecessor>,
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
        Self::assemble(config, keys, Chain::build(&config.identity)?, buffers, &[])
    }

    /// The snapshot of a changed configuration, which goes on with the logins that this one remembers as far as their
    /// proofs still hold, and counts on the writes that are open.
    pub fn rebuild(&self, config: &Config, keys: Arc<Keys>) -> Result<Self, BuildError> {
        let chain = self.chain.rebuild(&config.identity)?;
        let next = Self::assemble(config, keys, chain, Arc::clone(&self.buffers), &self.registries)?;
        Ok(Self { predecessor: Arc::clone(&self.predecessor), reloads: Arc::clone(&self.reloads), ..next })
    }

    fn assemble(
        config: &Config,
        keys: Arc<Keys>,
        chain: Chain,
        buffers: Arc<Budget>,
        before: &[Arc<PublicRegistry>],
    ) -> Result<Self, BuildError> {
        // The same registry is one that has a host in common.
        let same = |hosts: &[Host]| before.iter().find(|known| known.hosts.iter().any(|host| hosts.contains(host)));
        let writes =
            |registry: &Registry| same(&registry.hosts).map(|known| Arc::clone(&known.writes)).unwrap_or_default();
        let registries = config
            .registries
            .iter()
            .map(|registry| public_registry(registry, &config.tokens, Some(&keys), writes(registry)).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        for registry in &registries {
            if let Some(known) = same(&registry.hosts) {
                registry.goes_on_from(known);
            }
        }
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
            predecessor: Arc::default(),
            reloads: Arc::new(Reloads::new(config)),
            token_path: config.tokens.path.clone(),
            prompt: config.identity.realm.clone(),
            hsts: config.tls.hsts.map(|age| format!("max-age={}", age.as_secs())),
            trusted_proxies: config.listen.trusted_proxies.clone(),
            ports: dialled_ports(config),
        })
    }

    /// Begins to probe the servers of all upstreams; it ends with the snapshot. To be called within a tokio runtime.
    pub fn watch(&self) {
        self.registries.iter().flat_map(|registry| registry.all_pools()).for_each(|pool| pool.watch());
    }

    pub fn registries(&self) -> impl Iterator<Item = &Arc<PublicRegistry>> {
        self.registries.iter()
    }

    /// Takes the servers that are no longer served out of the metrics.
    pub fn retires(&self, before: &Self) {
        let servers = |runtime: &Self| -> HashSet<(String, Arc<str>)> {
            let of = |registry: &Arc<PublicRegistry>| {
                let pools = registry.all_pools().flat_map(|pool| pool.servers().cloned()).collect::<Vec<_>>();
                let name = registry.name().to_owned();
                pools.into_iter().map(move |server| (name.clone(), server))
            };
            runtime.registries.iter().flat_map(of).collect()
        };
        for (registry, server) in servers(before).difference(&servers(self)) {
            telemetry::metrics::upstream_gone(registry, server);
        }
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
    pub fn origin(&self, dialled: &Host, registry: &PublicRegistry) -> String {
        let port = dialled.port.unwrap_or(443);
        let named = registry
            .hosts
            .iter()
            .any(|host| host.name == dialled.name && host.port.is_none_or(|configured| configured == port));
        if named && self.ports.contains(&port) {
            return origin(&dialled.name, port);
        }
        let public = self.ports.first().copied().unwrap_or(443);
        origin(&registry.first.name, registry.first.port.unwrap_or(public))
    }

    /// The `Strict-Transport-Security` value for a host; None for names a browser could not have learnt it for safely:
    /// localhost, single labels, IP addresses.
    pub fn hsts_for(&self, host: &Host) -> Option<&str> {
        let lasting = host.name.contains('.') && !host.is_ip() && !host.name.ends_with(".localhost");
        self.hsts.as_deref().filter(|_| lasting)
    }

    /// Who is asking: by password, by token, or nobody because nothing was sent.
    ///
    /// A token must be in time, but for the route that goes on with an upload session which its bearer opened: there
    /// `tokens.upload_grace` counts.
    pub async fn authenticate(
        &self,
        credentials: &Credentials,
        service: &str,
        route: &Route,
    ) -> Result<Principal, NotAuthenticated> {
        match credentials {
            Credentials::None => Ok(Principal::anonymous()),
            Credentials::Basic(login) => self.login(login, service).await,
            Credentials::Bearer(token) => {
                Ok(self.verifier.access(service, token, &self.chain, route.upload_session()).await?)
            }
            Credentials::Malformed => Err(NotAuthenticated::InvalidToken(None)),
        }
    }

    /// Who has this name and this password, which may be a deploy token. Whatever looks like a token of ours is never
    /// shown to an identity provider.
    pub async fn login(&self, login: &BasicCredentials, service: &str) -> Result<Principal, NotAuthenticated> {
        match TokenKind::claimed(login.password.reveal()) {
            None => Ok(self.chain.login(login).await?),
            Some(TokenKind::Deploy) => match self.verifier.deploy(service, login, &self.chain).await {
                Ok(principal) => Ok(principal),
                Err(VerifyError::Invalid(refusal)) => Err(NotAuthenticated::WrongCredentials(Some(refusal))),
                Err(VerifyError::Unavailable) => Err(NotAuthenticated::Unavailable),
            },
            Some(TokenKind::Access | TokenKind::Refresh) => Err(NotAuthenticated::WrongCredentials(None)),
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
}

impl From<LoginError> for NotAuthenticated {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Rejected => Self::WrongCredentials(None),
            LoginError::Unavailable => Self::Unavailable,
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

/// The token service of a registry: `tokens.service`, else its first host.
pub fn service(registry: &Registry, tokens: &Tokens) -> String {
    let first = || registry.hosts.first().map(Host::to_string);
    tokens.service.clone().or_else(first).unwrap_or_default()
}

/// Without keys nothing is signed: enough to see whether the settings can be used.
fn public_registry(
    registry: &Registry,
    tokens: &Tokens,
    keys: Option<&Arc<Keys>>,
    writes: Arc<Writes>,
) -> Result<PublicRegistry, BuildError> {
    let first = registry.hosts.first().ok_or(BuildError::NoHost)?.clone();
    let service = service(registry, tokens);
    let label: Box<str> = first.to_string().into();
    let pools = Pools::new(registry, |upstream| {
        let minter = keys
            .filter(|_| upstream.pass_token)
            .map(|keys| Minter::new(Arc::clone(keys), tokens.issuer.clone(), service.clone()))
            .transpose()?;
        Ok::<_, BuildError>(Pool::new(&label, upstream, minter)?)
    })?;
    let pools = Arc::new(pools);
    let Beside { ui, notary, origins } = &registry.beside;
    let beside = |server: &Option<ServerUrl>, probed| -> Result<_, SetupError> {
        let upstream = server.clone().map(|server| Upstream::of(server, probed));
        upstream.map(|upstream| Pool::new(&label, &upstream, None).map(Arc::new)).transpose()
    };
    let (ui, notary) = (beside(ui, "/")?, beside(notary, "/v2/")?);
    Ok(PublicRegistry {
        hosts: registry.hosts.clone(),
        catalogs: Catalogs::new(Arc::clone(&pools)),
        pools,
        service,
        label,
        first,
        ui,
        notary,
        own_hosts: OwnHosts::new(registry.hosts.iter().map(nameless)),
        origins: origins.iter().map(ToString::to_string).collect(),
        read_only: registry.read_only.clone(),
        open_uploads: registry.open_uploads,
        writes,
    })
}

/// A host as names begin with it, its port apart.
fn nameless(host: &Host) -> (String, Option<u16>) {
    (Host { name: Arc::clone(&host.name), port: None }.to_string(), host.port)
}

fn dialled_ports(config: &Config) -> Vec<u16> {
    let listening = config.listen.https.iter().map(std::net::SocketAddr::port);
    config.listen.public_port.into_iter().chain(listening).collect()
}

fn origin(name: &str, port: u16) -> String {
    let name = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
    if port == 443 { format!("https://{name}") } else { format!("https://{name}:{port}") }
}
