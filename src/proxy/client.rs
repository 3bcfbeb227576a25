//! Answers towards the client, and the end of its connection, over HTTP/1.1 and HTTP/2 alike.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, header, response::Parts};
use pingora_core::{ErrorType, protocols::http::ServerSession, server::ShutdownWatch};
use pingora_http::ResponseHeader;
use tokio::time::{sleep, timeout};

use super::{asking::Sharing, ids, places::Held, respond::Answer, window::ClientWindow};
use crate::{budget::Budget, listener::Activity, tls::RECORD};

/// An unread request body is read and dropped up to this much after an early answer: a connection that is closed on
/// unread data is reset, and the reset overtakes the answer.
const LINGER_BYTES: usize = 4 * 1024 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(1);
/// An HTTP/2 frame that is a whole TLS record with its head (RFC 9113 §4.1). Larger ones are cut into a record and a rest.
pub(super) const HTTP2_FRAME: usize = RECORD - 9;
/// What a slow HTTP/2 client has to take within its time.
const HTTP2_SLICE: usize = 2 * HTTP2_FRAME;
/// What a client that holds memory has to read in a second, on average over its time, while others wait for memory. Over
/// HTTP/2 a slice asks for about as much at all times. A line of 64 kbit/s shared by a dozen transfers is faster.
const LEAST_PER_SECOND: u64 = 512;
/// A TLS close waits for a client that may be stalled.
const SHUTDOWN_TIME: Duration = Duration::from_secs(2);

/// The client went away, or does not read.
#[derive(Debug)]
pub(super) struct ClientGone;

impl From<Box<pingora_core::Error>> for ClientGone {
    fn from(_: Box<pingora_core::Error>) -> Self {
        Self
    }
}

/// What every response of a registry says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Common<'a> {
    pub(super) hsts: Option<&'a str>,
    pub(super) sharing: Sharing<'a>,
    /// By which the request is found in the log; empty until it has one.
    pub(super) request_id: &'a str,
}

/// Headers on every response.
pub(super) fn common_headers(headers: &mut HeaderMap, common: Common<'_>) {
    const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
    headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let mut set = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    if !common.request_id.is_empty() {
        set(ids::REQUEST_ID, common.request_id);
    }
    if let Some(hsts) = common.hsts {
        set(header::STRICT_TRANSPORT_SECURITY, hsts);
    }
    for (name, value) in common.sharing.headers() {
        headers.append(name, value);
    }
}

/// The way to the client, and how long it may refuse to take anything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outlet<'a> {
    pub(super) activity: &'a Arc<Activity>,
    pub(super) patience: Duration,
    /// Over HTTP/2: what the client may send unread.
    pub(super) window: Option<&'a ClientWindow>,
    /// Memory for the body that is written.
    pub(super) held: Option<&'a Held>,
    /// Tells whether others wait for memory.
    pub(super) buffers: &'a Budget,
    /// Says that the answer is to be the connection's last.
    pub(super) shutdown: &'a ShutdownWatch,
}

impl Outlet<'_> {
    /// Waits for a write for as long as the client takes something at least once in `patience`; while others wait for the
    /// memory that it holds, [`LEAST_PER_SECOND`].
    async fn watch(
        self,
        mut write: Pin<&mut impl Future<Output = pingora_core::Result<()>>>,
    ) -> Result<(), ClientGone> {
        // Most writes find room, and need no clock.
        if let Poll::Ready(written) = poll_fn(|context| Poll::Ready(write.as_mut().poll(context))).await {
            return Ok(written?);
        }
        loop {
            let (taken, waits) = (self.activity.taken(), self.buffers.waits());
            tokio::select! {
                biased;
                written = &mut write => return Ok(written?),
                () = sleep(self.patience) => {
                    let wanted = self.held.is_some() && self.buffers.waits() != waits;
                    let least = if wanted { self.patience.as_secs() * LEAST_PER_SECOND } else { 0 };
                    if self.activity.taken().wrapping_sub(taken) < least.max(1) {
                        return Err(ClientGone);
                    }
                }
            }
        }
    }
}

/// Writes a whole answer. A HEAD gets its length and no body.
pub(super) async fn write_answer(
    session: &mut ServerSession,
    answer: Answer,
    method: &Method,
    common: Common<'_>,
    outlet: Outlet<'_>,
) -> Result<u64, ClientGone> {
    let (mut head, ()) = Response::new(()).into_parts();
    (head.status, head.headers) = (answer.status, answer.headers);
    if answer.status != StatusCode::NO_CONTENT {
        head.headers.insert(header::CONTENT_LENGTH, answer.body.len().into());
    }
    common_headers(&mut head.headers, common);
    let body = if *method == Method::HEAD { Bytes::new() } else { answer.body };
    let sent = u64::try_from(body.len()).unwrap_or(u64::MAX);
    write_head(session, head, body.is_empty(), outlet).await?;
    if !body.is_empty() {
        write_body(session, body, true, outlet).await?;
    }
    Ok(sent)
}

/// Writes a head; `end` where no body follows (HTTP/2 says so in the head itself).
pub(super) async fn write_head(
    session: &mut ServerSession,
    head: Parts,
    end: bool,
    outlet: Outlet<'_>,
) -> Result<(), ClientGone> {
    let head = Box::new(ResponseHeader::from(head));
    match session {
        ServerSession::H2(http2) => Ok(http2.write_response_header(head, end)?),
        ServerSession::H1(_) | ServerSession::Subrequest(_) | ServerSession::Custom(_) => {
            if *outlet.shutdown.borrow() {
                session.set_keepalive(None);
            }
            outlet.watch(pin!(session.write_response_header(head))).await
        }
    }
}

/// Writes a part of a body; `last` says that with it the body is whole. Over HTTP/2 it goes in slices: there the time
/// limit is the stream's own and counts for each, since other streams say nothing of this one. What the connection has
/// not sent when this returns still holds its memory.
pub(super) async fn write_body(
    session: &mut ServerSession,
    mut data: Bytes,
    last: bool,
    outlet: Outlet<'_>,
) -> Result<(), ClientGone> {
    if !session.is_http2() {
        return outlet.watch(pin!(session.write_response_body(data, last))).await;
    }
    if let Some(held) = outlet.held {
        data = held.keep(data);
    }
    while !data.is_empty() {
        let slice = data.split_to(data.len().min(HTTP2_SLICE));
        let written = timeout(outlet.patience, write_frames(session, slice, last && data.is_empty()));
        written.await.map_err(|_| ClientGone)??;
    }
    Ok(())
}

async fn write_frames(session: &mut ServerSession, mut slice: Bytes, last: bool) -> pingora_core::Result<()> {
    while !slice.is_empty() {
        let frame = slice.split_to(slice.len().min(HTTP2_FRAME));
        session.write_response_body(frame, last && slice.is_empty()).await?;
    }
    Ok(())
}

/// Says that the body is whole.
pub(super) async fn end_body(session: &mut ServerSession, outlet: Outlet<'_>) -> Result<(), ClientGone> {
    outlet.watch(pin!(session.write_response_body(Bytes::new(), true))).await
}

/// A body whose length the upstream did not say goes to an HTTP/1.1 client in chunks; without that the connection
/// would have to end with the body. An HTTP/1.0 client knows no chunks.
pub(super) fn frame_unknown_length(session: &ServerSession, head: &mut Parts) {
    let chunked = session.req_header().version == Version::HTTP_11;
    if chunked && !head.headers.contains_key(header::CONTENT_LENGTH) && has_body(head.status) {
        head.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// False where an answer's body is left out. To a range that cannot be satisfied registry 2.8 announces the whole
/// blob's length and sends less, which no client can read.
pub(super) fn has_body(status: StatusCode) -> bool {
    !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::RANGE_NOT_SATISFIABLE)
}

/// Resolves when the client goes away while an answer is awaited or sent. Polling it also lets the connection flush
/// what TLS still holds (see `listener::stream`). What is left of a request body is read and dropped meanwhile.
pub(super) async fn gone(session: &mut ServerSession) {
    let mut done = session.is_body_done();
    loop {
        match session.read_body_or_idle(done).await {
            Ok(Some(_)) => {}
            Ok(None) if done => return,
            Ok(None) => done = true,
            // A client may keep the rest of its body to itself.
            Err(error) if *error.etype() == ErrorType::ReadTimedout => {}
            Err(_) => return,
        }
    }
}

/// Passes on what was written so far, as far as the client takes it at once. An answer that breaks off is to be seen as
/// one: with its head and what came of its body.
pub(super) async fn pass_on(session: &mut ServerSession) {
    let mut gone = pin!(gone(session));
    poll_fn(|context| Poll::Ready(gone.as_mut().poll(context).is_ready())).await;
}

/// Asks for the body of a client that waits for `100 Continue`.
pub(super) async fn ask_for_body(session: &mut ServerSession, patience: Duration) -> Result<(), ClientGone> {
    // HTTP/2 clients do not wait.
    let ServerSession::H1(http1) = session else { return Ok(()) };
    // An interim answer comes before the body's end by its nature: the connection need not close for it.
    http1.set_close_on_response_before_downstream_finish(false);
    let asked = timeout(patience, http1.write_continue_response()).await;
    http1.set_close_on_response_before_downstream_finish(true);
    Ok(asked.map_err(|_| ClientGone)??)
}

/// Reads and drops what is left of a request body, within bounds. True where it came to its end.
pub(super) async fn linger(session: &mut ServerSession) -> bool {
    let drained = timeout(LINGER_TIME, async {
        let mut left = LINGER_BYTES;
        while let Ok(Some(piece)) = session.read_request_body().await {
            left = left.saturating_sub(piece.len());
            if left == 0 {
                return;
            }
        }
    });
    drained.await.is_ok() && session.is_body_done()
}

/// Ends a connection on which no answer is under way.
pub(super) async fn close(mut session: ServerSession) {
    let _ = timeout(SHUTDOWN_TIME, session.shutdown()).await;
}

/// Ends a connection, or a stream of HTTP/2, whose answer is not whole, so that it cannot be taken for a whole one: for
/// a client of HTTP/1.0 the end that TLS says may be the end of the body, so it is not said.
pub(super) fn abort(session: ServerSession) {
    if let ServerSession::H2(mut http2) = session {
        http2.shutdown();
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, net::IpAddr};

    use crate::budget::{Demand, Direction, LARGEST_FRAME};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// True where a client that reads so many bytes a second is cut within ten minutes.
    async fn is_cut(per_second: usize, holds: bool, others_wait: bool) -> bool {
        let (activity, buffers) = (Arc::<Activity>::default(), Arc::new(Budget::new(4 << 20)));
        let largest = LARGEST_FRAME;
        let demand = Demand { direction: Direction::Answer, blob: true, length: None, verified: false, largest };
        let client = |number: u8| IpAddr::from([192, 0, 2, number]);
        let held = Held::over(buffers.place(client(0), demand).await.unwrap(), activity.transfer().0);
        let (_running, shutdown) = tokio::sync::watch::channel(false);
        let outlet = Outlet {
            activity: &activity,
            patience: PATIENCE,
            window: None,
            held: holds.then_some(&held),
            buffers: &buffers,
            shutdown: &shutdown,
        };
        let reads = async {
            loop {
                sleep(Duration::from_secs(1)).await;
                activity.take(per_second);
            }
        };
        let others = async {
            let mut places = Vec::new();
            loop {
                if others_wait && let Ok(place) = buffers.place(client(1), demand).await {
                    places.push(place);
                }
                sleep(Duration::from_secs(1)).await;
            }
        };
        let never = pin!(pending());
        tokio::select! {
            ended = timeout(10 * PATIENCE, outlet.watch(never)) => ended.is_ok(),
            () = reads => unreachable!(),
            () = others => unreachable!(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_hardly_reads_holds_no_memory_that_others_wait_for() {
        assert!(is_cut(0, true, false).await);
        assert!(!is_cut(1, true, false).await, "there is memory for all");
        assert!(is_cut(1, true, true).await);
        assert!(is_cut(400, true, true).await);
        assert!(!is_cut(400, false, true).await, "it holds none");
        assert!(!is_cut(600, true, true).await);
    }
}
