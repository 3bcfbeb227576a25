//! The certificates of a moment, by the names that clients ask for.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use rustls::{SignatureAlgorithm, SignatureScheme, sign::CertifiedKey};

use super::{Warning, uncovered};
use crate::{
    config::Host,
    tls::{CertificateInfo, Loaded, Source},
};

type Candidates = Vec<Candidate>;

/// A certificate for a name.
#[derive(Clone, Debug)]
struct Candidate {
    key: Arc<CertifiedKey>,
    /// Unix seconds.
    not_after: i64,
}

/// Lists hold the cheapest signature first, otherwise files before what an authority issued, in the order of the
/// configuration.
#[derive(Debug)]
pub(super) struct Index {
    exact: HashMap<String, Candidates>,
    /// By the part behind `*.`.
    wildcard: HashMap<String, Candidates>,
    default: Candidates,
    /// In the same order, but for the signatures.
    pub(super) certificates: Vec<Loaded>,
    /// That have a temporary certificate alone.
    pub(super) missing: HashSet<String>,
}

impl Index {
    pub(super) fn new(mut certificates: Vec<Loaded>) -> Self {
        if !certificates.iter().any(|loaded| loaded.default)
            && let Some(default) = default(&certificates).and_then(|at| certificates.get_mut(at))
        {
            default.default = true;
        }
        let (mut exact, mut wildcard) = (HashMap::<_, Candidates>::new(), HashMap::<_, Candidates>::new());
        let (mut default, mut missing) = (Vec::new(), HashSet::new());
        let mut cheapest_first: Vec<&Loaded> = certificates.iter().collect();
        cheapest_first.sort_by_key(|loaded| loaded.key.key.algorithm() == SignatureAlgorithm::RSA);
        for loaded in cheapest_first {
            let candidate = Candidate { key: Arc::clone(&loaded.key), not_after: loaded.info.not_after };
            for name in &loaded.info.names {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut wildcard, parent),
                    None => (&mut exact, name.as_str()),
                };
                names.entry(name.to_owned()).or_default().push(candidate.clone());
            }
            if loaded.info.source == Source::Temporary {
                missing.extend(loaded.info.names.iter().cloned());
            }
            if loaded.default {
                default.push(candidate);
            }
        }
        Self { exact, wildcard, default, certificates, missing }
    }

    pub(super) fn infos(&self) -> Vec<CertificateInfo> {
        self.certificates.iter().map(|loaded| loaded.info.clone()).collect()
    }

    pub(super) fn warnings(&self, hosts: &[Host]) -> Vec<Warning> {
        let of = |loaded: &Loaded| {
            let file = loaded.info.file.clone();
            loaded.warnings.clone().into_iter().map(move |warning| (file.clone(), warning)).collect::<Vec<_>>()
        };
        let of_hosts = uncovered(hosts, &self.infos()).into_iter().map(|warning| (None, warning));
        self.certificates.iter().flat_map(of).chain(of_hosts).collect()
    }

    /// Of the candidates whose key can sign for this client the first that has not ended at `now` (Unix seconds), else the
    /// first; where none can sign the first of all, so that the client gets an alert about signatures.
    pub(super) fn choose(
        &self,
        name: Option<&str>,
        schemes: &[SignatureScheme],
        now: i64,
    ) -> Option<Arc<CertifiedKey>> {
        let candidates = name
            .map(|name| self.named(name))
            .filter(|named| !named.is_empty())
            .unwrap_or_else(|| self.default.iter().collect());
        let mut able = candidates.iter().filter(|candidate| candidate.key.key.choose_scheme(schemes).is_some());
        let in_time = able.clone().find(|candidate| candidate.not_after >= now);
        in_time.or_else(|| able.next()).or(candidates.first()).map(|chosen| Arc::clone(&chosen.key))
    }

    /// True where there is a certificate for the name, temporary ones included.
    pub(super) fn has(&self, name: &str) -> bool {
        !self.named(name).is_empty()
    }

    /// Until when a client that asks for the name is shown a certificate that is not a temporary one, in Unix seconds; None
    /// where there is none that lasts beyond `now`.
    pub(super) fn lasts_until(&self, name: &str, now: i64) -> Option<i64> {
        let candidates = self.named(name).into_iter().filter(|_| !self.missing.contains(name));
        candidates.map(|candidate| candidate.not_after).filter(|not_after| *not_after > now).max()
    }

    /// Exact names before wildcards, which stand for exactly one label (RFC 6125 section 6.4.3).
    fn named(&self, name: &str) -> Vec<&Candidate> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let wildcard = name
            .split_once('.')
            .filter(|(label, _)| !label.is_empty())
            .and_then(|(_, parent)| self.wildcard.get(parent));
        self.exact.get(&name).into_iter().chain(wildcard).flatten().collect()
    }
}

/// Which is shown to clients that ask for no name, where the configuration does not say so: the first file, else, since
/// clients ask for no name where they dial an address, what has an address for a name; else the first.
fn default(certificates: &[Loaded]) -> Option<usize> {
    let with_address = |source: Source| {
        let has_address = |name: &String| name.parse::<IpAddr>().is_ok();
        let is = move |loaded: &Loaded| loaded.info.source == source && loaded.info.names.iter().any(has_address);
        certificates.iter().position(is)
    };
    if certificates.first()?.info.source == Source::Files {
        return Some(0);
    }
    with_address(Source::Acme).or_else(|| with_address(Source::Temporary)).or(Some(0))
}
