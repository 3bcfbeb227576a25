//! Locks between processes.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::Arc,
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::StorageError;
use crate::disk;

/// Held until it and all its clones are dropped, or its process ends in whichever way.
#[derive(Clone, Debug)]
#[must_use = "the lock is held for as long as this lives"]
pub struct Lock(#[allow(dead_code, reason = "closing it gives the lock back")] Arc<File>);

impl Lock {
    /// True where somebody has it, in whichever process. Makes nothing.
    pub(super) fn is_held(path: &Path) -> bool {
        let Ok(lock) = File::open(path) else { return false };
        flock(&lock, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
    }

    /// None while another one has it, in this process or elsewhere.
    pub(super) fn try_take(path: &Path) -> Result<Option<Self>, StorageError> {
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let lock = opened.map_err(|error| disk::fault(path, &error))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(Arc::new(lock)))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(disk::fault(path, &format_args!("cannot be locked: {error}"))),
        }
    }
}
