//! A changed configuration while the gate runs: built whole, then put in force as one snapshot, or not at all.

mod look;
mod watch;

pub use look::Look;
pub use watch::watch;

use std::{
    iter,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tracing::{error, info, warn};

use self::look::SETTLING;
use crate::{
    config::{Config, Host, Problems},
    events,
    listener::{ListenError, Listening, Places, Terms},
    runtime::{self, BuildError, Runtime},
    telemetry::{log, metrics},
    tls::{self, CertStore, Loaded, ServerTls, acme},
    token::Keys,
};

/// How often a configuration is read whose files change meanwhile.
const ATTEMPTS: usize = 3;

/// Why the configuration in force stays.
#[derive(Debug, thiserror::Error)]
#[error("{problems}")]
pub struct ReloadError {
    pub problems: Problems,
    /// It is no file that is at fault, but a port that is in use and the like: another try may find that mended.
    pub is_elsewhere: bool,
}

/// What has a configuration read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Signal,
    Change,
}

/// The one place where a configuration becomes the one in force.
pub struct Reloader {
    file: PathBuf,
    /// In force.
    config: ArcSwap<Config>,
    /// Whoever reads a configuration holds it.
    turn: Mutex<()>,
    /// How often one was to be read again.
    begun: AtomicU64,
    looks: Mutex<Looks>,
    /// Another configuration is in force.
    replaced: Notify,
    runtime: Arc<ArcSwap<Runtime>>,
    certificates: Arc<CertStore>,
    issued: Arc<acme::Manager>,
    tls: ServerTls,
    listening: Arc<Listening>,
    log: log::Control,
}

/// How files were found, always before they were read.
struct Looks {
    /// For the configuration in force.
    in_force: Look,
    /// When a configuration was read last: its files, and those of the one in force.
    latest: Look,
    /// What came of that.
    failure: Option<Fault>,
}

/// Where the reason is to be looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    InFiles,
    Elsewhere,
}

/// What the first configuration makes.
pub struct First {
    pub certificates: Arc<CertStore>,
    pub acme: Option<acme::Prepared>,
    pub events: events::Prepared,
    pub runtime: Runtime,
    /// How the files were found before.
    pub look: Look,
}

/// Everything that a configuration makes, ready to be put in force.
struct Built {
    config: Config,
    runtime: Runtime,
    certificates: Vec<Loaded>,
    acme: Option<acme::Prepared>,
    events: events::Prepared,
    places: Places,
    terms: Terms,
}

impl First {
    /// Loads what a configuration names. A signing key that is missing is made.
    ///
    /// # Errors
    /// Everything that cannot be used.
    pub fn load(config: &Config) -> Result<Self, Problems> {
        let mut look = Look::before((&config.path, &config.seen), config.files(), iter::empty(), &Look::default());
        let load = || {
            let certificates = config.tls.certificates.iter().map(tls::load).collect::<Result<_, _>>()?;
            let certificates = Arc::new(CertStore::new(certificates));
            let acme = config.tls.acme.as_ref().map(acme::Prepared::new).transpose()?;
            let keys = Arc::new(Keys::load_or_create(&config.tokens.keys)?);
            let mut runtime = Runtime::build(config, keys)?;
            runtime.certificates = Arc::clone(&certificates);
            Ok((certificates, acme, endpoints(config)?, runtime))
        };
        let (certificates, acme, events, runtime) =
            load().map_err(|error: BuildError| error.with_all_others(config))?;
        // A key that was made just now is no change.
        look.appeared();
        Ok(Self { certificates, acme, events, runtime, look })
    }
}

impl Reloader {
    /// For what is in force by now.
    #[allow(clippy::too_many_arguments, reason = "everything that a configuration has a say in")]
    pub fn new(
        config: Config,
        look: Look,
        runtime: Arc<ArcSwap<Runtime>>,
        certificates: Arc<CertStore>,
        issued: Arc<acme::Manager>,
        tls: ServerTls,
        listening: Arc<Listening>,
        log: log::Control,
    ) -> Self {
        metrics::in_force();
        report_certificates(&config, &certificates);
        Self {
            file: config.path.clone(),
            config: ArcSwap::from_pointee(config),
            turn: Mutex::default(),
            begun: AtomicU64::new(0),
            looks: Mutex::new(Looks { in_force: look.clone(), latest: look, failure: None }),
            replaced: Notify::new(),
            runtime,
            certificates,
            issued,
            tls,
            listening,
            log,
        }
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// How often it was to be read again since the start.
    pub fn begun(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    /// Reads the configuration and all that it names again and puts it in force as a whole. Requests under way end under
    /// the snapshot they began with, connections stay as they are. New addresses are listened on before old ones are left.
    /// Blocks while files are read. To be called within a tokio runtime.
    ///
    /// A signing key is never made here: a wrong path would end every token.
    ///
    /// # Errors
    /// Whatever keeps the file or what it names from being used; then nothing has changed but the users of password files,
    /// which are read again in any case.
    pub fn reload(&self) -> Result<(), ReloadError> {
        let _turn = self.turn();
        self.read_again(Cause::Signal)
    }

    /// For who has the turn.
    fn read_again(&self, cause: Cause) -> Result<(), ReloadError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let (outcome, look) = self.build_from_what_stands_still();
        match outcome {
            Ok(built) => {
                let before = self.commit(built);
                self.tell_success(&before, look, cause);
                Ok(())
            }
            Err(error) => {
                self.runtime.load().chain.refresh();
                self.tell_failure(&error, look, cause);
                Err(error)
            }
        }
    }

    /// A failure that comes of files which are being replaced is none.
    fn build_from_what_stands_still(&self) -> (Result<Built, ReloadError>, Look) {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let (outcome, look) = self.build();
            if outcome.is_ok() || attempt == ATTEMPTS || look.again().differences(&look).is_empty() {
                return (outcome, look);
            }
            thread::sleep(SETTLING);
        }
    }

    /// Everything that can fail.
    fn build(&self) -> (Result<Built, ReloadError>, Look) {
        let reading = Config::read(&self.file);
        let config = self.config.load();
        let in_force = config.files().iter().map(|file| file.path.as_path());
        let look = Look::before((&self.file, &reading.seen), &reading.files, in_force, &self.looks().latest);
        let problems_alone = |problems| ReloadError { problems, is_elsewhere: false };
        (reading.outcome.map_err(problems_alone).and_then(|config| self.build_from(config)), look)
    }

    fn build_from(&self, config: Config) -> Result<Built, ReloadError> {
        let load = || {
            let certificates = self.certificates.load(&config.tls.certificates)?;
            let acme = config.tls.acme.as_ref().map(acme::Prepared::new).transpose()?;
            let keys = Arc::new(Keys::open(&config.tokens.keys)?);
            Ok((certificates, acme, endpoints(&config)?, self.runtime.load().rebuild(&config, keys)?))
        };
        let (certificates, acme, events, runtime) = load().map_err(|error: BuildError| ReloadError {
            problems: error.with_all_others(&config),
            is_elsewhere: error.is_elsewhere(),
        })?;
        let elsewhere = |key: &str, error: &dyn std::fmt::Display| ReloadError {
            problems: Problems(vec![config.error_at(key, error)]),
            is_elsewhere: true,
        };
        let tls = self.tls.settings(config.tls.min_version).map_err(|error| elsewhere("tls", &error))?;
        let terms = Terms::of(&config, tls, Arc::clone(self.tls.challenges()));
        let places = self.listening.prepare(&config.listen);
        let places = places.map_err(|error: ListenError| elsewhere(error.key, &error))?;
        Ok(Built { config, runtime, certificates, acme, events, places, terms })
    }

    /// Nothing here can fail. Returns what was in force before.
    fn commit(&self, built: Built) -> Arc<Config> {
        let Built { config, runtime, certificates, acme, events, places, terms } = built;
        let config = Arc::new(config);
        for warning in warnings(&self.config.load(), &config) {
            warn!("{warning}");
        }
        self.certificates.install(certificates);
        self.issued.install(acme);
        report_certificates(&config, &self.certificates);
        runtime.buffers.resize(config.limits.buffers);
        self.log.set(&config.log);
        runtime.watch();
        runtime.events.install(events);
        let before = self.runtime.swap(Arc::new(runtime));
        self.runtime.load().retires(&before);
        self.listening.install(places, terms);
        runtime::outlive(before);
        let before = self.config.swap(config);
        self.replaced.notify_one();
        before
    }

    fn tell_success(&self, before: &Config, look: Look, cause: Cause) {
        let config = self.config.load();
        let look = look.of(&config.path, config.files());
        let mut looks = self.looks();
        let mut changed = before.differences(&config);
        let differing = look.differences(&looks.in_force);
        changed
            .extend(config.files().iter().filter(|file| differing.contains(&file.path)).map(|file| file.key.clone()));
        *looks = Looks { in_force: look.clone(), latest: look, failure: None };
        drop(looks);
        metrics::reloaded(true);
        let generation = self.runtime.load().reloads.in_force(&config);
        let changed = if changed.is_empty() { "nothing".to_owned() } else { changed.join(" ") };
        info!(because = cause.words(), file = %self.file.display(), generation, changed, "the configuration was read again and is in force");
    }

    fn tell_failure(&self, error: &ReloadError, look: Look, cause: Cause) {
        let mut looks = self.looks();
        looks.latest = look;
        looks.failure = Some(if error.is_elsewhere { Fault::Elsewhere } else { Fault::InFiles });
        drop(looks);
        metrics::reloaded(false);
        let is_new = self.runtime.load().reloads.failed(error.to_string());
        if is_new || cause == Cause::Signal {
            error!(because = cause.words(), file = %self.file.display(), "the configuration cannot be used, the one in force stays: {error}");
        }
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn looks(&self) -> MutexGuard<'_, Looks> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cause {
    fn words(self) -> &'static str {
        match self {
            Self::Signal => "SIGHUP",
            Self::Change => "a file changed",
        }
    }
}

fn endpoints(config: &Config) -> Result<events::Prepared, BuildError> {
    events::Prepared::new(&config.events, runtime::public_port(config)).map_err(BuildError::Events)
}

/// What an operator should know of a configuration that is about to be in force.
fn warnings(latest: &Config, next: &Config) -> Vec<String> {
    next.warnings.iter().map(ToString::to_string).chain(changed_services(latest, next)).collect()
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
