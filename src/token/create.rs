//! A new signing key on disk.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::keys::{KeyError, folder_of, missing_folder, unusable};

/// The command that makes such a key, up to the file's name.
pub(super) const HOW_TO_MAKE: &str = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out";

/// Makes a P-256 key (PKCS#8, PEM, mode 0600) at `path`, whole or not at all. A file that another process put there
/// meanwhile stays.
pub(super) fn create(path: &Path) -> Result<(), KeyError> {
    let folder = folder_of(path);
    if !folder.is_dir() {
        return Err(missing_folder(path));
    }
    let pem = new_key().ok_or(KeyError::Signing)?;
    place(folder, path, pem.as_bytes()).map_err(|error| cannot_be_made(path, &error))
}

/// Finds out whether [`create`] could, and leaves nothing behind.
pub(super) fn can_be_made(path: &Path) -> Result<(), KeyError> {
    let probe = temporary(folder_of(path), path).map_err(|error| cannot_be_made(path, &error))?;
    let written = write(&probe, b"");
    let _ = fs::remove_file(&probe);
    written.map_err(|error| cannot_be_made(path, &error))
}

fn cannot_be_made(path: &Path, error: &io::Error) -> KeyError {
    let folder = folder_of(path).display();
    let file = path.display();
    unusable(
        path,
        format!(
            "cannot be made in {folder} ({error}); let this process write there, or make the key beforehand: \
             {HOW_TO_MAKE} {file}"
        ),
    )
}

fn new_key() -> Option<Zeroizing<String>> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).ok()?;
    let document = pair.to_pkcs8v1().ok()?;
    let text = Zeroizing::new(STANDARD.encode(document.as_ref()));
    let mut pem = Zeroizing::new(String::with_capacity(256));
    pem.push_str("-----BEGIN PRIVATE KEY-----\n");
    for (position, letter) in text.chars().enumerate() {
        if position > 0 && position % 64 == 0 {
            pem.push('\n');
        }
        pem.push(letter);
    }
    pem.push_str("\n-----END PRIVATE KEY-----\n");
    Some(pem)
}

/// Writes beside the file and links into place: a link, unlike a rename, never replaces what is there.
fn place(folder: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = temporary(folder, path)?;
    let placed = write(&temporary, content).and_then(|()| match fs::hard_link(&temporary, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    let _ = fs::remove_file(&temporary);
    placed?;
    File::open(folder)?.sync_all()
}

/// A name beside the file that nobody else uses.
fn temporary(folder: &Path, path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random).map_err(io::Error::other)?;
    Ok(folder.join(format!(".{name}.{:016x}", u64::from_be_bytes(random))))
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}
