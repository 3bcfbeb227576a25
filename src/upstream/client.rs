//! Connections to one upstream server: TCP, TLS or a Unix socket, HTTP/1.1 with hyper's client.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    time::{Instant, timeout},
};
use tokio_rustls::client::TlsStream;

use super::{
    Error, SetupError, UploadBody,
    bounded::{Bounded, FrameSize},
    tls::{self, Tls},
};
use crate::{budget::LARGEST_FRAME, config::ServerUrl};

/// How one server is dialled.
pub(super) struct Connector {
    url: ServerUrl,
    tls: Option<Tls>,
    timeout: Duration,
}

impl Connector {
    /// `tls` is for https alone, where the certificate must have the URL's host or `server_name` instead. `timeout` is for
    /// a connection, TLS handshake included.
    pub(super) fn new(
        url: &ServerUrl,
        tls: Option<&Arc<ClientConfig>>,
        server_name: Option<&str>,
        timeout: Duration,
    ) -> Result<Self, SetupError> {
        let tls = match (url, tls) {
            (ServerUrl::Https { host, .. }, Some(settings)) => Some(Tls::new(settings, server_name.unwrap_or(host))?),
            (ServerUrl::Https { .. } | ServerUrl::Http { .. } | ServerUrl::Unix(_), _) => None,
        };
        Ok(Self { url: url.clone(), tls, timeout })
    }

    /// Opens a connection within `timeouts.connect`, TLS handshake included.
    pub(super) async fn connect(&self) -> Result<Wire, Error> {
        let io = timeout(self.timeout, self.dial())
            .await
            .map_err(|_| Error::Connect(format!("no connection within {:?}", self.timeout)))?
            .map_err(|error| tls::refused(&error).unwrap_or_else(|| Error::Connect(tls::explained(&error))))?;
        Wire::over(io).await
    }

    async fn dial(&self) -> io::Result<Io> {
        match &self.url {
            ServerUrl::Http { host, port } => Ok(Io::Tcp(dial_tcp(host, *port, self.timeout).await?)),
            ServerUrl::Https { host, port } => {
                let tcp = dial_tcp(host, *port, self.timeout).await?;
                Io::secured(tcp, self.tls.as_ref().ok_or(io::ErrorKind::Unsupported)?).await
            }
            ServerUrl::Unix(path) => Ok(Io::Unix(UnixStream::connect(path).await?)),
        }
    }
}

/// A connection to a host within the limit. One address that swallows what it is sent must not take the time of all.
pub async fn dial_tcp(host: &str, port: u16, limit: Duration) -> io::Result<TcpStream> {
    let begun = Instant::now();
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
    for (index, address) in addresses.iter().enumerate() {
        let left = limit.saturating_sub(begun.elapsed());
        let turn = if index + 1 < addresses.len() { left / 2 } else { left };
        match timeout(turn, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => {
                tcp.set_nodelay(true)?;
                return Ok(tcp);
            }
            Ok(Err(error)) => last = error,
            Err(_) => {
                last = io::Error::new(io::ErrorKind::TimedOut, format!("no connection to {address} within {turn:?}"));
            }
        }
    }
    Err(last)
}

/// One connection that is idle or belongs to one exchange. It is driven by whoever holds it.
pub(super) struct Wire {
    pub(super) sender: SendRequest<UploadBody>,
    /// It is large, and moves with the wire from hand to hand.
    connection: Box<Connection<TokioIo<Bounded<Io>>, UploadBody>>,
    /// In which frames bodies are read from it.
    pub(super) frame: FrameSize,
    pub(super) idle_since: Instant,
}

impl Wire {
    /// Speaks HTTP/1.1 over a fresh connection.
    pub(super) async fn over(io: Io) -> Result<Self, Error> {
        let frame = FrameSize::smallest();
        Ok(Self::speak(TokioIo::new(Bounded::new(io, frame.clone())), frame).await?)
    }

    async fn speak(io: TokioIo<Bounded<Io>>, frame: FrameSize) -> Result<Self, hyper::Error> {
        let (sender, connection) = Builder::new().max_buf_size(LARGEST_FRAME).handshake(io).await?;
        Ok(Self { sender, connection: Box::new(connection), frame, idle_since: Instant::now() })
    }

    /// The same idle connection without its read buffer: hyper would keep the largest that it ever had.
    pub(super) fn renewed(self) -> Option<Self> {
        let parts = self.connection.into_parts();
        if !parts.read_buf.is_empty() {
            return None;
        }
        // Nothing is exchanged in it, so it is ready at once.
        let mut handshake = pin!(Self::speak(parts.io, self.frame));
        match handshake.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(wire) => wire.ok(),
            Poll::Pending => None,
        }
    }

    /// Moves the connection on; ready where it ended.
    pub(super) fn poll_drive(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        Pin::new(&mut *self.connection).poll(context)
    }

    /// Nobody polls an idle connection, so a FIN that came meanwhile is looked for before it is used again.
    pub(super) fn is_usable(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        self.poll_drive(&mut context).is_pending() && self.sender.is_ready()
    }
}

/// The transports under one type, so that a pool holds one type of connection.
pub(super) enum Io {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

impl Io {
    /// Completes a TLS handshake.
    pub(super) async fn secured(tcp: TcpStream, tls: &Tls) -> io::Result<Self> {
        Ok(Self::Tls(Box::new(tls.connect(tcp).await?)))
    }
}

macro_rules! each {
    ($self:ident, $io:ident => $call:expr) => {
        match $self.get_mut() {
            Io::Tcp($io) => $call,
            Io::Tls($io) => $call,
            Io::Unix($io) => $call,
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_read(context, buffer))
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, io => Pin::new(io).poll_write(context, data))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, io => Pin::new(io).poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(io) => io.is_write_vectored(),
            Self::Tls(io) => io.is_write_vectored(),
            Self::Unix(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_shutdown(context))
    }
}
