//! How one endpoint is told: HTTP/1.1, a connection that is kept, bounds on everything.

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::hmac;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    config::Endpoint,
    outbound::{chain, retry_after},
    tls::{ContentHash, FileFault, Roots},
    upstream::dial_tcp,
};

/// What of an answer is read, so that the connection can be used again.
const LARGEST_ANSWER: usize = 64 * 1024;
/// A connection that was idle for longer is about to be closed by somebody.
const IDLE: Duration = Duration::from_secs(30);

const USER_AGENT: &str = concat!("portcullis/", env!("CARGO_PKG_VERSION"));
const TIMESTAMP: HeaderName = HeaderName::from_static("x-portcullis-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("x-portcullis-signature");

/// How one endpoint is told, as its settings have it.
pub(super) struct Client {
    endpoint: Endpoint,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// Of the roots.
    trusted: ContentHash,
    headers: HeaderMap,
    key: Option<hmac::Key>,
}

/// What an endpoint said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// When to come back, where it says so.
    pub(super) retry_after: Option<Duration>,
}

/// An attempt without an answer. The text holds nothing that is secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("it cannot be reached: {0}")]
    Connect(io::Error),
    #[error("no connection over TLS: {0}")]
    Tls(String),
    #[error("the connection failed: {0}")]
    Broken(String),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// A connection that may be used again.
pub(super) struct Line {
    sender: SendRequest<Full<Bytes>>,
    _driven: AbortOnDropHandle<()>,
    used: std::time::Instant,
}

impl Client {
    /// Reads whom to trust: the CA file alone, or the system's roots where none is given.
    ///
    /// # Errors
    /// A CA file that cannot be used, or a system without roots.
    pub(super) fn new(endpoint: &Endpoint) -> Result<Self, FileFault> {
        let mut trusted = ContentHash::of([]);
        let mut tls = None;
        if endpoint.url.origin.tls {
            let roots = endpoint.ca_file.as_deref().map_or_else(|| Ok(Roots::of_system()), Roots::of_file)?;
            let mut store = RootCertStore::empty();
            roots.add_to(&mut store, "ca_file of the endpoint")?;
            trusted = ContentHash::of(roots.parts());
            let mut config = ClientConfig::builder().with_root_certificates(store).with_no_client_auth();
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            let name = ServerName::try_from(endpoint.url.origin.host.clone());
            let name = name.map_err(|error| FileFault { file: None, reason: error.to_string() })?;
            tls = Some((TlsConnector::from(Arc::new(config)), name));
        }
        let secret = endpoint.hmac_key.as_ref();
        let key = secret.map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.reveal().as_bytes()));
        Ok(Self { endpoint: endpoint.clone(), tls, trusted, headers: headers(endpoint), key })
    }

    /// True where it does the same as another one.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.endpoint == other.endpoint && self.trusted == other.trusted
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Posts once. A connection that was kept and turns out to be closed is no attempt: then there is a fresh one.
    pub(super) async fn post(&self, body: &Bytes, line: &mut Option<Line>) -> Result<Answer, CallError> {
        let kept = line.take();
        let limit = self.endpoint.timeout;
        let attempt = timeout(limit, self.attempt(body, kept)).await.unwrap_or(Err(CallError::Timeout(limit)));
        let (response, used) = attempt?;
        let (answer, again) = heard(response, used).await;
        *line = again;
        Ok(answer)
    }

    async fn attempt(&self, body: &Bytes, kept: Option<Line>) -> Result<(Response<Incoming>, Line), CallError> {
        let kept = kept.filter(|line| line.used.elapsed() < IDLE && line.sender.is_ready());
        if let Some(mut line) = kept
            && let Ok(response) = line.sender.send_request(self.request(body)).await
        {
            return Ok((response, line));
        }
        let mut line = self.connect().await?;
        let response = line.sender.send_request(self.request(body)).await;
        let response = response.map_err(|error| CallError::Broken(chain(&error)))?;
        Ok((response, line))
    }

    async fn connect(&self) -> Result<Line, CallError> {
        let Endpoint { url, timeout, .. } = &self.endpoint;
        let tcp = dial_tcp(&url.origin.host, url.origin.port, *timeout).await.map_err(CallError::Connect)?;
        match &self.tls {
            Some((connector, name)) => {
                let secured = connector.connect(name.clone(), tcp).await;
                speak(secured.map_err(|error| CallError::Tls(explained(&error)))?).await
            }
            None => speak(tcp).await,
        }
    }

    /// Signed anew each time, so that a receiver can refuse what is old.
    fn request(&self, body: &Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.endpoint.url.reveal_target().parse().unwrap_or_default();
        *request.headers_mut() = self.headers.clone();
        if let Some(key) = &self.key {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let signature = HeaderValue::from_str(&signature(key, now, body));
            request.headers_mut().insert(TIMESTAMP, HeaderValue::from(now));
            request.headers_mut().extend(signature.ok().map(|signature| (SIGNATURE, signature)));
        }
        request
    }
}

fn headers(endpoint: &Endpoint) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let secret = endpoint.authorization.as_ref().map(|secret| secret.reveal());
    for (name, value, sensitive) in [
        (header::HOST, Some(endpoint.url.authority.as_str()), false),
        (header::CONTENT_TYPE, Some(endpoint.media_type.as_str()), false),
        (header::AUTHORIZATION, secret, true),
    ] {
        if let Some(Ok(mut value)) = value.map(HeaderValue::from_str) {
            value.set_sensitive(sensitive);
            headers.insert(name, value);
        }
    }
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers
}

/// `sha256=` and the HMAC of the seconds since 1970, a full stop, and the body.
fn signature(key: &hmac::Key, now: u64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(key);
    context.update(now.to_string().as_bytes());
    context.update(b".");
    context.update(body);
    context.sign().as_ref().iter().fold("sha256=".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

async fn speak(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Line, CallError> {
    let broken = |error: hyper::Error| CallError::Broken(chain(&error));
    let (sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(broken)?;
    // How it ends is heard of by whoever has sent something.
    let driven = AbortOnDropHandle::new(tokio::spawn(async move { drop(connection.await) }));
    Ok(Line { sender, _driven: driven, used: std::time::Instant::now() })
}

/// The head decides; the connection is good for another time where the rest is short and comes at once.
async fn heard(response: Response<Incoming>, mut line: Line) -> (Answer, Option<Line>) {
    const REST: Duration = Duration::from_millis(250);
    let (head, body) = response.into_parts();
    let said = head.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let answer = Answer { status: head.status, retry_after: said.and_then(retry_after) };
    let rest = timeout(REST, Limited::new(body, LARGEST_ANSWER).collect()).await;
    line.used = std::time::Instant::now();
    (answer, matches!(rest, Ok(Ok(_))).then_some(line))
}

/// The error, and what to look at where that is known.
fn explained(error: &io::Error) -> String {
    use rustls::{CertificateError, Error, InvalidMessage};
    let hint = match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "its certificate is of an issuer that is not trusted: see ca_file of the endpoint"
        }
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            "it does not speak TLS there: write http:// if that is meant"
        }
        _ => return error.to_string(),
    };
    hint.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf '1700000000.{}' | openssl dgst -sha256 -hmac Jefe` says the same.
    #[test]
    fn a_signature_is_of_the_time_and_the_body() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"Jefe");
        let known = "sha256=d3793e2b4103edfbd98cc19591832f5fad701d413db9fcae0ae7dab8184ed207";
        assert_eq!(signature(&key, 1_700_000_000, b"{}"), known);
        for (now, body) in [(1_700_000_001, &b"{}"[..]), (1_700_000_000, b"{ }"), (170_000_000, b"0.{}")] {
            assert_ne!(signature(&key, now, body), known);
        }
    }
}
