//! Logs on standard error, as JSON or text; one access line a request.

use std::{net::IpAddr, time::Duration};

use tracing::{info, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer as _, Registry,
    filter::Targets,
    fmt,
    layer::{Layered, SubscriberExt as _},
    reload,
    util::SubscriberInitExt as _,
};

use crate::config::{Log, LogFormat};

/// Changes what is logged, and how, while the process runs.
pub struct Control {
    json: Box<dyn Fn(Targets) + Send + Sync>,
    text: Box<dyn Fn(Targets) + Send + Sync>,
}

impl Control {
    /// From the next line on.
    pub fn set(&self, log: &Log) {
        let [json, text] = filters(log);
        // What is logged meanwhile is written twice rather than not at all.
        match log.format {
            LogFormat::Json => {
                (self.json)(json);
                (self.text)(text);
            }
            LogFormat::Text => {
                (self.text)(text);
                (self.json)(json);
            }
        }
    }
}

/// Installs the subscriber of this process; a second call changes nothing.
pub fn install(log: &Log) -> Control {
    let [json, text] = filters(log);
    let (json, json_handle) = reload::Layer::<Targets, Registry>::new(json);
    let (text, text_handle) = reload::Layer::<Targets, Layered<_, Registry>>::new(text);
    let json = fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).with_filter(json);
    let text = fmt::layer().with_writer(std::io::stderr).with_ansi(false).with_filter(text);
    let _ = tracing_subscriber::registry().with(json).with(text).try_init();
    // Neither can fail as long as the process lives.
    Control {
        json: Box::new(move |targets| drop(json_handle.reload(targets))),
        text: Box::new(move |targets| drop(text_handle.reload(targets))),
    }
}

/// What is written as JSON and what as text: one of them is everything, the other nothing.
fn filters(log: &Log) -> [Targets; 2] {
    let level: LevelFilter = log.level.parse().unwrap_or(LevelFilter::INFO);
    let access = if log.access { LevelFilter::INFO } else { LevelFilter::OFF };
    // The HTTP engine reports every client that breaks off as an error, and every frame for debugging, and the TLS library
    // warns of what a client provokes: those lines drown what portcullis itself has to say.
    let engine = if level >= LevelFilter::TRACE { level } else { LevelFilter::OFF };
    let targets = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("portcullis", level)
        .with_target("access", access)
        .with_target("pingora_core", engine)
        .with_target("h2", engine)
        // Whole handshakes are nobody's business.
        .with_target("rustls", engine.min(LevelFilter::WARN));
    let nothing = Targets::new().with_default(LevelFilter::OFF);
    match log.format {
        LogFormat::Json => [targets, nothing],
        LogFormat::Text => [nothing, targets],
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
