//! Which certificate: exact name, wildcard, default.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    SignatureAlgorithm, SignatureScheme,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::Loaded;
use crate::config::Host;

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

impl CertificateInfo {
    /// True where a client that dials `name` accepts one of the names: exact, or with a wildcard for the first label.
    pub fn covers(&self, name: &str) -> bool {
        let parent = name.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|own| own == name || own.strip_prefix("*.").is_some_and(|wild| parent == Some(wild)))
    }
}

/// What to say of hosts that no certificate is for.
pub fn uncovered(hosts: &[Host], certificates: &[CertificateInfo]) -> Vec<String> {
    let known: Vec<&str> = certificates.iter().flat_map(|info| &info.names).map(String::as_str).collect();
    hosts
        .iter()
        .filter(|host| !certificates.iter().any(|info| info.covers(&host.name)))
        .map(|host| format!("no certificate is for {}; there are some for: {}", host.name, known.join(", ")))
        .collect()
}

/// The certificates in force; replaced as a whole, without touching connections that stand.
#[derive(Debug)]
pub struct CertStore {
    index: ArcSwap<Index>,
}

impl CertStore {
    /// A store that serves `certificates`; with none of them every handshake is refused.
    pub fn new(certificates: Vec<Loaded>) -> Self {
        Self { index: ArcSwap::from_pointee(Index::new(certificates)) }
    }

    /// Serves `certificates` from the next handshake on, in place of all others.
    pub fn install(&self, certificates: Vec<Loaded>) {
        self.index.store(Arc::new(Index::new(certificates)));
    }

    /// What is in force, in the order of the configuration.
    pub fn infos(&self) -> Vec<CertificateInfo> {
        self.index.load().infos.clone()
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
    infos: Vec<CertificateInfo>,
}

impl Index {
    fn new(mut certificates: Vec<Loaded>) -> Self {
        let infos = certificates.iter().map(|loaded| loaded.info.clone()).collect();
        if !certificates.iter().any(|loaded| loaded.default)
            && let Some(first) = certificates.first_mut()
        {
            first.default = true;
        }
        certificates.sort_by_key(|loaded| loaded.key.key.algorithm() == SignatureAlgorithm::RSA);

        let mut index = Self { exact: HashMap::new(), wildcard: HashMap::new(), default: Vec::new(), infos };
        for loaded in certificates {
            for name in &loaded.info.names {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut index.wildcard, parent),
                    None => (&mut index.exact, name.as_str()),
                };
                names.entry(name.to_owned()).or_default().push(loaded.key.clone());
            }
            if loaded.default {
                index.default.push(loaded.key);
            }
        }
        index
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
