//! One line under construction, as JSON or text.

use std::{
    cell::RefCell,
    fmt,
    io::Write as _,
    net::IpAddr,
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

/// A moment in words.
#[derive(Default)]
struct Stamp {
    /// The one that the words begin with.
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
    /// The module that speaks.
    pub(super) target: &'a str,
    pub(super) message: Option<&'a str>,
}

/// What a line of another log than `portcullis` begins with, in each format.
pub(super) struct Kind {
    pub(super) json: &'static str,
    pub(super) text: &'static str,
}

/// The key of a field.
pub(super) trait Key {
    /// With what stands before the value.
    fn write(self, out: &mut Vec<u8>, format: LogFormat);
}

/// A key with what stands around it, made beforehand by `key!`.
#[derive(Clone, Copy)]
pub(super) struct Ready {
    pub(super) json: &'static str,
    pub(super) text: &'static str,
}

macro_rules! key {
    ($name:literal) => {
        $crate::telemetry::log::line::Ready { json: concat!(",\"", $name, "\":"), text: concat!(" ", $name, "=") }
    };
}
pub(super) use key;

impl Key for Ready {
    fn write(self, out: &mut Vec<u8>, format: LogFormat) {
        let key = if format == LogFormat::Json { self.json } else { self.text };
        out.extend_from_slice(key.as_bytes());
    }
}

impl Key for &'static str {
    fn write(self, out: &mut Vec<u8>, format: LogFormat) {
        let (before, behind): (&[u8], &[u8]) = if format == LogFormat::Json { (b",\"", b"\":") } else { (b" ", b"=") };
        out.extend_from_slice(before);
        out.extend_from_slice(self.as_bytes());
        out.extend_from_slice(behind);
    }
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
    /// A line of portcullis' own.
    pub(super) fn line(&mut self, format: LogFormat, head: &Head<'_>, fields: impl FnOnce(&mut Fields<'_>)) -> &[u8] {
        self.clear();
        self.stamp.renew();
        self.stamp.write(&mut self.line, format);
        let mut line = Fields { out: &mut self.line, value: &mut self.value, format };
        line.head(head);
        fields(&mut line);
        end(&mut self.line, format);
        &self.line
    }

    /// The lines that follow are of this moment, and have these fields in common.
    pub(super) fn share(&mut self, format: LogFormat, fields: impl FnOnce(&mut Fields<'_>)) {
        self.clear();
        self.stamp.renew();
        fields(&mut Fields { out: &mut self.shared, value: &mut self.value, format });
    }

    /// One more line, with what is shared between its own fields.
    pub(super) fn shared_line(
        &mut self,
        format: LogFormat,
        kind: &Kind,
        before: impl FnOnce(&mut Fields<'_>),
        after: impl FnOnce(&mut Fields<'_>),
    ) {
        self.stamp.write(&mut self.line, format);
        let kind = if format == LogFormat::Json { kind.json } else { kind.text };
        self.line.extend_from_slice(kind.as_bytes());
        before(&mut Fields { out: &mut self.line, value: &mut self.value, format });
        self.line.extend_from_slice(&self.shared);
        after(&mut Fields { out: &mut self.line, value: &mut self.value, format });
        end(&mut self.line, format);
    }

    /// All lines since they began to share.
    pub(super) fn lines(&self) -> &[u8] {
        &self.line
    }

    fn clear(&mut self) {
        for buffer in [&mut self.line, &mut self.shared] {
            buffer.clear();
            buffer.shrink_to(KEPT);
        }
        self.value.clear();
        self.value.shrink_to(KEPT);
    }
}

fn end(line: &mut Vec<u8>, format: LogFormat) {
    line.extend_from_slice(if format == LogFormat::Json { b"}\n" } else { b"\n" });
}

/// Hands whole lines to who writes them.
pub(super) fn push(lines: &[u8], count: u64) {
    if let Some(writer) = WRITER.get() {
        writer.push(lines, count);
    }
}

impl Stamp {
    /// The present moment.
    fn renew(&mut self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        if self.second != now.as_secs() || self.text.is_empty() {
            self.second = now.as_secs();
            let seconds = i64::try_from(self.second).unwrap_or_default();
            let moment = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
            self.text = moment.format(&Rfc3339).unwrap_or_default();
            self.text.truncate(TO_THE_SECOND);
        }
        // A leading 1 keeps the zeros behind it.
        let mut digits = itoa::Buffer::new();
        let fraction = digits.format(1_000_000 + now.subsec_micros());
        self.text.truncate(TO_THE_SECOND);
        self.text.push('.');
        self.text.push_str(fraction.get(1..).unwrap_or_default());
        self.text.push('Z');
    }

    fn write(&self, out: &mut Vec<u8>, format: LogFormat) {
        if format == LogFormat::Json {
            out.extend_from_slice(b"{\"timestamp\":\"");
        }
        out.extend_from_slice(self.text.as_bytes());
        if format == LogFormat::Json {
            out.push(b'"');
        }
    }
}

impl Fields<'_> {
    fn head(&mut self, head: &Head<'_>) {
        let Head { level, target, message } = *head;
        match self.format {
            LogFormat::Json => {
                self.word("level", level.as_str());
                self.word("log", "portcullis");
                self.text("target", target);
                self.optional("message", message);
            }
            LogFormat::Text => {
                let _ = write!(self.out, " {level:>5} {target}:");
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
    pub(super) fn text(&mut self, key: impl Key, text: &str) {
        key.write(self.out, self.format);
        self.quote(text);
    }

    pub(super) fn optional(&mut self, key: impl Key, text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    /// One of a few words of our own.
    pub(super) fn word(&mut self, key: impl Key, word: &str) {
        key.write(self.out, self.format);
        self.out.push(b'"');
        self.out.extend_from_slice(word.as_bytes());
        self.out.push(b'"');
    }

    pub(super) fn optional_word(&mut self, key: impl Key, word: Option<&'static str>) {
        if let Some(word) = word {
            self.word(key, word);
        }
    }

    pub(super) fn number(&mut self, key: impl Key, number: impl itoa::Integer) {
        key.write(self.out, self.format);
        self.out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    pub(super) fn address(&mut self, key: impl Key, address: IpAddr) {
        key.write(self.out, self.format);
        self.out.push(b'"');
        match address {
            IpAddr::V4(address) => {
                for (place, octet) in address.octets().into_iter().enumerate() {
                    if place > 0 {
                        self.out.push(b'.');
                    }
                    self.out.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
                }
            }
            // Digits, letters, colons and dots.
            IpAddr::V6(address) => drop(write!(self.out, "{address}")),
        }
        self.out.push(b'"');
    }

    /// What shows itself as a JSON number or `true` or `false`.
    pub(super) fn bare(&mut self, key: impl Key, value: impl fmt::Display) {
        key.write(self.out, self.format);
        let _ = write!(self.out, "{value}");
    }

    /// The text that something shows itself as.
    pub(super) fn shown(&mut self, key: impl Key, value: impl fmt::Display) {
        self.shown_as(key, format_args!("{value}"));
    }

    pub(super) fn shown_as(&mut self, key: impl Key, value: fmt::Arguments<'_>) {
        key.write(self.out, self.format);
        let mut text = std::mem::take(self.value);
        text.clear();
        let _ = fmt::Write::write_fmt(&mut text, value);
        self.quote(&text);
        *self.value = text;
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
