//! The plain HTTP port: answers to authorities, redirects to https, nothing else. Nothing is proxied from here.

use std::{
    convert::Infallible,
    future::poll_fn,
    net::{IpAddr, SocketAddr},
    sync::{Arc, LazyLock},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, LOCATION, PROXY_AUTHORIZATION, X_CONTENT_TYPE_OPTIONS},
};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    sync::watch,
    time::{self, Instant},
};

use super::{
    admission::Share,
    buffer::BufferedTcp,
    door::{Arrived, Door, Reception},
    listening::{Live, Terms},
    socket::{linger, tune},
};
use crate::{
    config::{Host, Limits},
    registry::{ErrorBody, ErrorCode},
    telemetry::{
        log::{Spared, Sparing},
        metrics,
    },
    tls::acme::Challenges,
};

/// A redirect takes milliseconds, so this port needs fewer places than the other.
const MOST_CONNECTIONS: usize = 1024;
const LARGEST_HEAD: usize = 16 * 1024;
const MOST_HEADERS: usize = 100;
/// On top of `limits.request_head`: for the answer to be taken and the rest of the request to be
/// read off.
const TIME_TO_ANSWER: Duration = Duration::from_secs(5);
const CREDENTIALS: [HeaderName; 3] = [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE];
const ACME_CHALLENGES: &str = "/.well-known/acme-challenge/";
const HTTPS: u16 = 443;
/// How often one client's credentials are worth a line.
const TOLD_AGAIN: Duration = Duration::from_secs(60);

/// The door for plain HTTP.
#[derive(Debug)]
pub struct PlainListener {
    reception: Reception,
}

impl PlainListener {
    pub fn new(live: watch::Receiver<Live>) -> Self {
        Self { reception: Reception::new(Door::new(live, Live::http), share) }
    }

    /// Answers until listening ends for good.
    ///
    /// GET and HEAD of an ACME challenge that is open get its answer, whatever else the host is. GET and HEAD without
    /// credentials for one of the redirect's hosts get a 308 to the same path on https. All else gets
    /// a registry error: 404 and 405 for other ACME challenges, 421 for other hosts, 400 for other methods, for
    /// credentials, and where the target is not a path. Each connection serves one request; its head must arrive
    /// within `limits.request_head`, and a balancer's PROXY header before it within `limits.handshake`.
    pub async fn run(mut self) {
        while let Some(accepted) = self.reception.next().await {
            metrics::connection_accepted("http");
            tokio::spawn(async move {
                let deadline = Instant::now() + accepted.terms.limits.handshake;
                let Some(Arrived { tcp, peer, ticket: _ticket, terms, .. }) = accepted.identify(deadline).await else {
                    return;
                };
                let head = terms.limits.request_head;
                let served = serve(tcp, peer, &terms, head);
                let longest = head.saturating_add(TIME_TO_ANSWER);
                if let Ok(Err(error)) = time::timeout(longest, served).await {
                    tracing::debug!(%peer, %error, "plain HTTP connection ended early");
                }
            });
        }
    }
}

fn share(terms: &Terms) -> Share {
    let Limits { connections, connections_per_client, .. } = terms.limits;
    Share {
        connections: connections.min(MOST_CONNECTIONS),
        per_client: connections_per_client,
        exempt: terms.proxies.clone(),
        balancers: terms.balancers.clone(),
    }
}

async fn serve(tcp: BufferedTcp, peer: SocketAddr, terms: &Terms, head_timeout: Duration) -> hyper::Result<()> {
    // Without it the connection still works.
    let _ = tune(tcp.tcp());
    let service = service_fn(|request: Request<Incoming>| {
        Box::pin(async move {
            let proof = challenge(&request, &terms.challenges).await;
            Ok::<_, Infallible>(proof.unwrap_or_else(|| terms.redirect.answer(&request, peer)))
        })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(LARGEST_HEAD)
        .max_headers(MOST_HEADERS)
        .keep_alive(false)
        // A client that has said all it wants to say is answered all the same.
        .half_close(true)
        .serve_connection(TokioIo::new(tcp), service);
    let served = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    linger(&mut connection.into_parts().io.into_inner().into_tcp()).await;
    served
}

/// The answer to an authority that asks for an open challenge.
async fn challenge<B>(request: &Request<B>, challenges: &Challenges) -> Option<Response<Full<Bytes>>> {
    let token = is_read(request).then(|| path(request)?.strip_prefix(ACME_CHALLENGES))??;
    let host = host(request)?;
    let key_authorization = challenges.http(&host.name, token).await?;
    tracing::info!(host = %host.name, "answered an http-01 challenge");
    let mut response = response(StatusCode::OK, key_authorization.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    Some(response)
}

/// Tells it once in a while for each client: anybody can have it told.
fn in_clear(peer: IpAddr) {
    const WHAT: &str = "a client sent credentials over plain HTTP: they travelled in clear and should be changed";
    static TOLD: LazyLock<Sparing> = LazyLock::new(|| Sparing::new(TOLD_AGAIN));
    match TOLD.spare(&peer.to_string()) {
        Spared::Due { left_out } => tracing::warn!(%peer, left_out, "{WHAT}"),
        Spared::NotDue => tracing::debug!(%peer, "{WHAT}"),
    }
}

/// What this port knows of the world.
#[derive(Clone, Debug)]
pub struct Redirect {
    pub hosts: Vec<Host>,
    /// The port that clients dial for https; 443 is not printed.
    pub public_port: u16,
}

impl Redirect {
    fn answer<B>(&self, request: &Request<B>, peer: SocketAddr) -> Response<Full<Bytes>> {
        let has_credentials = CREDENTIALS.iter().any(|name| request.headers().contains_key(name));
        if has_credentials {
            in_clear(peer.ip());
        }
        match self.location(request, has_credentials) {
            Ok(location) => moved(location),
            Err(refusal) => refusal.into_response(),
        }
    }

    fn location<B>(&self, request: &Request<B>, has_credentials: bool) -> Result<HeaderValue, Refusal> {
        if path(request).is_some_and(is_about_challenges) {
            return Err(Refusal::challenge(request));
        }
        let origin = self.origin(request)?;
        let path = path(request).ok_or_else(|| {
            Refusal::bad_request(format!("the request target is not a path of printable ASCII: use {origin}"))
        })?;
        if !is_read(request) || has_credentials {
            return Err(Refusal::bad_request(format!("plain HTTP is refused: use {origin}")));
        }
        HeaderValue::try_from(format!("{origin}{path}"))
            .map_err(|_| Refusal::bad_request(format!("the path cannot be redirected: use {origin}")))
    }

    /// `https://` and the asked host, as the configuration writes it.
    fn origin<B>(&self, request: &Request<B>) -> Result<String, Refusal> {
        let asked = host(request).ok_or_else(|| Refusal::bad_request("one valid Host header is needed".to_owned()))?;
        let named = || self.hosts.iter().filter(|host| host.name == asked.name);
        let Some(first) = named().next() else {
            return Err(Refusal {
                status: StatusCode::MISDIRECTED_REQUEST,
                code: ErrorCode::Unsupported,
                message: "no registry of this name is served here".to_owned(),
            });
        };
        let on_public_port = named().any(|host| host.port.is_none_or(|port| port == self.public_port));
        let port = match first.port {
            Some(port) if !on_public_port => port,
            _ => self.public_port,
        };
        let host = Host { name: Arc::clone(&first.name), port: (port != HTTPS).then_some(port) };
        Ok(format!("https://{host}"))
    }
}

/// The one Host header; its port says nothing about the https port.
fn host<B>(request: &Request<B>) -> Option<Host> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next()?.to_str().ok()?;
    hosts.next().is_none().then(|| Host::parse(host)).flatten()
}

/// Path and query as sent, where the target is in origin form (RFC 9112 section 3.2.1).
fn path<B>(request: &Request<B>) -> Option<&str> {
    let uri = request.uri();
    if uri.scheme().is_some() || uri.authority().is_some() {
        return None;
    }
    uri.path_and_query()
        .map(|path| path.as_str())
        .filter(|path| path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()))
}

fn is_read<B>(request: &Request<B>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
}

/// Also where it is not written as authorities write it: that is nothing to be redirected.
fn is_about_challenges(path: &str) -> bool {
    let prefix = ACME_CHALLENGES.trim_end_matches('/');
    path.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix))
}

struct Refusal {
    status: StatusCode,
    code: ErrorCode,
    message: String,
}

impl Refusal {
    fn bad_request(message: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: ErrorCode::Unsupported, message }
    }

    fn challenge<B>(request: &Request<B>) -> Self {
        let status = if is_read(request) { StatusCode::NOT_FOUND } else { StatusCode::METHOD_NOT_ALLOWED };
        Self { status, code: ErrorCode::NameUnknown, message: "no ACME challenge is open here".to_owned() }
    }

    fn into_response(self) -> Response<Full<Bytes>> {
        let body = ErrorBody::new(self.code, self.message).to_json();
        let mut response = response(self.status, body.into());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}

fn moved(location: HeaderValue) -> Response<Full<Bytes>> {
    let mut response = response(StatusCode::PERMANENT_REDIRECT, Bytes::new());
    response.headers_mut().insert(LOCATION, location);
    response
}

/// No `Strict-Transport-Security`: RFC 6797 section 7.2 forbids it over plain HTTP.
fn response(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers
        .insert(HeaderName::from_static("docker-distribution-api-version"), HeaderValue::from_static("registry/2.0"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests;
