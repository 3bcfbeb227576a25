//! One line under construction, as JSON or text.

use std::{
    cell::RefCell,
    fmt,
    io::Write as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tracing::Level;

use super::{
    WRITER, format,
    quote::{clip, is_harmful, quote},
};
use crate::config::LogFormat;

/// The most of one value that a line holds, in characters.
const LONGEST_VALUE: usize = 8192;
/// What the buffer of a thread keeps.
const KEPT: usize = 64 * 1024;
/// Of a timestamp: `2026-01-31T23:59:59`.
const TO_THE_SECOND: usize = 19;

thread_local! {
    static DESK: RefCell<Desk> = RefCell::default();
}

/// What a thread writes its lines with, again and again.
#[derive(Default)]
pub(super) struct Desk {
    line: Vec<u8>,
    value: String,
    /// Fields that several lines share.
    shared: Vec<u8>,
    stamp: Stamp,
}

/// The present second in words.
#[derive(Default)]
struct Stamp {
    second: u64,
    text: String,
}

/// The key and value pairs of a line.
pub(super) struct Fields<'d> {
    out: &'d mut Vec<u8>,
    value: &'d mut String,
    format: LogFormat,
}

/// What a line begins with.
pub(super) struct Head<'a> {
    pub(super) level: &'a Level,
    /// Which of the logs it belongs to: `portcullis`, `access` or `audit`.
    pub(super) log: &'static str,
    /// The module that speaks.
    pub(super) target: Option<&'a str>,
    pub(super) message: Option<&'a str>,
}

/// Calls with the desk of this thread; with another one where that one is in use or gone.
pub(super) fn at_desk(act: impl Fn(&mut Desk, LogFormat)) {
    let format = format();
    let done = DESK.try_with(|desk| desk.try_borrow_mut().map(|mut desk| act(&mut desk, format)).is_ok());
    if done != Ok(true) {
        act(&mut Desk::default(), format);
    }
}

impl Desk {
    /// Makes the fields that several lines share.
    pub(super) fn share(&mut self, format: LogFormat, fields: impl FnOnce(&mut Fields<'_>)) {
        self.shared.clear();
        fields(&mut Fields { out: &mut self.shared, value: &mut self.value, format });
    }

    /// A line of a head and fields.
    pub(super) fn line(&mut self, format: LogFormat, head: &Head<'_>, fields: impl FnOnce(&mut Fields<'_>)) -> &[u8] {
        self.begin(format, head, fields);
        self.end(format)
    }

    /// A line with what is shared between its own fields.
    pub(super) fn shared_line(
        &mut self,
        format: LogFormat,
        head: &Head<'_>,
        before: impl FnOnce(&mut Fields<'_>),
        after: impl FnOnce(&mut Fields<'_>),
    ) -> &[u8] {
        self.begin(format, head, before);
        self.line.extend_from_slice(&self.shared);
        after(&mut Fields { out: &mut self.line, value: &mut self.value, format });
        self.end(format)
    }

    fn begin(&mut self, format: LogFormat, head: &Head<'_>, fields: impl FnOnce(&mut Fields<'_>)) {
        for buffer in [&mut self.line, &mut self.shared] {
            buffer.shrink_to(KEPT);
        }
        self.value.shrink_to(KEPT);
        self.line.clear();
        self.stamp.write(&mut self.line, format);
        let mut line = Fields { out: &mut self.line, value: &mut self.value, format };
        line.head(head);
        fields(&mut line);
    }

    fn end(&mut self, format: LogFormat) -> &[u8] {
        self.line.extend_from_slice(if format == LogFormat::Json { b"}\n" } else { b"\n" });
        &self.line
    }
}

/// Hands a line to who writes it.
pub(super) fn push(line: &[u8]) {
    if let Some(writer) = WRITER.get() {
        writer.push(line);
    }
}

impl Stamp {
    fn write(&mut self, out: &mut Vec<u8>, format: LogFormat) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        if self.second != now.as_secs() || self.text.is_empty() {
            self.second = now.as_secs();
            let seconds = i64::try_from(self.second).unwrap_or_default();
            let moment = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
            self.text = moment.format(&Rfc3339).unwrap_or_default();
            self.text.truncate(TO_THE_SECOND);
        }
        let (micros, text) = (now.subsec_micros(), self.text.as_bytes());
        if format == LogFormat::Json {
            out.extend_from_slice(b"{\"timestamp\":\"");
        }
        out.extend_from_slice(text);
        // A leading 1 keeps the zeros behind it.
        let mut digits = itoa::Buffer::new();
        let fraction = digits.format(1_000_000 + micros).as_bytes();
        out.push(b'.');
        out.extend_from_slice(fraction.get(1..).unwrap_or_default());
        out.push(b'Z');
        if format == LogFormat::Json {
            out.push(b'"');
        }
    }
}

impl Fields<'_> {
    fn head(&mut self, head: &Head<'_>) {
        let Head { level, log, target, message } = *head;
        match self.format {
            LogFormat::Json => {
                self.word("level", level.as_str());
                self.word("log", log);
                self.optional("target", target);
                self.optional("message", message);
            }
            LogFormat::Text => {
                let _ = write!(self.out, " {level:>5} {}:", target.unwrap_or(log));
                match message {
                    Some(message) if stands_alone(message) => {
                        self.out.push(b' ');
                        self.out.extend_from_slice(message.as_bytes());
                    }
                    Some(message) => {
                        self.out.push(b' ');
                        self.quote(message);
                    }
                    None => {}
                }
            }
        }
    }

    /// A text of whatever it may be.
    pub(super) fn text(&mut self, key: &'static str, text: &str) {
        self.key(key);
        self.quote(text);
    }

    pub(super) fn optional(&mut self, key: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    /// One of a few words of our own.
    pub(super) fn word(&mut self, key: &'static str, word: &str) {
        self.key(key);
        self.out.push(b'"');
        self.out.extend_from_slice(word.as_bytes());
        self.out.push(b'"');
    }

    pub(super) fn number(&mut self, key: &'static str, number: impl itoa::Integer) {
        self.key(key);
        self.out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    /// What shows itself as a JSON number or `true` or `false`.
    pub(super) fn bare(&mut self, key: &'static str, value: impl fmt::Display) {
        self.key(key);
        let _ = write!(self.out, "{value}");
    }

    /// The text that something shows itself as.
    pub(super) fn shown(&mut self, key: &'static str, value: impl fmt::Display) {
        self.shown_as(key, format_args!("{value}"));
    }

    pub(super) fn shown_as(&mut self, key: &'static str, value: fmt::Arguments<'_>) {
        self.key(key);
        let mut text = std::mem::take(self.value);
        text.clear();
        let _ = fmt::Write::write_fmt(&mut text, value);
        self.quote(&text);
        *self.value = text;
    }

    fn key(&mut self, key: &'static str) {
        match self.format {
            LogFormat::Json => {
                self.out.extend_from_slice(b",\"");
                self.out.extend_from_slice(key.as_bytes());
                self.out.extend_from_slice(b"\":");
            }
            LogFormat::Text => {
                self.out.push(b' ');
                self.out.extend_from_slice(key.as_bytes());
                self.out.push(b'=');
            }
        }
    }

    fn quote(&mut self, text: &str) {
        let (clipped, more) = clip(text, LONGEST_VALUE);
        quote(self.out, clipped);
        if more {
            self.out.pop();
            self.out.extend_from_slice("…\"".as_bytes());
        }
    }
}

/// True where a message needs no quotation marks to be told from the fields behind it.
fn stands_alone(message: &str) -> bool {
    message.chars().all(|character| !matches!(character, '"' | '=' | '\\') && !is_harmful(character))
        && message.len() <= LONGEST_VALUE
}
