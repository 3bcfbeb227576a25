//! Which certificate: exact name, wildcard, default.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use rustls::{
    SignatureAlgorithm, SignatureScheme,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{CertificateError, Loaded, Pair};
use crate::{
    config::{CertificateFiles, Host},
    telemetry::metrics,
};

/// A certificate in force, for logs, `check` and the expiry metric.
#[derive(Clone, Debug)]
pub struct CertificateInfo {
    /// Lower-case names it is chosen by; wildcards as `*.example.com`, addresses in canonical text.
    pub names: Vec<String>,
    /// Unix seconds.
    pub not_after: i64,
    /// The certificate file.
    pub file: PathBuf,
}

/// What to say of hosts that no certificate is for: a client that dials one accepts its name, or one with a wildcard for
/// the first label.
pub fn uncovered(hosts: &[Host], certificates: &[CertificateInfo]) -> Vec<String> {
    let known: Vec<&str> = certificates.iter().flat_map(|info| &info.names).map(String::as_str).collect();
    let names: HashSet<&str> = known.iter().copied().collect();
    let covered = |host: &Host| {
        let wild = host.name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        names.contains(&*host.name) || wild.is_some_and(|wild| names.contains(&*wild))
    };
    hosts
        .iter()
        .filter(|host| !covered(host))
        .map(|host| format!("no certificate is for {}; there are some for: {}", host.name, known.join(", ")))
        .collect()
}

/// The certificates in force; replaced as a whole, without touching connections that stand.
#[derive(Debug)]
pub struct CertStore {
    index: ArcSwap<Index>,
    told: Mutex<Told>,
}

/// Of a certificate, or of a host that has none.
type Warning = (Option<PathBuf>, String);

/// What was said last of the certificates in force.
#[derive(Debug, Default)]
struct Told {
    warnings: HashSet<Warning>,
    /// Whose end is shown in metrics.
    names: HashSet<String>,
}

impl CertStore {
    /// A store that serves `certificates`; with none of them every handshake is refused.
    pub fn new(certificates: Vec<Loaded>) -> Self {
        Self { index: ArcSwap::from_pointee(Index::new(certificates)), told: Mutex::default() }
    }

    /// Reads what is to be installed. A pair with the content of one in force is that one, its key included.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn load(&self, pairs: &[CertificateFiles]) -> Result<Vec<Loaded>, CertificateError> {
        let index = self.index.load();
        let known: HashMap<_, _> = index.certificates.iter().map(|loaded| (loaded.content, loaded)).collect();
        let load = |files: &CertificateFiles| {
            let pair = Pair::read(files)?;
            known.get(&pair.content()).map_or_else(|| pair.load(), |known| Ok(known.again(files)))
        };
        pairs.iter().map(load).collect()
    }

    /// Serves `certificates` from the next handshake on, in place of all others.
    pub fn install(&self, certificates: Vec<Loaded>) {
        self.index.store(Arc::new(Index::new(certificates)));
    }

    /// Says in the log what looks like a mistake, as far as it was not said when this was called last, and which of `hosts`
    /// have no certificate; shows in metrics when those in force end.
    pub fn report(&self, hosts: &[Host]) {
        let index = self.index.load();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let warnings = index.warnings(hosts);
        for warning in warnings.iter().filter(|warning| !told.warnings.contains(*warning)) {
            match warning {
                (Some(file), text) => tracing::warn!(certificate = %file.display(), "{text}"),
                (None, text) => tracing::warn!("{text}"),
            }
        }
        let infos = || index.certificates.iter().map(|loaded| &loaded.info);
        let names: HashSet<String> = infos().flat_map(|info| info.names.iter().cloned()).collect();
        told.names.difference(&names).for_each(|name| metrics::certificate_gone(name));
        for info in infos() {
            info.names.iter().for_each(|name| metrics::certificate_expiry(name, info.not_after));
        }
        *told = Told { warnings: warnings.into_iter().collect(), names };
    }

    /// What is in force, in the order of the configuration.
    pub fn infos(&self) -> Vec<CertificateInfo> {
        self.index.load().infos()
    }
}

impl ResolvesServerCert for CertStore {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.index.load().choose(hello.server_name(), hello.signature_schemes())
    }
}

type Keys = Vec<Arc<CertifiedKey>>;

/// Lists hold the cheapest signature first, otherwise the order of the configuration.
#[derive(Debug)]
struct Index {
    exact: HashMap<String, Keys>,
    /// By the part behind `*.`.
    wildcard: HashMap<String, Keys>,
    default: Keys,
    /// In the order of the configuration.
    certificates: Vec<Loaded>,
}

impl Index {
    fn new(mut certificates: Vec<Loaded>) -> Self {
        if !certificates.iter().any(|loaded| loaded.default)
            && let Some(first) = certificates.first_mut()
        {
            first.default = true;
        }
        let (mut exact, mut wildcard, mut default) = (HashMap::<_, Keys>::new(), HashMap::<_, Keys>::new(), Vec::new());
        let mut cheapest_first: Vec<&Loaded> = certificates.iter().collect();
        cheapest_first.sort_by_key(|loaded| loaded.key.key.algorithm() == SignatureAlgorithm::RSA);
        for loaded in cheapest_first {
            for name in &loaded.info.names {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut wildcard, parent),
                    None => (&mut exact, name.as_str()),
                };
                names.entry(name.to_owned()).or_default().push(Arc::clone(&loaded.key));
            }
            if loaded.default {
                default.push(Arc::clone(&loaded.key));
            }
        }
        Self { exact, wildcard, default, certificates }
    }

    fn infos(&self) -> Vec<CertificateInfo> {
        self.certificates.iter().map(|loaded| loaded.info.clone()).collect()
    }

    fn warnings(&self, hosts: &[Host]) -> Vec<Warning> {
        let of = |loaded: &Loaded| {
            let file = loaded.info.file.clone();
            loaded.warnings.clone().into_iter().map(move |warning| (Some(file.clone()), warning)).collect::<Vec<_>>()
        };
        let of_hosts = uncovered(hosts, &self.infos()).into_iter().map(|warning| (None, warning));
        self.certificates.iter().flat_map(of).chain(of_hosts).collect()
    }

    /// The first candidate whose key can sign for this client; failing that the first, so that the
    /// client gets an alert about signatures.
    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let candidates = name
            .map(|name| self.named(name))
            .filter(|named| !named.is_empty())
            .unwrap_or_else(|| self.default.iter().collect());
        candidates
            .iter()
            .find(|candidate| candidate.key.choose_scheme(schemes).is_some())
            .or(candidates.first())
            .map(|chosen| Arc::clone(chosen))
    }

    /// Exact names before wildcards, which stand for exactly one label (RFC 6125 section 6.4.3).
    fn named(&self, name: &str) -> Vec<&Arc<CertifiedKey>> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let wildcard = name
            .split_once('.')
            .filter(|(label, _)| !label.is_empty())
            .and_then(|(_, parent)| self.wildcard.get(parent));
        self.exact.get(&name).into_iter().chain(wildcard).flatten().collect()
    }
}

#[cfg(test)]
mod tests;
