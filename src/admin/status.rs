//! What an operator asks of a running gate, as JSON.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, LazyLock},
    time::{Duration, Instant, SystemTime},
};

use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    AcmeStatus, CertificateStatus, Shown, memory,
    problems::{self, Problem},
    traffic::{History, LoginStatus, TrafficStatus},
};
use crate::{
    config::{OpenUploads, ReadOnly},
    events,
    identity::DirectoryState,
    runtime::{PublicRegistry, Report, Runtime},
    telemetry::metrics,
    upstream::ServerState,
};

/// The form of the answer; it changes where a field changes its meaning or goes, not where one is added.
const VERSION: u32 = 1;

static BEGUN: LazyLock<(Instant, SystemTime)> = LazyLock::new(|| (Instant::now(), SystemTime::now()));

#[derive(Serialize)]
pub(super) struct Status<'a> {
    version: u32,
    pub(super) pid: u32,
    /// Of the binary.
    pub(super) portcullis: &'static str,
    /// When the process began to serve.
    pub(super) started: Option<String>,
    pub(super) uptime_seconds: u64,
    /// The moment of this answer.
    pub(super) now: Option<String>,
    /// What /readyz says.
    pub(super) ready: bool,
    /// What the worst of the problems is: `ok`, `degraded` or `failing`.
    pub(super) health: &'static str,
    /// The worst first.
    pub(super) problems: Vec<Problem>,
    /// The process that this one took over from, while it drains: it counts as an open write at each registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) predecessor: Option<u32>,
    pub(super) configuration: ConfigurationStatus,
    /// In force.
    pub(super) certificates: Vec<CertificateStatus>,
    /// Of `tls.acme`, in its order.
    pub(super) acme: Vec<AcmeStatus>,
    /// Of all registries.
    pub(super) open_writes: usize,
    pub(super) registries: Vec<RegistryStatus<'a>>,
    pub(super) traffic: TrafficStatus,
    pub(super) logins: LoginStatus,
    /// The servers of all directories.
    pub(super) directories: Vec<DirectoryStatus>,
    /// The endpoints that are told of what is done, in the order of the configuration.
    pub(super) events: Vec<EventStatus>,
    pub(super) memory: memory::Memory,
    /// Where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) history: Option<History>,
}

/// What is in force, and what is not.
#[derive(Serialize)]
pub(super) struct ConfigurationStatus {
    pub(super) file: String,
    /// Counts the configurations that were in force in this process, from 1.
    pub(super) generation: u64,
    pub(super) in_force_since: Option<String>,
    /// The beginning of the SHA-256 of the file's content.
    pub(super) fingerprint: String,
    /// Why the configuration that was read last is not in force.
    pub(super) error: Option<String>,
    /// When that was found.
    pub(super) failed_at: Option<String>,
    /// Password files that cannot be read now; what they said before is in force.
    pub(super) unreadable: Vec<UnreadableFile>,
}

#[derive(Serialize)]
pub(super) struct UnreadableFile {
    pub(super) file: String,
    pub(super) error: String,
}

#[derive(Serialize)]
pub(super) struct RegistryStatus<'a> {
    /// Its first host.
    pub(super) name: String,
    pub(super) read_only: ReadOnlyStatus<'a>,
    pub(super) read_only_uploads: &'static str,
    pub(super) open_writes: usize,
    /// Of all its upstreams, the UI and the Notary server too.
    pub(super) servers: Vec<ServerStatus>,
}

#[derive(Serialize)]
pub(super) struct ServerStatus {
    pub(super) url: String,
    /// `registry`, `route`, `ui` or `notary`.
    #[serde(rename = "for")]
    pub(super) purpose: &'static str,
    /// Which of the registry's upstreams it is one of; they are counted from 0.
    pub(super) upstream: usize,
    pub(super) role: &'static str,
    /// It has its turn.
    pub(super) up: bool,
    /// Why it has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    /// Requests and transfers.
    pub(super) under_way: usize,
    /// Until the head of an answer, as a mean in which later answers count for more; None where nothing was asked of late.
    pub(super) latency_ms: Option<f64>,
    /// Requests that failed by its fault.
    pub(super) failures: u64,
}

#[derive(Serialize)]
pub(super) struct DirectoryStatus {
    pub(super) provider: String,
    pub(super) server: String,
    /// It is asked.
    pub(super) up: bool,
    /// Why it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

#[derive(Serialize)]
pub(super) struct EventStatus {
    pub(super) endpoint: String,
    /// Events that wait.
    pub(super) queued: usize,
    /// The most that may wait.
    pub(super) limit: usize,
    /// Since the start.
    pub(super) delivered: u64,
    /// Since the start.
    pub(super) dropped: u64,
    /// None: the last attempt succeeded, or there was none.
    pub(super) failing_since: Option<String>,
    /// Why the last attempt failed.
    pub(super) error: Option<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum ReadOnlyStatus<'a> {
    Whole(bool),
    Patterns(Vec<&'a str>),
}

impl ReadOnlyStatus<'_> {
    /// What is read-only, as the end of a sentence; None: nothing is.
    pub(super) fn extent(&self) -> Option<String> {
        match self {
            Self::Whole(false) => None,
            Self::Whole(true) => Some("is read-only".to_owned()),
            Self::Patterns(patterns) => Some(format!("is read-only for {}", patterns.join(", "))),
        }
    }
}

/// Notes the moment of the start.
pub(super) fn begin() {
    LazyLock::force(&BEGUN);
}

/// What is in force and what is open under it. What was read-only before this call admits no write that is not counted
/// here. `points` is how much of the history is wanted.
pub(super) fn of<'a>(shown: &Shown, runtime: &'a Runtime, points: Option<usize>) -> Status<'a> {
    let elsewhere = runtime.open_elsewhere();
    let registries: Vec<_> = runtime.registries().map(|registry| registry_status(registry, elsewhere)).collect();
    let (since, started) = *BEGUN;
    let mut status = Status {
        version: VERSION,
        pid: std::process::id(),
        portcullis: env!("CARGO_PKG_VERSION"),
        started: date(started),
        uptime_seconds: since.elapsed().as_secs(),
        now: date(SystemTime::now()),
        ready: shown.readiness.is_ready(&runtime.certificates),
        health: "ok",
        problems: Vec::new(),
        predecessor: runtime.predecessor.pid(),
        configuration: configuration(runtime),
        certificates: runtime.certificates.infos().into_iter().map(CertificateStatus::from).collect(),
        acme: shown.issued.reports().into_iter().map(AcmeStatus::from).collect(),
        open_writes: registries.iter().map(|registry| registry.open_writes).sum(),
        registries,
        traffic: TrafficStatus::of(&shown.drain),
        logins: LoginStatus::of(runtime.chain.barred()),
        directories: runtime.chain.directory_states().map(directory).collect(),
        events: runtime.events.report().into_iter().map(endpoint).collect(),
        memory: memory::Memory::of(&runtime.buffers),
        history: points.map(History::of),
    };
    status.problems = problems::of(&status, &runtime.certificates.missing(), shown.readiness.get());
    status.health = problems::worst(&status.problems);
    status
}

/// As text: to be read, or by the page, which asks for the history.
pub(super) fn json(status: &Status<'_>) -> String {
    let text = match status.history {
        Some(_) => serde_json::to_string(status),
        None => serde_json::to_string_pretty(status),
    };
    text.map_or_else(|_| "{}".to_owned(), |text| text + "\n")
}

/// Brings the metrics up to date that change by the passing of time alone.
pub(super) fn refresh(runtime: &Runtime) {
    metrics::connection_limit(runtime.limits.connections);
    for registry in runtime.registries() {
        let mut under_way: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        for state in registry.all_pools().flat_map(|pool| pool.states()) {
            *under_way.entry(state.url).or_default() += state.under_way;
        }
        under_way.iter().for_each(|(url, count)| metrics::upstream_in_flight(registry.name(), url, *count));
        metrics::open_writes(registry.name(), registry.open_writes() + runtime.open_elsewhere());
    }
}

fn configuration(runtime: &Runtime) -> ConfigurationStatus {
    let Report { file, since, generation, hash, failure } = runtime.reloads.report();
    let unreadable = |(file, error): (&Path, String)| UnreadableFile { file: file.display().to_string(), error };
    ConfigurationStatus {
        file: file.display().to_string(),
        generation,
        in_force_since: date(since),
        fingerprint: hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect(),
        failed_at: failure.as_ref().and_then(|failure| date(failure.at)),
        error: failure.map(|failure| failure.error),
        unreadable: runtime.chain.unreadable().map(unreadable).collect(),
    }
}

/// To the second, as RFC 3339 writes it; None for a clock that is out of its mind.
fn date(time: SystemTime) -> Option<String> {
    OffsetDateTime::from(time).replace_nanosecond(0).ok()?.format(&Rfc3339).ok()
}

fn registry_status(registry: &PublicRegistry, elsewhere: usize) -> RegistryStatus<'_> {
    let pools = registry.pools_in_use().enumerate();
    let servers =
        pools.flat_map(|(upstream, (purpose, pool))| pool.states().map(move |state| server(upstream, purpose, state)));
    RegistryStatus {
        name: registry.first().to_string(),
        read_only: match &registry.read_only {
            ReadOnly::Nothing => ReadOnlyStatus::Whole(false),
            ReadOnly::Everything => ReadOnlyStatus::Whole(true),
            ReadOnly::Repositories(patterns) => {
                ReadOnlyStatus::Patterns(patterns.iter().map(|pattern| pattern.as_str()).collect())
            }
        },
        read_only_uploads: match registry.open_uploads {
            OpenUploads::Finish => "finish",
            OpenUploads::Refuse => "refuse",
        },
        open_writes: registry.open_writes() + elsewhere,
        servers: servers.collect(),
    }
}

fn server(upstream: usize, purpose: &'static str, state: ServerState) -> ServerStatus {
    ServerStatus {
        url: state.url.to_string(),
        purpose,
        upstream,
        role: if state.primary { "primary" } else { "replica" },
        up: state.trouble.is_none(),
        error: state.trouble,
        under_way: state.under_way,
        latency_ms: state.latency.map(milliseconds),
        failures: state.failures,
    }
}

fn directory(state: DirectoryState) -> DirectoryStatus {
    DirectoryStatus {
        provider: state.provider.to_string(),
        server: state.server,
        up: state.trouble.is_none(),
        error: state.trouble,
    }
}

fn endpoint(report: events::Report) -> EventStatus {
    let events::Report { endpoint, queued, limit, delivered, dropped, failing_since, error } = report;
    EventStatus { endpoint, queued, limit, delivered, dropped, failing_since: failing_since.and_then(date), error }
}

/// With one digit after the point.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests;
