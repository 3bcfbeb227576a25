//! Request bodies towards an upstream: frames gathered without a copy, and an end that must be said.

use std::{
    collections::VecDeque,
    io::IoSlice,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

/// Frames that may wait for the connection: one being written, one ready.
const QUEUED_FRAMES: usize = 2;

/// Pieces of a body sent as one frame: one vectored write, no copy.
#[derive(Debug, Default)]
pub struct Pieces {
    parts: VecDeque<Bytes>,
    length: usize,
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
pub struct Feed(mpsc::Sender<Message>);

/// The upstream no longer takes the body: it answered, or broke off.
#[derive(Debug)]
pub struct FeedClosed;

impl Feed {
    /// Hands a frame on, waiting while two are still on their way.
    ///
    /// Cancel safe in that a frame is either taken whole or left in `pieces`.
    pub async fn send(&self, pieces: &mut Pieces) -> Result<(), FeedClosed> {
        let slot = self.0.reserve().await.map_err(|_| FeedClosed)?;
        slot.send(Message::Frame(std::mem::take(pieces)));
        Ok(())
    }

    /// Says that the body is whole. A feed dropped without this aborts the request.
    pub async fn end(&self) -> Result<(), FeedClosed> {
        self.0.send(Message::End).await.map_err(|_| FeedClosed)
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
        let (sender, receiver) = mpsc::channel(QUEUED_FRAMES);
        (Feed(sender), Self { feed: Some(receiver), length })
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
    async fn an_end_that_is_said_is_an_end() {
        let (feed, mut body) = UploadBody::fed(Some(0));
        feed.end().await.unwrap();
        drop(feed);
        assert!(next(&mut body).await.is_none());
    }
}
