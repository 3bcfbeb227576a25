//! Which certificate: exact name, wildcard, default.

mod index;

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use self::index::Index;
use super::{CertificateError, Loaded, Pair, files::unix_now, temporary};
use crate::{
    config::{CertificateFiles, Host},
    telemetry::metrics,
};

/// How often the ends of certificates are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// A certificate in force, for logs, `check` and the expiry metric.
#[derive(Clone, Debug)]
pub struct CertificateInfo {
    /// Lower-case names it is chosen by; wildcards as `*.example.com`, addresses in canonical text.
    pub names: Vec<String>,
    /// Unix seconds.
    pub not_before: i64,
    /// Unix seconds.
    pub not_after: i64,
    pub source: Source,
    /// Where it is kept; None for a temporary one.
    pub file: Option<PathBuf>,
}

/// Where a certificate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// `tls.certificates`
    Files,
    /// `tls.acme`
    Acme,
    /// Made here, self-signed, for names of `tls.acme` that have no certificate yet.
    Temporary,
}

/// What to say of hosts that no certificate is for: a client that dials one accepts its name, or one with a wildcard for
/// the first label.
pub fn uncovered(hosts: &[Host], certificates: &[CertificateInfo]) -> Vec<String> {
    let mut names = HashSet::new();
    let known = certificates.iter().flat_map(|info| &info.names).map(String::as_str);
    let known: Vec<&str> = known.filter(|name| names.insert(*name)).collect();
    let covered = |host: &Host| {
        let wild = host.name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        names.contains(&*host.name) || wild.is_some_and(|wild| names.contains(&*wild))
    };
    let others = if known.is_empty() { String::new() } else { format!("; there are some for: {}", known.join(", ")) };
    hosts
        .iter()
        .filter(|host| !covered(host))
        .map(|host| format!("no certificate is for {}{others}", host.name))
        .collect()
}

/// The certificates in force; those of each source are replaced as a whole, without touching connections that stand.
#[derive(Debug)]
pub struct CertStore {
    parts: Mutex<Parts>,
    index: ArcSwap<Index>,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Parts {
    files: Vec<Loaded>,
    /// For which there is to be a certificate of an authority, by certificate.
    wanted: Vec<Vec<String>>,
    acme: Vec<Loaded>,
    temporary: Vec<Loaded>,
}

/// Of a certificate, or of a host that has none.
type Warning = (Option<PathBuf>, String);

/// What was said last of the certificates in force.
#[derive(Debug, Default)]
struct Told {
    /// None: nothing was said yet.
    hosts: Option<Vec<Host>>,
    warnings: HashSet<Warning>,
    /// Whose end is shown in metrics.
    names: HashSet<String>,
}

impl Default for CertStore {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl CertStore {
    /// A store that serves `files`; with none of them every handshake is refused.
    pub fn new(files: Vec<Loaded>) -> Self {
        let parts = Parts { files, ..Parts::default() };
        let index = ArcSwap::from_pointee(parts.index());
        Self { parts: Mutex::new(parts), index, told: Mutex::default() }
    }

    /// Reads what is to be installed. A pair with the content of one in force is that one, its key included.
    ///
    /// # Errors
    /// The first that cannot be used, or is another one than those in force and has ended: that is no renewal.
    pub fn load(&self, pairs: &[CertificateFiles]) -> Result<Vec<Loaded>, CertificateError> {
        let parts = self.parts();
        let known: HashMap<_, _> = parts.files.iter().map(|loaded| (loaded.content, loaded.clone())).collect();
        drop(parts);
        let load = |files: &CertificateFiles| {
            let pair = Pair::read(files)?;
            match known.get(&pair.content()) {
                Some(known) => Ok(known.again(files)),
                None => pair.load()?.in_time(),
            }
        };
        pairs.iter().map(load).collect()
    }

    /// Serves `files` from the next handshake on, in place of all that came from files.
    pub fn install(&self, files: Vec<Loaded>) {
        self.replace(|parts| parts.files = files);
    }

    /// Serves what an authority issued from the next handshake on, in place of all that came from there, and tells what is
    /// to be told of it. Of `wanted`, the names of each certificate that there is to be, those for which there is none from
    /// either source get a temporary one.
    pub fn install_acme(&self, wanted: Vec<Vec<String>>, issued: Vec<Loaded>) {
        self.replace(|parts| (parts.wanted, parts.acme) = (wanted, issued));
        let hosts = self.told().hosts.clone();
        hosts.iter().for_each(|hosts| self.report(hosts));
    }

    /// Tells of what ended in this time (Unix seconds). Returns those of its names that are left without.
    fn tell_ended(&self, time: Range<i64>) -> Vec<String> {
        let index = self.index.load();
        let lasting = index.certificates.iter().filter(|loaded| loaded.info.source != Source::Temporary);
        let mut left = Vec::new();
        for CertificateInfo { names, file, .. } in
            lasting.map(|loaded| &loaded.info).filter(|info| time.contains(&info.not_after))
        {
            let file = file.iter().map(|file| file.display().to_string()).collect::<String>();
            let without: Vec<&String> =
                names.iter().filter(|name| index.lasts_until(name, time.end).is_none()).collect();
            if without.is_empty() && !names.is_empty() {
                tracing::warn!(certificate = file, ?names, "a certificate has ended; others serve its names");
            } else {
                tracing::error!(certificate = file, names = ?without, "a certificate has ended, and there is no other one: clients refuse what they are shown");
            }
            left.extend(without.into_iter().cloned());
        }
        left
    }

    fn replace(&self, change: impl FnOnce(&mut Parts)) {
        let mut parts = self.parts();
        change(&mut parts);
        parts.fill();
        self.index.store(Arc::new(parts.index()));
    }

    /// Says in the log what looks like a mistake, as far as it was not said when this was called last, and which of `hosts`
    /// have no certificate; shows in metrics when those in force end.
    pub fn report(&self, hosts: &[Host]) {
        let index = self.index.load();
        let mut told = self.told();
        let warnings = index.warnings(hosts);
        for warning in warnings.iter().filter(|warning| !told.warnings.contains(*warning)) {
            match warning {
                (Some(file), text) => tracing::warn!(certificate = %file.display(), "{text}"),
                (None, text) => tracing::warn!("{text}"),
            }
        }
        let lasting = index.certificates.iter().filter(|loaded| loaded.info.source != Source::Temporary);
        let infos = || lasting.clone().map(|loaded| &loaded.info);
        let names = infos().flat_map(|info| &info.names).chain(&index.missing);
        let names: HashSet<String> = names.cloned().collect();
        told.names.difference(&names).for_each(|name| metrics::certificate_gone(name));
        for info in infos() {
            info.names.iter().for_each(|name| metrics::certificate_expiry(name, info.not_after));
        }
        // Whatever asks how long it is until then finds that it was long ago.
        index.missing.iter().for_each(|name| metrics::certificate_expiry(name, 0));
        *told = Told { hosts: Some(hosts.to_vec()), warnings: warnings.into_iter().collect(), names };
    }

    /// What is in force: files, what an authority issued, and temporary ones, each in the order of the configuration.
    pub fn infos(&self) -> Vec<CertificateInfo> {
        self.index.load().infos()
    }

    /// The names that have a temporary certificate alone, in order.
    pub fn missing(&self) -> Vec<String> {
        let mut missing: Vec<String> = self.index.load().missing.iter().cloned().collect();
        missing.sort_unstable();
        missing
    }

    /// Until when (Unix seconds) a client that asks for this name is shown a certificate that has not ended and is not a
    /// temporary one; None where there is none.
    pub fn lasts_until(&self, name: &str) -> Option<i64> {
        self.index.load().lasts_until(name, unix_now())
    }

    /// True where some certificate is not a temporary one.
    pub fn has_lasting(&self) -> bool {
        self.index.load().certificates.iter().any(|loaded| loaded.info.source != Source::Temporary)
    }

    /// True for a name, lower case and without a trailing dot, that has a temporary certificate alone.
    pub fn is_missing(&self, name: &str) -> bool {
        let index = self.index.load();
        !index.missing.is_empty() && index.missing.contains(name)
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says in the log when a certificate in force ends, for as long as this runs.
pub async fn watch_ends(store: Arc<CertStore>) {
    let mut since = unix_now();
    loop {
        tokio::time::sleep(LOOK).await;
        let now = unix_now();
        store.tell_ended(since..now);
        since = now;
    }
}

impl Parts {
    /// Has a temporary certificate for every name that lacks one, those of before where they are for the same names.
    fn fill(&mut self) {
        let known = std::mem::take(&mut self.temporary);
        let lasting = self.index();
        for wanted in &self.wanted {
            let names: Vec<String> = wanted.iter().filter(|name| !lasting.has(name)).cloned().collect();
            if names.is_empty() {
                continue;
            }
            let made = match known.iter().find(|known| known.info.names == names) {
                Some(known) => Ok(known.clone()),
                None => temporary::make(&names),
            };
            match made {
                Ok(temporary) => self.temporary.push(temporary),
                Err(error) => tracing::error!(?names, %error, "cannot make a temporary certificate"),
            }
        }
    }

    fn index(&self) -> Index {
        Index::new([&self.files, &self.acme, &self.temporary].into_iter().flatten().cloned().collect())
    }
}

impl ResolvesServerCert for CertStore {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.index.load().choose(hello.server_name(), hello.signature_schemes(), unix_now())
    }
}

#[cfg(test)]
mod tests;
