//! What is told, in the form of docker-registry's notifications.

use std::sync::LazyLock;

use bytes::Bytes;
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::references::Descriptor;
use crate::{config::EventAction, telemetry::ids::uuid};

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
#[derive(Clone, Debug, Default, Serialize)]
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
    pub url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub references: &'a [Descriptor],
}

/// How it came about.
#[derive(Clone, Debug, Serialize)]
pub struct Request<'a> {
    pub id: &'a str,
    pub addr: String,
    pub host: String,
    pub method: &'a str,
    pub useragent: &'a str,
}

#[derive(Serialize)]
struct Envelope<'a> {
    events: [Told<'a>; 1],
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
    /// The body that is posted. `source` is the address of who tells.
    pub(super) fn body(&self, stamp: &Stamp, source: &str, with_references: bool) -> Bytes {
        let bare = Target { references: &[], ..self.target.clone() };
        let told = Told {
            id: &stamp.id,
            timestamp: &stamp.timestamp,
            action: self.action.as_str(),
            target: if with_references { &self.target } else { &bare },
            request: &self.request,
            actor: Actor { name: self.actor },
            source: Source { addr: source, instance_id: &INSTANCE },
        };
        // Strings and numbers alone: nothing of it can fail.
        serde_json::to_vec(&Envelope { events: [told] }).unwrap_or_default().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_left_out_and_nothing_breaks_out_of_a_field() {
        let request = Request {
            id: "r1",
            addr: "192.0.2.1".to_owned(),
            host: "r.example.com".to_owned(),
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
}
