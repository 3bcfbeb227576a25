//! htpasswd files with bcrypt, reloaded by content.

mod content;

use std::{
    fs::File,
    hint,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use aws_lc_rs::digest;

use self::content::{COSTS, Content, Entry, Line, MAX_LINE};
use super::{BasicCredentials, Outcome, Provider, ProviderError, Standing, workers::Workers};
use crate::config::{Problem, Secret, open_regular};

/// What bcrypt looks at; the rest of a longer password would prove nothing.
const MAX_PASSWORD: usize = 72;
/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// A line that will never match, and why.
pub type HtpasswdProblem = Problem;

/// The users of one file: lines of `user:hash` with a bcrypt hash (`$2y$`, `$2b$` or `$2a$`, cost 4 to 17).
///
/// Any other line is a problem and never matches; a user named on one is known here and refused. A password over 72
/// bytes, or with a NUL, is refused and never cut. An empty file means nobody.
pub struct Htpasswd {
    name: Arc<str>,
    path: PathBuf,
    workers: Arc<Workers>,
    content: ArcSwap<Content>,
    seen: Mutex<Seen>,
}

/// How the file was found last.
struct Seen {
    fingerprint: [u8; digest::SHA256_OUTPUT_LEN],
    /// Why it could not be read.
    trouble: Option<String>,
}

impl Htpasswd {
    /// Reads the file. A bad line is a problem, not an error; an unreadable file is an error.
    pub fn open(path: PathBuf) -> Result<Self, io::Error> {
        Self::open_as(Arc::from("htpasswd"), path, Arc::new(Workers::new()))
    }

    /// The same under another name, sharing the threads that bcrypt may use.
    pub(super) fn open_as(name: Arc<str>, path: PathBuf, workers: Arc<Workers>) -> Result<Self, io::Error> {
        let bytes = read(open_regular(&path)?)?;
        let content = Content::parse(&path, &bytes);
        log_problems(&content, &path);
        let seen = Mutex::new(Seen { fingerprint: fingerprint(&bytes), trouble: None });
        Ok(Self { name, path, workers, content: ArcSwap::from_pointee(content), seen })
    }

    /// True for the provider of this name that reads this file.
    pub(super) fn is(&self, name: &str, path: &Path) -> bool {
        *self.name == *name && self.path == path
    }

    /// The lines of a file that will never match; nothing is said in the log.
    pub(super) fn check_file(path: &Path) -> Result<Vec<HtpasswdProblem>, io::Error> {
        Ok(problems(&Content::parse(path, &read(open_regular(path)?)?), path))
    }

    /// The names that a file holds, also on lines that never match.
    pub(super) fn names(path: &Path) -> Result<Vec<Arc<str>>, io::Error> {
        Ok(Content::parse(path, &read(open_regular(path)?)?).names().cloned().collect())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Why the file could not be read when it was looked at last.
    pub(super) fn trouble(&self) -> Option<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).trouble.clone()
    }

    /// The problems of the content in force (for `check`).
    pub fn problems(&self) -> Vec<HtpasswdProblem> {
        problems(&self.content.load(), &self.path)
    }

    /// Puts changed content in force; false where the file cannot be read, whose last content then stays.
    pub(super) fn reread(&self) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let found = self.take_changes(&mut seen);
        let file = self.path.display();
        match &found {
            Ok(()) if seen.trouble.is_some() => tracing::info!(%file, "the password file can be read again"),
            Err(error) if seen.trouble.is_none() => {
                tracing::warn!(%file, %error, "the password file cannot be read; its last content stays in force");
            }
            Ok(()) | Err(_) => {}
        }
        seen.trouble = found.err().map(|error| error.to_string());
        seen.trouble.is_none()
    }

    fn take_changes(&self, seen: &mut Seen) -> Result<(), io::Error> {
        let bytes = read(open_regular(&self.path)?)?;
        let fingerprint = fingerprint(&bytes);
        if seen.fingerprint != fingerprint {
            let content = Content::parse(&self.path, &bytes);
            tracing::info!(file = %self.path.display(), "the password file changed");
            log_problems(&content, &self.path);
            seen.fingerprint = fingerprint;
            self.install(content);
        }
        Ok(())
    }

    fn install(&self, content: Content) {
        let before = self.content.swap(Arc::new(content));
        // Who reads a line has done so in no time. A hundred thousand of them are not for a login to take apart.
        while Arc::strong_count(&before) > 1 {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Runs one check of a password, or the same amount of work where there is nothing to check.
    async fn check(&self, line: Option<Arc<Line>>, password: &Secret, highest: u32) -> Result<bool, ProviderError> {
        let password = password.clone();
        self.workers
            .run(move || matches(line.as_deref(), &password, highest))
            .await
            .map_err(|overload| ProviderError { provider: self.name.to_string(), reason: overload.to_string() })
    }
}

#[async_trait]
impl Provider for Htpasswd {
    fn name(&self) -> &str {
        &self.name
    }

    async fn authenticate(&self, login: &BasicCredentials) -> Result<Outcome, ProviderError> {
        let (known, line, highest) = self.content.load().look_up(&login.username);
        let verifiable = line.filter(|_| can_be_hashed(login.password.reveal()));
        let matched = self.check(verifiable.clone(), &login.password, highest).await?;
        Ok(match verifiable {
            Some(line) if matched => Outcome::Accepted(line.standing()),
            _ if known => Outcome::Rejected,
            _ => Outcome::Unknown,
        })
    }

    async fn standing(&self, user: &str) -> Result<Option<Standing>, ProviderError> {
        Ok(self.content.load().usable(user).map(|line| line.standing()))
    }

    async fn knows(&self, user: &str) -> Result<bool, ProviderError> {
        Ok(self.content.load().find(user).is_some())
    }

    async fn trial(&self, user: &str, password: Option<&Secret>) -> (Vec<String>, Result<Outcome, ProviderError>) {
        let mut lines = vec![format!("file: {}", self.path.display())];
        let (fault, standing) = match self.content.load().find(user) {
            None => return (lines, Ok(Outcome::Unknown)),
            Some(Entry::Unusable(fault)) => (Some(*fault), None),
            Some(Entry::Usable(line)) => (None, Some(line.standing())),
        };
        let outcome = match (standing, password) {
            (Some(standing), None) => Ok(Outcome::Accepted(standing)),
            (Some(_), Some(password)) => {
                let login = BasicCredentials { username: user.to_owned(), password: password.clone() };
                self.authenticate(&login).await
            }
            (None, _) => Ok(Outcome::Rejected),
        };
        if let Ok(Outcome::Rejected) = outcome {
            lines.push(fault.map_or_else(|| "the password is wrong".to_owned(), |fault| format!("its line: {fault}")));
        }
        (lines, outcome)
    }

    async fn spend(&self) {
        let highest = self.content.load().highest;
        // Only the time counts, and a full queue has none to give.
        let _ = self.check(None, &Secret::new(String::new()), highest).await;
    }

    fn computes(&self) -> bool {
        true
    }
}

impl Line {
    fn standing(&self) -> Standing {
        Standing { name: Arc::clone(&self.name), groups: Vec::new(), proof: self.proof.clone() }
    }
}

/// A `user:hash` line for `portcullis hash`, with the prefix `$2y$` that every reader of such files knows.
///
/// The error says what is wrong with the user, the password or the cost, without repeating the password.
pub fn hash_password(user: &str, password: &Secret, cost: u32) -> Result<String, String> {
    check_user(user)?;
    check_password(password.reveal())?;
    if !COSTS.contains(&cost) {
        return Err(format!("the cost must be between {} and {}", COSTS.start(), COSTS.end()));
    }
    let hash = bcrypt::hash_with_result(password.reveal(), cost).map_err(|error| error.to_string())?;
    Ok(format!("{user}:{}", hash.format_for_version(bcrypt::Version::TwoY)))
}

/// Whether a line can begin with this user; the error says why not.
pub fn check_user(user: &str) -> Result<(), String> {
    let fault = if user.is_empty() {
        "is empty"
    } else if user.len() > MAX_LINE / 2 {
        "is too long"
    } else if user.contains(':') {
        "holds a colon"
    } else if user.contains(char::is_control) {
        "holds a control character"
    } else if user.trim() != user {
        "begins or ends with a blank"
    } else if user.starts_with(['#', '\u{feff}']) {
        "begins with a character that has a meaning in the file"
    } else {
        return Ok(());
    };
    Err(format!("the user name {fault}"))
}

fn check_password(password: &str) -> Result<(), String> {
    let fault = if password.is_empty() {
        "is empty".to_owned()
    } else if password.len() > MAX_PASSWORD {
        format!("is longer than {MAX_PASSWORD} bytes, which is all that bcrypt looks at")
    } else if password.contains(char::is_control) {
        "holds a control character, which clients cannot send".to_owned()
    } else {
        return Ok(());
    };
    Err(format!("the password {fault}"))
}

/// bcrypt ends a password at a NUL or after 72 bytes; a hash of the empty password would admit everybody.
fn can_be_hashed(password: &str) -> bool {
    !password.is_empty() && password.len() <= MAX_PASSWORD && !password.contains('\0')
}

/// Whether the password is the line's. Every refusal takes the work of the file's highest cost.
fn matches(line: Option<&Line>, password: &Secret, highest: u32) -> bool {
    if line.is_some_and(|line| bcrypt::verify(password.reveal(), &line.hash).unwrap_or(false)) {
        return true;
    }
    for cost in remainder(line.map(|line| line.cost), highest) {
        hint::black_box(bcrypt::bcrypt(hint::black_box(cost), [0; 16], b"\0"));
    }
    false
}

/// The costs whose work, with that of the cost already spent, makes the work of the highest: each cost is twice the
/// one before it, so 2^c + (2^c + 2^(c+1) + … + 2^(h-1)) = 2^h.
fn remainder(spent: Option<u32>, highest: u32) -> std::ops::Range<u32> {
    spent.map_or(highest..highest + 1, |spent| spent..highest)
}

fn read(file: File) -> Result<Vec<u8>, io::Error> {
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is larger than 64 MiB"));
    }
    Ok(bytes)
}

fn fingerprint(bytes: &[u8]) -> [u8; digest::SHA256_OUTPUT_LEN] {
    let mut fingerprint = [0; digest::SHA256_OUTPUT_LEN];
    fingerprint.iter_mut().zip(digest::digest(&digest::SHA256, bytes).as_ref()).for_each(|(to, from)| *to = *from);
    fingerprint
}

fn problems(content: &Content, path: &Path) -> Vec<HtpasswdProblem> {
    content.problems.iter().cloned().chain(content.barrenness(path)).collect()
}

fn log_problems(content: &Content, path: &Path) {
    for problem in problems(content, path) {
        tracing::warn!(file = %problem.file.display(), line = problem.line, "password file: {}", problem.message);
    }
}

#[cfg(test)]
mod tests;
