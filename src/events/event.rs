//! What is told, in the form of docker-registry's notifications.

use std::{net::IpAddr, sync::LazyLock};

use bytes::Bytes;
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::references::Descriptor;
use crate::{config::EventAction, telemetry::ids::uuid};

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
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Target<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<&'a str>,
    /// The same as `size`, for those who read what was told of old.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    pub repository: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_repository: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub references: &'a [Descriptor],
}

/// How it came about.
#[derive(Clone, Debug, Serialize)]
pub struct Request<'a> {
    pub id: &'a str,
    pub addr: IpAddr,
    pub host: &'a str,
    pub method: &'a str,
    pub useragent: &'a str,
}

#[derive(Serialize)]
struct Told<'a> {
    id: &'a str,
    timestamp: &'a str,
    action: &'static str,
    target: &'a Target<'a>,
    request: &'a Request<'a>,
    actor: Actor<'a>,
    source: Source<'a>,
}

#[derive(Serialize)]
struct Actor<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

/// Who tells.
#[derive(Serialize)]
struct Source<'a> {
    addr: &'a str,
    #[serde(rename = "instanceID")]
    instance_id: &'a str,
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
        Self { at, id: uuid(), timestamp: at.format(&Rfc3339).unwrap_or_default() }
    }
}

impl Event<'_> {
    /// The event in an envelope of its own. `source` is the address of who tells.
    pub(super) fn body(&self, stamp: &Stamp, source: &str, with_references: bool) -> Bytes {
        let bare = Target { references: &[], ..self.target };
        let told = Told {
            id: &stamp.id,
            timestamp: &stamp.timestamp,
            action: self.action.as_str(),
            target: if with_references { &self.target } else { &bare },
            request: &self.request,
            actor: Actor { name: self.actor },
            source: Source { addr: source, instance_id: &INSTANCE },
        };
        let mut body = Vec::with_capacity(USUAL);
        body.extend_from_slice(OPENING);
        // Strings and numbers alone: nothing of it can fail.
        let _ = serde_json::to_writer(&mut body, &told);
        body.extend_from_slice(CLOSING);
        body.into()
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
    fn several_envelopes_become_one_with_all_that_is_in_them() {
        let request =
            Request { id: "r1", addr: IpAddr::from([1; 16]), host: "r", method: "GET", useragent: "]}{\"events\":[" };
        let of = |tag| {
            let target = Target { repository: "a/b", tag: Some(tag), ..Target::default() };
            let event = Event { action: EventAction::Pull, target, request: request.clone(), actor: Some("a") };
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
