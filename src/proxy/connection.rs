//! One client connection: when a request is awaited, and when the connection has to end.

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora_core::{
    apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream, ServerApp as _},
    protocols::{ALPN, Stream, http::ServerSession},
    server::ShutdownWatch,
};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{
    client::{self, ClientGone, Common, Outlet},
    familiar::Familiar,
    http2,
    ids::RequestId,
    record::Record,
    reject,
    respond::Rejection,
    serve,
    window::ClientWindow,
};
use crate::{
    budget::Budget,
    config::Limits,
    listener::{ConnectionInfo, Drain, Handler, LAST_WORD},
    runtime::Runtime,
    telemetry::metrics,
};

/// How long what a client still sends is read, so that it gets the answer to a head that is none.
const UNREAD: Duration = Duration::from_secs(2);
/// How long an HTTP/2 client may take for the last frames of a connection that is closed.
const LAST_FRAMES: Duration = Duration::from_secs(10);
/// How often an idle connection is looked at.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// Serves every connection under the snapshot in force when a request arrives.
pub struct Gate {
    runtime: Arc<ArcSwap<Runtime>>,
    drain: Drain,
}

impl Gate {
    pub fn new(runtime: Arc<ArcSwap<Runtime>>, drain: Drain) -> Self {
        Self { runtime, drain }
    }
}

#[async_trait]
impl Handler for Gate {
    async fn serve(&self, stream: Stream, info: ConnectionInfo, shutdown: ShutdownWatch) {
        let _open = metrics::connection();
        let window = ClientWindow::default();
        let (runtime, drain) = (Arc::clone(&self.runtime), self.drain.clone());
        let connection = Arc::new(Connection { runtime, drain, info, familiar: Familiar::default(), window });
        if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
            // A client acknowledges what it reads; meeting a closed connection, that would reset it while its last
            // frames are still on their way.
            connection.info.activity.linger(LAST_FRAMES);
            http2::serve(connection, stream, shutdown).await;
        } else {
            tokio::select! {
                biased;
                _ = connection.process_new(stream, &shutdown) => {}
                // Once for all requests of the connection; the record of one under way tells of it when it is dropped.
                () = self.drain.is_cut() => {}
            }
        }
    }
}

/// One client connection.
pub(super) struct Connection {
    pub(super) runtime: Arc<ArcSwap<Runtime>>,
    drain: Drain,
    pub(super) info: ConnectionInfo,
    pub(super) familiar: Familiar,
    /// Used over HTTP/2.
    pub(super) window: ClientWindow,
}

/// HTTP/1.1: one request after the other.
#[async_trait]
impl HttpServerApp for Connection {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        self.request(session, shutdown).await
    }
}

impl Connection {
    /// Ends when an HTTP/2 request is to end that has not: it is a task of its own. Over HTTP/1.1 the connection ends.
    async fn is_cut_by_itself(&self, is_http2: bool) {
        match is_http2 {
            true => self.drain.is_cut().await,
            false => std::future::pending().await,
        }
    }

    /// As they are in force now.
    pub(super) fn limits(&self) -> Limits {
        self.runtime.load().limits.clone()
    }

    fn terms(&self) -> (Limits, Arc<Budget>) {
        let runtime = self.runtime.load();
        (runtime.limits.clone(), Arc::clone(&runtime.buffers))
    }

    /// Awaits a request and serves it; over HTTP/2 its head is there already.
    pub(super) async fn request(
        &self,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        // An idle connection must not hold a snapshot that is no longer in force, with its grants, users and servers.
        let (limits, buffers) = self.terms();
        let outlet = Outlet {
            activity: &self.info.activity,
            patience: limits.body_idle,
            window: session.is_http2().then_some(&self.window),
            held: None,
            buffers: &buffers,
            shutdown,
        };
        // Until the access line is written, wherever this ends.
        let _in_flight;
        let awaited = Instant::now();
        let mut record = Record::new(RequestId::random(), self.info.peer.ip(), awaited);
        let is_http2 = session.is_http2();
        let served = match self.await_head(&mut session, awaited, &limits, shutdown).await {
            Arrival::Request => {
                record.begins(Instant::now());
                _in_flight = (metrics::in_flight(), self.drain.request());
                let served = tokio::select! {
                    biased;
                    // Not under the snapshot of when the waiting began, which may be long ago.
                    served = serve(&mut session, self, outlet, &mut record) => Some(served),
                    () = self.is_cut_by_itself(is_http2) => None,
                };
                served.unwrap_or_else(|| {
                    record.aborted = Some("stopped");
                    Err(ClientGone)
                })
            }
            Arrival::Broken(rejection) => {
                let took = if matches!(rejection, Rejection::SlowHead) { limits.request_head } else { Duration::ZERO };
                record.begins(Instant::now().checked_sub(took).unwrap_or(awaited));
                session.set_keepalive(None);
                self.info.activity.linger(UNREAD);
                reject(&mut session, &rejection, None, Common::default(), outlet, &mut record).await
            }
            Arrival::Nothing => {
                client::close(session).await;
                return None;
            }
        };
        record.write();
        match served {
            Ok(()) => finish(session, outlet.patience).await,
            Err(ClientGone) => {
                client::abort(session);
                None
            }
        }
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
    async fn await_head(
        &self,
        session: &mut ServerSession,
        began: Instant,
        limits: &Limits,
        shutdown: &ShutdownWatch,
    ) -> Arrival {
        session.set_read_timeout(Some(limits.body_idle));
        if session.is_http2() {
            // Its head is there already; its writes are bounded slice by slice.
            return Arrival::Request;
        }
        session.set_pipelining_enabled(true);
        if session.get_keepalive().is_some() {
            // How long to wait is decided here, not by the engine.
            session.set_keepalive(Some(0));
        }
        let heard = self.info.activity.heard();
        tokio::select! {
            biased;
            read = session.read_request() => match read {
                Ok(true) => Arrival::Request,
                Ok(false) => Arrival::Nothing,
                Err(_) => Arrival::Broken(Rejection::UnreadableHead),
            },
            overdue = self.head_overdue(heard, began, limits) => overdue,
            () = self.stopped_in_silence(heard, began, shutdown.clone()) => Arrival::Nothing,
        }
    }

    /// Ends when the client was silent for `limits.idle`, or its head took longer than `limits.request_head`.
    async fn head_overdue(&self, heard: u64, began: Instant, limits: &Limits) -> Arrival {
        let tick = TICK.min(limits.idle).min(limits.request_head);
        let mut look = began;
        while self.info.activity.heard() == heard {
            if look.saturating_duration_since(began) >= limits.idle {
                return Arrival::Nothing;
            }
            look += tick;
            sleep_until(look).await;
        }
        sleep(limits.request_head).await;
        Arrival::Broken(Rejection::SlowHead)
    }

    /// Ends when the server stops, unless a request has begun to arrive: that one is still served. A client that spoke
    /// just before may be about to.
    async fn stopped_in_silence(&self, heard: u64, began: Instant, mut shutdown: ShutdownWatch) {
        stopped(&mut shutdown).await;
        sleep_until(began + LAST_WORD).await;
        if self.info.activity.heard() != heard {
            std::future::pending::<()>().await;
        }
    }
}

pub(super) async fn stopped(shutdown: &mut ShutdownWatch) {
    // The value behind the watch must not be held over an await.
    let _ = async { shutdown.wait_for(|stopping| *stopping).await.map(drop) }.await;
}

/// After a whole answer: the connection serves the next request where it can.
async fn finish(session: ServerSession, patience: Duration) -> Option<ReusedHttpStream> {
    let settings = HttpPersistentSettings::for_session(&session);
    let mut finished = pin!(session.finish());
    // Mostly nothing is left to be done, which needs no clock.
    let finished = match poll_fn(|context| Poll::Ready(finished.as_mut().poll(context))).await {
        Poll::Ready(finished) => finished,
        Poll::Pending => timeout(patience, finished).await.ok()?,
    };
    let stream = finished.ok()??;
    Some(ReusedHttpStream::from_reusable_stream(stream, settings))
}
