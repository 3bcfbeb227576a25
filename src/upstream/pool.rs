//! One upstream: its servers, and how a request finds the one that answers it.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use http::{HeaderMap, Method, StatusCode, Uri, header};
use hyper::Request;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

use super::{
    Error, Exchange, Pending, SetupError, UploadBody,
    client::Wire,
    credentials::Credentials,
    plan::{Former, Plan, Settings},
    redirect::{Redirects, is_followed},
    rounds::{Failures, Rounds, Turn},
    select::{Eligible, Selector},
    server::Server,
};
use crate::{
    access::Permit,
    config,
    registry::{Reference, Route, UploadVerb},
};

/// How one server is.
#[derive(Clone, Debug)]
pub struct ServerState {
    pub url: Arc<str>,
    /// Otherwise a replica.
    pub primary: bool,
    /// What ended its turn; None while it has it.
    pub trouble: Option<String>,
    /// Requests and transfers.
    pub under_way: usize,
    /// The recent mean of the time from a request without a body to the head of its answer; None where there was none of
    /// late. Probes are left out.
    pub latency: Option<Duration>,
    /// Requests that failed by its fault, for as long as it is in the configuration.
    pub failures: u64,
}

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
    settings: Settings,
    servers: Vec<Arc<Server>>,
    selector: Selector,
    credentials: Credentials,
    pub timeouts: config::Timeouts,
    /// Where a blob's redirect to object storage is followed; None where the client gets it.
    redirects: Option<Redirects>,
    pub(super) verify: bool,
}

impl Pool {
    /// With those servers of `former` that did not change.
    pub(super) fn new(plan: Plan, former: &mut Former) -> Result<Self, SetupError> {
        let tls = plan.tls.to_servers()?;
        let Plan { settings, credentials, tls: content } = plan;
        let upstream = &settings.upstream;
        let storage = content.to_storage()?;
        let servers = settings.servers(&credentials, &content);
        let weights = upstream.servers.iter().map(|server| server.weight).collect();
        Ok(Self {
            servers: servers.map(|server| former.server(server, tls.as_ref())).collect::<Result<_, _>>()?,
            selector: Selector::new(upstream.balance, weights),
            credentials,
            timeouts: upstream.timeouts.clone(),
            redirects: Redirects::new(upstream, storage.as_ref())?,
            verify: upstream.verify,
            settings,
        })
    }

    /// True where the plan would make no other one.
    pub(super) fn is(&self, plan: &Plan) -> bool {
        self.settings == plan.settings && self.credentials.are(&plan.credentials)
    }

    pub(super) fn members(&self) -> &[Arc<Server>] {
        &self.servers
    }

    /// Begins to probe those servers that are not probed yet. It ends for each when nobody has it any more. To be called
    /// within a tokio runtime.
    pub fn watch(&self) {
        self.servers.iter().for_each(Server::watch);
    }

    /// True where the last frame of a blob is kept back until its digest is right.
    pub fn verifies(&self) -> bool {
        self.verify
    }

    /// True where clients get a blob's redirect to object storage.
    pub fn passes_redirects(&self) -> bool {
        self.redirects.is_none()
    }

    /// The servers that may serve a route, for the log of a request that none of them answered.
    pub fn describe(&self, route: &Route) -> Arc<str> {
        if let [only] = &*self.servers
            && only.is_primary()
        {
            return Arc::clone(only.name());
        }
        let may =
            self.servers.iter().filter(|server| server.is_primary() || Eligible::of(route) != Eligible::Primaries);
        may.map(|server| &**server.name()).collect::<Vec<_>>().join(" ").into()
    }

    /// How its servers are, for operators.
    pub fn states(&self) -> impl Iterator<Item = ServerState> {
        self.servers.iter().map(|server| ServerState {
            url: Arc::clone(server.name()),
            primary: server.is_primary(),
            trouble: server.health.trouble(),
            under_way: server.under_way(),
            latency: server.latency(),
            failures: server.health.failures(),
        })
    }

    /// The servers' names: their addresses as configured.
    pub fn servers(&self) -> impl Iterator<Item = &Arc<str>> {
        self.servers.iter().map(|server| server.name())
    }

    /// Sends the permit's route, without a body, and waits for the answer's head. `at` is the server that holds the
    /// upload session which the route goes on with.
    ///
    /// A GET or HEAD that meets a dead or failing server goes to another one, as long as there are any. Where none can be
    /// reached, all are tried again for `timeouts.connect`; where some were waited for in vain, for `timeouts.first_byte`,
    /// since others may have come back meanwhile. What a replica does not have is asked of a primary. Anything else is
    /// sent once.
    pub async fn fetch(&self, permit: &Permit, headers: &HeaderMap, at: Option<&str>) -> Result<Exchange, Error> {
        let method = permit.route().method();
        if method != Method::GET && method != Method::HEAD {
            let pending = Box::pin(self.send(permit, headers, UploadBody::empty(), at)).await?;
            // A commit may keep a server busy; nothing else takes its time.
            let grace = if method == Method::PUT { self.timeouts.idle } else { TICK };
            return self.head_of(pending, self.patience(permit), grace).await;
        }
        let mut rounds = Rounds::new(self.timeouts.connect, self.timeouts.first_byte);
        let mut again = false;
        loop {
            let mut failures = Failures::None;
            match self.ask_each(permit, headers, at, &rounds, &mut failures).await {
                Err(Error::Redirect(error)) if error.is_down() && rounds.pause(Failures::Refused).await => {}
                // The registry signs anew.
                Err(Error::Redirect(error)) if !again && error.is_storages() => again = true,
                Err(error) if error.is_servers_fault() && rounds.pause(failures).await => {}
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
    async fn ask_each(
        &self,
        permit: &Permit,
        headers: &HeaderMap,
        at: Option<&str>,
        rounds: &Rounds,
        failures: &mut Failures,
    ) -> Result<Exchange, Error> {
        let mut order = VecDeque::from(self.order(permit.route(), at)?);
        let mut outcome = None;
        while let Some(server) = order.pop_front() {
            match self.attempt(&server, permit, headers, rounds.turn(order.len())).await {
                Ok(answer) if answer.head.status == StatusCode::NOT_FOUND && !server.is_primary() => {
                    // A primary knows; another replica may have it, and is asked where no primary answers.
                    order.make_contiguous().sort_by_key(|other| !other.is_primary());
                    outcome.get_or_insert(Err(Error::Unusable("a replica lacks it, and no primary says so too")));
                    Self::moves_on(&server, "lacking");
                }
                Ok(answer) if answer.head.status.is_server_error() => {
                    outcome = Some(Ok(answer));
                    Self::moves_on(&server, "status");
                }
                Err(error) if !error.is_servers_fault() => return Err(error),
                Err(error) => {
                    Self::moves_on(&server, error.kind());
                    *failures = failures.and(&error);
                    outcome = Some(Err(error));
                }
                answer => return answer,
            }
        }
        outcome.unwrap_or(Err(Error::Unusable("no server for the route")))
    }

    /// Notes that a server's answer, or its silence, is not taken for the last word.
    fn moves_on(server: &Server, reason: &'static str) {
        server.health.counts.moved_on(reason);
    }

    /// One server's answer to a GET or HEAD, or that of the object storage which it redirects to, within its turn.
    pub(super) async fn attempt(
        &self,
        server: &Arc<Server>,
        permit: &Permit,
        headers: &HeaderMap,
        turn: Turn,
    ) -> Result<Exchange, Error> {
        let answer = self.answer_of(server, permit, headers, turn).await;
        match &answer {
            Ok(answer) if answer.head.status.is_server_error() => server.health.counts.erred("status"),
            Ok(_) => {}
            Err(error) => server.erred(error),
        }
        answer
    }

    async fn answer_of(
        &self,
        server: &Arc<Server>,
        permit: &Permit,
        headers: &HeaderMap,
        turn: Turn,
    ) -> Result<Exchange, Error> {
        let answer = self.ask(server, permit, headers, turn).await?;
        let Some(redirects) = self.redirects.as_ref().filter(|_| is_followed(answer.head.status)) else {
            return Ok(answer);
        };
        let followed = timeout(turn.limit, Box::pin(redirects.follow(permit, answer, headers))).await;
        let followed = followed.unwrap_or(Err(Error::Silent(turn.limit)));
        // Whatever is wrong with the storage, the server is well.
        followed.inspect_err(|error| debug!(server = %server.name(), %error, "a redirect came to nothing"))
    }

    /// The server's own answer. A connection that died while it was idle is the gate's affair: the request is sent once
    /// more over a fresh one.
    async fn ask(
        &self,
        server: &Arc<Server>,
        permit: &Permit,
        headers: &HeaderMap,
        turn: Turn,
    ) -> Result<Exchange, Error> {
        server.asked();
        let grace = if turn.others { Duration::ZERO } else { self.timeouts.idle };
        if let Some(wire) = server.reusable(turn.begun) {
            let request = self.request(permit, headers.clone(), UploadBody::empty())?;
            match self.head_of(Pending::start(wire, request, server.occupy()), turn.limit, grace).await {
                Err(Error::Broken(_)) => {}
                answer => return judged(server, headers, answer),
            }
        }
        // Most requests find an idle connection, and need no room for this.
        let answer = Box::pin(async {
            let occupied = server.occupy();
            let request = self.request(permit, headers.clone(), UploadBody::empty())?;
            let wire = server.connect().await?;
            self.head_of(Pending::start(wire, request, occupied), turn.limit, grace).await
        });
        judged(server, headers, answer.await)
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
        server.asked();
        Ok(Pending::start(wire, request, server.occupy()).final_one())
    }

    async fn connect(&self, permit: &Permit, at: Option<&str>) -> Result<(Arc<Server>, Wire), Error> {
        let mut rounds = Rounds::new(self.timeouts.connect, self.timeouts.connect);
        loop {
            let mut last = Error::Unusable("no server for the route");
            for server in self.order(permit.route(), at)? {
                match server.connect().await {
                    Ok(wire) => return Ok((server, wire)),
                    Err(error) => {
                        server.health.failed(&error);
                        server.erred(&error);
                        Self::moves_on(&server, error.kind());
                        last = error;
                    }
                }
            }
            if !rounds.pause(Failures::Refused).await {
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

    /// Waits for the answer's head: for as long as [`Pool::patience`] says, and no longer than `timeouts.idle` after the
    /// server has stopped to answer probes.
    pub async fn answer(&self, permit: &Permit, pending: Pending) -> Result<Exchange, Error> {
        self.head_of(pending, self.patience(permit), self.timeouts.idle).await
    }

    /// `grace` is how long a server may be silent meanwhile. Without any, it must not so much as lose its turn: what other
    /// requests met says nothing of this one, but then somebody else can be asked instead.
    async fn head_of(&self, mut pending: Pending, limit: Duration, grace: Duration) -> Result<Exchange, Error> {
        let server = pending.server();
        let (begun, mut lost) = (pending.asked().unwrap_or_else(Instant::now), None);
        let mut look = begun + limit.min(TICK);
        loop {
            if let Ok(answer) = timeout_at(look, &mut pending).await {
                return answer;
            }
            let well = |server: &Arc<Server>| match grace.is_zero() {
                true => server.health.is_up(),
                false => !server.health.is_silent(),
            };
            lost = if server.as_ref().is_none_or(well) { None } else { lost.or(Some(Instant::now())) };
            if begun.elapsed() >= limit || lost.is_some_and(|lost| lost.elapsed() >= grace) {
                return Err(pending.silent(begun.elapsed()));
            }
            look = (Instant::now() + TICK).min(begun + limit);
        }
    }

    fn request(&self, permit: &Permit, headers: HeaderMap, body: UploadBody) -> Result<Request<UploadBody>, Error> {
        let line = Uri::try_from(permit.route().to_upstream());
        let mut request = Request::new(body);
        *request.method_mut() = permit.route().method();
        *request.uri_mut() = line.map_err(|_| Error::Unusable("the route makes no request line"))?;
        *request.headers_mut() = headers;
        if let Some(authorization) = self.credentials.authorization(permit)? {
            request.headers_mut().insert(header::AUTHORIZATION, authorization);
        }
        Ok(request)
    }

    pub(super) fn registry(&self) -> &str {
        &self.settings.registry
    }
}

/// docker-registry empties a tag's file before it writes the new digest, and says 500 to whoever reads it in between.
fn in_between(route: &Route, status: StatusCode) -> bool {
    let by_tag = matches!(route, Route::Manifest { reference: Reference::Tag(_), .. });
    by_tag && status == StatusCode::INTERNAL_SERVER_ERROR
}

/// Tells the server's health what its answer means. A 500 may be one repository's trouble and says nothing of the rest.
fn judged(server: &Server, headers: &HeaderMap, answer: Result<Exchange, Error>) -> Result<Exchange, Error> {
    match &answer {
        Ok(exchange) if matches!(exchange.head.status.as_u16(), 502..=504) => {
            server.health.failed(&format_args!("it answers {}", exchange.head.status));
        }
        Ok(_) => {}
        // Its credentials are the operator's affair, and would be wrong elsewhere too.
        Err(Error::Refused(_)) => {}
        Err(error) if error.is_servers_fault() => {
            // The request tells what it came to, and the server's health what follows for the server.
            debug!(server = %server.name(), request_id = request_id(headers), %error, "a server failed a request");
            server.health.failed(error);
        }
        Err(_) => {}
    }
    answer
}

/// The id of the client's request, for the log.
pub(super) fn request_id(headers: &HeaderMap) -> &str {
    headers.get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default()
}
