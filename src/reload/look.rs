//! How the files of a configuration are found at a moment.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use crate::config::{Fingerprint, NamedFile};

/// Two looks so far apart that find the same find files at rest.
pub(super) const SETTLING: Duration = Duration::from_millis(100);
/// Then files that are written all the time are taken as they are.
const LOOKS: usize = 10;

/// What was found at each path.
#[derive(Clone, Debug, Default)]
pub struct Look(BTreeMap<PathBuf, Fingerprint>);

impl Look {
    /// A configuration, what it names, and more files. What was read with the configuration is known from before that; the
    /// rest is looked at now, and read only where `known` is not enough. Blocks.
    pub(super) fn before<'a>(
        configuration: (&Path, &Fingerprint),
        named: &'a [NamedFile],
        more: impl Iterator<Item = &'a Path>,
        known: &Self,
    ) -> Self {
        let (path, seen) = configuration;
        let mut look = Self([(path.to_owned(), seen.clone())].into());
        let read = named.iter().filter_map(|file| Some((file.path.clone(), file.seen.clone()?)));
        look.0.extend(read);
        for path in named.iter().map(|file| file.path.as_path()).chain(more) {
            let now = || known.0.get(path).map_or_else(|| Fingerprint::of(path), |known| known.again(path));
            look.0.entry(path.to_owned()).or_insert_with(now);
        }
        look
    }

    /// The same files, looked at now. Blocks.
    pub(super) fn again(&self) -> Self {
        Self(self.0.iter().map(|(path, found)| (path.clone(), found.again(path))).collect())
    }

    /// Looks once more at files that were missing. Blocks.
    pub(super) fn appeared(&mut self) {
        self.0.iter_mut().filter(|(_, found)| found.is_missing()).for_each(|(path, found)| *found = found.again(path));
    }

    /// The same files once they are at rest, or after a second. Blocks.
    pub(super) fn settled(self) -> Self {
        let mut look = self;
        for _ in 0..LOOKS {
            thread::sleep(SETTLING);
            let next = look.again();
            let at_rest = next.differences(&look).is_empty();
            look = next;
            if at_rest {
                break;
            }
        }
        look
    }

    /// The files of both whose content differs.
    pub(super) fn differences(&self, other: &Self) -> Vec<PathBuf> {
        let differs = |path: &Path, found: &Fingerprint| other.0.get(path).is_some_and(|known| !known.is_same(found));
        self.0.iter().filter(|(path, found)| differs(path, found)).map(|(path, _)| path.clone()).collect()
    }

    /// Of these files alone.
    pub(super) fn of(mut self, configuration: &Path, named: &[NamedFile]) -> Self {
        self.0.retain(|path, _| path == configuration || named.iter().any(|file| file.path == *path));
        self
    }

    /// Takes over what is known of these files by now.
    pub(super) fn learn(&mut self, newer: &Self, files: &[PathBuf]) {
        for (path, found) in &mut self.0 {
            if let Some(newer) = newer.0.get(path).filter(|newer| newer.is_same(found) || files.contains(path)) {
                *found = newer.clone();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        sync::atomic::{AtomicBool, Ordering},
    };

    use super::*;

    fn look(folder: &Path, names: &[&str]) -> Look {
        let paths: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
        let configuration = folder.join("portcullis.yml");
        let seen = Fingerprint::of(&configuration);
        Look::before((&configuration, &seen), &[], paths.iter().map(PathBuf::as_path), &Look::default())
    }

    #[test]
    fn what_differs_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("a"), "one").unwrap();
        let before = look(folder.path(), &["a", "b"]);
        assert_eq!(before.again().differences(&before), Vec::<PathBuf>::new());
        fs::write(at("a"), "two").unwrap();
        fs::write(at("b"), "appeared").unwrap();
        fs::write(at("c"), "is none of them").unwrap();
        assert_eq!(before.again().differences(&before), [at("a"), at("b")]);
        let mut learned = before.clone();
        learned.learn(&before.again(), &[at("b")]);
        assert_eq!(before.again().differences(&learned), [at("a")], "what was not learned still differs");
        let wider = look(folder.path(), &["a", "b", "c"]);
        assert!(wider.differences(&learned).iter().all(|path| *path != at("c")), "only files of both count");
        assert_eq!(wider.of(&at("portcullis.yml"), &[]).0.len(), 1);
    }

    #[test]
    fn a_key_that_was_made_meanwhile_is_no_change() {
        let folder = tempfile::tempdir().unwrap();
        let mut before = look(folder.path(), &["key", "other"]);
        fs::write(folder.path().join("key"), "made").unwrap();
        before.appeared();
        assert!(before.again().differences(&before).is_empty());
    }

    /// Files that are never at rest are taken as they are.
    #[test]
    fn nobody_is_waited_for_in_vain() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut text = String::new();
                while !done.load(Ordering::Relaxed) {
                    text.push('a');
                    fs::write(&path, &text).unwrap();
                    thread::sleep(Duration::from_millis(1));
                }
            });
            let first = look(folder.path(), &["a"]);
            let settled = first.clone().settled();
            done.store(true, Ordering::Relaxed);
            assert_eq!(settled.differences(&first), std::slice::from_ref(&path));
        });
    }
}
