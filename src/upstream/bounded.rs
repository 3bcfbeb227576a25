//! A connection whose reads are bounded while it is in use.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::{BufMut as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use crate::budget::SMALLEST_FRAME;

/// The frame size of one connection, which can be changed while hyper holds the connection.
#[derive(Clone, Debug)]
pub(super) struct FrameSize(Arc<AtomicUsize>);

impl FrameSize {
    /// The smallest there is: what nobody has taken memory for.
    pub(super) fn smallest() -> Self {
        Self(Arc::new(AtomicUsize::new(SMALLEST_FRAME)))
    }

    pub(super) fn set(&self, frame: usize) {
        self.0.store(frame, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Keeps hyper's read buffer from growing beyond a frame. hyper doubles a buffer that it has to itself where it needs a
/// larger one, whatever it needs; where somebody else still holds a part of it, it takes a new one of just that size.
#[derive(Debug, Default)]
pub(super) struct Growth {
    last: Option<Bytes>,
    done: bool,
}

impl Growth {
    /// To be told of each piece of a body, before the next is read.
    pub(super) fn note(&mut self, piece: &Bytes, frame: usize) {
        // Such a piece cannot come out of anything smaller than a whole frame's buffer, and that does not grow.
        self.done |= piece.len() > frame / 2;
        self.last = (!self.done).then(|| piece.slice(..piece.len().min(1)));
    }
}

/// hyper means to read twice as much each time that it got as much as it meant to, up to a limit that a connection keeps
/// for its life. A read of one byte less than the frame never fills one, so it stops there.
pub(super) struct Bounded<T> {
    io: T,
    frame: FrameSize,
}

impl<T> Bounded<T> {
    pub(super) fn new(io: T, frame: FrameSize) -> Self {
        Self { io, frame }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Bounded<T> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut part = buffer.limit(this.frame.get() - 1);
        poll_read_buf(Pin::new(&mut this.io), context, &mut part).map_ok(drop)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Bounded<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(context, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Empty};
    use hyper::{Request, client::conn::http1};
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::budget::LARGEST_FRAME;

    /// Notes the room that hyper offers.
    struct Watched<T> {
        io: T,
        offered: Arc<AtomicUsize>,
    }

    impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.offered.fetch_max(buffer.remaining(), Ordering::Relaxed);
            Pin::new(&mut self.io).poll_read(context, buffer)
        }
    }

    impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
        fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.io).poll_write(context, data)
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.io).poll_flush(context)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.io).poll_shutdown(context)
        }
    }

    const BODY: usize = 8 << 20;

    /// Answers with a body that is there at once.
    async fn serve(mut io: tokio::io::DuplexStream) {
        let _request = io.read(&mut [0; 1024]).await.unwrap();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n");
        io.write_all(answer.as_bytes()).await.unwrap();
        io.write_all(&vec![7; BODY]).await.unwrap();
    }

    #[tokio::test]
    async fn a_body_comes_in_the_frames_that_there_is_memory_for() {
        for size in [SMALLEST_FRAME, 128 * 1024, LARGEST_FRAME] {
            let (near, far) = tokio::io::duplex(1 << 20);
            tokio::spawn(serve(far));
            let (frame, offered) = (FrameSize::smallest(), Arc::new(AtomicUsize::new(0)));
            // The outer one tells what hyper offers, which is what it has allocated.
            let io = Watched { io: Bounded::new(near, frame.clone()), offered: Arc::clone(&offered) };
            let (mut sender, connection) =
                http1::Builder::new().max_buf_size(LARGEST_FRAME).handshake(TokioIo::new(io)).await.unwrap();
            tokio::spawn(connection);
            let mut body = sender.send_request(Request::new(Empty::<Bytes>::new())).await.unwrap().into_body();
            frame.set(size);
            let (mut growth, mut largest, mut received) = (Growth::default(), 0, 0);
            while let Some(data) = body.frame().await {
                let data = data.unwrap().into_data().unwrap();
                growth.note(&data, size);
                received += data.len();
                largest = largest.max(data.len());
            }
            assert_eq!((received, largest), (BODY, size - 1));
            assert_eq!(offered.load(Ordering::Relaxed), size, "room for more than is read");
        }
    }
}
