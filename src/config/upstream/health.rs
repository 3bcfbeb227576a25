//! `upstream.health`: how a server is found to be dead, and alive again.

use std::time::Duration;

use crate::config::reader::{Field, Section};

/// The shortest pause between two probes of one server.
const LEAST: Duration = Duration::from_millis(100);

/// Probes of a server, and how many in a row count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Path and query of the probe.
    pub path: String,
    pub interval: Duration,
    pub timeout: Duration,
    /// Failures in a row, of probes or of requests, that end a server's turn.
    pub unhealthy_after: u32,
    /// Good probes in a row that begin it again.
    pub healthy_after: u32,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            path: "/v2/".to_owned(),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            unhealthy_after: 2,
            healthy_after: 2,
        }
    }
}

impl Health {
    pub(super) fn read(section: Section<'_>) -> Self {
        let default = Self::default();
        let count = |key| u32::try_from(section.integer(key, 1..=1000, 2)).unwrap_or(u32::MAX);
        let health = Self {
            path: section.get("path").and_then(|field| read_path(&field)).unwrap_or(default.path),
            interval: section.duration("interval", LEAST, default.interval),
            timeout: section.duration("timeout", LEAST, default.timeout),
            unhealthy_after: count("unhealthy_after"),
            healthy_after: count("healthy_after"),
        };
        section.finish();
        health
    }
}

fn read_path(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    let sound = text.starts_with('/') && !text.contains('#') && text.parse::<http::uri::PathAndQuery>().is_ok();
    if !sound {
        field.error(format_args!("{text:?} is not a path: write \"/v2/\""));
    }
    sound.then(|| text.to_owned())
}
