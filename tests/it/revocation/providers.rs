//! Where users are known, and what can happen to them there.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{ALICE, BOB, Login, htpasswd_line};

/// What happens to alice where she is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    OtherPassword,
    /// The same password, proven by something else.
    NewLine,
    Removed,
    /// With everybody else there.
    Emptied,
    Unreadable,
}

/// One row of the matrix: a source of users with alice and bob in it.
pub(super) trait Provider {
    /// `identity.providers`.
    fn configuration(&self) -> Value;
    fn change(&self, change: Change);
    /// All as it was at first, byte by byte.
    fn restore(&self);
    /// True where alice and bob are in one place.
    fn shared(&self) -> bool;
}

/// A password file and what it held at first.
struct File {
    path: PathBuf,
    lines: String,
}

impl File {
    fn new(dir: &Path, name: &str, users: &[Login]) -> Self {
        let file = Self { path: dir.join(name), lines: users.iter().copied().map(htpasswd_line).collect() };
        file.write(&file.lines);
        file
    }

    fn configuration(&self) -> Value {
        json!({ "htpasswd": { "file": self.path } })
    }

    /// In one step.
    fn write(&self, lines: &str) {
        let draft = self.path.with_extension("new");
        fs::write(&draft, lines).unwrap();
        fs::rename(draft, &self.path).unwrap();
    }

    /// With this instead of alice's line.
    fn write_alice(&self, line: &str) {
        let others = self.lines.lines().filter(|line| !line.starts_with("alice:"));
        self.write(&others.map(|line| format!("{line}\n")).chain([line.to_owned()]).collect::<String>());
    }

    fn change(&self, change: Change) {
        match change {
            Change::OtherPassword => self.write_alice(&htpasswd_line(Login::new(ALICE.name, "another password"))),
            Change::NewLine => self.write_alice(&htpasswd_line(ALICE)),
            Change::Removed => self.write_alice(""),
            Change::Emptied => self.write(""),
            Change::Unreadable => {
                // Permissions do not stop root; a folder in its place stops everybody.
                fs::remove_file(&self.path).unwrap();
                fs::create_dir(&self.path).unwrap();
            }
        }
    }

    fn restore(&self) {
        if self.path.is_dir() {
            fs::remove_dir(&self.path).unwrap();
        }
        self.write(&self.lines);
    }
}

/// Everybody in one htpasswd file.
pub(super) struct OneFile {
    file: File,
    _dir: TempDir,
}

impl OneFile {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { file: File::new(dir.path(), "users", &[ALICE, BOB]), _dir: dir }
    }
}

impl Provider for OneFile {
    fn configuration(&self) -> Value {
        json!([self.file.configuration()])
    }

    fn change(&self, change: Change) {
        self.file.change(change);
    }

    fn restore(&self) {
        self.file.restore();
    }

    fn shared(&self) -> bool {
        true
    }
}

/// Alice in one of two htpasswd files, bob in the other.
pub(super) struct TwoFiles {
    files: [File; 2],
    alice: usize,
    _dir: TempDir,
}

impl TwoFiles {
    /// `alice` is the number of her file.
    pub(super) fn new(alice: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = [0, 1].map(|number| {
            let user = if number == alice { ALICE } else { BOB };
            File::new(dir.path(), &format!("users-{number}"), &[user])
        });
        Self { files, alice, _dir: dir }
    }

    /// Has the file before hers, or after hers, claim alice's name too.
    pub(super) fn claim(&self, line: &str) {
        let other = &self.files[1 - self.alice];
        other.write(&format!("{}{line}", other.lines));
    }
}

impl Provider for TwoFiles {
    fn configuration(&self) -> Value {
        self.files.iter().map(File::configuration).collect()
    }

    fn change(&self, change: Change) {
        self.files[self.alice].change(change);
    }

    fn restore(&self) {
        self.files.iter().for_each(File::restore);
    }

    fn shared(&self) -> bool {
        false
    }
}
