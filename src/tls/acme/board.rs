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
    /// Stored for other names or by other authorities, or in force before: better than nothing. What lasts longest is first.
    stand_ins: Vec<Issued>,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    /// Another configuration is in force, and what a keeper of this one has yet to say counts no more.
    is_over: bool,
    list: Vec<Entry>,
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
        let list = issued.into_iter().map(|issued| Entry { issued, report: None }).collect();
        Self { certificates, wanted, stand_ins, entries: Mutex::new(Entries { is_over: false, list }) }
    }

    /// In force from now on.
    pub(super) fn put(&self, index: usize, issued: Option<Issued>) {
        if let Some(entry) = self.entries().list.get_mut(index) {
            entry.issued = issued;
        }
        self.install();
    }

    /// From now on nothing here is put in force or told. Returns what was in force.
    pub(super) fn close(&self) -> Vec<Issued> {
        let mut entries = self.entries();
        entries.is_over = true;
        let own = entries.list.iter().filter_map(|entry| entry.issued.clone());
        own.chain(self.stand_ins.iter().cloned()).collect()
    }

    /// Puts in force what there is.
    pub(super) fn install(&self) {
        // Held until all is done, so that what is newer comes later.
        let entries = self.entries();
        if entries.is_over {
            return;
        }
        let own: Vec<&Issued> = entries.list.iter().filter_map(|entry| entry.issued.as_ref()).collect();
        let loaded: Vec<Loaded> =
            own.iter().copied().chain(self.needed(&own)).map(|issued| issued.loaded.clone()).collect();
        let wanted = self.wanted.iter().map(|names| names.iter().map(ToString::to_string).collect()).collect();
        self.certificates.install_acme(wanted, loaded);
    }

    /// Until when all of these names have a certificate, whosever it is; else those that have none.
    pub(super) fn lasts_until(&self, names: &[AcmeName]) -> Result<Moment, Vec<String>> {
        let found = names.iter().map(ToString::to_string).map(|name| (self.certificates.lasts_until(&name), name));
        let (with, without): (Vec<_>, Vec<_>) = found.partition(|(until, _)| until.is_some());
        match with.iter().filter_map(|(until, _)| *until).min() {
            Some(until) if without.is_empty() => Ok(Moment(until)),
            Some(_) | None => Err(without.into_iter().map(|(_, name)| name).collect()),
        }
    }

    pub(super) fn tell(&self, index: usize, report: Report) {
        let mut entries = self.entries();
        if entries.is_over {
            return;
        }
        let name = report.names.first().cloned().unwrap_or_default();
        metrics::acme_next_attempt(&name, report.next.map(|next| next.0));
        metrics::acme_window(&name, report.window.map(|(start, _)| start.0));
        if let Some(entry) = entries.list.get_mut(index) {
            entry.report = Some(report);
        }
    }

    pub(super) fn reports(&self) -> Vec<Report> {
        self.entries().list.iter().filter_map(|entry| entry.report.clone()).collect()
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

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Secret, tls::acme::StoredCertificate};

    fn issued(name: &str) -> Issued {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let stored = StoredCertificate {
            directory: String::new(),
            chain: made.cert.pem(),
            key: Secret::new(made.signing_key.serialize_pem()),
            stored_at: Moment(0),
        };
        Issued::load(&stored, "certificate.json".as_ref()).unwrap()
    }

    /// Its keepers end a little later than it.
    #[test]
    fn a_configuration_that_is_over_has_no_say() {
        crate::tls::install_provider();
        let store = Arc::new(CertStore::default());
        let certificate = crate::config::AcmeCertificate { names: vec![AcmeName::Dns("a.test".to_owned())] };
        let acme = Acme {
            directory: String::new(),
            directory_ca_file: None,
            contact: Vec::new(),
            storage: "acme".into(),
            challenge: crate::config::AcmeChallenge::Auto,
            profile: None,
            external_account: None,
            certificates: vec![certificate],
        };
        let board = Board::new(Arc::clone(&store), &acme, vec![Some(issued("a.test"))], vec![issued("b.test")]);
        board.install();
        assert_eq!(store.infos().len(), 1);
        assert_eq!(board.close().len(), 2, "what it had stands in elsewhere");
        store.install_acme(Vec::new(), Vec::new());
        board.put(0, Some(issued("a.test")));
        assert!(store.infos().is_empty());
    }
}
