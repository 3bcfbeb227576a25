//! The certificates of `tls.acme`, from one configuration to the next.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::task::AbortOnDropHandle;

use super::{
    Challenges, Moment, Report, Slot, Storage, StorageError, account,
    board::Board,
    client::Client,
    error::in_one_line,
    issued::Issued,
    keeper::{Keeper, Known},
    order,
};
use crate::{
    config::Acme,
    telemetry::metrics,
    tls::{CertStore, CertificateInfo, ContentHash, FileFault},
};

/// Looks after the certificates that an authority issues, as long as it lives.
pub struct Manager {
    certificates: Arc<CertStore>,
    challenges: Arc<Challenges>,
    running: Mutex<Option<Running>>,
}

/// Everything that can fail, done.
pub struct Prepared {
    acme: Acme,
    client: Client,
    storage: Storage,
    known: Vec<Known>,
    stand_ins: Vec<Issued>,
    warning: Option<String>,
}

struct Running {
    acme: Acme,
    client: Client,
    board: Arc<Board>,
    _keepers: Vec<AbortOnDropHandle<()>>,
}

impl Prepared {
    /// Makes the storage folder, and reads what is in it. Blocks.
    ///
    /// # Errors
    /// A file or folder that cannot be used; never that the authority is away.
    pub fn new(acme: &Acme) -> Result<Self, FileFault> {
        account::check(acme)?;
        let client = Client::new(acme)?;
        let storage = Storage::new(acme);
        storage.prepare().map_err(|error| FileFault { file: Some(error.path), reason: error.reason })?;
        let slots: Vec<_> = acme.certificates.iter().map(|certificate| storage.slot(certificate)).collect();
        let known = slots.iter().map(Known::read).collect();
        let stand_ins = others(&storage, &slots);
        Ok(Self { acme: acme.clone(), client, warning: storage.warning(), storage, known, stand_ins })
    }

    /// As [`Prepared::new`], without making anything. Returns what looks like a mistake. Blocks.
    ///
    /// # Errors
    /// As [`Prepared::new`].
    pub fn check(acme: &Acme) -> Result<Option<String>, FileFault> {
        account::check(acme)?;
        Client::new(acme)?;
        let storage = Storage::new(acme);
        storage.check().map_err(|error| FileFault { file: Some(error.path), reason: error.reason })?;
        Ok(storage.warning())
    }
}

/// What an authority said when it was tried out, in words for an operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TrialError(String);

/// Asks the authority for its directory, and whether it has the profile. Makes nothing there.
///
/// # Errors
/// What a person should know.
pub async fn try_out(acme: &Acme) -> Result<(), TrialError> {
    let client = Client::new(acme).map_err(|error| TrialError(error.to_string()))?;
    order::try_out(acme, &client).await.map_err(|error| TrialError(in_one_line(&error.to_string())))
}

impl Manager {
    /// Nothing is looked after yet.
    pub fn new(certificates: Arc<CertStore>, challenges: Arc<Challenges>) -> Self {
        Self { certificates, challenges, running: Mutex::default() }
    }

    /// From now on these certificates are looked after, and no others; what is stored is in force when this returns. To be
    /// called within a tokio runtime.
    pub fn install(&self, prepared: Option<Prepared>) {
        let mut running = self.running();
        if let (Some(running), Some(prepared)) = (running.as_ref(), &prepared)
            && running.acme == prepared.acme
            && running.client.trusted() == prepared.client.trusted()
        {
            return;
        }
        let before = running.take();
        // Also where it is not in the folder any more, or in another one.
        let in_force = before.iter().flat_map(|before| before.board.close()).collect();
        *running = prepared.map(|prepared| self.run(prepared, in_force));
        if running.is_none() && before.is_some() {
            self.challenges.expect([], None);
            self.certificates.install_acme(Vec::new(), Vec::new());
        }
        let named = |running: &Option<Running>| running.iter().flat_map(|running| running.firsts()).collect::<Vec<_>>();
        let names = named(&running);
        named(&before).iter().filter(|name| !names.contains(name)).for_each(|name| metrics::acme_gone(name));
    }

    /// How the certificates stand, in the order of the configuration.
    pub fn reports(&self) -> Vec<Report> {
        self.running().as_ref().map(|running| running.board.reports()).unwrap_or_default()
    }

    fn run(&self, prepared: Prepared, in_force: Vec<Issued>) -> Running {
        let Prepared { acme, client, storage, known, mut stand_ins, warning } = prepared;
        warning.iter().for_each(|warning| tracing::warn!("tls.acme.storage: {warning}"));
        for issued in in_force {
            let found = known.iter().filter_map(|known| known.issued.as_ref()).chain(&stand_ins);
            if !found.into_iter().any(|found| found.loaded.content == issued.loaded.content) {
                stand_ins.push(issued);
            }
        }
        stand_ins.sort_by_key(|issued| std::cmp::Reverse(issued.life.not_after));
        self.challenges.expect(acme.names().map(ToString::to_string), Some(Arc::new(storage.clone())));
        let issued = known.iter().map(|known| known.issued.clone()).collect();
        let board = Arc::new(Board::new(Arc::clone(&self.certificates), &acme, issued, stand_ins));
        board.install();
        let shared = Arc::new(acme.clone());
        let settings = settings(&acme, &client);
        let keepers = acme.certificates.iter().zip(known).enumerate().map(|(index, (certificate, known))| Keeper {
            acme: Arc::clone(&shared),
            certificate: certificate.clone(),
            storage: storage.clone(),
            slot: storage.slot(certificate),
            challenges: Arc::clone(&self.challenges),
            client: client.clone(),
            board: Arc::clone(&board),
            index,
            known,
            settings: settings.clone(),
            is_changed: false,
        });
        let keepers = keepers.map(|keeper| AbortOnDropHandle::new(tokio::spawn(keeper.run()))).collect();
        Running { acme, client, board, _keepers: keepers }
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// What metrics call each certificate by.
    fn firsts(&self) -> impl Iterator<Item = String> {
        self.acme.certificates.iter().filter_map(|certificate| certificate.names.first()).map(ToString::to_string)
    }
}

/// Stands for all that may make an attempt go otherwise, but for the names, which have a place of their own each.
fn settings(acme: &Acme, client: &Client) -> String {
    let Acme { contact, challenge, profile, external_account, .. } = acme;
    let said = format!("{contact:?} {challenge:?} {profile:?} {external_account:?}");
    let hash = ContentHash::of([said.as_bytes(), client.trusted().as_ref()]);
    hash.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// How certificates stand by what is stored, for when nobody looks after them. Blocks.
///
/// # Errors
/// For each certificate: that what is stored cannot be read.
pub fn survey(acme: &Acme) -> Vec<Result<Report, StorageError>> {
    let storage = Storage::new(acme);
    let report = |certificate| {
        let slot = storage.slot(certificate);
        slot.certificate()?;
        let issued = Known::read(&slot).issued;
        let life = issued.as_ref().map(|issued| &issued.life);
        let report = Report::new(certificate, life, &slot.state(), slot.is_renewal_asked());
        Ok(Report { under_way: report.under_way && slot.is_locked(), ..report })
    };
    acme.certificates.iter().map(report).collect()
}

/// The certificates of the configuration that are stored, as far as they can be used, and those that a start would have
/// stand in. Blocks.
pub fn stored(acme: &Acme) -> Vec<CertificateInfo> {
    let storage = Storage::new(acme);
    let slots: Vec<_> = acme.certificates.iter().map(|certificate| storage.slot(certificate)).collect();
    let own: Vec<Issued> = slots.iter().filter_map(|slot| Known::read(slot).issued).collect();
    let now = Moment::now();
    let lacking: Vec<_> = acme.names().filter(|name| !own.iter().any(|issued| issued.is_for(name))).collect();
    let stands_in = |issued: &Issued| issued.life.not_after > now && lacking.iter().any(|name| issued.is_for(name));
    let others = others(&storage, &slots).into_iter().filter(stands_in);
    own.iter().cloned().chain(others).map(|issued| issued.loaded.info).collect()
}

/// What is stored for other names, or by other authorities.
fn others(storage: &Storage, slots: &[Slot]) -> Vec<Issued> {
    let others = storage.all().into_iter().filter(|(file, _)| slots.iter().all(|slot| slot.path() != *file));
    others.filter_map(|(file, stored)| Issued::load(&stored, &file).ok()).collect()
}
