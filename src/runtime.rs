//! All that a request needs, built from one configuration and swapped as one snapshot.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use ipnet::IpNet;

use crate::{
    access::{Asker, Policy},
    config::{Config, Host, Limits, Problem, Redirects, Registry},
    identity::{Chain, ChainError, Credentials, LoginError, Principal},
    token::{Issuer, KeyError, Keys, Verifier, VerifyError},
    upstream::{Catalog, Pool, SetupError},
};

/// One public registry.
pub struct PublicRegistry {
    first: Host,
    pub hosts: Vec<Host>,
    /// The token service: `aud` of its tokens.
    pub service: String,
    pub pool: Arc<Pool>,
    pub catalog: Arc<Catalog>,
    /// A blob's redirect to object storage goes to the client; otherwise it is an error.
    pub pass_redirects: bool,
}

impl PublicRegistry {
    /// The first host, which names the registry in logs and metrics.
    pub fn name(&self) -> &str {
        &self.first.name
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
    pub limits: Limits,
    pub token_path: String,
    /// What a browser's password prompt shows.
    pub prompt: String,
    hsts: Option<String>,
    pub trusted_proxies: Vec<IpNet>,
    /// Ports that clients may dial: the public one first.
    ports: Vec<u16>,
}

/// What [`Runtime::check`] found.
#[derive(Debug, Default)]
pub struct Check {
    pub errors: Vec<BuildError>,
    /// Lines of password files that will never match.
    pub warnings: Vec<Problem>,
}

/// The configuration is well formed, but what it names cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("a registry without a host")]
    NoHost,
    #[error(transparent)]
    Identity(#[from] ChainError),
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(transparent)]
    Upstream(#[from] SetupError),
}

impl Runtime {
    pub fn build(config: &Config, keys: Arc<Keys>) -> Result<Self, BuildError> {
        let registries = config
            .registries
            .iter()
            .map(|registry| public_registry(registry, config.tokens.service.as_deref()).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        let by_host = registries
            .iter()
            .enumerate()
            .flat_map(|(index, registry)| registry.hosts.iter().map(move |host| (host.clone(), index)))
            .collect();
        Ok(Self {
            registries,
            by_host,
            policy: Policy::compile(&config.access),
            chain: Chain::build(&config.identity)?,
            issuer: Issuer::new(Arc::clone(&keys), config.tokens.issuer.clone(), config.tokens.lifetime),
            verifier: Verifier::new(keys, config.tokens.issuer.clone()),
            limits: config.limits.clone(),
            token_path: config.tokens.path.clone(),
            prompt: config.identity.realm.clone(),
            hsts: config.tls.hsts.map(|age| format!("max-age={}", age.as_secs())),
            trusted_proxies: config.listen.trusted_proxies.clone(),
            ports: dialled_ports(config),
        })
    }

    /// Loads all that [`Runtime::build`] would, without making anything (a missing token key stays missing).
    pub fn check(config: &Config) -> Check {
        let mut check = Check::default();
        let service = config.tokens.service.as_deref();
        let registries = config.registries.iter().map(|registry| public_registry(registry, service).map(drop));
        let keys = Keys::check(&config.tokens.keys).map_err(BuildError::from);
        check.errors.extend(registries.chain([keys]).filter_map(Result::err));
        match Chain::build(&config.identity) {
            Ok(chain) => check.warnings = chain.problems(),
            Err(error) => check.errors.push(error.into()),
        }
        check
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
    pub async fn authenticate(&self, credentials: &Credentials, service: &str) -> Result<Principal, NotAuthenticated> {
        match credentials {
            Credentials::None => Ok(Principal::anonymous()),
            Credentials::Basic(login) => Ok(self.chain.login(login).await?),
            Credentials::Bearer(token) => Ok(self.verifier.authenticate(service, token, &self.chain).await?),
            Credentials::Malformed => Err(NotAuthenticated::InvalidToken),
        }
    }
}

/// Why credentials did not make a principal.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum NotAuthenticated {
    #[error("wrong credentials")]
    WrongCredentials,
    #[error("invalid token")]
    InvalidToken,
    #[error("an identity source cannot answer")]
    Unavailable,
}

impl From<LoginError> for NotAuthenticated {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Rejected => Self::WrongCredentials,
            LoginError::Unavailable => Self::Unavailable,
        }
    }
}

impl From<VerifyError> for NotAuthenticated {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Invalid => Self::InvalidToken,
            VerifyError::Unavailable => Self::Unavailable,
        }
    }
}

fn public_registry(registry: &Registry, service: Option<&str>) -> Result<PublicRegistry, BuildError> {
    let first = registry.hosts.first().ok_or(BuildError::NoHost)?.clone();
    let pool = Arc::new(Pool::new(&registry.upstream)?);
    Ok(PublicRegistry {
        service: service.map_or_else(|| first.to_string(), str::to_owned),
        first,
        hosts: registry.hosts.clone(),
        catalog: Arc::new(Catalog::new(Arc::clone(&pool))),
        pool,
        pass_redirects: registry.upstream.redirects == Redirects::Pass,
    })
}

fn dialled_ports(config: &Config) -> Vec<u16> {
    let listening = config.listen.https.iter().map(std::net::SocketAddr::port);
    config.listen.public_port.into_iter().chain(listening).collect()
}

fn origin(name: &str, port: u16) -> String {
    let name = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
    if port == 443 { format!("https://{name}") } else { format!("https://{name}:{port}") }
}
