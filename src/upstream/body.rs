//! Request bodies towards an upstream: frames gathered without a copy, and an end that must be said.

use std::{
    collections::VecDeque,
    io::IoSlice,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Frames that may be on their way, however many of them the connection would take: while one is written, the next is
/// gathered.
const FRAMES_ON_THEIR_WAY: usize = 1;

/// Pieces of a body sent as one frame: one vectored write, no copy.
#[derive(Debug, Default)]
pub struct Pieces {
    parts: VecDeque<Bytes>,
    length: usize,
    /// Theirs while they are on their way.
    _way: Option<OwnedSemaphorePermit>,
}

impl Pieces {
    pub fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.length += piece.len();
            self.parts.push_back(piece);
        }
    }

    pub fn len(&self) -> usize {
        self.length
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.length
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&[], |part| part.as_ref())
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, part) in slices.iter_mut().zip(&self.parts) {
            *slice = IoSlice::new(part);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        self.length = self.length.saturating_sub(count);
        while count > 0 {
            let Some(front) = self.parts.front_mut() else { return };
            if front.len() > count {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.parts.pop_front();
        }
    }
}

enum Message {
    Frame(Pieces),
    End,
}

/// The sending half of an [`UploadBody`].
pub struct Feed {
    sender: mpsc::Sender<Message>,
    /// A permit for each frame that may be on its way.
    way: Arc<Semaphore>,
}

/// The upstream no longer takes the body: it answered, or broke off.
#[derive(Debug)]
pub struct FeedClosed;

impl Feed {
    /// Hands a frame on once the one before it has been written.
    ///
    /// Cancel safe in that a frame is either taken whole or left in `pieces`.
    pub async fn send(&self, pieces: &mut Pieces) -> Result<(), FeedClosed> {
        let way = tokio::select! {
            biased;
            () = self.sender.closed() => return Err(FeedClosed),
            way = Arc::clone(&self.way).acquire_owned() => way.map_err(|_| FeedClosed)?,
        };
        let slot = self.sender.reserve().await.map_err(|_| FeedClosed)?;
        slot.send(Message::Frame(Pieces { _way: Some(way), ..std::mem::take(pieces) }));
        Ok(())
    }

    /// Waits until all frames have been written, and says that the body is whole. A feed dropped without this aborts the
    /// request.
    pub async fn end(&self) -> Result<(), FeedClosed> {
        let all = u32::try_from(FRAMES_ON_THEIR_WAY).map_err(|_| FeedClosed)?;
        let _written = self.way.acquire_many(all).await.map_err(|_| FeedClosed)?;
        self.sender.send(Message::End).await.map_err(|_| FeedClosed)
    }
}

/// A body whose client went away before its end: the upstream must not take it for a whole one.
#[derive(Debug, thiserror::Error)]
#[error("the client broke off its upload")]
pub struct Aborted;

/// A request body for the upstream.
pub struct UploadBody {
    feed: Option<mpsc::Receiver<Message>>,
    length: Option<u64>,
}

impl UploadBody {
    /// No body at all.
    pub fn empty() -> Self {
        Self { feed: None, length: Some(0) }
    }

    /// A body that is fed; `length` where the client announced it.
    pub fn fed(length: Option<u64>) -> (Feed, Self) {
        let (sender, receiver) = mpsc::channel(FRAMES_ON_THEIR_WAY);
        let way = Arc::new(Semaphore::new(FRAMES_ON_THEIR_WAY));
        (Feed { sender, way }, Self { feed: Some(receiver), length })
    }
}

impl Body for UploadBody {
    type Data = Pieces;
    type Error = Aborted;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Pieces>, Aborted>>> {
        let Some(feed) = self.feed.as_mut() else { return Poll::Ready(None) };
        match ready!(feed.poll_recv(context)) {
            Some(Message::Frame(pieces)) => Poll::Ready(Some(Ok(Frame::data(pieces)))),
            Some(Message::End) => {
                self.feed = None;
                Poll::Ready(None)
            }
            None => {
                self.feed = None;
                Poll::Ready(Some(Err(Aborted)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.feed.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_advance_over_borders() {
        let mut pieces = Pieces::default();
        pieces.push(Bytes::from_static(b"abc"));
        pieces.push(Bytes::new());
        pieces.push(Bytes::from_static(b"defg"));
        assert_eq!(pieces.len(), 7);
        pieces.advance(4);
        assert_eq!(pieces.chunk(), b"efg");
        assert_eq!(pieces.remaining(), 3);
        pieces.advance(3);
        assert!(pieces.is_empty());
        assert_eq!(pieces.chunk(), b"");
    }

    async fn next(body: &mut UploadBody) -> Option<Result<Frame<Pieces>, Aborted>> {
        std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await
    }

    #[tokio::test]
    async fn a_dropped_feed_is_an_error_not_an_end() {
        let (feed, mut body) = UploadBody::fed(None);
        let mut pieces = Pieces::default();
        pieces.push(Bytes::from_static(b"half"));
        feed.send(&mut pieces).await.unwrap();
        drop(feed);
        assert!(next(&mut body).await.unwrap().is_ok());
        assert!(next(&mut body).await.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_frame_waits_until_the_one_before_it_is_written() {
        use std::time::Duration;

        use tokio::time::timeout;

        const SOON: Duration = Duration::from_millis(50);
        let (feed, mut body) = UploadBody::fed(None);
        let frame = || {
            let mut pieces = Pieces::default();
            pieces.push(Bytes::from_static(b"frame"));
            pieces
        };
        feed.send(&mut frame()).await.unwrap();
        // Taken by the connection, but not written.
        let first = next(&mut body).await.unwrap().unwrap();
        let mut second = frame();
        timeout(SOON, feed.send(&mut second)).await.unwrap_err();
        assert_eq!(second.len(), 5);
        drop(first);
        timeout(SOON, feed.send(&mut second)).await.unwrap().unwrap();
        // The end waits for it, also where the connection already knows that it is the last.
        drop(body);
        timeout(SOON, feed.send(&mut frame())).await.unwrap().unwrap_err();
        let (feed, mut body) = UploadBody::fed(Some(5));
        feed.send(&mut frame()).await.unwrap();
        let last = next(&mut body).await.unwrap().unwrap();
        drop(body);
        timeout(SOON, feed.end()).await.unwrap_err();
        drop(last);
        timeout(SOON, feed.end()).await.unwrap().unwrap_err();
    }

    #[tokio::test]
    async fn an_end_that_is_said_is_an_end() {
        let (feed, mut body) = UploadBody::fed(Some(0));
        feed.end().await.unwrap();
        drop(feed);
        assert!(next(&mut body).await.is_none());
    }
}
