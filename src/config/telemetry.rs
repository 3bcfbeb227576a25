//! `log`, `reload`, `shutdown`.

use std::time::Duration;

use super::reader::Section;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Json,
    Text,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub format: LogFormat,
    /// One of `error`, `warn`, `info`, `debug`, `trace`.
    pub level: String,
    /// A line for each request.
    pub access: bool,
    /// A line for each decision about somebody.
    pub audit: bool,
}

/// How files that are named in the configuration are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reload {
    pub watch: bool,
    pub interval: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// How long connections are still accepted after a stop was asked for, so that load balancers hear of it first.
    pub delay: Duration,
    /// How long transfers under way may go on; zero: not at all.
    pub drain: Duration,
}

impl Log {
    pub(super) fn read(section: Section<'_>) -> Self {
        const LEVELS: [(&str, &str); 5] =
            [("error", "error"), ("warn", "warn"), ("info", "info"), ("debug", "debug"), ("trace", "trace")];
        let format = section.word("format", &[("json", LogFormat::Json), ("text", LogFormat::Text)], LogFormat::Json);
        let level = section.word("level", &LEVELS, "info").to_owned();
        let access = section.flag("access", true);
        let audit = section.flag("audit", true);
        section.finish();
        Self { format, level, access, audit }
    }
}

impl Reload {
    pub(super) fn read(section: Section<'_>) -> Self {
        let watch = section.flag("watch", true);
        let interval = section.duration("interval", Duration::from_millis(100), Duration::from_secs(2));
        section.finish();
        Self { watch, interval }
    }
}

impl Shutdown {
    pub(super) fn read(section: Section<'_>) -> Self {
        let delay = section.duration("delay", Duration::ZERO, Duration::ZERO);
        let drain = section.duration("drain", Duration::ZERO, Duration::from_secs(30));
        section.finish();
        Self { delay, drain }
    }
}
