//! One upstream and its idle connections.

use std::{sync::Arc, time::Duration};

use crossbeam_queue::ArrayQueue;
use http::{HeaderMap, HeaderValue, Method, header};
use hyper::Request;

use super::{
    Error, Exchange, Pending, SetupError, UploadBody,
    client::{Connector, Wire},
};
use crate::{
    access::Permit,
    config,
    registry::{Route, UploadVerb},
};

/// Idle connections kept for one upstream.
const IDLE_CONNECTIONS: usize = 256;
/// An idle connection older than this is not used again: the upstream or a middlebox may be about to close it.
const IDLE_AGE: Duration = Duration::from_secs(30);

/// The upstream of one registry.
///
/// It sends what a permit holds and nothing else: this compiles,
///
/// ```
/// use portcullis::{access::Permit, upstream::{Pool, UploadBody}};
///
/// async fn send(pool: &Pool, permit: &Permit, body: UploadBody) {
///     let _ = pool.send(permit, http::HeaderMap::new(), body).await;
/// }
/// ```
///
/// ```
/// use portcullis::{access::Permit, upstream::{Pool, UploadBody}};
///
/// async fn send(pool: &Pool, permit: &Permit, body: UploadBody) {
///     let _ = pool.fetch(permit, http::HeaderMap::new()).await;
/// }
/// ```
///
/// and none of these, which differ in one line: a route alone is not enough,
///
/// ```compile_fail,E0308
/// use portcullis::{access::Permit, upstream::{Pool, UploadBody}};
///
/// async fn send(pool: &Pool, permit: &Permit, body: UploadBody) {
///     let _ = pool.send(permit.route(), http::HeaderMap::new(), body).await;
/// }
/// ```
///
/// ```compile_fail,E0308
/// use portcullis::{access::Permit, upstream::{Pool, UploadBody}};
///
/// async fn send(pool: &Pool, permit: &Permit, body: UploadBody) {
///     let _ = pool.fetch(permit.route(), http::HeaderMap::new()).await;
/// }
/// ```
///
/// and what is beneath cannot be reached.
///
/// ```compile_fail,E0616
/// use portcullis::{access::Permit, upstream::{Pool, UploadBody}};
///
/// async fn send(pool: &Pool, permit: &Permit, body: UploadBody) {
///     let _ = pool.connector.connect().await;
/// }
/// ```
pub struct Pool {
    connector: Connector,
    idle: Arc<Idle>,
    credentials: Option<HeaderValue>,
    pub timeouts: config::Timeouts,
}

impl Pool {
    pub fn new(upstream: &config::Upstream) -> Result<Self, SetupError> {
        Ok(Self {
            connector: Connector::new(upstream)?,
            idle: Arc::new(Idle(ArrayQueue::new(IDLE_CONNECTIONS))),
            credentials: upstream.credentials.as_ref().map(basic_header).transpose()?,
            timeouts: upstream.timeouts.clone(),
        })
    }

    /// The upstream's address, for the access log.
    pub fn describe(&self) -> String {
        self.connector.describe()
    }

    /// Sends the permit's route, without a body, and waits for the answer's head.
    ///
    /// A GET or HEAD that meets a connection which died while idle is sent once more over a fresh one.
    pub async fn fetch(&self, permit: &Permit, headers: HeaderMap) -> Result<Exchange, Error> {
        let method = permit.route().method();
        let repeatable = method == Method::GET || method == Method::HEAD;
        if repeatable && let Some(wire) = self.reusable() {
            let request = self.request(permit, headers.clone(), UploadBody::empty())?;
            match self.head_of(permit, Pending::start(wire, request, Arc::clone(&self.idle))).await {
                Err(Error::Broken(_)) => {}
                answer => return answer,
            }
        }
        let pending = self.send(permit, headers, UploadBody::empty()).await?;
        self.head_of(permit, pending).await
    }

    /// How long the head of the answer may take once the request is out: a commit copies and hashes.
    pub fn patience(&self, permit: &Permit) -> Duration {
        let whole = matches!(permit.route(), Route::Upload { verb: UploadVerb::Monolithic { .. }, .. });
        let commits = whole || permit.route().method() == Method::PUT;
        if commits { self.timeouts.commit } else { self.timeouts.first_byte }
    }

    /// Sends the permit's route over a fresh connection and returns while the answer is pending.
    ///
    /// Writes go over fresh connections, since they cannot be repeated when an idle one turns out to be dead.
    pub async fn send(&self, permit: &Permit, headers: HeaderMap, body: UploadBody) -> Result<Pending, Error> {
        let request = self.request(permit, headers, body)?;
        let wire = self.connector.connect().await?;
        Ok(Pending::start(wire, request, Arc::clone(&self.idle)))
    }

    async fn head_of(&self, permit: &Permit, pending: Pending) -> Result<Exchange, Error> {
        let limit = self.patience(permit);
        tokio::time::timeout(limit, pending).await.map_err(|_| Error::Silent(limit))?
    }

    fn reusable(&self) -> Option<Wire> {
        while let Some(mut wire) = self.idle.0.pop() {
            if wire.idle_since.elapsed() < IDLE_AGE && wire.is_usable() {
                return Some(wire);
            }
        }
        None
    }

    fn request(&self, permit: &Permit, headers: HeaderMap, body: UploadBody) -> Result<Request<UploadBody>, Error> {
        let mut request = Request::builder()
            .method(permit.route().method())
            .uri(permit.route().to_upstream())
            .body(body)
            .map_err(|_| Error::Unusable("the route makes no request line"))?;
        *request.headers_mut() = headers;
        if let Some(credentials) = &self.credentials {
            request.headers_mut().insert(header::AUTHORIZATION, credentials.clone());
        }
        Ok(request)
    }
}

/// Connections that wait for the next exchange. Bounded; a surplus one is closed.
pub(super) struct Idle(ArrayQueue<Wire>);

impl Idle {
    pub(super) fn put(&self, wire: Wire) {
        // A full queue gives the connection back, and dropping it closes it.
        drop(self.0.push(wire));
    }
}

fn basic_header(credentials: &config::UpstreamCredentials) -> Result<HeaderValue, SetupError> {
    use base64::Engine as _;
    let text = format!("{}:{}", credentials.username, credentials.password.reveal());
    let encoded = base64::engine::general_purpose::STANDARD.encode(text);
    let mut value = HeaderValue::from_str(&format!("Basic {encoded}"))
        .map_err(|error| SetupError { server: "credentials".to_owned(), reason: error.to_string() })?;
    value.set_sensitive(true);
    Ok(value)
}
