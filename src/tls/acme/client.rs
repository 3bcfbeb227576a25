//! Calls to an authority: HTTP/1.1 over TLS, one connection for each, and bounds on everything.

use std::{
    error::Error as StdError,
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    config::Acme,
    outbound::{chain, retry_after},
    tls::{ContentHash, FileFault, Roots},
};

/// For one call, connection and answer included.
const CALL: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(10);
/// The library adds what an authority says to the time of day, which must not leave the range of clocks.
const MOST_PATIENCE: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Where an authority does not say when to ask again (RFC 9773 §4.3.2).
const ASK_AGAIN: Duration = Duration::from_secs(6 * 60 * 60);
/// Far beyond a chain; an authority that sends more is none.
const LARGEST_BODY: usize = 1024 * 1024;

const USER_AGENT: &str = concat!("portcullis/", env!("CARGO_PKG_VERSION"), " instant-acme");

/// How an authority is called.
#[derive(Clone)]
pub(super) struct Client {
    tls: TlsConnector,
    /// Of the roots.
    trusted: ContentHash,
    heard: Arc<Mutex<Heard>>,
    /// Where everything begins.
    directory: String,
}

/// What an authority said beside its answers, last.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    /// When to come back, where the last answer was a refusal that says so.
    pub(super) retry_after: Option<Duration>,
    /// How late it is there.
    pub(super) clock: Option<SystemTime>,
    /// The address that was called.
    pub(super) url: String,
    /// That is the one of the configuration.
    pub(super) is_directory: bool,
}

/// A call without an answer that can be understood.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("{url} cannot be reached: {reason}")]
    Connect { url: String, reason: String },
    #[error("{url}: {reason}")]
    Tls { url: String, reason: String },
    #[error("{url} did not answer within {} s", .within.as_secs())]
    Timeout { url: String, within: Duration },
    #[error("the connection to {url} failed: {reason}")]
    Broken { url: String, reason: String },
    #[error("{url} answered {status}")]
    Status { url: String, status: StatusCode },
    #[error("{url} is no https address")]
    Address { url: String },
}

impl Client {
    /// Trust is the CA file alone, or the system's roots where none is given.
    ///
    /// # Errors
    /// A CA file that cannot be used, or a system without roots.
    pub(super) fn new(acme: &Acme) -> Result<Self, FileFault> {
        let mut roots = RootCertStore::empty();
        let trusted = acme.directory_ca_file.as_deref().map_or_else(|| Ok(Roots::of_system()), Roots::of_file);
        let trusted = trusted?;
        trusted.add_to(&mut roots, "tls.acme.directory_ca_file")?;
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
            trusted: ContentHash::of(trusted.parts()),
            heard: Arc::default(),
            directory: acme.directory.clone(),
        })
    }

    /// The same way to the authority, with nothing heard yet.
    pub(super) fn fresh(&self) -> Self {
        Self { heard: Arc::default(), ..self.clone() }
    }

    /// Stands for who is trusted.
    pub(super) fn trusted(&self) -> ContentHash {
        self.trusted
    }

    pub(super) fn heard(&self) -> Heard {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn call(self, request: Request<BodyWrapper<Bytes>>) -> Result<Response<Full<Bytes>>, CallError> {
        let uri = request.uri().clone();
        // The library looks at the status of nothing else.
        let is_signed = request.method() == Method::POST;
        let url = uri.to_string();
        self.begin(&url);
        let answer = timeout(CALL, self.exchange(&uri, request)).await;
        let answer = answer.map_err(|_| CallError::Timeout { url: url.clone(), within: CALL })??;
        self.hear(answer.status(), answer.headers());
        let is_problem = |answer: &Response<_>| {
            let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
            kind.is_some_and(|kind| kind.starts_with("application/problem+json"))
        };
        // And takes every refusal for a problem document.
        let status = answer.status();
        if (status.is_client_error() || status.is_server_error()) && !(is_signed && is_problem(&answer)) {
            return Err(CallError::Status { url, status });
        }
        Ok(readable(answer, is_signed))
    }

    async fn exchange(
        &self,
        uri: &Uri,
        mut request: Request<BodyWrapper<Bytes>>,
    ) -> Result<Response<Full<Bytes>>, CallError> {
        let stream = self.connect(uri).await?;
        let broken = |error: &dyn StdError| CallError::Broken { url: uri.to_string(), reason: chain(error) };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
        let _driven = AbortOnDropHandle::new(tokio::spawn(connection));
        let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        let authority = HeaderValue::from_str(authority).map_err(|error| broken(&error))?;
        request.headers_mut().insert(header::HOST, authority);
        request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = Uri::try_from(path).map_err(|error| broken(&error))?;
        let answer = sender.send_request(request).await.map_err(|error| broken(&error))?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, LARGEST_BODY).collect().await.map_err(|error| broken(&*error))?;
        Ok(Response::from_parts(parts, Full::new(body.to_bytes())))
    }

    async fn connect(&self, uri: &Uri) -> Result<TlsStream<TcpStream>, CallError> {
        let bare = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(bare.clone());
        let (Some("https"), Ok(name)) = (uri.scheme_str(), name) else {
            return Err(CallError::Address { url: uri.to_string() });
        };
        let port = uri.port_u16().unwrap_or(443);
        let tcp = dial(&bare, port).await;
        let tcp = tcp.map_err(|error| CallError::Connect { url: uri.to_string(), reason: error.to_string() })?;
        let secured = timeout(CONNECT, self.tls.connect(name, tcp)).await;
        let secured = secured.map_err(|_| CallError::Timeout { url: uri.to_string(), within: CONNECT })?;
        secured.map_err(|error| CallError::Tls { url: uri.to_string(), reason: explained(&error) })
    }

    /// Nothing is heard until there is an answer, but how late it was last.
    fn begin(&self, url: &str) {
        let is_directory = Uri::try_from(&self.directory).is_ok_and(|directory| directory == url);
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        *heard = Heard { retry_after: None, clock: heard.clock, url: url.to_owned(), is_directory };
    }

    fn hear(&self, status: StatusCode, headers: &HeaderMap) {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let refused = status.is_client_error() || status.is_server_error();
        let retry_after = text(header::RETRY_AFTER).filter(|_| refused).and_then(retry_after);
        let clock = text(header::DATE).and_then(|date| httpdate::parse_http_date(date).ok());
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        *heard = Heard { retry_after, clock: clock.or(heard.clock), ..heard.clone() };
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let call = self.clone().call(request);
        Box::pin(async move { call.await.map(BytesResponse::from).map_err(|error| Error::Other(Box::new(error))) })
    }
}

/// The library trusts in `Retry-After`, and without it makes nothing of what is read without being signed for.
fn readable<B>(mut answer: Response<B>, is_signed: bool) -> Response<B> {
    let said = answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(retry_after);
    match said.or((!is_signed).then_some(ASK_AGAIN)) {
        Some(patience) => {
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(patience.min(MOST_PATIENCE).as_secs()));
        }
        None => {
            answer.headers_mut().remove(header::RETRY_AFTER);
        }
    }
    answer
}

/// The addresses in turn: one that swallows what it is sent must not take the time of all.
async fn dial(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses: Vec<_> = lookup_host((host, port)).await?.collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let turn = CONNECT / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    for address in addresses {
        match timeout(turn, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return tcp.set_nodelay(true).map(|()| tcp),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, format!("no connection to {address}")),
        }
    }
    Err(last)
}

/// The error, and what to look at where that is known.
fn explained(error: &io::Error) -> String {
    use rustls::CertificateError;
    let hint = match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "its certificate is of an issuer that is not trusted: see tls.acme.directory_ca_file"
        }
        Some(rustls::Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        )) => "its certificate is not valid at this time: is the clock of this machine right?",
        _ => return error.to_string(),
    };
    hint.to_owned()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn the_library_sees_no_patience_that_would_break_it() {
        for (said, is_signed, seen) in [
            (Some("120"), true, Some("120")),
            (Some("18446744073709551615"), true, Some("31536000")),
            (Some("Fri, 31 Dec 9999 23:59:59 GMT"), false, Some("31536000")),
            (Some("soon"), true, None),
            (None, true, None),
            (Some("-1"), false, Some("21600")),
            (None, false, Some("21600")),
        ] {
            let answer = said.into_iter().fold(Response::builder(), |answer, said| answer.header("Retry-After", said));
            let answer = readable(answer.body(()).unwrap(), is_signed);
            let found = answer.headers().get(header::RETRY_AFTER).map(|value| value.to_str().unwrap());
            assert_eq!(found, seen, "{said:?}");
        }
    }

    fn client() -> Client {
        crate::tls::install_provider();
        let config = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        Client {
            tls: TlsConnector::from(Arc::new(config)),
            trusted: ContentHash::of([]),
            heard: Arc::default(),
            directory: String::new(),
        }
    }

    async fn fails(url: &str) -> String {
        let request = Request::builder().uri(url).body(BodyWrapper::default()).unwrap();
        client().call(request).await.unwrap_err().to_string()
    }

    /// Time passes by itself while nothing happens.
    #[tokio::test(start_paused = true)]
    async fn an_authority_that_hangs_is_left() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/dir", listener.local_addr().unwrap());
        let begun = tokio::time::Instant::now();
        assert_eq!(fails(&url).await, format!("{url} did not answer within 10 s"));
        assert!(begun.elapsed() <= CALL);
        drop(listener);
        assert!(fails(&url).await.starts_with(&format!("{url} cannot be reached: ")));
    }

    /// Whatever an authority says where it is to be found.
    #[tokio::test]
    async fn nothing_is_asked_but_over_tls() {
        for url in ["http://127.0.0.1:1/dir", "/dir"] {
            assert_eq!(fails(url).await, format!("{url} is no https address"));
        }
    }
}
