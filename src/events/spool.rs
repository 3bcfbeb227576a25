//! Undelivered events in a folder, for the next process or the one that took over. Several portcullis may share it: whoever
//! removes a file delivers what is in it. Everything here blocks.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use serde::{Deserialize, Serialize};
use tracing::{error, warn};

use super::queue::{Kept, Waiting};
use crate::disk::{self, StorageError};

const VERSION: u32 = 1;
const ENDING: &str = "events.json";
/// The bodies in one file; a single larger one has a file of its own.
const LARGEST: usize = 16 * 1024 * 1024;
/// Of a file that is read: JSON within JSON takes more room.
const LARGEST_READ: u64 = 256 * 1024 * 1024;

/// The folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spool {
    folder: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    /// The process that wrote it.
    from: u32,
    /// By the endpoint's name.
    events: BTreeMap<String, Vec<Record>>,
}

#[derive(Serialize, Deserialize)]
struct Record {
    /// When it happened, in nanoseconds since 1970.
    at: i64,
    body: String,
}

/// What was in files.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) kept: Kept,
    /// The processes that wrote them.
    pub(super) from: Vec<u32>,
}

impl Spool {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// # Errors
    /// Where the folder cannot be made or written to.
    pub(super) fn prepare(&self) -> Result<(), StorageError> {
        self.check()?;
        disk::make_folder(&self.folder)
    }

    /// What [`Spool::prepare`] would find, without making anything.
    pub(super) fn check(&self) -> Result<(), StorageError> {
        disk::check_folder(&self.folder)
    }

    /// What to warn of.
    pub(super) fn warning(&self) -> Option<String> {
        let others = disk::others_in(&self.folder)?;
        Some(format!(
            "{}: {others} can write there, and so have endpoints told what never happened: it must be portcullis' alone (0700)",
            self.folder.display()
        ))
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Puts events down for whoever looks next; a file is written even where there are none.
    ///
    /// # Errors
    /// Where that cannot be done; the files that were written before it stay.
    pub(super) fn save(&self, kept: &Kept) -> Result<(), StorageError> {
        let mut file = File { version: VERSION, from: std::process::id(), events: BTreeMap::new() };
        let mut size = 0_usize;
        for (endpoint, events) in kept {
            for event in events {
                if size > 0 && size.saturating_add(event.body.len()) > LARGEST {
                    self.write(&file)?;
                    file.events.clear();
                    size = 0;
                }
                size = size.saturating_add(event.body.len());
                let record = Record {
                    at: i64::try_from(event.at).unwrap_or_default(),
                    body: String::from_utf8_lossy(&event.body).into_owned(),
                };
                file.events.entry(endpoint.clone()).or_default().push(record);
            }
        }
        self.write(&file)
    }

    fn write(&self, file: &File) -> Result<(), StorageError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("{now:020}-{}-{count}.{ENDING}", file.from));
        let bytes = serde_json::to_vec(file).map_err(|error| disk::fault(&path, &error))?;
        disk::replace(&path, &bytes)
    }

    /// Takes what is there. A file that cannot be understood is set aside, and does no more harm.
    pub(super) fn take(&self) -> Found {
        let mut found = Found::default();
        for path in self.files() {
            match read(&path) {
                // Who removes it has it.
                Ok(file) if fs::remove_file(&path).is_ok() => {
                    found.from.push(file.from);
                    for (endpoint, records) in file.events {
                        let of = |record: Record| Waiting { at: record.at.into(), body: record.body.into() };
                        found.kept.push((endpoint, records.into_iter().map(of).collect()));
                    }
                }
                Ok(_) => {}
                Err(Unreadable::Gone) => {}
                Err(Unreadable::Fault(fault)) => {
                    warn!("undelivered events of an earlier process cannot be read now: {fault}");
                }
                Err(Unreadable::Broken) => self.set_aside(&path),
            }
        }
        found
    }

    /// There is one at most, so that they cannot fill the disk.
    fn set_aside(&self, path: &Path) {
        let aside = self.folder.join("broken");
        let path = path.display();
        match fs::rename(path.to_string(), &aside) {
            Ok(()) => error!(
                "{path} is not what portcullis writes there: its events are not delivered; it is now {}",
                aside.display()
            ),
            Err(error) => error!("{path} is not what portcullis writes there, and cannot be set aside: {error}"),
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let is_ours = |path: &PathBuf| path.to_string_lossy().ends_with(&format!(".{ENDING}"));
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_ours).collect();
        files.sort_unstable();
        files
    }
}

enum Unreadable {
    Gone,
    Fault(StorageError),
    Broken,
}

fn read(path: &Path) -> Result<File, Unreadable> {
    let bytes = disk::read(path, LARGEST_READ).map_err(Unreadable::Fault)?.ok_or(Unreadable::Gone)?;
    let file: File = serde_json::from_slice(&bytes).map_err(|_| Unreadable::Broken)?;
    if file.version == VERSION { Ok(file) } else { Err(Unreadable::Broken) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn event(at: i128) -> Waiting {
        Waiting { at, body: format!("{{\"at\":{at}}}").into() }
    }

    #[test]
    fn what_was_put_down_is_found_once() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::new(&folder.path().join("events"));
        spool.prepare().unwrap();
        let kept = vec![("a".to_owned(), vec![event(1), event(2)]), ("b".to_owned(), vec![event(3)])];
        spool.save(&kept).unwrap();
        let files = spool.files();
        assert_eq!(fs::metadata(&files[0]).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(spool.folder()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(spool.take(), Found { kept, from: vec![std::process::id()] });
        assert_eq!(spool.take(), Found::default());
    }

    #[test]
    fn many_are_several_files_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::new(folder.path());
        let large = |at| Waiting { at, body: vec![b'x'; LARGEST / 2 + 1].into() };
        spool.save(&vec![("a".to_owned(), vec![large(1), large(2), large(3)])]).unwrap();
        assert_eq!(spool.files().len(), 3);
        let found = spool.take().kept.into_iter().flat_map(|(_, events)| events);
        assert_eq!(found.map(|event| event.at).collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn what_cannot_be_understood_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::new(folder.path());
        for broken in ["", "{", r#"{"version":2,"from":1,"events":{}}"#, "\u{0}"] {
            fs::write(folder.path().join(format!("1-1-1.{ENDING}")), broken).unwrap();
            assert_eq!(spool.take(), Found::default(), "{broken}");
            assert_eq!(fs::read_to_string(folder.path().join("broken")).unwrap(), broken);
            assert!(spool.files().is_empty());
        }
        fs::write(folder.path().join("notes.txt"), "a file of somebody else").unwrap();
        assert!(spool.take().kept.is_empty() && folder.path().join("notes.txt").exists());
    }
}
