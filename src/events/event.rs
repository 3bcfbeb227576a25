//! What is told, in the form of docker-registry's notifications.

use std::{cell::RefCell, net::IpAddr, sync::LazyLock};

use bytes::Bytes;
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::references::Descriptor;
use crate::{
    config::EventAction,
    telemetry::{ids::uuid, log::quote},
};

/// What an envelope has before and behind its events. Nothing else stands there, so that several can be made one.
const OPENING: &[u8] = br#"{"events":["#;
const CLOSING: &[u8] = b"]}";
/// Of an event, mostly: its memory is taken once.
const USUAL: usize = 896;

/// Of this process.
static INSTANCE: LazyLock<String> = LazyLock::new(uuid);

/// Something that happened, as it is told.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    pub action: EventAction,
    pub target: Target<'a>,
    pub request: Request<'a>,
    /// The user's name; None for an anonymous one.
    pub actor: Option<&'a str>,
}

/// What it happened to. What is not known is left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Target<'a> {
    pub media_type: Option<&'a str>,
    pub size: Option<u64>,
    pub digest: Option<&'a str>,
    /// The same as `size`, for those who read what was told of old.
    pub length: Option<u64>,
    pub repository: &'a str,
    pub from_repository: Option<&'a str>,
    pub url: Option<&'a str>,
    pub tag: Option<&'a str>,
    pub references: &'a [Descriptor],
}

/// How it came about.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub id: &'a str,
    pub addr: IpAddr,
    pub host: &'a str,
    pub method: &'a str,
    pub useragent: &'a str,
}

/// An event that has a name and a time of its own: told again, it is the same.
pub(super) struct Stamp {
    pub(super) at: OffsetDateTime,
    id: String,
    timestamp: String,
}

impl Stamp {
    pub(super) fn now() -> Self {
        let at = OffsetDateTime::now_utc();
        Self { at, id: uuid(), timestamp: timestamp(at) }
    }
}

/// As RFC 3339 has it, to the nanosecond.
fn timestamp(at: OffsetDateTime) -> String {
    const TO_THE_SECOND: usize = 19;
    thread_local!(static SECOND: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) });
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != at.unix_timestamp() {
            *second = at.unix_timestamp();
            *text = at.format(&Rfc3339).unwrap_or_default();
            text.truncate(TO_THE_SECOND);
        }
        // A leading 1 keeps the zeros behind it.
        let mut digits = itoa::Buffer::new();
        let fraction = digits.format(1_000_000_000 + at.nanosecond()).get(1..).unwrap_or_default();
        [text.as_str(), ".", fraction, "Z"].concat()
    })
}

impl Event<'_> {
    /// The event in an envelope of its own. `source` is the address of who tells.
    pub(super) fn body(&self, stamp: &Stamp, source: &str, with_references: bool) -> Bytes {
        let Request { id, addr, host, method, useragent } = self.request;
        let mut body = Vec::with_capacity(USUAL);
        body.extend_from_slice(OPENING);
        let mut object = Object::begin(&mut body);
        object.text("id", &stamp.id);
        object.text("timestamp", &stamp.timestamp);
        object.text("action", self.action.as_str());
        object.object("target", |object| self.target.write(object, with_references));
        object.object("request", |object| {
            object.text("id", id);
            object.text("addr", &addr.to_string());
            object.text("host", host);
            object.text("method", method);
            object.text("useragent", useragent);
        });
        object.object("actor", |object| object.optional("name", self.actor));
        object.object("source", |object| {
            object.text("addr", source);
            object.text("instanceID", &INSTANCE);
        });
        object.end();
        body.extend_from_slice(CLOSING);
        body.into()
    }
}

impl Target<'_> {
    fn write(&self, object: &mut Object<'_>, with_references: bool) {
        object.optional("mediaType", self.media_type);
        object.number("size", self.size);
        object.optional("digest", self.digest);
        object.number("length", self.length);
        object.text("repository", self.repository);
        object.optional("fromRepository", self.from_repository);
        object.optional("url", self.url);
        object.optional("tag", self.tag);
        if with_references && !self.references.is_empty() {
            object.json("references", self.references);
        }
    }
}

/// A JSON object on its way: events are told as often as something is pulled, and all of it is text that we have.
struct Object<'o> {
    out: &'o mut Vec<u8>,
    is_empty: bool,
}

impl<'o> Object<'o> {
    fn begin(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, is_empty: true }
    }

    fn end(self) {
        self.out.push(b'}');
    }

    /// Keys are plain words.
    fn key(&mut self, key: &'static str) {
        self.out.extend_from_slice(if std::mem::take(&mut self.is_empty) { b"\"" } else { b",\"" });
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn text(&mut self, key: &'static str, text: &str) {
        self.key(key);
        quote(self.out, text);
    }

    fn optional(&mut self, key: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    fn number(&mut self, key: &'static str, number: Option<u64>) {
        if let Some(number) = number {
            self.key(key);
            self.out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        }
    }

    fn object(&mut self, key: &'static str, fill: impl FnOnce(&mut Object<'_>)) {
        self.key(key);
        let mut object = Object::begin(self.out);
        fill(&mut object);
        object.end();
    }

    fn json(&mut self, key: &'static str, value: &(impl Serialize + ?Sized)) {
        self.key(key);
        // Strings and numbers alone: nothing of it can fail.
        let _ = serde_json::to_writer(&mut *self.out, value);
    }
}

/// The event in an envelope of ours; None for anything else.
pub(super) fn content(envelope: &[u8]) -> Option<&[u8]> {
    envelope.strip_prefix(OPENING)?.strip_suffix(CLOSING)
}

/// One envelope with all that is in these: one alone may be anything, several are envelopes of ours.
pub(super) fn together(envelopes: &[Bytes]) -> Bytes {
    if let [alone] = envelopes {
        return alone.clone();
    }
    let length: usize = envelopes.iter().map(Bytes::len).sum();
    let mut all = Vec::with_capacity(length);
    all.extend_from_slice(OPENING);
    for (place, event) in envelopes.iter().filter_map(|envelope| content(envelope)).enumerate() {
        if place > 0 {
            all.push(b',');
        }
        all.extend_from_slice(event);
    }
    all.extend_from_slice(CLOSING);
    all.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_left_out_and_nothing_breaks_out_of_a_field() {
        let request = Request {
            id: "r1",
            addr: IpAddr::from([192, 0, 2, 1]),
            host: "r.example.com",
            method: "DELETE",
            useragent: "a\"b\n\u{7}",
        };
        let target = Target { repository: "a/b", tag: Some("v1"), ..Target::default() };
        let event = Event { action: EventAction::Delete, target, request, actor: None };
        let stamp = Stamp::now();
        let body: serde_json::Value = serde_json::from_slice(&event.body(&stamp, "gate:443", true)).unwrap();
        let told = &body["events"][0];
        assert_eq!(told["target"], serde_json::json!({ "repository": "a/b", "tag": "v1" }));
        assert_eq!(told["actor"], serde_json::json!({}));
        assert_eq!(told["request"]["useragent"], "a\"b\n\u{7}");
        assert_eq!(told["source"]["addr"], "gate:443");
        assert_eq!(told["id"].as_str().unwrap(), stamp.id);
        assert!(told["timestamp"].as_str().unwrap().ends_with('Z'), "{told}");
        assert_eq!(body, serde_json::from_slice::<serde_json::Value>(&event.body(&stamp, "gate:443", false)).unwrap());
    }

    #[test]
    fn a_time_is_said_to_the_nanosecond() {
        for (nanoseconds, text) in [
            (1_700_000_000_000_000_000, "2023-11-14T22:13:20.000000000Z"),
            (1_700_000_000_012_345_678, "2023-11-14T22:13:20.012345678Z"),
            (1_700_000_001_999_999_999, "2023-11-14T22:13:21.999999999Z"),
        ] {
            let at = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).unwrap();
            assert_eq!(timestamp(at), text);
            assert_eq!(OffsetDateTime::parse(text, &Rfc3339).unwrap(), at);
        }
    }

    #[test]
    fn all_that_is_known_is_told() {
        let references: [Descriptor; 1] = serde_json::from_str(r#"[{"digest":"sha256:1","urls":["a"]}]"#).unwrap();
        let target = Target {
            media_type: Some("a/b"),
            size: Some(u64::MAX),
            digest: Some("sha256:0"),
            length: Some(7),
            repository: "a/b",
            from_repository: Some("c/d"),
            url: Some("https://r/v2/a/b/manifests/sha256:0"),
            tag: Some("v1"),
            references: &references,
        };
        let request = Request { id: "r1", addr: IpAddr::from([1; 16]), host: "r:1", method: "PUT", useragent: "a" };
        let event = Event { action: EventAction::Push, target, request, actor: Some("\u{e4}\u{202e}\"") };
        let body: serde_json::Value = serde_json::from_slice(&event.body(&Stamp::now(), "gate", true)).unwrap();
        let mut told = body["events"][0].clone();
        for key in ["id", "timestamp", "source"] {
            told[key] = serde_json::Value::Null;
        }
        let expected = serde_json::json!({
            "id": null, "timestamp": null, "action": "push",
            "target": {
                "mediaType": "a/b", "size": u64::MAX, "digest": "sha256:0", "length": 7, "repository": "a/b",
                "fromRepository": "c/d", "url": "https://r/v2/a/b/manifests/sha256:0", "tag": "v1",
                "references": references,
            },
            "request": { "id": "r1", "addr": "101:101:101:101:101:101:101:101", "host": "r:1", "method": "PUT", "useragent": "a" },
            "actor": { "name": "\u{e4}\u{202e}\"" },
            "source": null,
        });
        assert_eq!(told, expected);
    }

    #[test]
    fn several_envelopes_become_one_with_all_that_is_in_them() {
        let request =
            Request { id: "r1", addr: IpAddr::from([1; 16]), host: "r", method: "GET", useragent: "]}{\"events\":[" };
        let of = |tag| {
            let target = Target { repository: "a/b", tag: Some(tag), ..Target::default() };
            let event = Event { action: EventAction::Pull, target, request, actor: Some("a") };
            event.body(&Stamp::now(), "gate:443", false)
        };
        let bodies = ["v1", "v2", "v3"].map(of);
        let told = |body: &Bytes| serde_json::from_slice::<serde_json::Value>(body).unwrap()["events"].clone();
        let all = told(&together(&bodies));
        assert_eq!(all.as_array().unwrap().len(), 3);
        assert!((0..3).all(|place| all[place] == told(&bodies[place])[0]), "{all}");
        assert_eq!(together(&bodies[..1]), bodies[0]);
        let other = Bytes::from_static(b"anything");
        assert_eq!((together(std::slice::from_ref(&other)), content(b"anything")), (other.clone(), None));
    }
}
