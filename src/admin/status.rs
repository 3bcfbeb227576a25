//! What an operator asks of a running gate, as JSON.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::SystemTime};

use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{AcmeStatus, CertificateStatus};
use crate::{
    config::{OpenUploads, ReadOnly},
    runtime::{PublicRegistry, Report, Runtime},
    telemetry::metrics,
    tls::acme,
    upstream::ServerState,
};

/// The form of the answer; it changes where a field changes its meaning or goes, not where one is added.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Status<'a> {
    version: u32,
    pid: u32,
    /// Of the binary.
    portcullis: &'static str,
    /// The process that this one took over from, while it drains: it counts as an open write at each registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    predecessor: Option<u32>,
    configuration: ConfigurationStatus,
    /// In force.
    certificates: Vec<CertificateStatus>,
    /// Of `tls.acme`, in its order.
    acme: Vec<AcmeStatus>,
    /// Of all registries.
    open_writes: usize,
    registries: Vec<RegistryStatus<'a>>,
}

/// What is in force, and what is not.
#[derive(Serialize)]
struct ConfigurationStatus {
    file: String,
    /// Counts the configurations that were in force in this process, from 1.
    generation: u64,
    in_force_since: Option<String>,
    /// The beginning of the SHA-256 of the file's content.
    fingerprint: String,
    /// Why the configuration that was read last is not in force.
    error: Option<String>,
    /// When that was found.
    failed_at: Option<String>,
    /// Password files that cannot be read now; what they said before is in force.
    unreadable: Vec<UnreadableFile>,
}

#[derive(Serialize)]
struct UnreadableFile {
    file: String,
    error: String,
}

#[derive(Serialize)]
struct RegistryStatus<'a> {
    /// Its first host.
    name: String,
    read_only: ReadOnlyStatus<'a>,
    read_only_uploads: &'static str,
    open_writes: usize,
    /// Of all its upstreams, the UI and the Notary server too.
    servers: Vec<ServerStatus>,
}

#[derive(Serialize)]
struct ServerStatus {
    url: String,
    role: &'static str,
    /// It has its turn.
    up: bool,
    /// Why it has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Requests and transfers.
    under_way: usize,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ReadOnlyStatus<'a> {
    Whole(bool),
    Patterns(Vec<&'a str>),
}

/// The configuration in force and what is open under it. What was read-only before this call admits no write that is
/// not counted here.
pub(super) fn report(runtime: &Runtime, issued: Vec<acme::Report>) -> String {
    let elsewhere = runtime.open_elsewhere();
    let registries: Vec<_> = runtime.registries().map(|registry| of(registry, elsewhere)).collect();
    let status = Status {
        version: VERSION,
        pid: std::process::id(),
        portcullis: env!("CARGO_PKG_VERSION"),
        predecessor: runtime.predecessor.pid(),
        configuration: configuration(runtime),
        certificates: runtime.certificates.infos().into_iter().map(CertificateStatus::from).collect(),
        acme: issued.into_iter().map(AcmeStatus::from).collect(),
        open_writes: registries.iter().map(|registry| registry.open_writes).sum(),
        registries,
    };
    serde_json::to_string_pretty(&status).map_or_else(|_| "{}".to_owned(), |text| text + "\n")
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

fn of(registry: &PublicRegistry, elsewhere: usize) -> RegistryStatus<'_> {
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
        servers: registry.all_pools().flat_map(|pool| pool.states()).map(of_server).collect(),
    }
}

fn of_server(state: ServerState) -> ServerStatus {
    ServerStatus {
        url: state.url.to_string(),
        role: if state.primary { "primary" } else { "replica" },
        up: state.trouble.is_none(),
        error: state.trouble,
        under_way: state.under_way,
    }
}
