//! Logs on standard error, as JSON or text, a line for each event: what portcullis itself has to say (`portcullis`), a line
//! for each request (`access`), and one for each decision about somebody (`audit`).
//!
//! Whatever stands in a value, a line is one line: what could end it, end its quotation, or change how a terminal shows it
//! is escaped. Nobody who logs waits for who reads: a thread of its own writes, and what finds no room is counted.

mod line;
mod own;
mod quote;
mod request;
mod sparing;
mod writer;

pub use quote::quote;
pub use request::{Decision, RequestLine, request};
pub use sparing::{Spared, Sparing};

use std::{
    io,
    panic::{self, PanicHookInfo},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    Layer as _, Registry, filter::Targets, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _,
};

use self::{own::Own, writer::Writer};
use crate::config::{Log, LogFormat};

/// How long the end of the process waits for who reads the log.
const LAST_WORDS: Duration = Duration::from_secs(2);

static WRITER: OnceLock<Writer> = OnceLock::new();
static JSON: AtomicBool = AtomicBool::new(true);
static ACCESS: AtomicBool = AtomicBool::new(false);
static AUDIT: AtomicBool = AtomicBool::new(false);

/// Changes what is logged, and how, while the process runs.
pub struct Control {
    own: Box<dyn Fn(Targets) + Send + Sync>,
}

impl Control {
    /// From the next line on.
    pub fn set(&self, log: &Log) {
        JSON.store(log.format == LogFormat::Json, Ordering::Relaxed);
        ACCESS.store(log.access, Ordering::Relaxed);
        AUDIT.store(log.audit, Ordering::Relaxed);
        (self.own)(targets(log));
    }
}

/// Begins to log for this process; a second call changes nothing but the measure.
///
/// # Errors
/// The system has no thread or no file for it.
pub fn install(log: &Log) -> io::Result<Control> {
    let writer = Writer::of_standard_error()?;
    let (own, handle) = reload::Layer::<Targets, Registry>::new(targets(log));
    if WRITER.set(writer).is_ok() {
        let _ = tracing_subscriber::registry().with(Own.with_filter(own)).try_init();
        panic::set_hook(Box::new(panicked));
    }
    // It cannot fail as long as the process lives.
    let control = Control { own: Box::new(move |targets| drop(handle.reload(targets))) };
    control.set(log);
    Ok(control)
}

/// Returns once all is written that was logged so far, or nobody has read for two seconds.
pub fn flush() {
    if let Some(writer) = WRITER.get() {
        writer.flush(LAST_WORDS);
    }
}

/// A panic is a bug, and its line like any other.
fn panicked(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let place = info.location().map(ToString::to_string);
    let what = info.payload_as_str();
    tracing::error!(target: "portcullis", what, place, thread = thread.name(), "a bug: please report it");
    flush();
}

/// What portcullis itself says, and its libraries.
fn targets(log: &Log) -> Targets {
    let level: LevelFilter = log.level.parse().unwrap_or(LevelFilter::INFO);
    // The HTTP engine reports every client that breaks off as an error, and every frame for debugging, and the TLS library
    // warns of what a client provokes: those lines drown what portcullis itself has to say.
    let engine = if level >= LevelFilter::TRACE { level } else { LevelFilter::OFF };
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("portcullis", level)
        .with_target("pingora_core", engine)
        .with_target("h2", engine)
        // Whole handshakes are nobody's business.
        .with_target("rustls", engine.min(LevelFilter::WARN))
}

fn format() -> LogFormat {
    if JSON.load(Ordering::Relaxed) { LogFormat::Json } else { LogFormat::Text }
}
