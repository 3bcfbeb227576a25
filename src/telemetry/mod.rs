//! What operators see: logs, metrics, and the pulse of the status page.

pub mod ids;
pub mod log;
pub mod metrics;
pub mod pulse;
