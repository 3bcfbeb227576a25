//! Logs on standard error, as JSON or text; one access line a request.

use std::{net::IpAddr, time::Duration};

use tracing::{info, level_filters::LevelFilter};
use tracing_subscriber::{Layer, Registry, filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{Log, LogFormat};

/// Installs the subscriber of this process; a second call changes nothing.
pub fn install(log: &Log) {
    let level: LevelFilter = log.level.parse().unwrap_or(LevelFilter::INFO);
    let access = if log.access { LevelFilter::INFO } else { LevelFilter::OFF };
    // The HTTP engine reports every client that breaks off as an error, and every frame for debugging: those lines
    // drown what portcullis itself has to say.
    let engine = if level >= LevelFilter::TRACE { level } else { LevelFilter::OFF };
    let filter = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("portcullis", level)
        .with_target("access", access)
        .with_target("pingora_core", engine)
        .with_target("h2", engine);
    let _ = tracing_subscriber::registry().with(writer(log.format).with_filter(filter)).try_init();
}

fn writer(format: LogFormat) -> Box<dyn Layer<Registry> + Send + Sync> {
    match format {
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed(),
        LogFormat::Text => fmt::layer().with_writer(std::io::stderr).with_ansi(false).boxed(),
    }
}

/// What is said of a request once it is over.
#[derive(Debug, Default)]
pub struct AccessLine<'a> {
    pub request_id: &'a str,
    pub client: Option<IpAddr>,
    pub user: Option<&'a str>,
    /// The id of the refresh or deploy token that the user came by, or that was issued.
    pub token: Option<&'a str>,
    /// The first host of the registry that was asked.
    pub registry: &'a str,
    pub method: &'a str,
    /// The kind of route, a fixed word.
    pub route: &'static str,
    pub repository: Option<&'a str>,
    pub reference: Option<&'a str>,
    /// The repository that a blob is mounted from.
    pub from: Option<&'a str>,
    /// The host that was dialled, where it is none of ours.
    pub host: Option<&'a str>,
    /// The scopes that a token was asked for.
    pub asked: Option<&'a str>,
    /// The scopes that it got.
    pub granted: Option<&'a str>,
    pub action: Option<&'static str>,
    /// The grant that decided.
    pub grant: Option<&'a str>,
    pub status: u16,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub duration: Duration,
    /// The server that answered.
    pub upstream: Option<&'a str>,
    /// How often another server went on with the body.
    pub resumed: Option<u32>,
    pub user_agent: Option<&'a str>,
    pub protocol: &'static str,
    /// Why it ended early, a fixed word: `client_gone`, `upstream_broken`…
    pub aborted: Option<&'static str>,
    /// Why it was refused, a fixed word: `login_needed`, `wrong_credentials`, `denied`…
    pub refused: Option<&'static str>,
    /// The name that a login claimed which did not succeed.
    pub claimed: Option<&'a str>,
}

/// Writes the access line. Query strings, headers and bodies are no part of it, so no secret can be.
pub fn access(line: &AccessLine<'_>) {
    info!(
        target: "access",
        request_id = line.request_id,
        client = line.client.map(tracing::field::display),
        user = line.user,
        token = line.token,
        registry = line.registry,
        method = line.method,
        route = line.route,
        repository = line.repository,
        reference = line.reference,
        from = line.from,
        host = line.host,
        asked = line.asked,
        granted = line.granted,
        action = line.action,
        grant = line.grant,
        status = line.status,
        bytes_in = line.bytes_in,
        bytes_out = line.bytes_out,
        duration_ms = u64::try_from(line.duration.as_millis()).unwrap_or(u64::MAX),
        upstream = line.upstream,
        resumed = line.resumed,
        user_agent = line.user_agent,
        protocol = line.protocol,
        aborted = line.aborted,
        refused = line.refused,
        claimed = line.claimed,
        "request"
    );
}
