//! One upstream and its idle connections.

use std::{sync::Arc, time::Duration};

use crossbeam_queue::ArrayQueue;
use http::{HeaderMap, HeaderValue, Method, header};
use hyper::Request;

use super::{
    Error, Exchange, Pending, SetupError, UploadBody,
    client::{Connector, Wire},
    redirect::Redirects,
};
use crate::{
    access::Permit,
    config,
    registry::{Route, UploadVerb},
    token::{KeyError, Minter},
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
    shared: Arc<Shared>,
    credentials: Credentials,
    /// None where clients get the redirects to object storage.
    redirects: Option<Redirects>,
    pub timeouts: config::Timeouts,
}

/// What the upstream is shown of us; never anything that a client sent.
enum Credentials {
    None,
    Basic(HeaderValue),
    /// A token for each permit.
    Token(Minter),
}

impl Pool {
    /// With a minter each request carries a token made for its permit; without one, the configured credentials if any.
    pub fn new(upstream: &config::Upstream, minter: Option<Minter>) -> Result<Self, SetupError> {
        let credentials = match (minter, &upstream.credentials) {
            (Some(minter), _) => Credentials::Token(minter),
            (None, Some(credentials)) => Credentials::Basic(basic_header(credentials)?),
            (None, None) => Credentials::None,
        };
        Ok(Self {
            connector: Connector::new(upstream)?,
            shared: Arc::new(Shared::new(credentials.refusal())),
            credentials,
            redirects: Redirects::new(upstream)?,
            timeouts: upstream.timeouts.clone(),
        })
    }

    /// The upstream's address, for the access log.
    pub fn describe(&self) -> String {
        self.connector.describe()
    }

    /// Sends the permit's route, without a body, and waits for the answer's head; a blob's redirect to object storage is
    /// followed where that is configured.
    ///
    /// A GET or HEAD that meets a connection which died while idle is sent once more over a fresh one.
    pub async fn fetch(&self, permit: &Permit, headers: HeaderMap) -> Result<Exchange, Error> {
        let Some(redirects) = &self.redirects else { return self.attempt(permit, headers).await };
        let answer = self.attempt(permit, headers.clone()).await?;
        redirects.follow(permit, answer, &headers).await
    }

    async fn attempt(&self, permit: &Permit, headers: HeaderMap) -> Result<Exchange, Error> {
        let method = permit.route().method();
        let repeatable = method == Method::GET || method == Method::HEAD;
        if repeatable && let Some(wire) = self.shared.reusable() {
            let request = self.request(permit, headers.clone(), UploadBody::empty())?;
            match self.head_of(permit, Pending::start(wire, request, Arc::clone(&self.shared))).await {
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
        Ok(Pending::start(wire, request, Arc::clone(&self.shared)))
    }

    async fn head_of(&self, permit: &Permit, pending: Pending) -> Result<Exchange, Error> {
        let limit = self.patience(permit);
        tokio::time::timeout(limit, pending).await.map_err(|_| Error::Silent(limit))?
    }

    fn request(&self, permit: &Permit, headers: HeaderMap, body: UploadBody) -> Result<Request<UploadBody>, Error> {
        let mut request = Request::builder()
            .method(permit.route().method())
            .uri(permit.route().to_upstream())
            .body(body)
            .map_err(|_| Error::Unusable("the route makes no request line"))?;
        *request.headers_mut() = headers;
        if let Some(authorization) = self.credentials.authorization(permit)? {
            request.headers_mut().insert(header::AUTHORIZATION, authorization);
        }
        Ok(request)
    }
}

impl Credentials {
    fn authorization(&self, permit: &Permit) -> Result<Option<HeaderValue>, Error> {
        match self {
            Self::None => Ok(None),
            Self::Basic(value) => Ok(Some(value.clone())),
            Self::Token(minter) => {
                let token = minter.token(permit.caller(), &permit.route().upstream_scopes())?;
                let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| KeyError::Signing)?;
                value.set_sensitive(true);
                Ok(Some(value))
            }
        }
    }

    /// What an operator should look at where the upstream does not accept them.
    fn refusal(&self) -> String {
        match self {
            Self::None => {
                "it wants credentials: see upstream.credentials, or upstream.pass_token where it verifies tokens"
                    .to_owned()
            }
            Self::Basic(_) => "it wants other credentials: see upstream.credentials".to_owned(),
            Self::Token(minter) => format!(
                "it does not accept the token of upstream.pass_token: it must have the keys that `portcullis token keys` \
                 prints, the service {}, the issuer {} and a clock that agrees with ours",
                minter.service(),
                minter.issuer()
            ),
        }
    }
}

/// What the exchanges of one pool share.
pub(super) struct Shared {
    /// Connections that wait for the next exchange. Bounded; a surplus one is closed.
    idle: ArrayQueue<Wire>,
    /// What to look at where the upstream does not accept our credentials.
    refusal: String,
}

impl Shared {
    pub(super) fn new(refusal: String) -> Self {
        Self { idle: ArrayQueue::new(IDLE_CONNECTIONS), refusal }
    }

    /// An idle connection that is still good, as far as can be seen.
    pub(super) fn reusable(&self) -> Option<Wire> {
        while let Some(mut wire) = self.idle.pop() {
            if wire.idle_since.elapsed() < IDLE_AGE && wire.is_usable() {
                return Some(wire);
            }
        }
        None
    }

    pub(super) fn put(&self, wire: Wire) {
        // A full queue gives the connection back, and dropping it closes it.
        drop(self.idle.push(wire));
    }

    pub(super) fn refused(&self) -> Error {
        Error::Refused(self.refusal.clone())
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
