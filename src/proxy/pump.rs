//! Bodies both ways: a frame at a time, never more than the other side takes.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, header, response::Parts};
use pingora_core::protocols::http::ServerSession;
use tokio::time::{Instant, sleep_until, timeout};

use super::{
    client::{self, ClientGone, Outlet},
    notice,
    places::Held,
    record::Record,
    respond::Rejection,
    window::Growth,
};
use crate::{
    access::Permit,
    upstream::{self, Download, Exchange, Feed, Pending, Pieces, Pool, UploadBody},
};

/// A client that sends slowly has what it sent passed on after this time.
const FLUSH_AFTER: Duration = Duration::from_millis(20);

/// The largest body of an answer that comes before the upload's end: an error and its reason.
const LARGEST_EARLY: usize = 64 * 1024;

/// How a transfer ended before its time.
#[derive(Debug)]
pub(super) enum Stop {
    /// Nothing was sent to the client yet: it gets an answer.
    Rejected(Rejection),
    ClientGone,
    /// The answer was under way when the upstream failed.
    UpstreamBroke(upstream::Error),
}

impl From<ClientGone> for Stop {
    fn from(_: ClientGone) -> Self {
        Self::ClientGone
    }
}

impl<E: Into<Rejection>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Rejected(error.into())
    }
}

/// Sends a request without a body and waits for the answer's head.
pub(super) async fn ask(
    session: &mut ServerSession,
    pool: &Pool,
    permit: &Permit,
    headers: &HeaderMap,
    at: Option<&str>,
) -> Result<Exchange, Stop> {
    awaited(session, permit, pin!(pool.fetch(permit, headers, at))).await
}

/// The answer, unless the client leaves. Where something becomes of the request without the client too, it is to be known
/// what: to the log, to whoever counts writes, and to those who are told of events.
async fn awaited(
    session: &mut ServerSession,
    permit: &Permit,
    mut answer: Pin<&mut impl Future<Output = Result<Exchange, upstream::Error>>>,
) -> Result<Exchange, Stop> {
    tokio::select! {
        biased;
        answer = &mut answer => return Ok(answer?),
        () = client::gone(session) => {}
    }
    match notice::is_lasting(permit.route()) {
        true => answer.await.map_err(|_| Stop::ClientGone),
        false => Err(Stop::ClientGone),
    }
}

/// An upload's terms.
#[derive(Debug)]
pub(super) struct Terms<'a> {
    /// Pieces are gathered to a frame of this place before they are written to the upstream in one go.
    pub place: Held,
    pub length: Option<u64>,
    /// The most it may hold.
    pub limit: Option<u64>,
    /// Silence of the client that ends it.
    pub patience: Duration,
    pub expects_continue: bool,
    /// Over HTTP/2: a blob's part in the connection's window.
    pub growth: Option<Growth<'a>>,
}

/// Streams the request body to the upstream and waits for the answer's head.
///
/// The upstream may answer early; then the rest of the body is not read here. A body that does not come to its end
/// is never passed on as a whole one.
pub(super) async fn upload(
    session: &mut ServerSession,
    pool: &Pool,
    permit: &Permit,
    headers: &HeaderMap,
    at: Option<&str>,
    mut terms: Terms<'_>,
    record: &mut Record,
) -> Result<Exchange, Stop> {
    let (feed, body) = UploadBody::fed(terms.length);
    let mut pending = pool.send(permit, headers, body, at).await?;
    if terms.expects_continue {
        client::ask_for_body(session, terms.patience).await?;
    }
    if let Some(early) = feed_body(session, pool, &feed, &mut pending, &mut terms, record).await? {
        return Ok(early.keeping(feed));
    }
    // All of it is written, and a commit may take its time.
    drop(terms);
    awaited(session, permit, pin!(pool.answer(permit, pending))).await
}

/// Returns the answer where it came before the body's end.
async fn feed_body(
    session: &mut ServerSession,
    pool: &Pool,
    feed: &Feed,
    pending: &mut Pending,
    terms: &mut Terms<'_>,
    record: &mut Record,
) -> Result<Option<Exchange>, Stop> {
    let mut hold = Pieces::default();
    let mut whole = false;
    let mut flush = pin!(sleep_until(Instant::now()));
    let mut due = false;
    // Since when the client is silent.
    let mut silent = None;
    terms.growth.iter_mut().for_each(Growth::begins);
    loop {
        if whole && hold.is_empty() {
            record.unanswered = true;
            return end(pool, feed, pending).await;
        }
        let full = hold.len() >= terms.place.frame() || whole || due;
        tokio::select! {
            biased;
            answer = &mut *pending => return Ok(Some(answer?)),
            sent = timeout(pool.timeouts.idle, feed.send(&mut hold)), if full => {
                due = false;
                match sent {
                    Ok(Ok(())) => {}
                    // The upstream has stopped listening: it is about to answer, or to fail.
                    Ok(Err(_)) => return settle(pool, pending).await.map(Some),
                    Err(_) => return Err(pending.silent(pool.timeouts.idle).into()),
                }
            }
            piece = waiting(&mut silent, timeout(terms.patience, session.read_request_body())), if !full => {
                let piece = piece.map_err(|_| Rejection::SlowBody)?.map_err(ClientGone::from)?;
                if hold.is_empty() {
                    flush.as_mut().reset(Instant::now() + FLUSH_AFTER);
                }
                let before = hold.len();
                ends(&mut silent, terms);
                whole = gather(session, piece, &mut hold, terms, record).await?;
                terms.growth.iter_mut().for_each(|growth| growth.came(hold.len() - before));
            }
            () = &mut flush, if !full && !hold.is_empty() => {
                due = true;
                // Nobody listens while the upstream takes its time.
                ends(&mut silent, terms);
            }
        }
    }
}

/// Takes a piece and those that are there already, up to a frame: each of them needs no look at the clock and at what the
/// upstream says. True where the body is whole.
async fn gather(
    session: &mut ServerSession,
    mut piece: Option<Bytes>,
    hold: &mut Pieces,
    terms: &Terms<'_>,
    record: &mut Record,
) -> Result<bool, Stop> {
    while let Some(data) = piece {
        record.reads(u64::try_from(data.len()).unwrap_or(u64::MAX));
        record.passing.iter_mut().for_each(|passing| passing.add(&data));
        if let Some(limit) = terms.limit.filter(|limit| record.bytes_in > *limit) {
            return Err(Rejection::TooLarge { limit }.into());
        }
        hold.push(data);
        if hold.len() >= terms.place.frame() {
            return Ok(false);
        }
        let mut next = pin!(session.read_request_body());
        let Poll::Ready(next) = poll_fn(|context| Poll::Ready(next.as_mut().poll(context))).await else {
            return Ok(false);
        };
        piece = next.map_err(ClientGone::from)?;
    }
    Ok(true)
}

/// Notes since when it is waited for.
async fn waiting<T>(since: &mut Option<Instant>, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    poll_fn(|context| {
        let poll = future.as_mut().poll(context);
        if poll.is_pending() {
            since.get_or_insert_with(Instant::now);
        }
        poll
    })
    .await
}

fn ends(silent: &mut Option<Instant>, terms: &mut Terms<'_>) {
    if let Some(since) = silent.take() {
        terms.growth.iter_mut().for_each(|growth| growth.silence(since.elapsed()));
    }
}

/// Says the body's end, unless the answer comes first.
async fn end(pool: &Pool, feed: &Feed, pending: &mut Pending) -> Result<Option<Exchange>, Stop> {
    tokio::select! {
        biased;
        answer = &mut *pending => Ok(Some(answer?)),
        ended = timeout(pool.timeouts.idle, feed.end()) => match ended {
            // Closed: of a body of known length the connection sees the end by itself.
            Ok(Ok(()) | Err(_)) => Ok(None),
            Err(_) => Err(pending.silent(pool.timeouts.idle).into()),
        },
    }
}

async fn settle(pool: &Pool, pending: &mut Pending) -> Result<Exchange, Stop> {
    let limit = pool.timeouts.idle;
    match timeout(limit, &mut *pending).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(pending.silent(limit).into()),
    }
}

/// Whether a client knows of an answer's end once it has all of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ending {
    Told,
    Untold {
        /// As the head announced it.
        length: Option<u64>,
    },
}

/// Sends the answer on, head and body, but for its end.
pub(super) async fn deliver(
    session: &mut ServerSession,
    download: &mut Download<'_>,
    mut head: Parts,
    outlet: Outlet<'_>,
    record: &mut Record,
) -> Result<Ending, Stop> {
    let bodyless = session.req_header().method == Method::HEAD || !client::has_body(head.status);
    // What is hashed and small is judged before a word of it is said: of an empty answer the head is all there is.
    let mut first = None;
    if download.is_verified() && !bodyless {
        first = Some(next(session, download).await?.transpose()?);
    }
    record.status = head.status.as_u16();
    client::frame_unknown_length(session, &mut head);
    if bodyless {
        client::write_head(session, head, true, outlet).await?;
        return Ok(Ending::Told);
    }
    let length = content_length(&head);
    client::write_head(session, head, false, outlet).await?;
    let mut ended = false;
    loop {
        // Who has all that was promised may leave before it is told that this is the end.
        let is_whole = length.is_some_and(|length| record.bytes_out >= length);
        let frame = match first.take() {
            Some(frame) => Ok(frame),
            None if is_whole => download.frame().await.transpose(),
            None => next(session, download).await?.transpose(),
        };
        match frame {
            Ok(Some(data)) => {
                let size = u64::try_from(data.len()).unwrap_or(u64::MAX);
                record.passing.iter_mut().for_each(|passing| passing.add(&data));
                // Over HTTP/1.1 nothing is said that the length does not say, and who has it all may be gone by then.
                let sent = record.bytes_out.saturating_add(size);
                ended = session.is_http2() && length.is_some_and(|length| sent >= length);
                client::write_body(session, data, ended, outlet).await?;
                record.sends(size);
            }
            Ok(None) => break,
            Err(error) => {
                client::pass_on(session).await;
                return Err(Stop::UpstreamBroke(error));
            }
        }
        if download.resumed() > record.resumed {
            record.resumed = download.resumed();
            record.upstream = Some(Arc::clone(download.server()));
        }
    }
    Ok(if ended { Ending::Told } else { Ending::Untold { length } })
}

/// Tells the client of the answer's end. Who has all that was promised may be gone by then.
pub(super) async fn end_delivery(
    session: &mut ServerSession,
    ending: Ending,
    outlet: Outlet<'_>,
    record: &Record,
) -> Result<(), ClientGone> {
    let Ending::Untold { length } = ending else { return Ok(()) };
    let said = client::end_body(session, outlet).await;
    if length.is_none_or(|length| record.bytes_out < length) { said } else { Ok(()) }
}

fn content_length(head: &Parts) -> Option<u64> {
    head.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The next frame of an answer, unless the client leaves.
async fn next(
    session: &mut ServerSession,
    download: &mut Download<'_>,
) -> Result<Option<Result<Bytes, upstream::Error>>, ClientGone> {
    tokio::select! {
        biased;
        frame = download.frame() => Ok(frame),
        () = client::gone(session) => Err(ClientGone),
    }
}

/// An answer that came before the upload's end. A client that sees its head stops sending, and over HTTP/2 the half
/// body that it leaves resets the stream: so head and body go out together.
pub(super) async fn deliver_at_once(
    session: &mut ServerSession,
    mut exchange: Exchange,
    mut head: Parts,
    idle: Duration,
    outlet: Outlet<'_>,
    record: &mut Record,
) -> Result<(), Stop> {
    record.status = head.status.as_u16();
    client::frame_unknown_length(session, &mut head);
    if !client::has_body(head.status) {
        client::write_head(session, head, true, outlet).await?;
        return Ok(());
    }
    let body = tokio::select! {
        body = timeout(idle, exchange.collect(LARGEST_EARLY)) => body.map_err(|_| upstream::Error::Silent(idle))??,
        () = client::gone(session) => return Err(Stop::ClientGone),
    };
    record.sends(u64::try_from(body.len()).unwrap_or(u64::MAX));
    client::write_head(session, head, false, outlet).await?;
    if body.is_empty() {
        return client::end_body(session, outlet).await.map_err(Into::into);
    }
    client::write_body(session, body.into(), true, outlet).await?;
    Ok(())
}
