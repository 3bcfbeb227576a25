//! What the process takes of the machine.

use std::fs;

use serde::Serialize;

use crate::budget::{self, Budget};

#[derive(Serialize)]
pub(super) struct Memory {
    /// What the process has of the machine's memory; None where the system does not say.
    pub(super) resident_bytes: Option<u64>,
    pub(super) buffers: Buffers,
}

/// `limits.buffers`.
#[derive(Serialize)]
pub(super) struct Buffers {
    pub(super) limit_bytes: u64,
    pub(super) used_bytes: u64,
    /// Bodies that wait for memory now.
    pub(super) waiting: usize,
    /// Bodies that have had to wait so far.
    pub(super) waits: u64,
}

impl Memory {
    pub(super) fn of(budget: &Budget) -> Self {
        let budget::State { total, used, waiting, waits } = budget.state();
        Self { resident_bytes: resident(), buffers: Buffers { limit_bytes: total, used_bytes: used, waiting, waits } }
    }
}

/// The file is made up by the kernel and never waits for a disk.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}
