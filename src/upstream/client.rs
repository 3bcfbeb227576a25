//! Connections to one upstream server: TCP, TLS or a Unix socket, HTTP/1.1 with hyper's client.

use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Instant,
};

use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    Error, SetupError, UploadBody,
    bounded::{Bounded, FrameSize},
};
use crate::{
    budget::LARGEST_FRAME,
    config::{self, ServerUrl},
};

/// How one server is dialled.
pub(super) struct Connector {
    url: ServerUrl,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    timeout: std::time::Duration,
}

impl Connector {
    /// `tls` is for https alone.
    pub(super) fn new(
        url: &ServerUrl,
        upstream: &config::Upstream,
        tls: Option<&Arc<ClientConfig>>,
    ) -> Result<Self, SetupError> {
        let tls = match (url, tls) {
            (ServerUrl::Https { host, .. }, Some(settings)) => {
                let name = upstream.tls.server_name.as_deref().unwrap_or(host).to_owned();
                let name = ServerName::try_from(name)
                    .map_err(|error| SetupError { server: host.clone(), reason: error.to_string() })?;
                Some((TlsConnector::from(Arc::clone(settings)), name))
            }
            (ServerUrl::Https { .. } | ServerUrl::Http { .. } | ServerUrl::Unix(_), _) => None,
        };
        Ok(Self { url: url.clone(), tls, timeout: upstream.timeouts.connect })
    }

    pub(super) fn url(&self) -> &ServerUrl {
        &self.url
    }

    /// Opens a connection within `timeouts.connect`, TLS handshake included.
    pub(super) async fn connect(&self) -> Result<Wire, Error> {
        let io = tokio::time::timeout(self.timeout, self.dial())
            .await
            .map_err(|_| Error::Connect(format!("no connection within {:?}", self.timeout)))?
            .map_err(|error| Error::Connect(error.to_string()))?;
        let frame = FrameSize::smallest();
        let io = TokioIo::new(Bounded::new(io, frame.clone()));
        Wire::over(io, frame).await.map_err(Error::Broken)
    }

    async fn dial(&self) -> io::Result<Io> {
        match &self.url {
            ServerUrl::Http { host, port } => Ok(Io::Tcp(dial_tcp(host, *port).await?)),
            ServerUrl::Https { host, port } => {
                let tcp = dial_tcp(host, *port).await?;
                let (connector, name) = self.tls.as_ref().ok_or(io::ErrorKind::Unsupported)?;
                let tls = connector.connect(name.clone(), tcp).await?;
                Ok(Io::Tls(Box::new(tls)))
            }
            ServerUrl::Unix(path) => Ok(Io::Unix(UnixStream::connect(path).await?)),
        }
    }
}

async fn dial_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect((host, port)).await?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

/// The TLS of all https servers of an upstream. Trust is the given CA file alone, or the system's roots where none is
/// given; the name is always verified.
pub(super) fn tls_settings(tls: &config::UpstreamTls) -> Result<Arc<ClientConfig>, SetupError> {
    let fail = |reason: String| SetupError { server: "tls".to_owned(), reason };
    let mut roots = rustls::RootCertStore::empty();
    if let Some(file) = &tls.ca_file {
        let shown = file.display();
        let certificates = CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| fail(format!("cannot read ca_file {shown}: {error}")))?;
        let (added, _) = roots.add_parsable_certificates(certificates);
        if added == 0 {
            return Err(fail(format!("ca_file {shown} holds no usable certificate")));
        }
    } else {
        let native = rustls_native_certs::load_native_certs();
        let (added, _) = roots.add_parsable_certificates(native.certs);
        if added == 0 {
            return Err(fail("the system has no trusted roots: install ca-certificates or set tls.ca_file".to_owned()));
        }
    }
    let mut settings = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    settings.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(settings))
}

/// One connection that is idle or belongs to one exchange. It is driven by whoever holds it.
pub(super) struct Wire {
    pub(super) sender: SendRequest<UploadBody>,
    connection: Connection<TokioIo<Bounded<Io>>, UploadBody>,
    /// In which frames bodies are read from it.
    pub(super) frame: FrameSize,
    pub(super) idle_since: Instant,
}

impl Wire {
    async fn over(io: TokioIo<Bounded<Io>>, frame: FrameSize) -> Result<Self, hyper::Error> {
        let (sender, connection) = Builder::new().max_buf_size(LARGEST_FRAME).handshake(io).await?;
        Ok(Self { sender, connection, frame, idle_since: Instant::now() })
    }

    /// The same idle connection without its read buffer: hyper would keep the largest that it ever had.
    pub(super) fn renewed(self) -> Option<Self> {
        let parts = self.connection.into_parts();
        if !parts.read_buf.is_empty() {
            return None;
        }
        // Nothing is exchanged in it, so it is ready at once.
        let mut handshake = pin!(Self::over(parts.io, self.frame));
        match handshake.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(wire) => wire.ok(),
            Poll::Pending => None,
        }
    }

    /// Moves the connection on; ready where it ended.
    pub(super) fn poll_drive(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        Pin::new(&mut self.connection).poll(context)
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
