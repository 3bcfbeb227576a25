//! A changed configuration while the gate runs: built whole, then put in force as one snapshot, or not at all.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use tracing::{error, info, warn};

use crate::{
    config::{Config, Host, Problems},
    listener::{ListenError, Listening, Places, Terms},
    runtime::{self, BuildError, Runtime},
    telemetry::{log, metrics},
    tls::{self, CertStore, CertificateError, Loaded, ServerTls, TlsError},
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
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Listen(#[from] ListenError),
}

/// What a reload puts something new into.
pub struct Reloader {
    file: PathBuf,
    /// As it was read last with success.
    latest: Mutex<Config>,
    runtime: Arc<ArcSwap<Runtime>>,
    certificates: Arc<CertStore>,
    tls: ServerTls,
    listening: Arc<Listening>,
    log: log::Control,
}

/// Everything that a configuration makes, ready to be put in force.
struct Built {
    config: Config,
    runtime: Runtime,
    certificates: Vec<Loaded>,
    places: Places,
    terms: Terms,
}

impl Reloader {
    pub fn new(
        config: Config,
        runtime: Arc<ArcSwap<Runtime>>,
        certificates: Arc<CertStore>,
        tls: ServerTls,
        listening: Arc<Listening>,
        log: log::Control,
    ) -> Self {
        Self { file: config.path.clone(), latest: Mutex::new(config), runtime, certificates, tls, listening, log }
    }

    /// The configuration in force.
    pub fn config(&self) -> Config {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the configuration and all that it names again and puts it in force as a whole. Requests under way end under
    /// the snapshot they began with, connections stay as they are. New addresses are listened on before old ones are left.
    /// Blocks while files are read. To be called within a tokio runtime.
    ///
    /// A signing key is never made here: a wrong path would end every token.
    ///
    /// # Errors
    /// Whatever keeps the file or what it names from being used; then nothing has changed.
    pub fn reload(&self) -> Result<(), ReloadError> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = self.build();
        metrics::reloaded(outcome.is_ok());
        match outcome {
            Ok(built) => {
                for warning in warnings(&latest, &built.config) {
                    warn!("{warning}");
                }
                self.certificates.install(built.certificates);
                report_certificates(&built.config, &self.certificates);
                built.runtime.buffers.resize(built.config.limits.buffers);
                self.log.set(&built.config.log);
                built.runtime.watch();
                let before = self.runtime.swap(Arc::new(built.runtime));
                self.runtime.load().retires(&before);
                self.listening.install(built.places, built.terms);
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
        &self.file
    }

    fn build(&self) -> Result<Built, ReloadError> {
        let config = Config::load(self.path())?;
        let certificates = self.certificates.load(&config.tls.certificates)?;
        let keys = Arc::new(Keys::open(&config.tokens.keys)?);
        let runtime = self.runtime.load().rebuild(&config, keys)?;
        let terms = Terms::of(&config, self.tls.config(config.tls.min_version)?);
        let places = self.listening.places().bind(&config.listen)?;
        Ok(Built { config, runtime, certificates, places, terms })
    }
}

/// What an operator should know of a configuration that is about to be in force.
fn warnings(latest: &Config, next: &Config) -> Vec<String> {
    next.warnings.iter().map(ToString::to_string).chain(changed_services(latest, next)).collect()
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
