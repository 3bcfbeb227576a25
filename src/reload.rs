//! A changed configuration while the gate runs: built whole, then put in force as one snapshot, or not at all.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use tracing::{error, info, warn};

use crate::{
    config::{Config, Host, Limits, Problems},
    runtime::{self, BuildError, Runtime},
    telemetry::metrics,
    tls::{self, CertStore, CertificateError, Loaded},
    token::{KeyError, Keys},
};

/// Why the configuration in force stays.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error("{0}")]
    Config(#[from] Problems),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// What a reload puts something new into.
pub struct Reloader {
    /// As the process was started: what holds for all of it stays as it is there.
    started: Config,
    /// As it was read last with success.
    latest: Mutex<Config>,
    runtime: Arc<ArcSwap<Runtime>>,
    certificates: Arc<CertStore>,
}

/// Everything that a configuration makes, ready to be put in force.
struct Built {
    config: Config,
    runtime: Runtime,
    certificates: Vec<Loaded>,
}

impl Reloader {
    pub fn new(config: Config, runtime: Arc<ArcSwap<Runtime>>, certificates: Arc<CertStore>) -> Self {
        Self { latest: Mutex::new(config.clone()), started: config, runtime, certificates }
    }

    /// Reads the configuration and all that it names again and puts it in force: registries, certificates, identity,
    /// tokens, grants, limits of requests and of memory. Requests under way end under the snapshot they began with. Blocks while files
    /// are read.
    ///
    /// What holds for the whole process stays as it was at the start: `listen`, `tls.min_version`, `log`, `reload`,
    /// `shutdown` and the limits of connections; a change there is a warning in the log. A signing key is never made here:
    /// a wrong path would end every token.
    ///
    /// # Errors
    /// Whatever keeps the file or what it names from being used; then nothing has changed.
    pub fn reload(&self) -> Result<(), ReloadError> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = self.build();
        metrics::reloaded(outcome.is_ok());
        match outcome {
            Ok(built) => {
                for warning in self.warnings(&latest, &built.config) {
                    warn!("{warning}");
                }
                self.certificates.install(built.certificates);
                report_certificates(&built.config, &self.certificates);
                built.runtime.buffers.resize(built.config.limits.buffers);
                built.runtime.watch();
                let before = self.runtime.swap(Arc::new(built.runtime));
                self.runtime.load().retires(&before);
                runtime::outlive(before);
                info!(file = %self.path().display(), "the configuration was read again and is in force");
                *latest = built.config;
                Ok(())
            }
            Err(error) => {
                error!(file = %self.path().display(), "the configuration cannot be used, the one in force stays: {error}");
                Err(error)
            }
        }
    }

    fn path(&self) -> &PathBuf {
        &self.started.path
    }

    fn build(&self) -> Result<Built, ReloadError> {
        let config = Config::load(self.path())?;
        let certificates = self.certificates.load(&config.tls.certificates)?;
        let keys = Arc::new(Keys::open(&config.tokens.keys)?);
        let runtime = self.runtime.load().rebuild(&config, keys)?;
        Ok(Built { config, runtime, certificates })
    }

    /// What an operator should know of a configuration that is about to be in force.
    fn warnings(&self, latest: &Config, next: &Config) -> Vec<String> {
        let written = next.warnings.iter().map(ToString::to_string);
        let fixed = fixed(&self.started, next);
        let fixed = (!fixed.is_empty()).then(|| {
            format!("not in force before a restart, since it holds for the whole process: {}", fixed.join(", "))
        });
        written.chain(fixed).chain(changed_services(latest, next)).collect()
    }
}

/// Reads every certificate.
///
/// # Errors
/// The first that cannot be used.
pub fn load_certificates(config: &Config) -> Result<Vec<Loaded>, CertificateError> {
    config.tls.certificates.iter().map(tls::load).collect()
}

/// Tells when the certificates in force end, what looks like a mistake in them, and which hosts have none.
pub fn report_certificates(config: &Config, certificates: &CertStore) {
    let hosts: Vec<Host> = config.registries.iter().flat_map(|registry| registry.hosts.clone()).collect();
    certificates.report(&hosts);
}

/// The settings that differ and that a running process cannot change.
fn fixed(started: &Config, next: &Config) -> Vec<&'static str> {
    let connections = |limits: &Limits| {
        (limits.connections, limits.connections_per_client, limits.handshake, limits.request_head, limits.idle)
    };
    let hosts = |config: &Config| config.registries.iter().map(|registry| registry.hosts.clone()).collect::<Vec<_>>();
    let redirects = !next.listen.http.is_empty() && hosts(started) != hosts(next);
    [
        ("listen", started.listen != next.listen),
        ("tls.min_version", started.tls.min_version != next.tls.min_version),
        ("limits of connections", connections(&started.limits) != connections(&next.limits)),
        ("redirects of new hosts on listen.http", redirects),
        ("log", started.log != next.log),
        ("reload", started.reload != next.reload),
        ("shutdown", started.shutdown != next.shutdown),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect()
}

/// Tokens are for a service: with another name for it they are nobody's any more.
fn changed_services(latest: &Config, next: &Config) -> Vec<String> {
    let service_of = |config: &Config, host: &Host| {
        let registry = config.registries.iter().find(|registry| registry.hosts.contains(host))?;
        Some(runtime::service(registry, &config.tokens))
    };
    let mut told = Vec::new();
    for host in next.registries.iter().flat_map(|registry| &registry.hosts) {
        if let (Some(before), Some(after)) = (service_of(latest, host), service_of(next, host))
            && before != after
        {
            let text = format!(
                "the token service of {host} was {before} and is {after}: tokens issued before are not accepted, deploy \
                 tokens included; write tokens.service: \"{before}\" to keep them"
            );
            told.push(text);
        }
    }
    told
}
