//! What leaves towards the registry and what comes back: headers by allow list, addresses on the public origin.

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header, response::Parts};

use super::{beside, head::RequestHead, ids};
use crate::{
    registry::{BlobVerb, Digest, ManifestVerb, RepositoryName, Route, UploadId, UploadSeal, UploadVerb},
    runtime::PublicOrigin,
    upstream,
};

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Request headers that any route passes on.
fn is_passed(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::ACCEPT
            | header::IF_MATCH
            | header::IF_NONE_MATCH
            | header::IF_MODIFIED_SINCE
            | header::IF_RANGE
            | header::RANGE
            | header::USER_AGENT
    )
}

/// Response headers that are passed on as they are.
fn is_passed_back(name: &HeaderName) -> bool {
    const OF_REGISTRIES: [&str; 7] = [
        "docker-content-digest",
        "docker-upload-uuid",
        "oci-chunk-max-length",
        "oci-chunk-min-length",
        "oci-filters-applied",
        "oci-subject",
        "oci-tag",
    ];
    matches!(
        *name,
        header::ACCEPT_RANGES
            | header::ALLOW
            | header::CACHE_CONTROL
            | header::CONTENT_ENCODING
            | header::CONTENT_LENGTH
            | header::CONTENT_RANGE
            | header::CONTENT_TYPE
            | header::ETAG
            | header::LAST_MODIFIED
            | header::RANGE
            | header::RETRY_AFTER
            | header::WARNING
    ) || OF_REGISTRIES.contains(&name.as_str())
}

/// The headers of the upstream request: what the route needs and nothing else of what the client sent.
///
/// `Authorization`, `Cookie`, `Forwarded` and every `X-…` of the client stay behind; the addresses are ours.
pub(super) fn request_headers(client: &HeaderMap, head: &RequestHead, route: &Route) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(16);
    let of_ui = |name| matches!(route, Route::Ui { .. }) && beside::UI_REQUEST_HEADERS.contains(name);
    for (name, value) in client.iter().filter(|(name, _)| is_passed(name) || of_ui(name)) {
        headers.append(name, value.clone());
    }
    if let Some(content_type) = content_type(client, route) {
        headers.insert(header::CONTENT_TYPE, content_type);
    }
    if matches!(route, Route::Upload { verb: UploadVerb::Chunk { .. }, .. })
        && let Some(range) = client.get(header::CONTENT_RANGE)
    {
        headers.insert(header::CONTENT_RANGE, range.clone());
    }
    headers.insert(header::HOST, head.host_header.clone());
    headers.insert(FORWARDED_HOST, head.host_header.clone());
    if let Some(client) = &head.client_header {
        headers.insert(FORWARDED_FOR, client.clone());
    }
    if let Ok(id) = HeaderValue::from_str(head.id.as_str()) {
        headers.insert(ids::REQUEST_ID, id);
    }
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("https"));
    if let Some(trace) = &head.trace {
        trace.write(&mut headers);
    }
    headers
}

/// An upload's type is always ours: the registry reads form bodies as parameters, so a form type would let a body
/// name the repository that a blob is mounted from. A manifest's type is its own unless it is such a form type.
fn content_type(client: &HeaderMap, route: &Route) -> Option<HeaderValue> {
    match route {
        Route::Upload { .. } => Some(HeaderValue::from_static("application/octet-stream")),
        Route::Manifest { verb: ManifestVerb::Put { .. }, .. } => {
            client.get(header::CONTENT_TYPE).filter(|value| !is_form(value)).cloned()
        }
        Route::Manifest { .. }
        | Route::Landing(_)
        | Route::Base(_)
        | Route::Token(_)
        | Route::Catalog { .. }
        | Route::TagList { .. }
        | Route::Blob { .. }
        | Route::Referrers { .. }
        | Route::Ui { .. }
        | Route::Preflight { .. } => None,
        Route::Notary { verb, .. } => beside::trust_type(client, verb),
    }
}

fn is_form(value: &HeaderValue) -> bool {
    let text = value.as_bytes().to_ascii_lowercase();
    let text = text.trim_ascii_start();
    text.starts_with(b"application/x-www-form-urlencoded") || text.starts_with(b"multipart/")
}

/// What the addresses in an answer's head depend on.
#[derive(Clone, Copy)]
pub struct Public<'a> {
    /// `https://host[:port]` as the client dialled it.
    pub origin: PublicOrigin<'a>,
    pub token_path: &'a str,
    /// A blob's redirect to object storage is handed to the client.
    pub pass_redirects: bool,
    /// Makes the seal of an upload session, for whom the request was made.
    pub seal: &'a dyn Fn(&RepositoryName, &UploadId) -> Option<UploadSeal>,
}

/// The answer's head as the client gets it: of its headers those that are in the list for the route, addresses on the
/// public origin, and nothing else of what the upstream said.
///
/// # Errors
/// Why it must not be passed on: a status, an address or a link that cannot be the registry's.
pub fn response_head(upstream: &Parts, route: &Route, public: Public<'_>) -> Result<Parts, upstream::Error> {
    match route {
        Route::Ui { .. } => return beside::ui_head(upstream, public.token_path),
        Route::Notary { .. } => return beside::trust_head(upstream),
        Route::Landing(_)
        | Route::Base(_)
        | Route::Token(_)
        | Route::Catalog { .. }
        | Route::TagList { .. }
        | Route::Manifest { .. }
        | Route::Blob { .. }
        | Route::Upload { .. }
        | Route::Referrers { .. }
        | Route::Preflight { .. } => {}
    }
    let redirects = public.pass_redirects && matches!(route, Route::Blob { .. });
    let redirected = redirects && upstream.status == StatusCode::TEMPORARY_REDIRECT;
    if !redirected {
        check_status(upstream.status)?;
    }
    let mut response = passed(upstream, is_passed_back);
    if let Some(location) = upstream.headers.get(header::LOCATION) {
        let address = if redirected { location.clone() } else { public_address(location, public)? };
        response.headers.insert(header::LOCATION, address);
    }
    if let Some(link) = upstream.headers.get(header::LINK) {
        response.headers.insert(header::LINK, public_link(link, public.token_path)?);
    }
    if let Route::Blob { digest, verb: BlobVerb::Get | BlobVerb::Head, .. } = route
        && matches!(upstream.status, StatusCode::OK | StatusCode::PARTIAL_CONTENT)
        && !upstream.headers.contains_key(Digest::HEADER)
    {
        // Object storage does not say it.
        response.headers.insert(Digest::HEADER, digest.as_str().try_into().map_err(unusable)?);
    }
    Ok(response)
}

/// The status, and those of the headers that are to be passed on.
pub(super) fn passed(upstream: &Parts, is_passed: impl Fn(&HeaderName) -> bool) -> Parts {
    let (mut response, ()) = Response::new(()).into_parts();
    response.status = upstream.status;
    let headers = &mut response.headers;
    headers.reserve(16);
    for (name, value) in upstream.headers.iter().filter(|(name, _)| is_passed(name)) {
        headers.append(name, value.clone());
    }
    if upstream.status == StatusCode::NO_CONTENT {
        // RFC 9110 section 8.6; clients of HTTP/2 take it for an answer cut short.
        headers.remove(header::CONTENT_LENGTH);
    }
    if upstream.status == StatusCode::RANGE_NOT_SATISFIABLE {
        headers.remove(header::CONTENT_TYPE);
        headers.insert(header::CONTENT_LENGTH, 0.into());
    }
    response
}

fn unusable<E>(_: E) -> upstream::Error {
    upstream::Error::Unusable("a header that cannot be passed on")
}

/// A blob's redirect was followed, or is passed on. The gate asks only canonical questions, so any other one is a fault of
/// the set-up, and nothing that a client could act on.
fn check_status(status: StatusCode) -> Result<(), upstream::Error> {
    if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
        return Err(upstream::Error::Unusable("a redirect of a kind, or for a route, that is never followed"));
    }
    Ok(())
}

/// An address the upstream gave, whatever host it believed itself to be, on the public origin. It must be a route of ours.
fn public_address(value: &HeaderValue, public: Public<'_>) -> Result<HeaderValue, upstream::Error> {
    const UNUSABLE: upstream::Error = upstream::Error::Unusable("a Location that is no registry address");
    let text = value.to_str().map_err(|_| UNUSABLE)?;
    let uri: http::Uri = text.parse().map_err(|_| UNUSABLE)?;
    let target = uri.path_and_query().ok_or(UNUSABLE)?;
    let route = Route::parse(&http::Method::GET, target.path(), target.query(), public.token_path);
    let route = route.map_err(|_| UNUSABLE)?;
    let mut address = format!("{}{target}", public.origin);
    if let Some((repository, session)) = route.upload_session() {
        if session.seal.is_some() {
            return Err(UNUSABLE);
        }
        let seal = (public.seal)(repository, &session.id).ok_or(UNUSABLE)?;
        let separator = if target.query().is_some() { '&' } else { '?' };
        address.push_str(&format!("{separator}{}={}", UploadSeal::PARAMETER, seal.as_str()));
    }
    match route {
        Route::Upload { .. } | Route::Blob { .. } | Route::Manifest { .. } => {
            HeaderValue::from_str(&address).map_err(|_| UNUSABLE)
        }
        Route::Landing(_)
        | Route::Base(_)
        | Route::Token(_)
        | Route::Catalog { .. }
        | Route::TagList { .. }
        | Route::Referrers { .. }
        | Route::Notary { .. }
        | Route::Ui { .. }
        | Route::Preflight { .. } => Err(UNUSABLE),
    }
}

/// `<address>; rel="next"` with a relative address on the public side.
fn public_link(value: &HeaderValue, token_path: &str) -> Result<HeaderValue, upstream::Error> {
    const UNUSABLE: upstream::Error = upstream::Error::Unusable("a Link that is no page of ours");
    let text = value.to_str().map_err(|_| UNUSABLE)?;
    let (address, rest) = text.strip_prefix('<').and_then(|rest| rest.split_once('>')).ok_or(UNUSABLE)?;
    let uri: http::Uri = address.parse().map_err(|_| UNUSABLE)?;
    let target = uri.path_and_query().ok_or(UNUSABLE)?;
    let route = Route::parse(&http::Method::GET, target.path(), target.query(), token_path).map_err(|_| UNUSABLE)?;
    HeaderValue::try_from(format!("<{}>{rest}", route.to_upstream())).map_err(|_| UNUSABLE)
}

#[cfg(test)]
mod tests;
