//! What the keepers of all certificates have come to, put in force together.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Moment, Report, issued::Issued};
use crate::{
    config::{Acme, AcmeName},
    telemetry::metrics,
    tls::{CertStore, Loaded},
};

pub(super) struct Board {
    certificates: Arc<CertStore>,
    /// The names of each certificate of the configuration.
    wanted: Vec<Vec<AcmeName>>,
    /// Stored for other names or by other authorities: better than nothing.
    stand_ins: Vec<Issued>,
    entries: Mutex<Vec<Entry>>,
}

#[derive(Default)]
struct Entry {
    issued: Option<Issued>,
    report: Option<Report>,
}

impl Board {
    pub(super) fn new(
        certificates: Arc<CertStore>,
        acme: &Acme,
        issued: Vec<Option<Issued>>,
        stand_ins: Vec<Issued>,
    ) -> Self {
        let wanted = acme.certificates.iter().map(|certificate| certificate.names.clone()).collect();
        let entries = issued.into_iter().map(|issued| Entry { issued, report: None }).collect();
        Self { certificates, wanted, stand_ins, entries: Mutex::new(entries) }
    }

    /// In force from now on.
    pub(super) fn put(&self, index: usize, issued: Option<Issued>) {
        if let Some(entry) = self.entries().get_mut(index) {
            entry.issued = issued;
        }
        self.install();
    }

    /// Puts in force what there is.
    pub(super) fn install(&self) {
        // Held until all is done, so that what is newer comes later.
        let entries = self.entries();
        let own: Vec<&Issued> = entries.iter().filter_map(|entry| entry.issued.as_ref()).collect();
        let loaded: Vec<Loaded> =
            own.iter().copied().chain(self.needed(&own)).map(|issued| issued.loaded.clone()).collect();
        let wanted = self.wanted.iter().map(|names| names.iter().map(ToString::to_string).collect()).collect();
        self.certificates.install_acme(wanted, loaded);
    }

    pub(super) fn tell(&self, index: usize, report: Report) {
        let name = report.names.first().cloned().unwrap_or_default();
        metrics::acme_next_attempt(&name, report.next.map(|next| next.0));
        metrics::acme_window(&name, report.window.map(|(start, _)| start.0));
        if let Some(entry) = self.entries().get_mut(index) {
            entry.report = Some(report);
        }
    }

    pub(super) fn reports(&self) -> Vec<Report> {
        self.entries().iter().filter_map(|entry| entry.report.clone()).collect()
    }

    /// The stand-ins for names that have no certificate of their own.
    fn needed<'a>(&'a self, own: &[&Issued]) -> impl Iterator<Item = &'a Issued> {
        let now = Moment::now();
        let lacking: Vec<&AcmeName> =
            self.wanted.iter().flatten().filter(|name| !own.iter().any(|issued| issued.is_for(name))).collect();
        self.stand_ins
            .iter()
            .filter(move |issued| issued.life.not_after > now && lacking.iter().any(|name| issued.is_for(name)))
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
