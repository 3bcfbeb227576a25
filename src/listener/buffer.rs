//! A TCP stream with a read buffer that fits what arrives.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_util::io::poll_read_buf;

use super::activity::Activity;

const SMALLEST: usize = 16 * 1024;

/// rustls reads 4 KiB at a time, which makes uploads a fifth dearer; this reads for it as much as the frames of the
/// connection's transfers hold, up to 256 KiB.
///
/// The buffer doubles while reads fill it, halves while they fill less than a quarter, and is given
/// back when there is nothing to read: an idle connection holds none.
#[derive(Debug)]
pub(super) struct BufferedTcp {
    tcp: TcpStream,
    buffer: Vec<u8>,
    position: usize,
    /// Capacity of the next buffer.
    size: usize,
    activity: Arc<Activity>,
}

impl BufferedTcp {
    pub(super) fn new(tcp: TcpStream) -> Self {
        Self { tcp, buffer: Vec::new(), position: 0, size: SMALLEST, activity: Arc::default() }
    }

    pub(super) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// What this connection and its server tell each other.
    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    fn taken(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = written {
            self.activity.take(count);
        }
        written
    }

    /// The stream alone; what was read and not consumed is lost.
    pub(super) fn into_tcp(self) -> TcpStream {
        self.tcp
    }

    /// Waits for the first byte without consuming it; `None` at the end of the stream.
    pub(super) async fn first_byte(&mut self) -> io::Result<Option<u8>> {
        poll_fn(|cx| self.poll_fill(cx)).await?;
        Ok(self.unread().first().copied())
    }

    /// What has been read and not consumed.
    pub(super) fn unread(&self) -> &[u8] {
        self.buffer.get(self.position..).unwrap_or_default()
    }

    /// Ready with nothing unread means the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.unread().is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.position = 0;
        self.buffer.clear();
        // Most often there is nothing, and no memory is needed to find that out.
        let Poll::Ready(()) = self.tcp.poll_read_ready(cx)? else {
            self.buffer = Vec::new();
            return Poll::Pending;
        };
        self.size = self.size.min(self.activity.frame());
        if !(self.size..=self.activity.frame()).contains(&self.buffer.capacity()) {
            self.buffer = Vec::with_capacity(self.size);
        }
        let Poll::Ready(read) = poll_read_buf(Pin::new(&mut self.tcp), cx, &mut self.buffer) else {
            self.buffer = Vec::new();
            return Poll::Pending;
        };
        self.adapt(read?);
        Poll::Ready(Ok(()))
    }

    fn adapt(&mut self, read: usize) {
        if read >= self.size {
            self.size = (self.size * 2).min(self.activity.frame());
        } else if read < self.size / 4 {
            self.size = (self.size / 2).max(SMALLEST);
        }
    }
}

impl AsyncRead for BufferedTcp {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_fill(cx))?;
        let unread = this.unread();
        let count = unread.len().min(into.remaining());
        into.put_slice(unread.get(..count).unwrap_or_default());
        this.position += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for BufferedTcp {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.tcp).poll_write(cx, bytes);
        this.taken(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.tcp).poll_write_vectored(cx, slices);
        this.taken(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        time::{Duration, timeout},
    };

    use super::*;
    use crate::budget::{LARGEST_FRAME, SMALLEST_FRAME};

    async fn pair() -> (TcpStream, BufferedTcp) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        (client, BufferedTcp::new(server))
    }

    #[tokio::test]
    async fn looks_at_the_first_byte_without_taking_it() {
        let (mut client, mut server) = pair().await;
        client.write_all(b"hello").await.unwrap();
        assert_eq!(server.first_byte().await.unwrap(), Some(b'h'));
        drop(client);
        let mut all = String::new();
        server.read_to_string(&mut all).await.unwrap();
        assert_eq!(all, "hello");
        assert_eq!(server.first_byte().await.unwrap(), None);
    }

    #[tokio::test]
    async fn grows_with_a_bulk_transfer_and_holds_nothing_when_idle() {
        const TOTAL: usize = 32 * 1024 * 1024;
        let (mut client, mut server) = pair().await;
        let transfer = server.activity().moving(LARGEST_FRAME);
        let sent: Vec<u8> = (0..TOTAL).map(|i| (i % 251) as u8).collect();
        let sender = tokio::spawn(async move {
            client.write_all(&sent).await.unwrap();
            (client, sent)
        });
        // As rustls does: small reads, more slowly than the client sends.
        let mut received = Vec::with_capacity(TOTAL);
        let (mut piece, mut largest) = ([0; 4096], 0);
        while received.len() < TOTAL {
            let count = server.read(&mut piece).await.unwrap();
            received.extend_from_slice(&piece[..count]);
            largest = largest.max(server.buffer.capacity());
            if received.len() % (1024 * 1024) < 4096 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        let (_client, sent) = sender.await.unwrap();
        assert!(received == sent);
        assert_eq!(largest, LARGEST_FRAME);
        assert!(timeout(Duration::from_millis(20), server.read(&mut piece)).await.is_err());
        assert_eq!(server.buffer.capacity(), 0);
        drop(transfer);
    }

    #[tokio::test]
    async fn holds_no_more_than_a_frame() {
        let (mut client, mut server) = pair().await;
        let sender = tokio::spawn(async move {
            client.write_all(&vec![7; 8 * LARGEST_FRAME]).await.unwrap();
            client
        });
        let (mut piece, mut largest) = ([0; 4096], 0);
        for (frame, bytes) in [(LARGEST_FRAME, 4 * LARGEST_FRAME), (SMALLEST_FRAME, 2 * LARGEST_FRAME)] {
            let transfer = server.activity().moving(frame);
            let mut read = 0;
            while read < bytes {
                // What comes is waited for, so that there is enough of it.
                if server.unread().is_empty() {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                read += server.read(&mut piece).await.unwrap();
                // A part of a larger frame is used up first.
                if read > LARGEST_FRAME {
                    largest = largest.max(server.buffer.capacity());
                }
            }
            assert_eq!(std::mem::take(&mut largest), frame);
            drop(transfer);
        }
        drop(sender);
    }

    #[tokio::test]
    async fn shrinks_when_little_arrives() {
        let (mut client, mut server) = pair().await;
        server.size = SMALLEST_FRAME;
        let mut piece = [0; 64];
        for _ in 0..5 {
            client.write_all(b"small").await.unwrap();
            assert_eq!(server.read(&mut piece).await.unwrap(), 5);
        }
        assert_eq!(server.size, SMALLEST);
    }
}
