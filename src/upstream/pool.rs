//! One upstream: its servers, and how a request finds the one that answers it.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, Method, StatusCode, header};
use hyper::Request;
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::{
    Error, Exchange, Pending, SetupError, UploadBody,
    client::{self, Wire},
    credentials::Credentials,
    health,
    rounds::Rounds,
    select::Selector,
    server::Server,
};
use crate::{
    access::Permit,
    config::{self, Redirects, ServerUrl},
    registry::{Reference, Route, UploadVerb},
    telemetry::metrics,
    token::Minter,
};

/// How often a request that waits looks whether its server has lost its turn meanwhile.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// How long a registry may take to write a tag anew.
const REWRITING: Duration = Duration::from_millis(50);

/// The upstream of one registry, or of a part of it.
///
/// It sends what a permit holds and nothing else: this compiles,
///
/// ```
/// use portcullis::{access::Permit, upstream::{Pool, UploadBody}};
///
/// async fn send(pool: &Pool, permit: &Permit, body: UploadBody) {
///     let _ = pool.send(permit, &http::HeaderMap::new(), body, None).await;
/// }
/// ```
///
/// ```
/// use portcullis::{access::Permit, upstream::{Pool, UploadBody}};
///
/// async fn send(pool: &Pool, permit: &Permit, body: UploadBody) {
///     let _ = pool.fetch(permit, &http::HeaderMap::new(), None).await;
/// }
/// ```
///
/// and none of these, which differ in one line: a route alone is not enough,
///
/// ```compile_fail,E0308
/// use portcullis::{access::Permit, upstream::{Pool, UploadBody}};
///
/// async fn send(pool: &Pool, permit: &Permit, body: UploadBody) {
///     let _ = pool.send(permit.route(), &http::HeaderMap::new(), body, None).await;
/// }
/// ```
///
/// ```compile_fail,E0308
/// use portcullis::{access::Permit, upstream::{Pool, UploadBody}};
///
/// async fn send(pool: &Pool, permit: &Permit, body: UploadBody) {
///     let _ = pool.fetch(permit.route(), &http::HeaderMap::new(), None).await;
/// }
/// ```
///
/// and what is beneath cannot be reached.
///
/// ```compile_fail,E0616
/// use portcullis::{access::Permit, upstream::{Pool, UploadBody}};
///
/// async fn send(pool: &Pool, permit: &Permit, body: UploadBody) {
///     let _ = pool.servers.len();
/// }
/// ```
pub struct Pool {
    registry: Arc<str>,
    servers: Vec<Arc<Server>>,
    selector: Selector,
    credentials: Credentials,
    pub timeouts: config::Timeouts,
    /// A blob's redirect to object storage goes to the client; otherwise it is an error.
    pub pass_redirects: bool,
    pub(super) verify: bool,
}

impl Pool {
    /// `registry` names it in metrics. With a minter each request carries a token made for its permit; without one, the
    /// configured credentials if any.
    pub fn new(registry: &str, upstream: &config::Upstream, minter: Option<Minter>) -> Result<Self, SetupError> {
        let credentials = Credentials::new(upstream, minter)?;
        let https = upstream.servers.iter().any(|server| matches!(server.url, ServerUrl::Https { .. }));
        let tls = https.then(|| client::tls_settings(&upstream.tls)).transpose()?;
        let refusal: Arc<str> = credentials.refusal().into();
        let server = |server: &config::Server| {
            Server::new(registry, server, upstream, tls.as_ref(), Arc::clone(&refusal)).map(Arc::new)
        };
        Ok(Self {
            registry: registry.into(),
            servers: upstream.servers.iter().map(server).collect::<Result<_, _>>()?,
            selector: Selector::new(upstream.balance, upstream.servers.len()),
            credentials,
            timeouts: upstream.timeouts.clone(),
            pass_redirects: upstream.redirects == Redirects::Pass,
            verify: upstream.verify,
        })
    }

    /// Begins to probe the servers; it ends with the pool. To be called within a tokio runtime.
    pub fn watch(&self) {
        let authorization = self.credentials.lasting();
        for server in &self.servers {
            tokio::spawn(health::watch(Arc::downgrade(server), authorization.clone()));
        }
    }

    /// The servers' names: their addresses as configured.
    pub fn servers(&self) -> impl Iterator<Item = &Arc<str>> {
        self.servers.iter().map(|server| server.name())
    }

    /// Sends the permit's route, without a body, and waits for the answer's head. `at` is the server that holds the
    /// upload session which the route goes on with.
    ///
    /// A GET or HEAD that meets a dead or failing server goes to another one, as long as there are any; where none can be
    /// reached, it is tried again for `timeouts.connect`. What a replica does not have is asked of a primary. Anything
    /// else is sent once.
    pub async fn fetch(&self, permit: &Permit, headers: &HeaderMap, at: Option<&str>) -> Result<Exchange, Error> {
        let method = permit.route().method();
        if method != Method::GET && method != Method::HEAD {
            let pending = self.send(permit, headers, UploadBody::empty(), at).await?;
            return self.head_of(permit, pending, false).await;
        }
        let mut rounds = Rounds::new(self.timeouts.connect);
        let mut again = false;
        loop {
            match self.ask_each(permit, headers, at).await {
                // Servers that are being restarted. What broke off may have done so because of the request.
                Err(Error::Connect(_)) if rounds.pause().await => {}
                Ok(answer) if !again && in_between(permit.route(), answer.head.status) => {
                    again = true;
                    tokio::time::sleep(REWRITING).await;
                }
                answer => return answer,
            }
        }
    }

    /// Asks one server after the other until one has an answer that is no failure of its own. Where all fail, what the
    /// last one answered.
    async fn ask_each(&self, permit: &Permit, headers: &HeaderMap, at: Option<&str>) -> Result<Exchange, Error> {
        let order = self.order(permit.route(), at)?;
        let mut outcome = Err(Error::Unusable("no server for the route"));
        let mut lacking = false;
        for (index, server) in order.iter().enumerate() {
            if lacking && !server.is_primary() {
                continue;
            }
            let others = index + 1 < order.len();
            match self.attempt(server, permit, headers, others).await {
                Ok(answer) if answer.head.status == StatusCode::NOT_FOUND && !server.is_primary() => {
                    lacking = true;
                    outcome = Err(Error::Unusable("a replica lacks it, and no primary says so too"));
                    self.moves_on(server, "lacking");
                }
                Ok(answer) if answer.head.status.is_server_error() => {
                    outcome = Ok(answer);
                    self.moves_on(server, "status");
                }
                Err(error) if !error.is_servers_fault() => return Err(error),
                Err(error) => {
                    self.moves_on(server, error.kind());
                    outcome = Err(error);
                }
                answer => return answer,
            }
        }
        outcome
    }

    /// Notes that a server's answer, or its silence, is not taken for the last word.
    fn moves_on(&self, server: &Server, reason: &'static str) {
        metrics::upstream_moved_on(&self.registry, server.name(), reason);
    }

    /// One server's answer to a GET or HEAD. A connection that died while it was idle is the gate's affair: the request is
    /// sent once more over a fresh one. `others` where somebody else could be asked instead.
    pub(super) async fn attempt(
        &self,
        server: &Arc<Server>,
        permit: &Permit,
        headers: &HeaderMap,
        others: bool,
    ) -> Result<Exchange, Error> {
        if let Some(wire) = server.reusable() {
            let request = self.request(permit, headers.clone(), UploadBody::empty())?;
            match self.head_of(permit, Pending::start(wire, request, server.occupy()), others).await {
                Err(Error::Broken(_)) => {}
                answer => return judged(server, answer),
            }
        }
        let answer = async {
            let occupied = server.occupy();
            let request = self.request(permit, headers.clone(), UploadBody::empty())?;
            let wire = server.connect().await?;
            self.head_of(permit, Pending::start(wire, request, occupied), others).await
        };
        judged(server, answer.await)
    }

    /// How long the head of the answer may take once the request is out: a commit copies and hashes.
    pub fn patience(&self, permit: &Permit) -> Duration {
        let whole = matches!(permit.route(), Route::Upload { verb: UploadVerb::Monolithic { .. }, .. });
        let commits = whole || permit.route().method() == Method::PUT;
        if commits { self.timeouts.commit } else { self.timeouts.first_byte }
    }

    /// Sends the permit's route over a fresh connection and returns while the answer is pending. `at` is as in
    /// [`Pool::fetch`].
    ///
    /// Writes go over fresh connections, since they cannot be repeated when an idle one turns out to be dead. Where a
    /// server cannot be reached nothing was sent yet, and another one is tried, for `timeouts.connect` in all.
    pub async fn send(
        &self,
        permit: &Permit,
        headers: &HeaderMap,
        body: UploadBody,
        at: Option<&str>,
    ) -> Result<Pending, Error> {
        let request = self.request(permit, headers.clone(), body)?;
        let (server, wire) = self.connect(permit, at).await?;
        Ok(Pending::start(wire, request, server.occupy()))
    }

    async fn connect(&self, permit: &Permit, at: Option<&str>) -> Result<(Arc<Server>, Wire), Error> {
        let mut rounds = Rounds::new(self.timeouts.connect);
        loop {
            let mut last = Error::Unusable("no server for the route");
            for server in self.order(permit.route(), at)? {
                match server.connect().await {
                    Ok(wire) => return Ok((server, wire)),
                    Err(error) => {
                        server.health.failed();
                        self.moves_on(&server, error.kind());
                        last = error;
                    }
                }
            }
            if !rounds.pause().await {
                return Err(last);
            }
        }
    }

    /// The servers for a route, the best first. An upload session is known to its own server alone.
    pub(super) fn order(&self, route: &Route, at: Option<&str>) -> Result<Vec<Arc<Server>>, Error> {
        if route.upload_session().is_none() {
            return Ok(self.selector.order(&self.servers, route));
        }
        let holder = self.servers.iter().find(|server| Some(&**server.name()) == at);
        holder.map(|server| vec![Arc::clone(server)]).ok_or(Error::Unusable("an upload session without its server"))
    }

    /// Waits for the head; where somebody else could be asked, no longer than the server has its turn.
    async fn head_of(&self, permit: &Permit, pending: Pending, others: bool) -> Result<Exchange, Error> {
        let limit = self.patience(permit);
        let server = pending.server();
        let mut pending = std::pin::pin!(pending);
        let begun = Instant::now();
        loop {
            let left = limit.saturating_sub(begun.elapsed());
            match timeout(if others { left.min(TICK) } else { left }, &mut pending).await {
                Ok(answer) => return answer,
                Err(_) => {}
            }
            let forsaken = others && server.as_ref().is_some_and(|server| !server.health.is_up());
            if forsaken || begun.elapsed() >= limit {
                return Err(Error::Silent(begun.elapsed()));
            }
        }
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

    pub(super) fn registry(&self) -> &str {
        &self.registry
    }
}

/// docker-registry empties a tag's file before it writes the new digest, and says 500 to whoever reads it in between.
fn in_between(route: &Route, status: StatusCode) -> bool {
    let by_tag = matches!(route, Route::Manifest { reference: Reference::Tag(_), .. });
    by_tag && status == StatusCode::INTERNAL_SERVER_ERROR
}

/// Tells the server's health what its answer means. A 500 may be one repository's trouble and says nothing of the rest.
fn judged(server: &Server, answer: Result<Exchange, Error>) -> Result<Exchange, Error> {
    match &answer {
        Ok(exchange) if matches!(exchange.head.status.as_u16(), 502..=504) => server.health.failed(),
        Ok(_) => {}
        // Its credentials are the operator's affair, and would be wrong elsewhere too.
        Err(Error::Refused(_)) => {}
        Err(error) if error.is_servers_fault() => {
            warn!(server = %server.name(), %error, "a request failed");
            server.health.failed();
        }
        Err(_) => {}
    }
    answer
}
