//! `limits`: how much of everything.

use std::{ops::RangeInclusive, time::Duration};

use super::{reader::Section, yaml::Value};

/// Connections that a process can reasonably hold; semaphores and tables are sized by it.
const COUNT: RangeInclusive<usize> = 1..=1_000_000;
/// A push of some layers at a time, and its manifests, must have room.
const LEAST_BUFFERS: u64 = 4 << 20;
/// Manifests are held in memory to be checked.
const LARGEST_MANIFEST: u64 = 64 << 20;

#[derive(Clone, Debug)]
pub struct Limits {
    pub connections: usize,
    pub connections_per_client: usize,
    /// Time for a TLS handshake.
    pub handshake: Duration,
    /// Time for a request's head to arrive.
    pub request_head: Duration,
    /// How long an idle connection is kept.
    pub idle: Duration,
    /// How long a client may neither send nor read.
    pub body_idle: Duration,
    /// Bytes of memory for bodies under way and HTTP/2 windows.
    pub buffers: u64,
    /// Bytes.
    pub manifest: u64,
    /// Bytes of one blob; None: no limit.
    pub upload: Option<u64>,
    /// None: no limit.
    pub failed_logins: Option<FailedLogins>,
}

/// How many logins with one name may fail from one network: so many at once, and then as many in each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedLogins {
    /// At least one.
    pub count: u32,
    pub per: Duration,
}

impl Default for FailedLogins {
    fn default() -> Self {
        Self { count: 10, per: Duration::from_secs(5 * 60) }
    }
}

impl Limits {
    pub(super) fn read(section: Section<'_>) -> Self {
        let time = |key, default| section.duration(key, Duration::from_millis(1), Duration::from_secs(default));
        let limits = Self {
            connections: section.integer("connections", COUNT, 4096),
            connections_per_client: section.integer("connections_per_client", COUNT, 256),
            handshake: time("handshake", 10),
            request_head: time("request_head", 10),
            idle: time("idle", 75),
            body_idle: time("body_idle", 60),
            buffers: read_buffers(&section).unwrap_or(512 << 20),
            manifest: read_manifest(&section).unwrap_or(4 << 20),
            upload: section.nullable("upload").and_then(|field| field.size()),
            failed_logins: read_failed_logins(&section),
        };
        section.finish();
        limits
    }
}

fn read_buffers(section: &Section<'_>) -> Option<u64> {
    let field = section.get("buffers")?;
    let size = field.size()?;
    if size < LEAST_BUFFERS {
        field.error("too little to serve a few transfers at a time: at least 4MiB");
    }
    Some(size)
}

fn read_manifest(section: &Section<'_>) -> Option<u64> {
    let field = section.get("manifest")?;
    let size = field.size()?;
    if size > LARGEST_MANIFEST {
        field.error("manifests are held in memory: at most 64MiB");
    }
    Some(size)
}

fn read_failed_logins(limits: &Section<'_>) -> Option<FailedLogins> {
    const FORM: &str = "write { count: 10, per: \"5m\" } or null";
    let FailedLogins { count, per } = FailedLogins::default();
    let Some(field) = limits.get("failed_logins") else { return Some(FailedLogins { count, per }) };
    let section = match field.value() {
        Value::Null => return None,
        Value::Map(_) => field.section()?,
        Value::Bool(_) | Value::Integer(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => {
            field.error(format_args!("{FORM}, not {}", field.value().describe()));
            return None;
        }
    };
    let given = section.get("count").and_then(|field| field.integer(COUNT)).and_then(|count| count.try_into().ok());
    let count = given.unwrap_or(count);
    let per = section.duration("per", Duration::from_secs(1), per);
    section.finish();
    Some(FailedLogins { count, per })
}
