//! What is to be made of a configuration, and what of it there is already: an upstream whose settings did not change goes
//! on as it is when the configuration is read again, and so does a server of one that changed.

use std::{collections::HashSet, sync::Arc};

use rustls::ClientConfig;

use super::{
    Pool, SetupError,
    credentials::Credentials,
    server::{self, Server, TlsSettings},
    tls::Content,
};
use crate::{
    config::{self, ServerUrl},
    telemetry::metrics,
    tls::ContentHash,
    token::Minter,
};

/// An upstream as configured, with the content of the files that it names.
pub struct Plan {
    pub(super) settings: Settings,
    pub(super) credentials: Credentials,
    pub(super) tls: Content,
}

/// All that makes a pool the one it is, its credentials apart.
#[derive(PartialEq, Eq)]
pub(super) struct Settings {
    /// Names it in metrics.
    pub(super) registry: Arc<str>,
    pub(super) upstream: config::Upstream,
    /// Of the files that it names.
    content: ContentHash,
}

impl Plan {
    /// `registry` names the upstream in metrics. With a minter each request carries a token made for its permit; without
    /// one, the configured credentials if any.
    ///
    /// # Errors
    /// The first file that cannot be read.
    pub fn read(registry: &str, upstream: &config::Upstream, minter: Option<Minter>) -> Result<Self, SetupError> {
        let tls = Content::read(upstream)?;
        let content = tls.content();
        Ok(Self {
            settings: Settings { registry: registry.into(), upstream: upstream.clone(), content },
            credentials: Credentials::new(upstream, minter)?,
            tls,
        })
    }

    /// The pools of all these plans, in their order. What did not change is taken from `before`: a pool as a whole, or a
    /// server out of one that changed, with its connections and all that is known of it. Nothing is taken twice, so that
    /// two upstreams which name the same server go on apart.
    ///
    /// # Errors
    /// The first that cannot be made; then nothing was taken.
    pub fn carry_out(plans: Vec<Self>, before: Vec<Arc<Pool>>) -> Result<Vec<Arc<Pool>>, SetupError> {
        let known = before.iter().flat_map(|pool| pool.members()).cloned().collect();
        let mut changed = before;
        let same: Vec<_> = plans.iter().map(|plan| take(&mut changed, |pool| pool.is(plan))).collect();
        let free = changed.iter().flat_map(|pool| pool.members()).cloned().collect();
        let mut former = Former { known, free };
        let pools = plans.into_iter().zip(same).map(|(plan, same)| match same {
            Some(pool) => Ok(pool),
            None => Pool::new(plan, &mut former).map(Arc::new),
        });
        pools.collect()
    }
}

impl Settings {
    /// Those of each server.
    pub(super) fn servers(&self, credentials: &Credentials, tls: &Content) -> impl Iterator<Item = server::Settings> {
        let config::Upstream { servers, health, timeouts, tls: config::UpstreamTls { server_name, .. }, .. } =
            &self.upstream;
        let content = tls.of_servers();
        let authorization = credentials.lasting();
        let refusal: Arc<str> = credentials.refusal().into();
        servers.iter().map(move |server| {
            let https = matches!(server.url, ServerUrl::Https { .. });
            server::Settings {
                registry: Arc::clone(&self.registry),
                url: server.url.clone(),
                role: server.role,
                connect: timeouts.connect,
                health: health.clone(),
                tls: https.then(|| TlsSettings { server_name: server_name.clone(), content }),
                authorization: authorization.clone(),
                refusal: Arc::clone(&refusal),
            }
        })
    }
}

/// The servers of the configuration before.
pub(super) struct Former {
    known: Vec<Arc<Server>>,
    /// Those of pools that changed, until they are taken.
    free: Vec<Arc<Server>>,
}

impl Former {
    /// The server of these settings: the one that there is, or a new one that is as dead or alive as its address was.
    pub(super) fn server(
        &mut self,
        settings: server::Settings,
        tls: Option<&Arc<ClientConfig>>,
    ) -> Result<Arc<Server>, SetupError> {
        if let Some(same) = take(&mut self.free, |server| *server.settings() == settings) {
            return Ok(same);
        }
        let server = Server::new(settings, tls)?;
        if let Some(known) = self.known.iter().find(|known| known.name() == server.name()) {
            server.health.goes_on_from(&known.health);
        }
        Ok(Arc::new(server))
    }
}

fn take<T>(from: &mut Vec<T>, wanted: impl Fn(&T) -> bool) -> Option<T> {
    let position = from.iter().position(wanted)?;
    Some(from.remove(position))
}

/// Takes the servers that only `before` has out of the metrics. Requests under way may still need them.
pub fn retire<'a>(before: impl Iterator<Item = &'a Arc<Pool>>, now: impl Iterator<Item = &'a Arc<Pool>>) {
    let now: Vec<_> = now.flat_map(|pool| pool.members()).collect();
    let kept: HashSet<_> = now.iter().map(|server| Arc::as_ptr(server)).collect();
    let label = |server: &'a Arc<Server>| (&*server.settings().registry, &**server.name());
    let named: HashSet<_> = now.iter().map(|server| label(server)).collect();
    for server in before.flat_map(|pool| pool.members()).filter(|server| !kept.contains(&Arc::as_ptr(server))) {
        server.health.retire();
        let (registry, name) = label(server);
        if !named.contains(&(registry, name)) {
            metrics::upstream_gone(registry, name);
        }
    }
}

#[cfg(test)]
mod tests;
