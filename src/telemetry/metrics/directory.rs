//! What is counted of one directory server.

use super::{catalogue, family::Counters};

/// The counters of one directory server, all shown from the beginning.
pub struct DirectoryCounts(Counters);

impl DirectoryCounts {
    pub fn new(provider: &str, server: &str) -> Self {
        Self(Counters::of(&catalogue::LDAP_ERRORS, &[provider, server]))
    }

    /// It did not answer.
    pub fn erred(&self, reason: &'static str) {
        self.0.count([reason]);
    }
}
