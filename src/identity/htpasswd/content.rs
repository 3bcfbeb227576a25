//! The text of an htpasswd file.

use std::{collections::HashMap, path::Path, str::FromStr, sync::Arc};

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    config::{Problem, Severity},
    identity::Proof,
};

/// The costs that are believed. Below is not bcrypt, above one login takes longer than clients wait.
pub(super) const COSTS: std::ops::RangeInclusive<u32> = 4..=17;
/// The longest line, in bytes.
pub(super) const MAX_LINE: usize = 4096;
/// What an unknown user costs where the file names nobody.
const COST_OF_NOBODY: u32 = 10;
/// How many problems are told one by one.
const MAX_PROBLEMS: usize = 100;

/// The lines of a file, as far as they can be used.
pub(super) struct Content {
    users: HashMap<Arc<str>, Entry>,
    /// The highest cost of a usable line.
    pub(super) highest: u32,
    pub(super) problems: Vec<Problem>,
}

/// What the file says of a user.
pub(super) enum Entry {
    Usable(Arc<Line>),
    /// The name stands on a line that never matches, for this reason; the file still claims it.
    Unusable(Fault),
}

/// A line that can match.
pub(super) struct Line {
    pub(super) name: Arc<str>,
    pub(super) hash: Box<str>,
    pub(super) cost: u32,
    pub(super) proof: Proof,
}

/// Why a line never matches. The texts never repeat the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("the line is longer than {MAX_LINE} bytes")]
    Long,
    #[error("the line is not UTF-8")]
    NotUtf8,
    #[error("the line holds a control character")]
    Control,
    #[error("there is no colon between user and hash")]
    NoColon,
    #[error("the user name is empty")]
    NoUser,
    #[error("the hash is empty, so the user cannot log in")]
    NoHash,
    #[error("it lets nobody in: it has ! or * where a hash would begin")]
    Barred,
    #[error("{0} is not accepted, only bcrypt ($2y$, $2b$, $2a$); make the line anew with `portcullis hash`")]
    Kind(&'static str),
    #[error("the bcrypt hash is cut off or has something after it; it takes 60 characters")]
    Length,
    #[error("the bcrypt cost is not between {} and {}; make the line anew with `portcullis hash`", COSTS.start(), COSTS.end())]
    Cost,
    #[error("the bcrypt hash is damaged; make the line anew with `portcullis hash`")]
    Damaged,
    #[error("the user has an earlier line too, which this one replaces")]
    Twice,
}

impl Content {
    /// Reads what can be read; every other line is a problem. Lines end in LF or CRLF; blanks around a line, blank
    /// lines and lines that begin with `#` mean nothing. Blanks before the colon belong to the user's name. Where a
    /// user stands twice the last line is in force, whatever it says.
    pub(super) fn parse(file: &Path, bytes: &[u8]) -> Self {
        let mut content = Self { users: HashMap::new(), highest: 0, problems: Vec::new() };
        let mut untold = 0_usize;
        // Editors of another system begin a text with a mark that is no part of the first name.
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        for (index, raw) in bytes.split(|byte| *byte == b'\n').enumerate() {
            for (column, fault) in content.read(raw.trim_ascii()) {
                if content.problems.len() < MAX_PROBLEMS {
                    content.problems.push(warning(file, index + 1, column, fault.to_string()));
                } else {
                    untold += 1;
                }
            }
        }
        if untold > 0 {
            content.problems.push(warning(file, 0, 0, format!("{untold} more problems in this file")));
        }
        content.highest =
            content.users.values().filter_map(Entry::line).map(|line| line.cost).max().unwrap_or(COST_OF_NOBODY);
        content
    }

    /// What is wrong with a file that lets nobody in.
    pub(super) fn barrenness(&self, file: &Path) -> Option<Problem> {
        let barren = !self.users.values().any(|entry| matches!(entry, Entry::Usable(_)));
        barren.then(|| warning(file, 0, 0, "nobody in this file can log in".to_owned()))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.users.keys()
    }

    pub(super) fn find(&self, user: &str) -> Option<&Entry> {
        self.users.get(user)
    }

    /// Whether the user is known, by which line they can log in, and the highest cost of all.
    pub(super) fn look_up(&self, user: &str) -> (bool, Option<Arc<Line>>, u32) {
        let found = self.find(user);
        (found.is_some(), found.and_then(Entry::line).cloned(), self.highest)
    }

    /// The line of a user who can log in.
    pub(super) fn usable(&self, user: &str) -> Option<&Arc<Line>> {
        self.find(user)?.line()
    }

    /// Takes one line in; tells columns and faults.
    fn read(&mut self, line: &[u8]) -> Vec<(usize, Fault)> {
        if line.is_empty() || line.starts_with(b"#") {
            return Vec::new();
        }
        let (user, hash) = match fields(line) {
            Ok(fields) => fields,
            Err(fault) => return vec![(1, fault)],
        };
        let mut faults = Vec::new();
        let name: Arc<str> = Arc::from(user);
        let entry = match cost(hash) {
            Ok(cost) => Entry::Usable(Arc::new(Line {
                name: Arc::clone(&name),
                hash: Box::from(hash),
                cost,
                proof: proof(user, hash),
            })),
            Err(fault) => {
                faults.push((user.chars().count() + 2, fault));
                Entry::Unusable(fault)
            }
        };
        if self.users.insert(name, entry).is_some() {
            faults.push((1, Fault::Twice));
        }
        faults
    }
}

impl Entry {
    fn line(&self) -> Option<&Arc<Line>> {
        match self {
            Self::Usable(line) => Some(line),
            Self::Unusable(_) => None,
        }
    }
}

fn fields(line: &[u8]) -> Result<(&str, &str), Fault> {
    if line.len() > MAX_LINE {
        return Err(Fault::Long);
    }
    let line = str::from_utf8(line).map_err(|_| Fault::NotUtf8)?;
    if line.contains(char::is_control) {
        return Err(Fault::Control);
    }
    let (user, hash) = line.split_once(':').ok_or(Fault::NoColon)?;
    if user.is_empty() { Err(Fault::NoUser) } else { Ok((user, hash)) }
}

/// The cost of a hash that bcrypt can verify.
fn cost(hash: &str) -> Result<u32, Fault> {
    if hash.is_empty() {
        return Err(Fault::NoHash);
    }
    if hash.starts_with(['!', '*']) {
        return Err(Fault::Barred);
    }
    let rest = ["$2y$", "$2b$", "$2a$"]
        .iter()
        .find_map(|prefix| hash.strip_prefix(prefix))
        .ok_or_else(|| Fault::Kind(kind(hash)))?;
    if hash.len() != 60 {
        return Err(Fault::Length);
    }
    // Digits alone: a parser of numbers takes a sign as well.
    let (digits, _) = rest.split_once('$').ok_or(Fault::Damaged)?;
    if digits.len() != 2 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Fault::Damaged);
    }
    let cost = digits.parse().map_err(|_| Fault::Damaged)?;
    if !COSTS.contains(&cost) {
        return Err(Fault::Cost);
    }
    bcrypt::HashParts::from_str(hash).map_err(|_| Fault::Damaged)?;
    Ok(cost)
}

fn kind(hash: &str) -> &'static str {
    const KINDS: [(&str, &str); 9] = [
        ("{SHA}", "SHA-1"),
        ("{SSHA}", "salted SHA-1"),
        ("$apr1$", "Apache's MD5"),
        ("$1$", "MD5 crypt"),
        ("$2$", "the first bcrypt ($2$)"),
        ("$2x$", "the flawed bcrypt ($2x$)"),
        ("$5$", "SHA-256 crypt"),
        ("$6$", "SHA-512 crypt"),
        ("$argon2", "Argon2"),
    ];
    KINDS
        .iter()
        .find_map(|(prefix, name)| hash.starts_with(prefix).then_some(*name))
        .unwrap_or("this kind of hash (or plain text)")
}

/// Half of a SHA-256 over the user and the hash.
fn proof(user: &str, hash: &str) -> Proof {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in ["htpasswd\0", user, "\0", hash] {
        context.update(part.as_bytes());
    }
    let half: Vec<u8> = context.finish().as_ref().iter().copied().take(16).collect();
    Proof(URL_SAFE_NO_PAD.encode(half).into())
}

fn warning(file: &Path, line: usize, column: usize, message: String) -> Problem {
    Problem { severity: Severity::Warning, file: file.to_owned(), line, column, message }
}

#[cfg(test)]
mod tests;
