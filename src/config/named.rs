//! What a configuration names and is found only later to be unusable, with the place where it is named.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use super::{
    Fingerprint,
    problem::{Place, Problem, Severity},
};

/// A file that a configuration names.
#[derive(Clone, Debug)]
pub struct NamedFile {
    /// As in `tls.certificates[0].key_file`.
    pub key: String,
    pub path: PathBuf,
    /// As it was found right before it was read as a part of the configuration; None where it is read later.
    pub seen: Option<Fingerprint>,
    place: Place,
}

/// Everything that was named, in the order of reading.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) files: Vec<NamedFile>,
    /// Lists of addresses and the like, by key.
    pub(super) others: Vec<(String, Place)>,
}

impl NamedFile {
    pub(super) fn new(key: &str, place: Place, path: PathBuf, seen: Option<Fingerprint>) -> Self {
        Self { key: key.to_owned(), path, seen, place }
    }
}

impl Names {
    /// None where the key was left out.
    fn place_of(&self, key: &str) -> Place {
        let files = self.files.iter().map(|file| (&file.key, file.place));
        let mut all = files.chain(self.others.iter().map(|(key, place)| (key, *place)));
        all.find(|(known, _)| *known == key).map(|(_, place)| place).unwrap_or_default()
    }

    /// The file of this path, at best under a key that begins so.
    fn file(&self, section: &str, path: &Path) -> Option<&NamedFile> {
        let named = || self.files.iter().filter(|file| file.path == path);
        named().find(|file| file.key.starts_with(section)).or_else(|| named().next())
    }

    pub(super) fn error_at(&self, configuration: &Path, key: &str, message: impl fmt::Display) -> Problem {
        let Place { line, column } = self.place_of(key);
        let message = format!("{key}: {message}");
        Problem { severity: Severity::Error, file: configuration.to_owned(), line, column, message }
    }

    pub(super) fn error_with(
        &self,
        configuration: &Path,
        section: &str,
        path: &Path,
        message: impl fmt::Display,
    ) -> Problem {
        let key = self.file(section, path).map_or(section, |file| &file.key);
        self.error_at(configuration, key, message)
    }
}
