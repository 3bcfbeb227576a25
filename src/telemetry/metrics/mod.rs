//! Metrics for Prometheus. What there is to count is named in [`catalogue`] alone.
//!
//! Labels are fixed words or configured names; nothing a request says becomes a label. What is counted at each request has its
//! handles taken beforehand: those without configured names once for the process, those of a registry, a server or a provider
//! with what they belong to.

pub mod catalogue;
mod directory;
mod events;
mod family;
mod fixed;
mod process;
mod provider;
mod registry;
mod server;
mod state;
mod words;

pub use directory::DirectoryCounts;
pub use events::{EventCounts, event_endpoint_gone};
pub use fixed::{
    Counted, acme_attempt, buffer_limit, buffer_wait_begins, buffer_wait_ends, buffers_given_back, buffers_taken,
    connection, connection_accepted, connection_limit_reached, connection_refused, decision, handshake,
    handshake_failed, in_flight, log_lines_dropped, login_looked_up, login_of_nobody, login_throttled, protocol,
    refused, token_issued, token_looked_up, token_verified, verification_waited, verification_waits,
};
pub use provider::ProviderCounts;
pub use registry::{RegistryCounts, unknown};
pub use server::ServerCounts;
pub use state::{
    acme_gone, acme_next_attempt, acme_window, certificate_expiry, certificate_gone, connection_limit,
    htpasswd_readable, in_force, ldap_gone, ldap_up, open_writes, registry_gone, reloaded, upstream_gone,
    upstream_in_flight, upstream_up,
};
pub use words::{Label, Values};

use metrics::{describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use self::catalogue::{Kind, Metric};

/// Installs the recorder of this process; called once by the server, before anything is counted.
///
/// # Errors
/// Where there is one already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = builder()?.install_recorder()?;
    catalogue::all().for_each(describe);
    fixed::install();
    Ok(handle)
}

/// All that is to be said to Prometheus, in its text format.
pub fn render(handle: &PrometheusHandle) -> String {
    handle.render() + &process::render()
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    catalogue::all().try_fold(PrometheusBuilder::new(), |builder, metric| match metric.kind {
        Kind::Histogram(bounds) => builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), bounds),
        Kind::Counter | Kind::Gauge => Ok(builder),
    })
}

fn describe(&Metric { name, kind, help, .. }: &Metric) {
    match kind {
        Kind::Counter => describe_counter!(name, help),
        Kind::Gauge => describe_gauge!(name, help),
        Kind::Histogram(_) => describe_histogram!(name, help),
    }
}

#[cfg(test)]
mod tests;
