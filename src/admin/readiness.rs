//! Whether clients are to be sent here.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::status::Status;
use crate::tls::CertStore;

/// True between the moment when the listeners accept and the moment when they stop.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Where clients trust nothing that is shown there is nobody to send here. One name that waits for its certificate
    /// keeps nobody from the others.
    ///
    /// What is behind the gate does not count. All gates before a registry lose it at the same moment: taken out of the
    /// rotation together, they would leave clients with a refused connection instead of a 503 that says why, and tokens,
    /// other registries and what another upstream serves with it. So an upstream that is down is told, and changes no code.
    pub(super) fn is_ready(&self, certificates: &CertStore) -> bool {
        self.get() && (certificates.missing().is_empty() || certificates.has_lasting())
    }
}

/// The body of `/readyz`: a line that says whether, then one for each thing that is wrong.
pub(super) fn told(status: &Status<'_>, missing: &[String], accepts: bool) -> String {
    let word = if status.ready { "ready" } else { "not ready" };
    let first = match missing {
        _ if !accepts => word.to_owned(),
        [] => word.to_owned(),
        names => format!("{word}: a temporary self-signed certificate alone for {}", names.join(", ")),
    };
    let others = status.problems.iter().filter(|problem| !first.contains(&problem.what));
    let lines: Vec<_> = others.map(|problem| format!("{}: {}", problem.severity.as_str(), problem.what)).collect();
    // What is said elsewhere may have several lines.
    let lines = std::iter::once(first).chain(lines).map(|line| line.replace(['\n', '\r'], "; "));
    lines.map(|line| line + "\n").collect()
}
