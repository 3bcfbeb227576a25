//! What endpoints are told of a request, once it is known to have come about.

use base64::{
    Engine as _,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{HeaderMap, HeaderName, StatusCode, header, response::Parts};
use serde::Deserialize;

use super::{Case, record::Record};
use crate::{
    access::Permit,
    config::EventAction,
    events::{Audience, Descriptor, Event, Request, Target},
    registry::{BlobVerb, Digest, ManifestVerb, Reference, RepositoryName, Route, UploadState, UploadVerb},
};

/// docker-registry calls every blob so.
const BLOB: &str = "application/octet-stream";

/// A request that somebody wants to be told of.
pub(super) struct Notice<'a> {
    case: Case<'a>,
    permit: &'a Permit,
    action: EventAction,
    repository: &'a RepositoryName,
    audience: Audience,
    /// Of a pull, until the client has all of it.
    found: Option<Found>,
}

/// What is known of the target by the answer's head. Nothing is guessed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    media_type: Option<String>,
    size: Option<u64>,
    digest: Option<String>,
}

impl<'a> Notice<'a> {
    /// None where nobody wants to be told; otherwise a manifest that passes is kept in the record where that is wanted.
    pub(super) fn of(case: Case<'a>, permit: &'a Permit, record: &mut Record) -> Option<Self> {
        let (action, repository) = subject(permit.route())?;
        let audience = case.runtime.events.audience(action, &case.registry.hosts, repository)?;
        if let Route::Manifest { .. } = permit.route() {
            let limit = case.runtime.limits.manifest;
            record.passing = match action {
                EventAction::Push => audience.copy(case.head.content_length.unwrap_or(limit).min(limit)),
                EventAction::Pull => audience.copy(limit),
                EventAction::Mount | EventAction::Delete => None,
            };
        }
        Some(Self { case, permit, action, repository, audience, found: None })
    }

    /// The registry has answered. What it changed has come about, whatever becomes of its answer on the way to the client.
    pub(super) fn answered(&mut self, client: &HeaderMap, answer: &Parts, record: &Record) {
        let found = match self.permit.route() {
            Route::Manifest { reference, verb, .. } => manifest(verb, reference, client, answer, record.bytes_in),
            Route::Blob { digest, verb, .. } => blob(*verb, digest.as_str(), answer),
            Route::Upload { verb, .. } => upload(verb, answer, record.bytes_in),
            Route::Landing(_)
            | Route::Base(_)
            | Route::Token(_)
            | Route::Catalog { .. }
            | Route::TagList { .. }
            | Route::Referrers { .. }
            | Route::Notary { .. }
            | Route::Ui { .. }
            | Route::Preflight { .. } => None,
        };
        match self.action {
            EventAction::Pull => self.found = found,
            EventAction::Push | EventAction::Mount | EventAction::Delete => {
                found.iter().for_each(|found| self.tell(found, record));
            }
        }
    }

    /// The client has all of the answer.
    pub(super) fn delivered(self, record: &Record) {
        if let Some(found) = &self.found {
            self.tell(found, record);
        }
    }

    fn tell(&self, found: &Found, record: &Record) {
        let Case { runtime, registry, head, .. } = self.case;
        let references: Vec<Descriptor> = record.passing.iter().flat_map(|passing| passing.references()).collect();
        let route = self.permit.route();
        let kind = if matches!(route, Route::Manifest { .. }) { "manifests" } else { "blobs" };
        let tag =
            if let Route::Manifest { reference: Reference::Tag(tag), .. } = route { Some(tag.as_str()) } else { None };
        let from = route.mount().map(|(_, from)| from.as_str());
        let repository = self.repository.as_str();
        let digest = found.digest.as_deref();
        let url = digest
            .filter(|_| self.action != EventAction::Delete)
            .map(|digest| format!("{}/v2/{repository}/{kind}/{digest}", runtime.origin(&head.host, registry)));
        let target = Target {
            media_type: found.media_type.as_deref(),
            size: found.size,
            digest,
            length: found.size,
            repository,
            from_repository: from,
            url: url.as_deref(),
            tag,
            references: &references,
        };
        let agent = head.user_agent.as_ref().map(|agent| String::from_utf8_lossy(agent.as_bytes())).unwrap_or_default();
        let host = head.host.to_string();
        let request = Request {
            id: head.id.as_str(),
            addr: head.client,
            host: &host,
            method: head.method.as_str(),
            useragent: &agent,
        };
        self.audience.tell(&Event { action: self.action, target, request, actor: self.permit.caller() });
    }
}

/// True for what leaves something behind where it succeeds: something pushed, mounted or deleted.
pub(super) fn is_lasting(route: &Route) -> bool {
    subject(route).is_some_and(|(action, _)| action != EventAction::Pull)
}

/// What a route would do where it succeeds, and to which repository; None for what nobody is told of.
fn subject(route: &Route) -> Option<(EventAction, &RepositoryName)> {
    match route {
        Route::Manifest { repository, verb, .. } => {
            let action = match verb {
                ManifestVerb::Get => EventAction::Pull,
                ManifestVerb::Put { .. } => EventAction::Push,
                ManifestVerb::Delete => EventAction::Delete,
                ManifestVerb::Head => return None,
            };
            Some((action, repository))
        }
        Route::Blob { repository, verb, .. } => {
            let action = match verb {
                BlobVerb::Get => EventAction::Pull,
                BlobVerb::Delete => EventAction::Delete,
                BlobVerb::Head => return None,
            };
            Some((action, repository))
        }
        Route::Upload { repository, verb } => {
            let action = match verb {
                UploadVerb::Monolithic { .. } | UploadVerb::Finish { .. } => EventAction::Push,
                UploadVerb::Mount { .. } => EventAction::Mount,
                UploadVerb::Start
                | UploadVerb::Status { .. }
                | UploadVerb::Chunk { .. }
                | UploadVerb::Cancel { .. } => return None,
            };
            Some((action, repository))
        }
        Route::Landing(_)
        | Route::Base(_)
        | Route::Token(_)
        | Route::Catalog { .. }
        | Route::TagList { .. }
        | Route::Referrers { .. }
        | Route::Notary { .. }
        | Route::Ui { .. }
        | Route::Preflight { .. } => None,
    }
}

fn manifest(
    verb: &ManifestVerb,
    reference: &Reference,
    client: &HeaderMap,
    answer: &Parts,
    received: u64,
) -> Option<Found> {
    let named = match reference {
        Reference::Digest(digest) => Some(digest.as_str()),
        Reference::Tag(_) => None,
    };
    let digest = text(&answer.headers, &Digest::HEADER).or(named).map(str::to_owned);
    match verb {
        ManifestVerb::Get if answer.status == StatusCode::OK => {
            Some(Found { media_type: media_type(&answer.headers), size: length(&answer.headers), digest })
        }
        ManifestVerb::Put { .. } if answer.status == StatusCode::CREATED => {
            Some(Found { media_type: media_type(client), size: Some(received), digest })
        }
        ManifestVerb::Delete if answer.status.is_success() => {
            Some(Found { digest: named.map(str::to_owned), ..Found::default() })
        }
        ManifestVerb::Get | ManifestVerb::Head | ManifestVerb::Put { .. } | ManifestVerb::Delete => None,
    }
}

fn blob(verb: BlobVerb, digest: &str, answer: &Parts) -> Option<Found> {
    let pulled = |size| Found { media_type: Some(BLOB.to_owned()), size, digest: Some(digest.to_owned()) };
    match verb {
        BlobVerb::Get if answer.status == StatusCode::OK => Some(pulled(length(&answer.headers))),
        // With its last piece a client has the blob: one that was fetched in pieces counts once.
        BlobVerb::Get if answer.status == StatusCode::PARTIAL_CONTENT => {
            whole_by(&answer.headers).map(|size| pulled(Some(size)))
        }
        // What the client fetches elsewhere nobody sees.
        BlobVerb::Get if answer.status == StatusCode::TEMPORARY_REDIRECT => Some(pulled(None)),
        BlobVerb::Delete if answer.status.is_success() => {
            Some(Found { digest: Some(digest.to_owned()), ..Found::default() })
        }
        BlobVerb::Get | BlobVerb::Head | BlobVerb::Delete => None,
    }
}

/// Only a blob that is there is told of: an upload that goes on, or a mount that became one, is not.
fn upload(verb: &UploadVerb, answer: &Parts, received: u64) -> Option<Found> {
    if answer.status != StatusCode::CREATED {
        return None;
    }
    let (digest, size) = match verb {
        UploadVerb::Monolithic { digest } => (digest, Some(received)),
        UploadVerb::Finish { session, digest } => {
            let before = session.state.as_ref().and_then(offset);
            (digest, before.map(|before| before.saturating_add(received)))
        }
        // The registry does not say how large it is.
        UploadVerb::Mount { digest, .. } => (digest, None),
        UploadVerb::Start | UploadVerb::Status { .. } | UploadVerb::Chunk { .. } | UploadVerb::Cancel { .. } => {
            return None;
        }
    };
    let digest = text(&answer.headers, &Digest::HEADER).unwrap_or(digest.as_str());
    Some(Found { media_type: Some(BLOB.to_owned()), size, digest: Some(digest.to_owned()) })
}

/// How much of an upload the registry had before this request, as it says itself in the session's address: 32 bytes of MAC
/// and then JSON. A state of another kind says nothing.
fn offset(state: &UploadState) -> Option<u64> {
    const MAC: usize = 32;
    const BASE64: GeneralPurpose = GeneralPurpose::new(
        &URL_SAFE,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    #[derive(Deserialize)]
    struct State {
        #[serde(rename = "Offset")]
        offset: u64,
    }
    let packed = BASE64.decode(state.as_str().trim_end_matches("%3D")).ok()?;
    serde_json::from_slice::<State>(packed.get(MAC..)?).ok().map(|state| state.offset)
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

fn media_type(headers: &HeaderMap) -> Option<String> {
    let bare = text(headers, &header::CONTENT_TYPE)?.split(';').next()?.trim();
    (!bare.is_empty()).then(|| bare.to_owned())
}

fn length(headers: &HeaderMap) -> Option<u64> {
    text(headers, &header::CONTENT_LENGTH)?.parse().ok()
}

/// The size of a blob of which this answer brings the last byte.
fn whole_by(headers: &HeaderMap) -> Option<u64> {
    let (range, size) = text(headers, &header::CONTENT_RANGE)?.strip_prefix("bytes ")?.split_once('/')?;
    let (_, last) = range.split_once('-')?;
    let (last, size): (u64, u64) = (last.parse().ok()?, size.parse().ok()?);
    (last.checked_add(1) == Some(size)).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn answer(status: u16, headers: &[(&'static str, &str)]) -> Parts {
        let answer = http::Response::builder().status(status);
        let answer = headers.iter().fold(answer, |answer, (name, value)| answer.header(*name, *value));
        answer.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_blob_is_pulled_with_its_last_byte() {
        let size = |status, headers: &[(&'static str, &str)]| {
            blob(BlobVerb::Get, DIGEST, &answer(status, headers)).map(|found| found.size)
        };
        assert_eq!(size(200, &[("content-length", "7")]), Some(Some(7)));
        assert_eq!(size(206, &[("content-length", "3"), ("content-range", "bytes 4-6/7")]), Some(Some(7)));
        assert_eq!(size(307, &[]), Some(None));
        for (status, range) in [(206, "bytes 0-5/7"), (206, "bytes 4-6/*"), (206, "bytes 9-6/5"), (206, ""), (304, "")]
        {
            assert_eq!(size(status, &[("content-range", range)]), None, "{status} {range}");
        }
        assert_eq!(size(404, &[]), None);
        assert!(blob(BlobVerb::Head, DIGEST, &answer(200, &[])).is_none());
    }

    #[test]
    fn only_what_came_about_is_told() {
        let digest = Digest::parse(DIGEST).unwrap();
        let mount = UploadVerb::Mount { digest: digest.clone(), from: RepositoryName::parse("a/b").unwrap() };
        assert!(upload(&mount, &answer(201, &[]), 0).is_some_and(|found| found.size.is_none()));
        assert!(upload(&mount, &answer(202, &[]), 0).is_none(), "it became an upload");
        let whole = UploadVerb::Monolithic { digest };
        assert_eq!(upload(&whole, &answer(201, &[]), 5).unwrap().size, Some(5));
        assert!(upload(&whole, &answer(400, &[]), 5).is_none());
        let tag = Reference::Tag(crate::registry::Tag::parse("v1").unwrap());
        let put = ManifestVerb::Put { tags: Vec::new() };
        let client = HeaderMap::from_iter([(header::CONTENT_TYPE, "a/b; charset=utf-8".parse().unwrap())]);
        let pushed = manifest(&put, &tag, &client, &answer(201, &[("docker-content-digest", DIGEST)]), 9).unwrap();
        let expected = Found { media_type: Some("a/b".into()), size: Some(9), digest: Some(DIGEST.into()) };
        assert_eq!(pushed, expected);
        assert!(manifest(&put, &tag, &client, &answer(400, &[]), 9).is_none());
        assert!(manifest(&ManifestVerb::Get, &tag, &client, &answer(304, &[]), 0).is_none());
        assert_eq!(manifest(&ManifestVerb::Delete, &tag, &client, &answer(202, &[]), 0), Some(Found::default()));
    }

    /// As a registry packed them.
    #[test]
    fn an_upload_says_how_far_it_came() {
        for (state, expected) in [
            (
                "LrH2qFZVDYtOTPQbw44msgB32sKSn_aLuT5vMJnVTGB7Ik5hbWUiOiJ0ZWFtL2FwcCIsIlVVSUQiOiI1NmY2OTRlOC00ODc4LTQ2ZjMtODMzYi01MWExYzIwMmQyOTMiLCJPZmZzZXQiOjExLCJTdGFydGVkQXQiOiIyMDI2LTExLTIyVDIwOjI5OjA5WiJ9",
                Some(11),
            ),
            (
                "vpTDJ4AXb1oIK4pekTXX0hqjWlrU1jDT3ti2DhpnS1V7Ik5hbWUiOiJ0ZWFtL2FwcCIsIlVVSUQiOiJhYjI2MDE4ZC1lZDY3LTQ1MGYtOTVhYi03NzlhNWU1NWUxODUiLCJPZmZzZXQiOjIsIlN0YXJ0ZWRBdCI6IjIwMjYtMTEtMjJUMjA6Mjk6MDlaIn0%3D",
                Some(2),
            ),
            ("AAAA", None),
            ("another-registrys-state", None),
        ] {
            let Some(parsed) = UploadState::parse(state) else { continue };
            assert_eq!(offset(&parsed), expected, "{state}");
        }
        assert!(UploadState::parse("AAAA").is_some());
    }
}
