//! What outlives the process: accounts, keys, certificates, and how attempts went. Several portcullis may share the folder.
//!
//! ```text
//! <storage>/
//!   challenges/<name>                what an authority is to be answered, while an order is open
//!   <authority>/account.json         and the lock of who makes it
//!   <authority>/<certificate>/
//!     certificate.json               the chain with its key: one file, so that no crash can pair them wrongly
//!     order.json                     an order that is about to be paid out, and the key it is for
//!     state.json                     attempts, the authority's window for renewal
//!     renew                          somebody asks for a renewal now
//!     lock                           held by who orders; it goes with its process
//! ```
//!
//! Everything here blocks.

mod answers;
mod lock;

pub(super) use crate::disk::Stamp;
pub use crate::disk::StorageError;
pub use answers::Published;
pub use lock::Lock;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::Moment;
use crate::{
    config::{Acme, AcmeCertificate, Secret},
    disk,
    tls::ContentHash,
};

const CERTIFICATE: &str = "certificate.json";
const ORDER: &str = "order.json";
const STATE: &str = "state.json";
const ACCOUNT: &str = "account.json";
const RENEW: &str = "renew";
const CHALLENGES: &str = "challenges";
/// Far beyond a chain of a hundred names.
const LARGEST: u64 = 1024 * 1024;

/// The folder of one configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    root: PathBuf,
    /// Of the authority's directory.
    directory: String,
}

/// Where one certificate is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    folder: PathBuf,
}

/// A chain with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCertificate {
    /// The authority's directory.
    pub directory: String,
    /// PEM, leaf first.
    pub chain: String,
    /// PEM, PKCS#8.
    pub key: Secret,
    pub stored_at: Moment,
}

/// An order that was ready, and the key that its certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredOrder {
    pub url: String,
    pub begun: Moment,
    /// PEM, PKCS#8.
    pub key: Secret,
}

/// How attempts went, and when the next one may be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// When the attempt began that is under way; also of one that ended with its process.
    pub began: Option<Moment>,
    /// Attempts that ended with their process, in a row.
    pub cut_off: u32,
    /// Attempts that failed, in a row.
    pub failures: u32,
    /// None is made before.
    pub not_before: Option<Moment>,
    /// When somebody asked for a renewal that has not come about yet.
    pub asked: Option<Moment>,
    /// Stands for the settings of the last one.
    pub settings: Option<String>,
    /// Why the last one failed; None once one succeeded.
    pub error: Option<Failure>,
    pub window: Option<Window>,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub at: Moment,
    /// One line, in words for an operator.
    pub reason: String,
}

/// When the authority would have a certificate renewed (RFC 9773).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Of the certificate, as RFC 9773 §4.1 writes it.
    pub certificate: String,
    /// None: the authority said nothing that can be used.
    pub suggested: Option<(Moment, Moment)>,
    /// A page that says why.
    pub explanation: Option<String>,
    pub ask_again: Moment,
}

/// An account at the authority.
pub(super) struct StoredAccount {
    /// In the library's own form; holds the key.
    pub(super) credentials: Zeroizing<String>,
    pub(super) contact: Vec<String>,
}

impl Storage {
    pub fn new(acme: &Acme) -> Self {
        Self { root: acme.storage.clone(), directory: acme.directory.clone() }
    }

    /// Makes the folder, for its owner alone.
    ///
    /// # Errors
    /// Where it cannot be made, or nothing can be written to it.
    pub fn prepare(&self) -> Result<(), StorageError> {
        self.check()?;
        disk::make_folder(&self.root.join(CHALLENGES))?;
        disk::make_folder(&self.authority())?;
        Lock::try_take(&self.authority().join("writable")).map(drop)
    }

    /// What [`Storage::prepare`] would find, as far as that can be told without making anything.
    ///
    /// # Errors
    /// Where the folder cannot be written to, or is not there and cannot be made.
    pub fn check(&self) -> Result<(), StorageError> {
        disk::check_folder(&self.root)
    }

    /// What to warn of: who can write here has keys, and answers authorities as if our names were theirs.
    pub fn warning(&self) -> Option<String> {
        let folders = [self.root.clone(), self.root.join(CHALLENGES), self.authority()];
        folders.iter().find_map(|folder| {
            let others = disk::others_in(folder)?;
            Some(format!(
                "{}: {others} can write there, and so have certificates issued for our names: it must be portcullis' alone (0700)",
                folder.display()
            ))
        })
    }

    pub fn slot(&self, certificate: &AcmeCertificate) -> Slot {
        let mut names: Vec<String> = certificate.names.iter().map(ToString::to_string).collect();
        let first = names.first().cloned().unwrap_or_default();
        names.sort_unstable();
        Slot { folder: self.authority().join(folder_name(&first, &names)) }
    }

    /// All that is stored, of whichever authority and for whichever names, as far as it can be read.
    pub fn all(&self) -> Vec<(PathBuf, StoredCertificate)> {
        let slots = disk::folders(&self.root).into_iter().flat_map(|authority| disk::folders(&authority));
        let slots = slots.map(|folder| Slot { folder });
        slots.filter_map(|slot| Some((slot.path(), slot.certificate().ok()??))).collect()
    }

    /// The lock of who makes the account; None while somebody has it.
    pub(super) fn lock_account(&self) -> Result<Option<Lock>, StorageError> {
        disk::make_folder(&self.authority())?;
        Lock::try_take(&self.authority().join("account.lock"))
    }

    pub(super) fn account(&self) -> Result<Option<StoredAccount>, StorageError> {
        let Some(raw) = read::<RawAccount>(&self.authority().join(ACCOUNT))? else { return Ok(None) };
        Ok(Some(StoredAccount { credentials: Zeroizing::new(raw.credentials.to_string()), contact: raw.contact }))
    }

    /// For who holds the lock.
    pub(super) fn set_account(&self, account: &StoredAccount) -> Result<(), StorageError> {
        let path = self.authority().join(ACCOUNT);
        let credentials = serde_json::from_str(&account.credentials)
            .map_err(|_| StorageError { path: path.clone(), reason: "the account cannot be written".to_owned() })?;
        write(&path, &RawAccount { version: 1, contact: account.contact.clone(), credentials })
    }

    fn authority(&self) -> PathBuf {
        let without_scheme = self.directory.split_once("://").map_or(&*self.directory, |(_, rest)| rest);
        self.root.join(folder_name(without_scheme, std::slice::from_ref(&self.directory)))
    }
}

impl Slot {
    /// The file of the certificate.
    pub fn path(&self) -> PathBuf {
        self.folder.join(CERTIFICATE)
    }

    /// The lock of who changes anything in here; None while somebody has it.
    pub fn lock(&self) -> Result<Option<Lock>, StorageError> {
        disk::make_folder(&self.folder)?;
        Lock::try_take(&self.folder.join("lock"))
    }

    /// True while somebody changes something in here. Makes nothing.
    pub(super) fn is_locked(&self) -> bool {
        Lock::is_held(&self.folder.join("lock"))
    }

    pub fn certificate(&self) -> Result<Option<StoredCertificate>, StorageError> {
        let Some(raw) = read::<RawCertificate>(&self.path())? else { return Ok(None) };
        let RawCertificate { directory, chain, key, stored_at, .. } = raw;
        Ok(Some(StoredCertificate { directory, chain, key: Secret::new(key), stored_at }))
    }

    /// For who holds the lock.
    pub(super) fn set_certificate(&self, certificate: &StoredCertificate) -> Result<(), StorageError> {
        let StoredCertificate { directory, chain, key, stored_at } = certificate.clone();
        let key = key.reveal().to_owned();
        write(&self.path(), &RawCertificate { version: 1, directory, stored_at, chain, key })
    }

    /// What is there by now, told from what was there before without reading it.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        disk::stamp(&self.path())
    }

    pub(super) fn order(&self) -> Result<Option<StoredOrder>, StorageError> {
        let raw = read::<RawOrder>(&self.folder.join(ORDER))?;
        Ok(raw.map(|RawOrder { url, begun, key, .. }| StoredOrder { url, begun, key: Secret::new(key) }))
    }

    /// For who holds the lock.
    pub(super) fn set_order(&self, order: Option<&StoredOrder>) -> Result<(), StorageError> {
        let path = self.folder.join(ORDER);
        match order {
            Some(StoredOrder { url, begun, key }) => {
                write(&path, &RawOrder { version: 1, url: url.clone(), begun: *begun, key: key.reveal().to_owned() })
            }
            None => disk::remove(&path),
        }
    }

    /// The default one where nothing can be read.
    pub fn state(&self) -> State {
        read(&self.folder.join(STATE)).ok().flatten().unwrap_or_default()
    }

    /// For who holds the lock.
    pub(super) fn set_state(&self, state: &State) -> Result<(), StorageError> {
        write(&self.folder.join(STATE), state)
    }

    /// Has whoever looks after this certificate renew it now. Makes no folder, which would belong to the wrong user.
    ///
    /// # Errors
    /// Where the folder is not there, or cannot be written to.
    pub fn ask_renewal(&self) -> Result<(), StorageError> {
        disk::replace(&self.folder.join(RENEW), b"")
    }

    /// True until the first attempt at the renewal that was asked for; from then on it is in the state.
    pub fn is_renewal_asked(&self) -> bool {
        self.folder.join(RENEW).exists()
    }

    pub(super) fn renewal_begins(&self) -> Result<(), StorageError> {
        disk::remove(&self.folder.join(RENEW))
    }
}

#[derive(Serialize, Deserialize)]
struct RawCertificate {
    version: u32,
    directory: String,
    stored_at: Moment,
    chain: String,
    key: String,
}

#[derive(Serialize, Deserialize)]
struct RawOrder {
    version: u32,
    url: String,
    begun: Moment,
    key: String,
}

#[derive(Serialize, Deserialize)]
struct RawAccount {
    version: u32,
    contact: Vec<String>,
    credentials: serde_json::Value,
}

/// None where there is no file.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StorageError> {
    let Some(bytes) = disk::read(path, LARGEST)? else { return Ok(None) };
    // What the parser says may quote the file.
    let broken =
        |_| StorageError { path: path.to_owned(), reason: "it is not what portcullis writes there".to_owned() };
    serde_json::from_slice(&bytes).map(Some).map_err(broken)
}

fn write(path: &Path, content: &impl Serialize) -> Result<(), StorageError> {
    let broken = |error: serde_json::Error| StorageError { path: path.to_owned(), reason: error.to_string() };
    let bytes = Zeroizing::new(serde_json::to_vec_pretty(content).map_err(broken)?);
    disk::replace(path, &bytes)
}

/// Readable, without a letter that a file's name must not have, and another one for other parts.
fn folder_name(shown: &str, parts: &[String]) -> String {
    const LONGEST: usize = 100;
    let plain = |letter: char| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '-' };
    let shown: String = shown.chars().map(plain).take(LONGEST).collect();
    let hash = ContentHash::of(parts.iter().map(|part| part.as_bytes()));
    let hash: String = hash.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{hash}", shown.trim_matches(['.', '-']))
}

#[cfg(test)]
mod tests;
