//! A TLS stream dressed as pingora's `IO`.

use std::{
    fmt,
    io::{self, IoSlice},
    net::SocketAddr,
    os::fd::AsRawFd as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType, l4::socket::SocketAddr as PingoraAddr, raw_connect::ProxyDigest, tls::SslDigest,
};
use rustls::{ProtocolVersion, ServerConnection};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::{self, Sleep},
};
use tokio_rustls::server::TlsStream;

use super::{activity::Activity, buffer::BufferedTcp};

/// Ciphertext that may wait for the socket, so that a frame with its record headers fits.
fn tls_buffer(frame: usize) -> usize {
    frame + frame / 6
}

/// So much that is written waits for what follows it, to go out with it: an answer's head and its small body in one TLS
/// record and one packet.
const GATHERED: usize = 4 * 1024;
/// What an HTTP/2 connection gives TLS before the socket is asked to take it: a few frames. More of them would be cheaper by
/// little, and wait as ciphertext where the client does not read.
const BATCH: usize = 64 * 1024;
/// Slices that one vectored write passes on.
const SLICES: usize = 16;

/// A client that reads nothing would hold up the closing alert for ever.
const LONGEST_SHUTDOWN: Duration = Duration::from_secs(2);
/// Unread bytes dropped before a lingering connection is closed for good.
const LINGER_BYTES: usize = 4 * 1024 * 1024;

/// A client's connection once TLS stands.
pub struct ClientStream {
    tls: TlsStream<BufferedTcp>,
    peer: SocketAddr,
    established: SystemTime,
    handshake: Duration,
    socket: Arc<SocketDigest>,
    session: Arc<SslDigest>,
    activity: Arc<Activity>,
    /// Written, and not yet given to TLS.
    gathered: Vec<u8>,
    /// What ends the reading, behind what has been read.
    unreadable: Option<io::Error>,
    /// Over HTTP/2.
    batch: Option<Batch>,
    /// What the TLS buffer has been given room for.
    frame: usize,
    /// Runs from the first attempt to close that had to wait.
    closing: Option<Pin<Box<Sleep>>>,
    /// The alert and the end of our side are out; what the client still sends is dropped.
    lingering: Option<usize>,
}

/// What TLS was given since the socket last had all of it.
#[derive(Debug, Default)]
struct Batch {
    bytes: usize,
    /// The socket was asked to take it.
    asked: bool,
}

impl Batch {
    /// Nobody has asked the socket yet.
    fn waits(&self) -> bool {
        self.bytes > 0 && !self.asked
    }

    /// Nothing is to be added.
    fn is_full(&self) -> bool {
        self.bytes >= BATCH || self.asked
    }
}

impl ClientStream {
    /// `peer` is what pingora reports as the client's address; `handshake` how long TLS took.
    pub(super) fn new(tls: TlsStream<BufferedTcp>, peer: SocketAddr, handshake: Duration) -> Self {
        let (buffered, session) = tls.get_ref();
        let socket = SocketDigest::from_raw_fd(buffered.tcp().as_raw_fd());
        // A new digest has no address yet, so this cannot fail.
        let _ = socket.peer_addr.set(Some(PingoraAddr::Inet(peer)));
        Self {
            socket: Arc::new(socket),
            session: Arc::new(session_digest(session)),
            established: SystemTime::now(),
            handshake,
            activity: Arc::clone(buffered.activity()),
            gathered: Vec::new(),
            unreadable: None,
            batch: (session.alpn_protocol() == Some(b"h2")).then(Batch::default),
            frame: 0,
            closing: None,
            lingering: None,
            peer,
            tls,
        }
    }

    /// What this stream and its server tell each other.
    pub(super) fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.activity)
    }

    /// Gives TLS as much room as the frames of the connection's transfers need.
    fn fit(&mut self) -> Pin<&mut TlsStream<BufferedTcp>> {
        let frame = self.activity.frame();
        if self.frame != frame {
            self.frame = frame;
            self.tls.get_mut().1.set_buffer_limit(Some(tls_buffer(frame)));
        }
        Pin::new(&mut self.tls)
    }

    /// Keeps a small write back until it is flushed, or followed by more than fits; false where it does not fit itself.
    fn gather(&mut self, bytes: &[u8]) -> bool {
        let fits = self.gathered.len() + bytes.len() <= GATHERED;
        if fits {
            self.gathered.reserve_exact(GATHERED - self.gathered.len());
            self.gathered.extend_from_slice(bytes);
        }
        fits
    }

    /// Gives TLS what was gathered and these slices behind it, and returns how much it took of the slices: 0 only where
    /// there is nothing in them.
    fn poll_write_behind(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            let gathered = std::mem::take(&mut self.gathered);
            let mut all = [IoSlice::new(&gathered); SLICES];
            let (_, behind) = all.split_at_mut(1);
            let filled = slices.iter().filter(|slice| !slice.is_empty());
            let count = behind.iter_mut().zip(filled).map(|(place, slice)| *place = IoSlice::new(slice)).count();
            let all = all.get(..=count).unwrap_or(&all);
            let written = self.fit().poll_write_vectored(cx, all);
            match written {
                Poll::Ready(Ok(count)) if count < gathered.len() => {
                    self.gathered = gathered.get(count..).unwrap_or_default().to_vec();
                }
                // Not 0, which would mean that nothing can be written any more.
                Poll::Ready(Ok(taken)) if taken == gathered.len() && count > 0 => {}
                Poll::Ready(Ok(taken)) => return Poll::Ready(Ok(taken - gathered.len())),
                Poll::Ready(Err(_)) | Poll::Pending => {
                    self.gathered = gathered;
                    return written;
                }
            }
        }
    }

    /// Reads as many records as have arrived and fit.
    fn poll_records(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.unreadable.take() {
            return Poll::Ready(Err(error));
        }
        ready!(Pin::new(&mut self.tls).poll_read(cx, into))?;
        while into.remaining() > 0 && !self.tls.get_ref().0.unread().is_empty() {
            let before = into.filled().len();
            let read = Pin::new(&mut self.tls).poll_read(cx, into);
            if let Poll::Ready(Err(error)) = read {
                // What came before it is the client's word all the same.
                self.unreadable = Some(error);
                break;
            }
            // An end is met again by the next read.
            if read.is_pending() || into.filled().len() == before {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Gives TLS as much of the slices as there is room for, and the socket first what was given before once that is a
    /// batch.
    fn poll_batch(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.batch.as_ref().is_some_and(Batch::is_full) {
            ready!(self.poll_flush_all(cx))?;
        }
        let mut tls = self.fit().get_mut().get_mut().1.writer();
        let written = io::Write::write_vectored(&mut tls, slices)?;
        if written == 0 && slices.iter().any(|slice| !slice.is_empty()) {
            // What TLS holds has to leave first.
            ready!(self.poll_flush_all(cx))?;
            return self.fit().poll_write_vectored(cx, slices);
        }
        self.batch.iter_mut().for_each(|batch| batch.bytes += written);
        Poll::Ready(Ok(written))
    }

    /// Gives TLS what was gathered, and the socket all of it.
    fn poll_flush_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.batch.iter_mut().for_each(|batch| batch.asked = true);
        if !self.gathered.is_empty() {
            ready!(self.poll_write_behind(cx, &[]))?;
        }
        ready!(Pin::new(&mut self.tls).poll_flush(cx))?;
        self.batch.iter_mut().for_each(|batch| *batch = Batch::default());
        Poll::Ready(Ok(()))
    }

    /// Reads and drops until the client ends too, or `LINGER_BYTES` have come.
    fn poll_linger(&mut self, cx: &mut Context<'_>, mut left: usize) -> Poll<()> {
        let mut scratch = [0; 4096];
        while left > 0 {
            let mut into = ReadBuf::new(&mut scratch);
            let read = Pin::new(self.tls.get_mut().0).poll_read(cx, &mut into);
            let Poll::Ready(read) = read else {
                self.lingering = Some(left);
                return Poll::Pending;
            };
            if read.is_err() || into.filled().is_empty() {
                break;
            }
            self.activity.hear(into.filled().len());
            left = left.saturating_sub(into.filled().len());
        }
        self.lingering = Some(0);
        Poll::Ready(())
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(left) = self.lingering {
            return self.poll_linger(cx, left).map(Ok);
        }
        if !self.gathered.is_empty() {
            ready!(self.poll_write_behind(cx, &[]))?;
        }
        ready!(Pin::new(&mut self.tls).poll_shutdown(cx))?;
        let Some(time) = self.activity.lingers() else { return Poll::Ready(Ok(())) };
        self.closing = Some(Box::pin(time::sleep(time)));
        self.poll_linger(cx, LINGER_BYTES).map(Ok)
    }
}

fn session_digest(session: &ServerConnection) -> SslDigest {
    let cipher =
        session.negotiated_cipher_suite().and_then(|negotiated| negotiated.suite().as_str()).unwrap_or_default();
    let version = match session.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "",
    };
    SslDigest::new(cipher, version, None, None, Vec::new())
}

impl AsyncRead for ClientStream {
    /// Fills `into` from as many TLS records as have arrived, and flushes before it waits.
    ///
    /// pingora flushes a body of known length only at its end, small writes are gathered, and rustls keeps up to
    /// `tls_buffer` of what was written. So while the upstream pauses, the client would miss bytes that were
    /// written long ago. Whoever waits for the client to speak, or to leave, has nothing more to
    /// write for now.
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = into.filled().len();
        let gathers = !this.gathered.is_empty() || this.batch.as_ref().is_some_and(Batch::waits);
        let read = this.poll_records(cx, into);
        if read.is_ready() {
            this.activity.hear(into.filled().len() - before);
        }
        if (gathers || read.is_pending() && this.tls.get_ref().1.wants_write())
            && let Poll::Ready(Err(error)) = this.poll_flush_all(cx)
        {
            return Poll::Ready(Err(error));
        }
        read
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.batch.is_some() {
            return this.poll_batch(cx, &[IoSlice::new(bytes)]);
        }
        if this.gather(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        if this.gathered.is_empty() {
            return this.fit().poll_write(cx, bytes);
        }
        this.poll_write_behind(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.batch.is_some() {
            return this.poll_batch(cx, slices);
        }
        if this.gathered.is_empty() {
            return this.fit().poll_write_vectored(cx, slices);
        }
        this.poll_write_behind(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }

    /// Over HTTP/2 the engine asks for this after each frame, though the next may be there. So what was written since
    /// the last time waits until the connection's task has its next turn, which begins with a read and is asked for here.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.batch.as_ref().is_some_and(Batch::waits) {
            cx.waker().wake_by_ref();
            return Poll::Ready(Ok(()));
        }
        this.poll_flush_all(cx)
    }

    /// Sends the closing alert; fails after two seconds on a client that reads nothing.
    ///
    /// pingora closes sessions without a limit of its own.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Poll::Ready(closed) = this.poll_close(cx) {
            return Poll::Ready(closed);
        }
        let limit = this.closing.get_or_insert_with(|| Box::pin(time::sleep(LONGEST_SHUTDOWN)));
        ready!(limit.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client does not read: closed without the TLS alert",
        )))
    }
}

#[async_trait]
impl Shutdown for ClientStream {
    async fn shutdown(&mut self) {
        if let Err(error) = AsyncWriteExt::shutdown(self).await {
            tracing::debug!(peer = %self.peer, %error, "closing TLS");
        }
    }
}

impl UniqueID for ClientStream {
    fn id(&self) -> UniqueIDType {
        self.tls.get_ref().0.tcp().as_raw_fd()
    }
}

impl Ssl for ClientStream {
    /// Present, so that pingora never looks for HTTP/2 without ALPN on this stream.
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        Some(Arc::clone(&self.session))
    }

    /// HTTP/1.1 for clients that offer no ALPN.
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        Some(match self.tls.get_ref().1.alpn_protocol() {
            Some(b"h2") => ALPN::H2,
            _ => ALPN::H1,
        })
    }
}

impl GetTimingDigest for ClientStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        vec![Some(TimingDigest {
            established_ts: self.established,
            establishment_duration: Some(self.handshake),
            offload_wait_duration: None,
        })]
    }
}

impl GetProxyDigest for ClientStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for ClientStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::clone(&self.socket))
    }
}

impl Peek for ClientStream {}

impl fmt::Debug for ClientStream {
    /// The address alone: pingora prints streams into its log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientStream").field("peer", &self.peer).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
