//! Redirects to object storage: where they may lead, and the way there.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode, Uri,
    header::{self, ACCEPT, HOST, LOCATION, RANGE, USER_AGENT},
    uri::PathAndQuery,
};
use hyper::Request;
use rustls::ClientConfig;
use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, timeout},
};

use super::{
    Error, Exchange, Pending, SetupError, UploadBody,
    address::is_public,
    client::{Io, Wire},
    idle::Idle,
    server::Server,
    tls::Tls,
};
use crate::{
    access::Permit,
    config::{self, Origin, RedirectHost},
    registry::{BlobVerb, Digest, Route},
};

/// A bucket in another region is one redirect more; beyond that it is a loop or a trap.
const MOST_HOPS: usize = 3;
/// Signed addresses have a few kibibytes.
const LONGEST_LOCATION: usize = 16 * 1024;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What storage says of a blob that a registry's client can use. Its coding is left out: what it holds is the blob, byte
/// for byte, whatever the storage calls it.
const STORAGE_HEADERS: [HeaderName; 5] =
    [header::ACCEPT_RANGES, header::CONTENT_LENGTH, header::CONTENT_RANGE, header::ETAG, header::LAST_MODIFIED];

/// Why a redirect did not lead to a blob. No text holds more of an address than its origin: the rest is signed, and
/// whoever has it has the blob.
#[derive(Debug, thiserror::Error)]
pub enum RedirectError {
    #[error(
        "a redirect to {0}, which upstream.redirect_hosts does not list: add it there, or set redirects: pass, or switch \
         the registry's storage redirects off"
    )]
    Elsewhere(Origin),
    #[error("a redirect with a Location that is not followed: {0}")]
    Malformed(&'static str),
    #[error("{MOST_HOPS} redirects in a row, and another one")]
    Endless,
    /// What was found is for the log.
    #[error(
        "a redirect to {origin}, which is at {found} and may be at {allowed} alone: write {{ origin: \"{origin}\", \
         addresses: […] }} in upstream.redirect_hosts with the networks that it may be in"
    )]
    Address { origin: Origin, found: String, allowed: &'static str },
    #[error("object storage {origin} answered {status}")]
    Answered { origin: Origin, status: StatusCode },
    #[error("object storage {origin} gave another blob than the one asked for")]
    OtherBlob { origin: Origin },
    #[error("object storage {origin}: {reason}")]
    Unreachable { origin: Origin, reason: String },
    #[error("object storage {origin}: {error}")]
    Failed {
        origin: Origin,
        #[source]
        error: Box<Error>,
    },
}

impl RedirectError {
    /// A fixed word for metrics: redirect where it was not followed, storage where it was.
    pub(super) fn kind(&self) -> &'static str {
        if self.is_storages() { "storage" } else { "redirect" }
    }

    /// True where the redirect led to storage, and that failed.
    pub(super) fn is_storages(&self) -> bool {
        match self {
            Self::Elsewhere(_) | Self::Malformed(_) | Self::Endless | Self::Address { .. } => false,
            Self::Answered { .. } | Self::OtherBlob { .. } | Self::Unreachable { .. } | Self::Failed { .. } => true,
        }
    }

    /// True where a short wait may help.
    pub(super) fn is_down(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// The object storage behind one upstream.
pub(super) struct Redirects {
    storages: Vec<Storage>,
}

impl Redirects {
    /// None where clients get the redirects. `tls` is for https alone.
    pub(super) fn new(
        upstream: &config::Upstream,
        tls: Option<&Arc<ClientConfig>>,
    ) -> Result<Option<Self>, SetupError> {
        if upstream.redirects == config::Redirects::Pass {
            return Ok(None);
        }
        let storage = |host: &RedirectHost| {
            let tls = tls.filter(|_| host.origin.tls);
            Ok(Storage {
                host: host.clone(),
                tls: tls.map(|tls| Tls::new(tls, &host.origin.host)).transpose()?,
                idle: Arc::default(),
                connect: upstream.timeouts.connect,
                first_byte: upstream.timeouts.first_byte,
            })
        };
        Ok(Some(Self { storages: upstream.redirect_hosts.iter().map(storage).collect::<Result<_, _>>()? }))
    }

    /// The answer to a blob's GET or HEAD that the registry redirected, from where it was redirected to; every other
    /// answer as it is. `headers` are those of the request to the registry: of them only the range and our request id go
    /// on, and nothing of what the registry is shown of us or of the client.
    ///
    /// The head is as the registry's would be: 200, 206 or 416, with the blob's type; its digest only where the storage says it.
    ///
    /// # Errors
    /// Whatever keeps the redirect from being followed, and any other answer of the storage. The registry may well have a
    /// better redirect when it is asked again.
    pub(super) async fn follow(
        &self,
        permit: &Permit,
        mut answer: Exchange,
        headers: &HeaderMap,
    ) -> Result<Exchange, Error> {
        let Route::Blob { digest, verb: BlobVerb::Get | BlobVerb::Head, .. } = permit.route() else {
            return Ok(answer);
        };
        let server = Arc::clone(answer.from());
        let mut hops = 0;
        while is_followed(answer.head.status) {
            if hops == MOST_HOPS {
                return Err(RedirectError::Endless.into());
            }
            hops += 1;
            let target = Target::of(&answer.head.headers)?;
            answer.discard().await;
            let known = self.storages.iter().find(|storage| storage.host.origin == target.origin);
            let Some(storage) = known else { return Err(RedirectError::Elsewhere(target.origin).into()) };
            answer = storage.ask(&server, || target.request(permit, headers)).await?;
            tracing::debug!(origin = %target.origin, status = answer.head.status.as_u16(), "redirect followed");
            if !is_followed(answer.head.status) {
                answer.head.headers = blob_headers(&answer.head, digest, headers.contains_key(RANGE), target.origin)?;
            }
        }
        Ok(answer)
    }
}

pub(super) fn is_followed(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Where a redirect leads.
struct Target {
    origin: Origin,
    /// As it was written: signatures hold it.
    host: HeaderValue,
    path: Uri,
}

impl Target {
    fn of(head: &HeaderMap) -> Result<Self, RedirectError> {
        use RedirectError::Malformed;
        let mut locations = head.get_all(LOCATION).iter();
        let (Some(location), None) = (locations.next(), locations.next()) else {
            return Err(Malformed("there is none, or more than one"));
        };
        // What a URL is made of (RFC 3986 §2) and a little more; never what two readers could take for different things.
        let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'#');
        let text = location.to_str().ok().filter(|text| text.bytes().all(|byte| plain(&byte)));
        let text = text.ok_or(Malformed("it holds a fragment, a backslash, a blank or a control character"))?;
        if text.len() > LONGEST_LOCATION {
            return Err(Malformed("it is too long"));
        }
        let split = Origin::split(text).map_err(Malformed)?;
        let path = if split.rest.starts_with('/') { split.rest.to_owned() } else { format!("/{}", split.rest) };
        let path = PathAndQuery::try_from(path).map_err(|_| Malformed("its path cannot be read"))?;
        let host = HeaderValue::from_str(split.authority).map_err(|_| Malformed("its host cannot be read"))?;
        Ok(Self { origin: split.origin, host, path: path.into() })
    }

    fn request(&self, permit: &Permit, headers: &HeaderMap) -> Request<UploadBody> {
        let mut request = Request::new(UploadBody::empty());
        *request.method_mut() = permit.route().method();
        *request.uri_mut() = self.path.clone();
        let sent = request.headers_mut();
        sent.insert(HOST, self.host.clone());
        sent.insert(ACCEPT, HeaderValue::from_static("*/*"));
        sent.insert(USER_AGENT, HeaderValue::from_static("portcullis"));
        for name in [RANGE, REQUEST_ID] {
            if let Some(value) = headers.get(&name) {
                sent.insert(name, value.clone());
            }
        }
        request
    }
}

/// The head of a storage's answer as a registry would give it.
fn blob_headers(
    head: &http::response::Parts,
    digest: &Digest,
    ranged: bool,
    origin: Origin,
) -> Result<HeaderMap, RedirectError> {
    let status = head.status;
    let expected = match status {
        StatusCode::OK => true,
        StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => ranged,
        _ => false,
    };
    if !expected {
        return Err(RedirectError::Answered { origin, status });
    }
    let mut headers = HeaderMap::new();
    for name in STORAGE_HEADERS {
        if let Some(value) = head.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    if status == StatusCode::RANGE_NOT_SATISFIABLE {
        return Ok(headers);
    }
    let said = head.headers.get(header::CONTENT_TYPE);
    // What somebody pushed must not become a page of ours because the storage guessed so.
    let several = said.filter(|said| said.as_bytes().starts_with(b"multipart/byteranges"));
    let content_type = several.cloned().unwrap_or(HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_TYPE, content_type);
    for said in head.headers.get_all(&Digest::HEADER) {
        if said.as_bytes() != digest.as_str().as_bytes() {
            return Err(RedirectError::OtherBlob { origin });
        }
        headers.insert(Digest::HEADER, said.clone());
    }
    Ok(headers)
}

/// One origin that redirects may lead to, and the idle connections to it. They were judged when they were made, and are
/// not kept for long.
struct Storage {
    host: RedirectHost,
    tls: Option<Tls>,
    idle: Arc<Idle>,
    connect: Duration,
    first_byte: Duration,
}

impl Storage {
    /// A connection that died while idle is no reason to give up.
    async fn ask(
        &self,
        server: &Arc<Server>,
        request: impl Fn() -> Request<UploadBody>,
    ) -> Result<Exchange, RedirectError> {
        let failed = |error| RedirectError::Failed { origin: self.host.origin.clone(), error: Box::new(error) };
        if let Some(wire) = self.idle.take(Instant::now()) {
            match self.head_of(server, wire, request()).await {
                Err(Error::Broken(_)) => {}
                answer => return answer.map_err(failed),
            }
        }
        let wire = self.dial().await?;
        self.head_of(server, wire, request()).await.map_err(failed)
    }

    async fn head_of(&self, server: &Arc<Server>, wire: Wire, request: Request<UploadBody>) -> Result<Exchange, Error> {
        let pending = Pending::redirected(wire, request, server.occupy(), Arc::clone(&self.idle));
        timeout(self.first_byte, pending).await.map_err(|_| Error::Silent(self.first_byte))?
    }

    /// Connects to one of the addresses that were judged, within `timeouts.connect`.
    async fn dial(&self) -> Result<Wire, RedirectError> {
        let late = || self.unreachable(format!("no connection within {:?}", self.connect));
        timeout(self.connect, self.dial_any()).await.map_err(|_| late())?
    }

    /// One address that swallows what it is sent must not take the time of all.
    async fn dial_any(&self) -> Result<Wire, RedirectError> {
        let addresses = self.addresses().await?;
        let begun = Instant::now();
        let mut reason = "its name has no address".to_owned();
        for (index, address) in addresses.iter().enumerate() {
            let left = self.connect.saturating_sub(begun.elapsed());
            let turn = if index + 1 < addresses.len() { left / 2 } else { left };
            match timeout(turn, self.connect_to(*address)).await {
                Ok(Ok(wire)) => return Ok(wire),
                Ok(Err(error)) => reason = error,
                Err(_) => reason = format!("{address}: no connection within {turn:?}"),
            }
        }
        Err(self.unreachable(reason))
    }

    async fn connect_to(&self, address: IpAddr) -> Result<Wire, String> {
        let shown = |error: std::io::Error| format!("{address}: {error}");
        let tcp = TcpStream::connect((address, self.host.origin.port)).await.map_err(shown)?;
        tcp.set_nodelay(true).map_err(shown)?;
        let io = match &self.tls {
            Some(tls) => Io::secured(tcp, tls).await.map_err(shown)?,
            None => Io::Tcp(tcp),
        };
        Wire::over(io).await.map_err(|error| error.to_string())
    }

    /// The addresses of the host that may be dialled; never none.
    async fn addresses(&self) -> Result<Vec<IpAddr>, RedirectError> {
        let Origin { host, port, .. } = &self.host.origin;
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let found = lookup_host((host.as_str(), *port)).await.map_err(|error| self.unreachable(error.to_string()))?;
        let found: Vec<IpAddr> = found.map(|found| found.ip().to_canonical()).collect();
        let allowed: Vec<IpAddr> = found.iter().copied().filter(|address| self.may_dial(*address)).collect();
        if allowed.is_empty() {
            let found = found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let allowed = if self.host.addresses.is_empty() { "public addresses" } else { "the listed addresses" };
            return Err(RedirectError::Address { origin: self.host.origin.clone(), found, allowed });
        }
        Ok(allowed)
    }

    fn may_dial(&self, address: IpAddr) -> bool {
        let listed = &self.host.addresses;
        if listed.is_empty() { is_public(address) } else { listed.iter().any(|network| network.contains(&address)) }
    }

    fn unreachable(&self, reason: String) -> RedirectError {
        RedirectError::Unreachable { origin: self.host.origin.clone(), reason }
    }
}
