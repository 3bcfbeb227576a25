//! One request and its answer, driven by the task that wants it: no task, no channel between.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;
use http_body::Body;
use hyper::{Request, Response, body::Incoming, client::conn::TrySendError};
use tokio::time::{Instant, timeout};

use super::{
    Error, Feed, UploadBody,
    bounded::Growth,
    client::Wire,
    idle::Idle,
    server::{Occupied, Server},
};
use crate::budget::SMALLEST_FRAME;

/// A body that nobody wants is read up to this much, so that its connection can be used again; a new one costs more.
const LARGEST_DISCARDED: usize = 64 * 1024;
const DISCARD_TIME: Duration = Duration::from_millis(500);

type Answer = Pin<Box<dyn Future<Output = Result<Response<Incoming>, TrySendError<Request<UploadBody>>>> + Send>>;

/// A request under way. Await it for the answer's head; it may be polled beside the feeding of its body.
pub struct Pending {
    wire: Option<Wire>,
    answer: Answer,
    /// Taken by the exchange.
    server: Option<Occupied>,
    storage: Option<Arc<Idle>>,
    /// Since when the server has had all that it needs; None where its answer's time is not its own.
    asked: Option<Instant>,
    /// It is sent but once, so that what goes wrong with it is counted here.
    is_final: bool,
}

impl Pending {
    pub(super) fn start(mut wire: Wire, request: Request<UploadBody>, server: Occupied) -> Self {
        let asked = request.body().is_end_stream().then(Instant::now);
        let answer = Box::pin(wire.sender.try_send_request(request));
        Self { wire: Some(wire), answer, server: Some(server), storage: None, asked, is_final: false }
    }

    /// A request that nobody sends again.
    pub(super) fn final_one(self) -> Self {
        Self { is_final: true, ..self }
    }

    /// A request of our own, which says nothing of how long clients wait.
    pub(super) fn unmeasured(self) -> Self {
        Self { asked: None, ..self }
    }

    /// A request to object storage, which a server's redirect led to.
    pub(super) fn redirected(wire: Wire, request: Request<UploadBody>, server: Occupied, storage: Arc<Idle>) -> Self {
        Self { storage: Some(storage), ..Self::start(wire, request, server).unmeasured() }
    }

    /// See the field.
    pub(super) fn asked(&self) -> Option<Instant> {
        self.asked
    }

    /// What it means that the server did not go on for so long.
    pub fn silent(&self, time: Duration) -> Error {
        let error = Error::Silent(time);
        self.counts(&error);
        error
    }

    fn counts(&self, error: &Error) {
        self.server.iter().filter(|_| self.is_final).for_each(|server| server.erred(error));
    }

    /// The server that was asked; None once it has answered.
    pub(super) fn server(&self) -> Option<Arc<Server>> {
        self.server.as_deref().map(Arc::clone)
    }
}

impl Future for Pending {
    type Output = Result<Exchange, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        // The connection's own error reaches the answer's future too, so only that is asked.
        if this.wire.as_mut().is_some_and(|wire| wire.poll_drive(context).is_ready()) {
            this.wire = None;
        }
        match this.answer.as_mut().poll(context) {
            Poll::Ready(Ok(response)) => Poll::Ready(this.answered(response)),
            Poll::Ready(Err(mut error)) => {
                let _ = error.take_message();
                let error = error.into_error().into();
                this.counts(&error);
                Poll::Ready(Err(error))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Pending {
    fn answered(&mut self, response: Response<Incoming>) -> Result<Exchange, Error> {
        let server = self.server.take().ok_or(Error::Unusable("an answer after the answer"))?;
        self.asked.into_iter().for_each(|asked| server.answered(asked));
        let asked = Arc::clone(&server);
        let exchange = Exchange::new(self.wire.take(), response, server, self.storage.take());
        if self.is_final {
            match &exchange {
                Ok(exchange) if exchange.head.status.is_server_error() => asked.health.counts.erred("status"),
                Ok(_) => {}
                Err(error) => asked.erred(error),
            }
        }
        exchange
    }
}

/// An answer whose head has come; never one that asks for credentials.
pub struct Exchange {
    /// None where the connection ended with the head; what it had read is still in `body`.
    wire: Option<Wire>,
    pub head: http::response::Parts,
    body: Incoming,
    server: Occupied,
    /// Whose connection it is, where object storage answers in the server's place.
    storage: Option<Arc<Idle>>,
    unfinished: Option<Feed>,
    /// Bytes of the body so far.
    read: usize,
    growth: Growth,
}

impl Exchange {
    fn new(
        wire: Option<Wire>,
        response: Response<Incoming>,
        server: Occupied,
        storage: Option<Arc<Idle>>,
    ) -> Result<Self, Error> {
        let (head, body) = response.into_parts();
        let coding = head.headers.get(http::header::TRANSFER_ENCODING);
        let lengths = head.headers.get_all(http::header::CONTENT_LENGTH).iter().count();
        if usize::from(coding.is_some()) + lengths > 1 {
            return Err(Error::Unusable("two framings in one answer"));
        }
        if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
            return Err(Error::Unusable("a transfer coding other than chunked"));
        }
        // What the gate shows the upstream is its own affair, and nothing that a client could act on.
        if matches!(head.status, StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED) {
            return Err(match storage {
                Some(_) => Error::Unusable("it asks for credentials besides what was signed"),
                None => server.refused(),
            });
        }
        if head.status.is_informational() {
            return Err(Error::Unusable("an informational status as the final one"));
        }
        Ok(Self { wire, head, body, server, storage, unfinished: None, read: 0, growth: Growth::default() })
    }

    /// The name of the server that answers.
    pub fn server(&self) -> &Arc<str> {
        self.server.name()
    }

    pub(super) fn from(&self) -> &Arc<Server> {
        &self.server
    }

    /// Counts a body that did not come to its end.
    pub(super) fn erred(&self, error: &Error) {
        match &self.storage {
            Some(_) => self.server.health.counts.erred("storage"),
            None => self.server.erred(error),
        }
    }

    /// The answer broke off: that counts against the server, unless object storage answered in its place.
    pub(super) fn failed(&self, why: &Error) {
        if self.storage.is_none() {
            self.server.health.failed(why);
        }
    }

    /// True where the server that answers has lost its turn.
    pub(super) fn is_forsaken(&self) -> bool {
        self.storage.is_none() && !self.server.health.is_up()
    }

    /// For an answer that came before the upload's end. Were the feed dropped, the connection would break off before
    /// the answer is read.
    pub fn keeping(mut self, feed: Feed) -> Self {
        self.unfinished = Some(feed);
        self
    }

    /// True where the upload was not through when the answer came.
    pub fn came_early(&self) -> bool {
        self.unfinished.is_some()
    }

    /// Has the body come in frames of this size, for which memory was taken; otherwise they are the smallest.
    pub fn in_frames_of(&self, frame: usize) {
        if let Some(wire) = &self.wire {
            wire.frame.set(frame);
        }
    }

    /// The next frame of the body; None at its end. Cancel safe.
    pub async fn frame(&mut self) -> Option<Result<Bytes, Error>> {
        poll_fn(|context| self.poll_frame(context)).await
    }

    pub(super) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        // All of the announced length has come: there is nothing to drive the connection for.
        if self.body.is_end_stream() {
            return Poll::Ready(None);
        }
        loop {
            if self.wire.as_mut().is_some_and(|wire| wire.poll_drive(context).is_ready()) {
                self.wire = None;
            }
            return match Pin::new(&mut self.body).poll_frame(context) {
                // Trailers are of no use to a registry's client.
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        self.read = self.read.saturating_add(data.len());
                        if let Some(wire) = &self.wire {
                            self.growth.note(&data, wire.frame.get());
                        }
                        Poll::Ready(Some(Ok(data)))
                    }
                    Err(_) => continue,
                },
                Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
                Poll::Ready(None) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            };
        }
    }

    /// The whole body, where it is at most `limit` bytes.
    pub async fn collect(&mut self, limit: usize) -> Result<Vec<u8>, Error> {
        let mut whole = Vec::new();
        while let Some(frame) = self.frame().await {
            let frame = frame?;
            if whole.len() + frame.len() > limit {
                return Err(Error::Unusable("a body larger than expected"));
            }
            whole.extend_from_slice(&frame);
        }
        Ok(whole)
    }

    /// Drops the answer. Its connection goes on where the rest of the body is small and there.
    pub(super) async fn discard(mut self) {
        if matches!(timeout(DISCARD_TIME, self.collect(LARGEST_DISCARDED)).await, Ok(Ok(_))) {
            self.finish();
        }
    }

    /// After the body's end: the connection goes back to the pool where it can be used again.
    pub fn finish(mut self) {
        if self.storage.is_none() && !self.head.status.is_server_error() {
            self.server.health.succeeded();
        }
        let Some(mut wire) = self.wire.take() else { return };
        drop(self.body);
        if !wire.is_usable() {
            return;
        }
        wire.frame.set(SMALLEST_FRAME);
        // An idle connection has no part of the memory for bodies.
        let wire = if self.read > SMALLEST_FRAME { wire.renewed() } else { Some(wire) };
        let Some(wire) = wire else { return };
        match &self.storage {
            Some(storage) => storage.keep(wire),
            None => self.server.keep(wire),
        }
    }
}
