//! Typed reading of the parsed tree. Every reader reports what is wrong with its own value and the reading goes on, so
//! that one run finds all problems; a value returned beside a reported error is never used.

use std::{cell::RefCell, fmt, ops::RangeInclusive, path::PathBuf, time::Duration};

use super::{
    Fingerprint,
    named::NamedFile,
    problem::{Place, Report},
    units,
    yaml::{Entry, Node, Value},
};

/// A mapping whose keys are known. Ends with [`Section::finish`], which reports the keys that are not.
pub(super) struct Section<'a> {
    report: &'a Report<'a>,
    /// As in `registries[0].upstream`; empty for the whole file.
    path: String,
    place: Place,
    entries: &'a [Entry],
    known: RefCell<Vec<&'static str>>,
    /// Left out, or not a mapping: that what it would hold is missing need not be told.
    missing: bool,
}

/// One value of the file, with the key path that leads to it.
#[derive(Clone)]
pub(super) struct Field<'a> {
    report: &'a Report<'a>,
    path: String,
    /// Of the key where there is one, else of the value.
    place: Place,
    node: &'a Node,
}

impl<'a> Section<'a> {
    /// The whole file; `None`, and reported, where it is not a mapping.
    pub(super) fn root(node: &'a Node, report: &'a Report<'a>) -> Option<Self> {
        match &node.value {
            Value::Map(entries) => Some(Self::new(report, String::new(), node.place, entries)),
            Value::Null => {
                report.error(Place::default(), "the file is empty");
                None
            }
            Value::Bool(_) | Value::Integer(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => {
                report.error(
                    node.place,
                    format_args!(
                        "expected keys and values (\"version: 1\" and so on), found {}",
                        node.value.describe()
                    ),
                );
                None
            }
        }
    }

    fn new(report: &'a Report<'a>, path: String, place: Place, entries: &'a [Entry]) -> Self {
        Self { report, path, place, entries, known: RefCell::default(), missing: false }
    }

    /// The value of a key, also where it is empty (`null`).
    pub(super) fn get(&self, key: &'static str) -> Option<Field<'a>> {
        let mut known = self.known.borrow_mut();
        if !known.contains(&key) {
            known.push(key);
        }
        self.entries.iter().find(|entry| entry.key == key).map(|entry| self.field(entry))
    }

    /// The value of a key where `null` means the same as leaving it out.
    pub(super) fn nullable(&self, key: &'static str) -> Option<Field<'a>> {
        self.get(key).filter(|field| !field.is_null())
    }

    /// The value of a key that must be there; `hint` says what to write.
    pub(super) fn required(&self, key: &'static str, hint: &str) -> Option<Field<'a>> {
        let field = self.get(key);
        if field.is_none() && !self.missing {
            self.error(format_args!("the key {key:?} is missing: {hint}"));
        }
        field
    }

    /// The mapping under a key; left out, it is an empty one.
    pub(super) fn section(&self, key: &'static str) -> Self {
        let none = || Self { missing: true, ..Self::new(self.report, self.path_of(key), self.place, &[]) };
        self.get(key).and_then(|field| field.section()).unwrap_or_else(none)
    }

    /// The mapping under a key that must be there.
    pub(super) fn required_section(&self, key: &'static str, hint: &str) -> Self {
        self.required(key, hint);
        self.section(key)
    }

    /// The elements under a key; left out, there are none.
    pub(super) fn list(&self, key: &'static str) -> Vec<Field<'a>> {
        self.get(key).and_then(|field| field.list()).unwrap_or_default()
    }

    /// The file under a key that was left out: it is named all the same, and has no place.
    pub(super) fn default_file(&self, key: &'static str, path: PathBuf) -> PathBuf {
        self.report.name_file(NamedFile::new(&self.path_of(key), Place::default(), path.clone(), None));
        path
    }

    pub(super) fn duration(&self, key: &'static str, least: Duration, default: Duration) -> Duration {
        self.get(key).and_then(|field| field.duration(least)).unwrap_or(default)
    }

    pub(super) fn integer(&self, key: &'static str, range: RangeInclusive<usize>, default: usize) -> usize {
        self.get(key).and_then(|field| field.integer(range)).unwrap_or(default)
    }

    pub(super) fn flag(&self, key: &'static str, default: bool) -> bool {
        self.get(key).and_then(|field| field.flag()).unwrap_or(default)
    }

    pub(super) fn word<T: Copy>(&self, key: &'static str, words: &[(&str, T)], default: T) -> T {
        self.get(key).and_then(|field| field.word(words)).unwrap_or(default)
    }

    /// True where no key has a value.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.iter().all(|entry| matches!(entry.node.value, Value::Null))
    }

    /// True while no error was found, here or elsewhere in the file.
    pub(super) fn is_clean(&self) -> bool {
        self.report.is_clean()
    }

    /// An error at the section as a whole.
    pub(super) fn error(&self, message: impl fmt::Display) {
        self.report.error(self.place, with_path(&self.path, message));
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// Reports the keys that nothing asked for.
    pub(super) fn finish(self) {
        let known = self.known.take();
        for entry in self.entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let message = match closest(&entry.key, &known) {
                Some(meant) => format!("unknown key {:?}: did you mean {meant:?}?", entry.key),
                None => format!("unknown key {:?}; known here: {}", entry.key, known.join(", ")),
            };
            self.report.error(entry.place, with_path(&self.path, message));
        }
    }

    fn field(&self, entry: &'a Entry) -> Field<'a> {
        Field { report: self.report, path: self.path_of(&entry.key), place: entry.place, node: &entry.node }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

impl<'a> Field<'a> {
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Where the value starts; where there is none, its key.
    pub(super) fn place(&self) -> Place {
        if self.is_null() { self.place } else { self.node.place }
    }

    pub(super) fn value(&self) -> &'a Value {
        &self.node.value
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.node.value, Value::Null)
    }

    /// True while no error was found, here or elsewhere in the file.
    pub(super) fn is_clean(&self) -> bool {
        self.report.is_clean()
    }

    pub(super) fn error(&self, message: impl fmt::Display) {
        self.report.error(self.place(), with_path(&self.path, message));
    }

    pub(super) fn warning(&self, message: impl fmt::Display) {
        self.report.warning(self.place(), with_path(&self.path, message));
    }

    /// An error at the key rather than at the value.
    pub(super) fn error_at_key(&self, message: impl fmt::Display) {
        self.report.error(self.place, with_path(&self.path, message));
    }

    pub(super) fn warning_at_key(&self, message: impl fmt::Display) {
        self.report.warning(self.place, with_path(&self.path, message));
    }

    /// Text that is not empty and holds no control characters.
    pub(super) fn text(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Text(text) if text.is_empty() => self.refuse("must not be empty"),
            Value::Text(text) if text.contains(char::is_control) => {
                self.refuse("must not hold line breaks or other control characters")
            }
            Value::Text(text) => Some(text),
            Value::Bool(_) | Value::Integer(_) | Value::Number(_) => {
                self.refuse(format_args!("expected text, found {}: put it in quotes", self.node.value.describe()))
            }
            Value::Null | Value::List(_) | Value::Map(_) => self.mismatch("text"),
        }
    }

    /// Text that can stand in a quoted string of a `WWW-Authenticate` header (RFC 9110 §5.6.4) without escapes.
    pub(super) fn header_text(&self) -> Option<&'a str> {
        let text = self.text()?;
        let plain = text.chars().all(|c| matches!(c, ' '..='~') && c != '"' && c != '\\');
        if plain {
            Some(text)
        } else {
            self.refuse("only printable ASCII without \" and \\ can be sent in a challenge")
        }
    }

    pub(super) fn flag(&self) -> Option<bool> {
        let Value::Bool(value) = self.node.value else { return self.mismatch("true or false") };
        Some(value)
    }

    pub(super) fn integer(&self, range: RangeInclusive<usize>) -> Option<usize> {
        let (least, most) = (*range.start(), *range.end());
        let Value::Integer(value) = self.node.value else {
            return self.mismatch(format_args!("a whole number from {least} to {most}"));
        };
        match usize::try_from(value) {
            Ok(value) if range.contains(&value) => Some(value),
            _ => self.refuse(format_args!("{value} is out of range: {least} to {most}")),
        }
    }

    pub(super) fn duration(&self, least: Duration) -> Option<Duration> {
        const FORM: &str = "write a whole number and a unit: \"250ms\", \"5s\", \"15m\", \"12h\" or \"30d\"";
        let Value::Text(text) = &self.node.value else {
            return self.refuse(format_args!("expected a duration, found {}: {FORM}", self.node.value.describe()));
        };
        match units::parse_duration(text) {
            Some(duration) if duration >= least => Some(duration),
            Some(_) => self.refuse(format_args!("{text:?} is too short: at least {}", units::Printed(least))),
            None => self.refuse(format_args!("{text:?} is not a duration: {FORM}; at most 36500d")),
        }
    }

    /// A number of bytes, at least one.
    pub(super) fn size(&self) -> Option<u64> {
        const FORM: &str = "write bytes or a unit: 65536, \"64KiB\", \"4MiB\" or \"20GiB\"";
        let size = match &self.node.value {
            Value::Integer(size) => *size,
            Value::Text(text) => match units::parse_size(text) {
                Some(size) => size,
                None => return self.refuse(format_args!("{text:?} is not a size: {FORM}")),
            },
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::List(_) | Value::Map(_) => {
                return self.refuse(format_args!("expected a size, found {}: {FORM}", self.node.value.describe()));
            }
        };
        if size == 0 { self.refuse("must be more than 0") } else { Some(size) }
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let text = self.text()?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let meant = closest(text, &names).map(|word| format!(" Did you mean {word:?}?")).unwrap_or_default();
        self.refuse(format_args!("{text:?} is not one of {}.{meant}", names.join(", ")))
    }

    /// A file that is read later; a relative path starts from the configuration's folder.
    pub(super) fn file(&self) -> Option<PathBuf> {
        let path = self.path_in_folder()?;
        self.report.name_file(NamedFile::new(&self.path, self.place(), path.clone(), None));
        Some(path)
    }

    /// A file that the caller reads now, as a part of the configuration.
    pub(super) fn file_read_now(&self) -> Option<PathBuf> {
        let path = self.path_in_folder()?;
        let seen = Fingerprint::of(&path);
        self.report.name_file(NamedFile::new(&self.path, self.place(), path.clone(), Some(seen)));
        Some(path)
    }

    /// A folder that is looked into later; a relative path starts from the configuration's folder.
    pub(super) fn folder(&self) -> Option<PathBuf> {
        self.name();
        self.path_in_folder()
    }

    fn path_in_folder(&self) -> Option<PathBuf> {
        self.text().map(|text| self.report.folder().join(text))
    }

    /// Remembers the place of a value that may turn out to be unusable later.
    pub(super) fn name(&self) {
        self.report.name(&self.path, self.place());
    }

    /// A network (`10.0.0.0/8`) or a single address.
    pub(super) fn network(&self) -> Option<ipnet::IpNet> {
        let text = self.text()?;
        let Some(written) = units::parse_network(text) else {
            return self.refuse(format_args!(
                "{text:?} is not a network: write \"10.0.0.0/8\", \"2001:db8::/32\" or one address"
            ));
        };
        if written != written.trunc() {
            self.warning(format_args!("{text:?} means all of {}", written.trunc()));
        }
        Some(written.trunc())
    }

    /// The elements of a list; `null` (all elements commented out) is an empty one.
    pub(super) fn list(&self) -> Option<Vec<Self>> {
        match &self.node.value {
            Value::List(nodes) => Some(nodes.iter().enumerate().map(|(at, node)| self.element(at, node)).collect()),
            Value::Null => Some(Vec::new()),
            Value::Bool(_) | Value::Integer(_) | Value::Number(_) | Value::Text(_) | Value::Map(_) => {
                self.mismatch("a list, like [one, two] or lines that start with \"- \"")
            }
        }
    }

    /// The elements of a list that must not be empty; `why` says what an empty one would mean.
    pub(super) fn filled_list(&self, why: &str) -> Vec<Self> {
        let list = self.list();
        if list.as_ref().is_some_and(Vec::is_empty) {
            self.error_at_key(format_args!("must not be empty: {why}"));
        }
        list.unwrap_or_default()
    }

    pub(super) fn section(&self) -> Option<Section<'a>> {
        self.entries().map(|entries| Section::new(self.report, self.path.clone(), self.place, entries))
    }

    /// The values of a mapping whose keys are free.
    pub(super) fn named(&self) -> Vec<(&'a str, Self)> {
        let entries = self.entries().unwrap_or_default();
        entries
            .iter()
            .map(|entry| (entry.key.as_str(), self.element(format_args!("{:?}", entry.key), &entry.node)))
            .collect()
    }

    /// Reports that the value has the wrong kind.
    pub(super) fn mismatch<T>(&self, expected: impl fmt::Display) -> Option<T> {
        self.refuse(format_args!("expected {expected}, found {}", self.node.value.describe()))
    }

    fn entries(&self) -> Option<&'a [Entry]> {
        match &self.node.value {
            Value::Map(entries) => Some(entries),
            Value::Null => Some(&[]),
            Value::Bool(_) | Value::Integer(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => {
                self.mismatch("a mapping (keys and values)")
            }
        }
    }

    fn element(&self, at: impl fmt::Display, node: &'a Node) -> Self {
        Self { report: self.report, path: format!("{}[{at}]", self.path), place: node.place, node }
    }

    fn refuse<T>(&self, message: impl fmt::Display) -> Option<T> {
        self.error(message);
        None
    }
}

/// The candidate that a misspelt word most likely meant: few letters apart, or one is the start of the other.
pub(super) fn closest<'w>(word: &str, candidates: &[&'w str]) -> Option<&'w str> {
    const LONGEST: usize = 64;
    if word.len() > LONGEST {
        return None;
    }
    let plain = |word: &str| word.to_lowercase().replace(['-', '_', ' '], "");
    let word = plain(word);
    let distance = |candidate: &str| strsim::damerau_levenshtein(&word, &plain(candidate));
    let near = |candidate: &&&str| distance(candidate) <= (candidate.len() / 3).clamp(1, 3);
    let begins = |candidate: &&&str| {
        let candidate = plain(candidate);
        word.len() >= 3 && (candidate.starts_with(&word) || (candidate.len() >= 3 && word.starts_with(&candidate)))
    };
    let nearest = candidates.iter().filter(near).min_by_key(|candidate| distance(candidate));
    nearest.or_else(|| candidates.iter().find(begins)).copied()
}

fn with_path(path: &str, message: impl fmt::Display) -> String {
    if path.is_empty() { message.to_string() } else { format!("{path}: {message}") }
}
