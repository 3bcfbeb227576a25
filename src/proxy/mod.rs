//! The gate itself: a request's straight line from its head to the last byte of its answer.

mod catalog;
mod client;
mod forward;
mod gate;
mod head;
mod pages;
mod pump;
mod record;
mod respond;
mod token_endpoint;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora_core::{
    apps::{HttpPersistentSettings, HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp},
    protocols::{
        ALPN, Stream,
        http::{ServerSession, v2::server::H2Options},
    },
    server::ShutdownWatch,
};

use self::{
    client::ClientGone,
    forward::Public,
    gate::Verdict,
    head::RequestHead,
    pump::{Stop, Terms},
    record::Record,
    respond::{Challenger, Rejection},
};
use crate::{
    access::Permit,
    config::Limits,
    listener::{Activity, ConnectionInfo, Handler},
    runtime::{PublicRegistry, Runtime},
    telemetry::metrics,
};

/// Flow-control windows towards HTTP/2 clients: the default of 64 KiB makes uploads slow and dear.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
const LARGEST_FRAME: u32 = 256 * 1024;
const CONCURRENT_STREAMS: u32 = 128;
/// How long what a client still sends is read, so that it gets the answer to a head that is none.
const UNREAD: Duration = Duration::from_secs(2);
/// How long a client of HTTP/2 may take for the last frames of a connection that is closed.
const LAST_FRAMES: Duration = Duration::from_secs(10);
/// How long the end of an answer may wait for a client where no limit is configured.
const LONGEST_FINISH: Duration = Duration::from_secs(10);
/// Length of what an HTTP/2 client says first (RFC 9113 section 3.4).
const PREFACE: u64 = 24;

/// Serves every connection under the snapshot in force when a request arrives.
pub struct Gate {
    runtime: Arc<ArcSwap<Runtime>>,
}

impl Gate {
    pub fn new(runtime: Arc<ArcSwap<Runtime>>) -> Self {
        Self { runtime }
    }
}

#[async_trait]
impl Handler for Gate {
    async fn serve(&self, stream: Stream, connection: ConnectionInfo, shutdown: ShutdownWatch) {
        let _open = metrics::connection();
        let mut options = HttpServerOptions::default();
        options.h2_idle_timeout = Some(self.runtime.load().limits.idle);
        let http2 = stream.selected_alpn_proto() == Some(ALPN::H2);
        if http2 {
            // A client acknowledges what it reads: that would reset a connection whose last frames are still on
            // their way. It closes as soon as it has them.
            connection.activity.linger(LAST_FRAMES);
        }
        let overdue = preface_overdue(
            Arc::clone(&connection.activity),
            self.runtime.load().limits.request_head,
            shutdown.clone(),
        );
        let app = Arc::new(Connection { runtime: Arc::clone(&self.runtime), info: connection, options });
        tokio::select! {
            _ = app.process_new(stream, &shutdown) => {}
            () = overdue, if http2 => {}
        }
    }
}

/// Ends where an HTTP/2 client has not said its first words within `limit`, or when the server stops: the engine would
/// wait for them for ever.
async fn preface_overdue(activity: Arc<Activity>, limit: Duration, mut stop: ShutdownWatch) {
    tokio::select! {
        () = tokio::time::sleep(limit) => {}
        () = stopped(&mut stop) => {}
    }
    if activity.heard() >= PREFACE {
        std::future::pending::<()>().await;
    }
}

async fn stopped(stop: &mut ShutdownWatch) {
    // Its guard must not be held over an await.
    let _ = async { stop.wait_for(|stopping| *stopping).await.map(drop) }.await;
}

/// One client connection.
struct Connection {
    runtime: Arc<ArcSwap<Runtime>>,
    info: ConnectionInfo,
    options: HttpServerOptions,
}

#[async_trait]
impl HttpServerApp for Connection {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let runtime = self.runtime.load_full();
        let mut record = Record::new(request_id());
        let served = match self.read_head(&mut session, &runtime, shutdown).await {
            Arrival::Request => {
                let _in_flight = metrics::in_flight();
                if *shutdown.borrow() {
                    session.set_keepalive(None);
                }
                let served = self.serve(&mut session, &runtime, &mut record).await;
                record.write();
                served
            }
            Arrival::Broken(rejection) => {
                session.set_keepalive(None);
                self.info.activity.linger(UNREAD);
                let served = reject(&mut session, &rejection, None, None, &mut record).await;
                record.write();
                served
            }
            Arrival::Nothing => {
                client::close(session).await;
                return None;
            }
        };
        match served {
            Ok(()) => finish(session).await,
            Err(ClientGone) => {
                client::abort(session);
                None
            }
        }
    }

    fn h2_options(&self) -> Option<H2Options> {
        let mut options = pingora_core::protocols::http::v2::server::default_h2_options();
        options
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(LARGEST_FRAME)
            .max_concurrent_streams(CONCURRENT_STREAMS);
        Some(options)
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}

/// What came where a request was awaited.
enum Arrival {
    Request,
    Broken(Rejection),
    /// The client left, was idle too long, or the server stops.
    Nothing,
}

impl Connection {
    async fn read_head(&self, session: &mut ServerSession, runtime: &Runtime, shutdown: &ShutdownWatch) -> Arrival {
        let mut stop = shutdown.clone();
        session.set_read_timeout(Some(runtime.limits.body_idle));
        session.set_write_timeout(Some(runtime.limits.body_idle));
        session.set_pipelining_enabled(true);
        let http2 = session.is_http2();
        tokio::select! {
            biased;
            read = session.read_request() => match read {
                Ok(true) => Arrival::Request,
                Ok(false) => Arrival::Nothing,
                Err(_) => Arrival::Broken(Rejection::UnreadableHead),
            },
            broken = self.head_overdue(&runtime.limits), if !http2 => broken,
            // A request that has begun to arrive is still served.
            () = self.stopped_while_silent(&mut stop), if !http2 => Arrival::Nothing,
        }
    }

    /// Ends when the client was silent for `limits.idle`, or its head took longer than `limits.request_head`.
    async fn head_overdue(&self, limits: &Limits) -> Arrival {
        let heard = self.info.activity.heard();
        let began = tokio::time::Instant::now();
        loop {
            tokio::time::sleep(limits.request_head.min(limits.idle)).await;
            if self.info.activity.heard() != heard {
                tokio::time::sleep(limits.request_head).await;
                return Arrival::Broken(Rejection::SlowHead);
            }
            if began.elapsed() >= limits.idle {
                return Arrival::Nothing;
            }
        }
    }

    async fn stopped_while_silent(&self, stop: &mut ShutdownWatch) {
        let heard = self.info.activity.heard();
        stopped(stop).await;
        if self.info.activity.heard() != heard {
            std::future::pending::<()>().await;
        }
    }

    /// One request, from its head to the last byte of its answer.
    async fn serve(
        &self,
        session: &mut ServerSession,
        runtime: &Runtime,
        record: &mut Record,
    ) -> Result<(), ClientGone> {
        let request_id = record.request_id().to_owned();
        let head = match RequestHead::read(session, &self.info, &runtime.trusted_proxies, request_id) {
            Ok(head) => head,
            Err(rejection) => return reject(session, &rejection, None, None, record).await,
        };
        note(&head, record);
        let registry = match gate::registry(runtime, &head) {
            Ok(registry) => registry,
            Err(rejection) => return reject(session, &rejection, None, None, record).await,
        };
        record.registry = Some(registry.name().to_owned());
        let hsts = runtime.hsts_for(&head.host);
        let mut challenger = Challenger {
            realm: format!("{}{}", runtime.origin(&head.host, registry), runtime.token_path),
            service: &registry.service,
            prompt: &runtime.prompt,
            scope: None,
            navigation: head.navigation,
            token_endpoint: false,
        };
        let rejection = match self.act(session, runtime, registry, &head, &mut challenger, record).await {
            Ok(()) => return Ok(()),
            Err(Stop::Rejected(rejection)) => rejection,
            Err(Stop::ClientGone) => {
                record.aborted = Some("client_gone");
                return Err(ClientGone);
            }
            Err(Stop::UpstreamBroke(error)) => {
                record.aborted = Some("upstream_broke");
                metrics::upstream_error(registry.name(), error.kind());
                tracing::warn!(request_id = head.request_id, registry = registry.name(), %error, "answer cut short");
                return Err(ClientGone);
            }
        };
        if let Rejection::Upstream(error) = &rejection {
            metrics::upstream_error(registry.name(), error.kind());
            tracing::warn!(request_id = head.request_id, registry = registry.name(), %error, "upstream failed");
        }
        reject(session, &rejection, Some(&challenger), hsts, record).await
    }

    async fn act(
        &self,
        session: &mut ServerSession,
        runtime: &Runtime,
        registry: &PublicRegistry,
        head: &RequestHead,
        challenger: &mut Challenger<'_>,
        record: &mut Record,
    ) -> Result<(), Stop> {
        let hsts = runtime.hsts_for(&head.host);
        let answer = match gate::decide(runtime, registry, head, challenger, record).await? {
            Verdict::Answer(answer) => answer,
            Verdict::Token => token_endpoint::token(runtime, registry, head, &mut record.user).await?,
            Verdict::Catalog { permit, principal } => {
                record.upstream = Some(registry.pool.describe());
                tokio::select! {
                    answer = catalog::catalog(runtime, registry, head, &permit, &principal) => answer?,
                    () = client::gone(session) => return Err(Stop::ClientGone),
                }
            }
            Verdict::Forward(permit) => return forward(session, runtime, registry, head, &permit, record).await,
        };
        record.status = answer.status.as_u16();
        record.bytes_out = client::write_answer(session, answer, &head.method, hsts).await?;
        linger_where_needed(session, head.expects_continue).await;
        Ok(())
    }
}

/// Sends a judged request to the registry and its answer to the client.
async fn forward(
    session: &mut ServerSession,
    runtime: &Runtime,
    registry: &PublicRegistry,
    head: &RequestHead,
    permit: &Permit,
    record: &mut Record,
) -> Result<(), Stop> {
    let pool = &registry.pool;
    record.upstream = Some(pool.describe());
    let headers = forward::request_headers(&session.req_header().headers, head, permit.route());
    let feeds = gate::takes_body(permit.route()) && !session.is_body_empty();
    let exchange = if feeds {
        let terms = Terms {
            length: head.content_length,
            limit: gate::body_limit(runtime, permit.route()),
            patience: runtime.limits.body_idle,
            expects_continue: head.expects_continue,
        };
        pump::upload(session, pool, permit, headers, terms, record).await?
    } else {
        if !session.is_body_done() && !head.expects_continue {
            client::linger(session).await;
        }
        pump::ask(session, pool, permit, headers).await?
    };
    let origin = runtime.origin(&head.host, registry);
    let public = Public { origin: &origin, token_path: &runtime.token_path, pass_redirects: registry.pass_redirects };
    let mut response = forward::response_head(&exchange.head, permit.route(), public)?;
    client::common_headers(&mut response, runtime.hsts_for(&head.host));
    pump::deliver(session, exchange, response, pool.timeouts.idle, record).await?;
    linger_where_needed(session, head.expects_continue && !feeds).await;
    Ok(())
}

/// A client that still sends would meet a reset before it reads the answer; one that waits for `100 Continue` sends
/// nothing.
async fn linger_where_needed(session: &mut ServerSession, waits: bool) {
    if !waits && !session.is_body_done() {
        client::linger(session).await;
    }
}

async fn reject(
    session: &mut ServerSession,
    rejection: &Rejection,
    challenger: Option<&Challenger<'_>>,
    hsts: Option<&str>,
    record: &mut Record,
) -> Result<(), ClientGone> {
    let answer = respond::answer(rejection, challenger, record.request_id());
    record.status = answer.status.as_u16();
    let method = if record.method == "HEAD" { http::Method::HEAD } else { http::Method::GET };
    record.bytes_out = client::write_answer(session, answer, &method, hsts).await?;
    // Without a head there is no body to read; then the connection itself lingers.
    if !matches!(rejection, Rejection::UnreadableHead | Rejection::SlowHead) {
        linger_where_needed(session, false).await;
    }
    Ok(())
}

fn note(head: &RequestHead, record: &mut Record) {
    record.client = Some(head.client);
    record.method = head.method.to_string();
    record.user_agent.clone_from(&head.user_agent);
    record.protocol = head.protocol;
}

/// After a whole answer: the connection serves the next request where it can.
async fn finish(session: ServerSession) -> Option<ReusedHttpStream> {
    let settings = HttpPersistentSettings::for_session(&session);
    let limit = session.get_write_timeout().unwrap_or(LONGEST_FINISH);
    let finished = tokio::time::timeout(limit, session.finish()).await;
    let stream = finished.ok()?.ok()??;
    Some(ReusedHttpStream::from_reusable_stream(stream, settings))
}

/// 64 random bits, in hexadecimal.
fn request_id() -> String {
    let mut bytes = [0_u8; 8];
    // A request id need only be unlikely to repeat; a failing source leaves zeros, which harm nobody.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    format!("{:016x}", u64::from_be_bytes(bytes))
}
