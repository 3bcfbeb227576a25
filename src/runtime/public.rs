//! One public registry: its hosts, and where its routes go.

use std::{fmt, net::IpAddr, sync::Arc};

use super::{BuildError, Writes};
use crate::{
    access::Asker,
    config::{Beside, Host, OpenUploads, ReadOnly, Registry, Tokens, Upstream},
    identity::Principal,
    registry::{OwnHosts, Route, Surface},
    telemetry::metrics::RegistryCounts,
    token::{Keys, Minter},
    upstream::{self, Catalogs, Plan, Pool, Pools},
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
    /// What its requests are counted with.
    pub counts: Arc<RegistryCounts>,
    /// The writes that are open; the same through reloads.
    pub writes: Arc<Writes>,
}

impl PublicRegistry {
    /// Goes on from what it was `before`, as far as that did not change. Without keys nothing is signed: enough to see
    /// whether the settings can be used.
    pub(super) fn new(
        registry: &Registry,
        tokens: &Tokens,
        keys: Option<&Arc<Keys>>,
        before: Option<&Self>,
    ) -> Result<Self, BuildError> {
        let first = registry.hosts.first().ok_or(BuildError::NoHost)?.clone();
        let service = service(registry, tokens);
        let label: Box<str> = first.to_string().into();
        let plan = |upstream: &Upstream| {
            let minter = keys
                .filter(|_| upstream.pass_token)
                .map(|keys| Minter::new(Arc::clone(keys), tokens.issuer.clone(), service.clone()))
                .transpose()?;
            Ok::<_, BuildError>(Plan::read(&label, upstream, minter)?)
        };
        let Beside { ui, notary, origins } = &registry.beside;
        let beside = [(ui, "/"), (notary, "/v2/")].map(|(url, probed)| Some(Upstream::of(url.clone()?, probed)));
        let routed = registry.routes.iter().map(|routed| &routed.upstream);
        let upstreams: Vec<&Upstream> = std::iter::once(&registry.upstream).chain(routed).collect();
        let plans = upstreams.iter().copied().chain(beside.iter().flatten()).map(plan).collect::<Result<_, _>>()?;
        let known = before.map(|before| before.all_pools().cloned().collect()).unwrap_or_default();
        let mut pools = Plan::carry_out(plans, known)?.into_iter();
        let routed = Arc::new(Pools::new(registry, pools.by_ref().take(upstreams.len()).collect()));
        let [ui, notary] = beside.map(|upstream| upstream.and_then(|_| pools.next()));
        Ok(Self {
            hosts: registry.hosts.clone(),
            catalogs: Catalogs::new(Arc::clone(&routed), before.map(|before| &before.catalogs)),
            pools: routed,
            service,
            first,
            ui,
            notary,
            own_hosts: OwnHosts::new(registry.hosts.iter().map(nameless)),
            origins: origins.iter().map(ToString::to_string).collect(),
            read_only: registry.read_only.clone(),
            open_uploads: registry.open_uploads,
            counts: before
                .filter(|before| before.label == label)
                .map_or_else(|| Arc::new(RegistryCounts::new(&label)), |before| Arc::clone(&before.counts)),
            writes: before.map(|before| Arc::clone(&before.writes)).unwrap_or_default(),
            label,
        })
    }

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

    /// The same with what each is for: `registry`, `route`, `ui` or `notary`.
    pub fn pools_in_use(&self) -> impl Iterator<Item = (&'static str, &Arc<Pool>)> {
        let kinds = std::iter::once("registry").chain(std::iter::repeat("route"));
        let beside = [("ui", &self.ui), ("notary", &self.notary)];
        let beside = beside.into_iter().filter_map(|(kind, pool)| Some((kind, pool.as_ref()?)));
        kinds.zip(self.pools.all()).chain(beside)
    }

    /// The policy's question for a caller of this registry.
    pub fn asker<'a>(&'a self, principal: &'a Principal, client: IpAddr) -> Asker<'a> {
        Asker { principal, registry: &self.first, hosts: &self.hosts, client }
    }
}

/// The token service of a registry: `tokens.service`, else its first host.
pub fn service(registry: &Registry, tokens: &Tokens) -> String {
    let first = || registry.hosts.first().map(Host::to_string);
    tokens.service.clone().or_else(first).unwrap_or_default()
}

/// A host as names begin with it, its port apart.
fn nameless(host: &Host) -> (String, Option<u16>) {
    (Host { name: Arc::clone(&host.name), port: None }.to_string(), host.port)
}

/// Displayed as `https://host[:port]`.
#[derive(Clone, Copy, Debug)]
pub struct PublicOrigin<'a> {
    name: &'a str,
    port: u16,
}

impl<'a> PublicOrigin<'a> {
    pub fn new(name: &'a str, port: u16) -> Self {
        Self { name, port }
    }
}

impl fmt::Display for PublicOrigin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, port } = self;
        f.write_str("https://")?;
        if name.contains(':') {
            write!(f, "[{name}]")?;
        } else {
            f.write_str(name)?;
        }
        if *port == 443 { Ok(()) } else { write!(f, ":{port}") }
    }
}
