//! Whether the content of a file changed.

use std::{
    fs::{File, Metadata},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, Instant},
};

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};

/// Larger than any file that a configuration may name.
const LARGEST_FILE: u64 = 64 * 1024 * 1024;

/// The coarsest clock of a file system (FAT: two seconds), and one more. Metadata that was there for less says nothing
/// of the content: a later change may bear the same time.
const COARSEST_CLOCK: Duration = Duration::from_secs(3);

/// What was found at a path: the content, as a hash, or that there was none to be had.
#[derive(Clone, Debug)]
pub struct Fingerprint {
    found: Found,
    stamp: Option<Stamp>,
    /// Since when the stamp is known.
    since: Instant,
    /// The content was read so long after the stamp was seen first that whatever changes it changes the stamp.
    lasting: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    Content([u8; SHA256_OUTPUT_LEN]),
    Nothing,
    /// Why it could not be read.
    Unreadable(String),
}

/// What changes with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Fingerprint {
    /// Reads the file. Blocks.
    pub fn of(path: &Path) -> Self {
        Self::look(path, None)
    }

    /// Looks again, and reads the file only where its metadata changed, or is so recent that it proves nothing. Blocks.
    #[must_use]
    pub fn again(&self, path: &Path) -> Self {
        Self::look(path, Some(self))
    }

    /// True where the same was found, whatever the metadata.
    pub fn is_same(&self, other: &Self) -> bool {
        self.found == other.found
    }

    /// True where there was nothing.
    pub fn is_missing(&self) -> bool {
        self.found == Found::Nothing
    }

    fn look(path: &Path, before: Option<&Self>) -> Self {
        let now = Instant::now();
        let without = |found| Self { found, stamp: None, since: now, lasting: false };
        let (mut file, stamp) = match open(path) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return without(Found::Nothing),
            Err(error) => return without(Found::Unreadable(error.to_string())),
        };
        let before = before.filter(|before| before.stamp == Some(stamp));
        if let Some(before) = before.filter(|before| before.lasting) {
            return before.clone();
        }
        let since = before.map_or(now, |before| before.since);
        let lasting = now.duration_since(since) >= COARSEST_CLOCK;
        match hash(&mut file) {
            Ok(hash) => Self { found: Found::Content(hash), stamp: Some(stamp), since, lasting },
            Err(error) => without(Found::Unreadable(error.to_string())),
        }
    }
}

/// The SHA-256 of bytes.
pub(super) fn hash_of(bytes: &[u8]) -> [u8; SHA256_OUTPUT_LEN] {
    let mut context = Context::new(&SHA256);
    context.update(bytes);
    finish(context)
}

/// Opens a file to read it. Whatever a configuration names is opened by this: opening a pipe would wait for its writer, and
/// hold up every reload until then.
///
/// # Errors
/// It cannot be opened, or is no regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let metadata = path.metadata()?;
    if metadata.is_file() {
        return File::open(path);
    }
    let what = if metadata.is_dir() { "it is a directory" } else { "it is not a regular file" };
    Err(io::Error::new(io::ErrorKind::InvalidInput, what))
}

/// The metadata is that of the opened file: opening is what makes a network file system ask its server.
fn open(path: &Path) -> io::Result<(File, Stamp)> {
    let file = open_regular(path)?;
    let stamp = Stamp::of(&file.metadata()?);
    Ok((file, stamp))
}

fn hash(file: &mut File) -> io::Result<[u8; SHA256_OUTPUT_LEN]> {
    let mut context = Context::new(&SHA256);
    let mut part = vec![0; 64 * 1024];
    let mut left = LARGEST_FILE;
    loop {
        let length = match file.read(&mut part) {
            Ok(0) => return Ok(finish(context)),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        left = left.checked_sub(length as u64).ok_or_else(|| io::Error::other("the file is larger than 64 MiB"))?;
        context.update(part.get(..length).unwrap_or_default());
    }
}

fn finish(context: Context) -> [u8; SHA256_OUTPUT_LEN] {
    let mut hash = [0; SHA256_OUTPUT_LEN];
    hash.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    hash
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, FileTimes, OpenOptions},
        os::unix::fs::symlink,
        time::SystemTime,
    };

    use super::*;

    fn changed(path: &Path, before: &Fingerprint) -> bool {
        !before.again(path).is_same(before)
    }

    #[test]
    fn only_the_content_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let missing = Fingerprint::of(&path);
        assert!(!changed(&path, &missing));
        fs::write(&path, "one").unwrap();
        let one = missing.again(&path);
        assert!(!one.is_same(&missing));

        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_times(FileTimes::new().set_modified(SystemTime::UNIX_EPOCH)).unwrap();
        assert!(!changed(&path, &one), "touched");
        fs::write(folder.path().join("next"), "one").unwrap();
        fs::rename(folder.path().join("next"), &path).unwrap();
        assert!(!changed(&path, &one), "replaced by the same");

        fs::write(folder.path().join("next"), "two").unwrap();
        fs::rename(folder.path().join("next"), &path).unwrap();
        assert!(changed(&path, &one));
        fs::remove_file(&path).unwrap();
        assert!(changed(&path, &one));
        fs::create_dir(&path).unwrap();
        assert!(changed(&path, &one) && changed(&path, &missing));
    }

    /// A folder as Kubernetes mounts it: links to a link that is replaced.
    #[test]
    fn links_are_followed_anew() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (version, content) in [("v1", "one"), ("v2", "two")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("file"), content).unwrap();
        }
        symlink("v1", at("..data")).unwrap();
        symlink("..data/file", at("file")).unwrap();
        let one = Fingerprint::of(&at("file"));
        symlink("v2", at("..next")).unwrap();
        fs::rename(at("..next"), at("..data")).unwrap();
        assert!(changed(&at("file"), &one));
    }

    /// Two writes may bear the same time; here they do, to the last digit of everything that can be set.
    #[test]
    fn metadata_is_believed_only_once_it_is_old() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "one").unwrap();
        let mut one = Fingerprint::of(&path);
        assert!(!one.lasting);
        fs::write(&path, "two").unwrap();
        one.stamp = Some(open(&path).unwrap().1);
        assert!(changed(&path, &one), "the same stamp, and too young");

        one.since = one.since.checked_sub(COARSEST_CLOCK).expect("a machine that runs for a while");
        assert!(changed(&path, &one), "old by now, and never read since");
        let two = one.again(&path);
        assert!(two.lasting);
        let mut lasting = two.clone();
        lasting.found = Found::Content([0; SHA256_OUTPUT_LEN]);
        assert!(!changed(&path, &lasting), "not read again");
        fs::write(&path, "three").unwrap();
        assert!(changed(&path, &two));
    }

    #[test]
    fn what_cannot_be_read_is_a_state_like_another() {
        let folder = tempfile::tempdir().unwrap();
        let large = folder.path().join("large");
        File::create(&large).unwrap().set_len(LARGEST_FILE + 1).unwrap();
        for path in [folder.path(), &large, Path::new("/dev/zero")] {
            let found = Fingerprint::of(path);
            assert!(matches!(found.found, Found::Unreadable(_)), "{}: {found:?}", path.display());
            assert!(!changed(path, &found));
        }
    }
}
