//! What became of the configurations that were read.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use crate::config::Config;

/// Told by whoever puts configurations in force, shown to operators.
#[derive(Debug)]
pub struct Reloads(Mutex<Report>);

/// The configuration in force, and why a later one is not.
#[derive(Clone, Debug)]
pub struct Report {
    pub file: PathBuf,
    pub since: SystemTime,
    /// How many configurations were in force in this process until now, this one included.
    pub generation: u64,
    /// The SHA-256 of the file's content when it was read.
    pub hash: [u8; 32],
    pub failure: Option<Failure>,
}

/// The last that was read cannot be used.
#[derive(Clone, Debug)]
pub struct Failure {
    /// One line for each error.
    pub error: String,
    /// When that was found first.
    pub at: SystemTime,
}

impl Reloads {
    /// The first configuration is in force.
    pub fn new(config: &Config) -> Self {
        Self(Mutex::new(Report {
            file: config.path.clone(),
            since: SystemTime::now(),
            generation: 1,
            hash: config.hash,
            failure: None,
        }))
    }

    /// Another one is. Returns its number.
    pub fn in_force(&self, config: &Config) -> u64 {
        let mut report = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = report.generation.saturating_add(1);
        *report = Report {
            file: config.path.clone(),
            since: SystemTime::now(),
            generation,
            hash: config.hash,
            failure: None,
        };
        generation
    }

    /// The one that was read cannot be used. False where the same was said of the one before it.
    pub fn failed(&self, error: String) -> bool {
        let mut report = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = report.failure.as_ref().is_none_or(|known| known.error != error);
        if is_new {
            report.failure = Some(Failure { error, at: SystemTime::now() });
        }
        is_new
    }

    pub fn report(&self) -> Report {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
