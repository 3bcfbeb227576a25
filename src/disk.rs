//! Files of the gate's own that are there as a whole or not at all, for their owner alone. Everything here blocks.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, access},
    process::geteuid,
};
use zeroize::Zeroizing;

use crate::config::open_regular;

/// What cannot be read or written. The text never holds a part of what is in a file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct StorageError {
    pub path: PathBuf,
    pub reason: String,
}

/// What changes with a file that is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

/// What is there by now, told from what was there before without reading it.
pub fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some(Stamp { inode: metadata.ino(), size: metadata.len(), changed: (metadata.ctime(), metadata.ctime_nsec()) })
}

/// As much of a file as `limit` bytes; None where there is no file.
///
/// # Errors
/// Where there is one that cannot be read.
pub fn read(path: &Path, limit: u64) -> Result<Option<Zeroizing<Vec<u8>>>, StorageError> {
    let mut bytes = Zeroizing::new(Vec::new());
    let read = open_regular(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(fault(
            path,
            &format_args!("cannot be read: run as the user that portcullis runs as, or as root: {error}"),
        )),
        Err(error) => Err(fault(path, &error)),
    }
}

/// Puts a file in place, on the disk when this returns. To be called by one at a time.
///
/// # Errors
/// Where that cannot be done; then what was there before still is.
pub fn replace(path: &Path, content: &[u8]) -> Result<(), StorageError> {
    let mut beside = OsString::from(path.as_os_str());
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        // One that was left behind may have been open to others.
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        sync_folder(path)
    };
    write().map_err(|error: io::Error| {
        // Half of it would only take room, on a disk that may be full.
        let _ = fs::remove_file(&beside);
        fault(path, &error)
    })
}

/// Harmless where there is none.
///
/// # Errors
/// Where there is one that cannot be removed.
pub fn remove(path: &Path) -> Result<(), StorageError> {
    match fs::remove_file(path).and_then(|()| sync_folder(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(fault(path, &error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Makes a folder with those above it; harmless where it is there.
///
/// # Errors
/// Where it cannot be made.
pub fn make_folder(path: &Path) -> Result<(), StorageError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| fault(path, &error))
}

/// A folder that is not there yet is fine where it can be made.
///
/// # Errors
/// Where nothing can be written there.
pub fn check_folder(path: &Path) -> Result<(), StorageError> {
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_dir() => Err(fault(path, &"this is not a folder")),
        Ok(_) => access(path, Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|error| fault(path, &format_args!("nothing can be written there: {error}"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => check_above(path),
        Err(error) => Err(fault(path, &error)),
    }
}

/// Of a folder that is to be made, with those above it.
fn check_above(path: &Path) -> Result<(), StorageError> {
    let cannot = |reason: &dyn std::fmt::Display| {
        let advice = "make it, mode 0700, owned by the user portcullis runs as";
        fault(path, &format_args!("is not there and cannot be made: {reason}: {advice}"))
    };
    let is_there = |path: &&Path| path.symlink_metadata().is_ok();
    match path.ancestors().find(is_there) {
        Some(link) if link == path => Err(cannot(&"it is a link to nothing")),
        Some(above) => access(above, Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|error| cannot(&format_args!("{}: {error}", above.display()))),
        None => Ok(()),
    }
}

/// Who else may put something into a folder that is there, in words.
pub fn others_in(folder: &Path) -> Option<String> {
    const GROUP: u32 = 0o020;
    const ALL: u32 = 0o002;
    let metadata = fs::metadata(folder).ok()?;
    let (mode, owner) = (metadata.mode(), metadata.uid());
    if mode & ALL != 0 {
        return Some("every user of this machine".to_owned());
    }
    if mode & GROUP != 0 {
        return Some(format!("the group {}", metadata.gid()));
    }
    let is_other = owner != 0 && owner != geteuid().as_raw();
    is_other.then(|| format!("the user {owner}"))
}

/// Those directly below a folder.
pub fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort_unstable();
    folders
}

/// What went wrong with a file.
pub fn fault(path: &Path, reason: &dyn std::fmt::Display) -> StorageError {
    StorageError { path: path.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_put_in_place_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("there");
        fs::create_dir(&path).unwrap();
        assert!(replace(&path, b"x").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        fs::remove_dir(&path).unwrap();
        replace(&path, b"x").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"x");
    }
}
