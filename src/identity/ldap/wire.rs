//! The way to a server: TCP, StartTLS, TLS, and between TLS and the LDAP library a guard on what comes.

use std::{
    io,
    os::unix::net::UnixStream as StdUnixStream,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::BytesMut;
use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, StdStream};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    time::{Instant, timeout_at},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{fault::Fault, frame};
use crate::{
    config::LdapServer,
    tls::{FileFault, Roots},
};

/// A connection that TLS protects, before any bind.
pub(super) struct Link {
    pub(super) ldap: Ldap,
    /// Why it ended, where that is known.
    pub(super) end: Arc<OnceLock<String>>,
}

/// Everything towards one directory: these authorities and no others.
pub(super) fn client_config(roots: &Roots) -> Result<Arc<ClientConfig>, FileFault> {
    let mut store = RootCertStore::empty();
    roots.add_to(&mut store, "ca_file")?;
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(store).with_no_client_auth()))
}

pub(super) async fn open(server: &LdapServer, tls: &Arc<ClientConfig>, deadline: Instant) -> Result<Link, Fault> {
    let connected = within(deadline, "connecting", TcpStream::connect((server.host.as_str(), server.port))).await?;
    let mut tcp = connected.map_err(|error| Fault::Connect(error.to_string()))?;
    // Messages are small, and each waits for an answer.
    let _ = tcp.set_nodelay(true);
    if !server.ldaps {
        within(deadline, "asking for StartTLS", start_tls(&mut tcp)).await??;
    }
    let fail = |error: &dyn std::error::Error| Fault::Tls(explained(error));
    let name = ServerName::try_from(server.host.clone()).map_err(|error| fail(&error))?;
    let handshake = TlsConnector::from(Arc::clone(tls)).connect(name, tcp);
    let stream = within(deadline, "shaking hands", handshake).await?.map_err(|error| fail(&error))?;
    hand_over(stream).await.map_err(Fault::Connect)
}

/// At most until the deadline; `step` says what was under way.
pub(super) async fn within<T>(
    deadline: Instant,
    step: &'static str,
    work: impl Future<Output = T>,
) -> Result<T, Fault> {
    let begun = Instant::now();
    timeout_at(deadline, work).await.map_err(|_| Fault::Timeout { step, waited: begun.elapsed() })
}

/// Nothing that came in the clear is read behind the answer: the handshake begins on what follows it.
async fn start_tls(tcp: &mut TcpStream) -> Result<(), Fault> {
    /// What servers answer has some ten bytes, and a line of text at most.
    const LONGEST: usize = 4096;
    let broken = |error: io::Error| Fault::Connect(format!("{error} before StartTLS: is this a port for ldaps://?"));
    let garbage = |garbage: frame::Garbage| Fault::StartTls(garbage.to_string());
    tcp.write_all(frame::STARTTLS).await.map_err(broken)?;
    let mut answer = Vec::new();
    loop {
        // Byte by byte: what follows belongs to TLS.
        match frame::length(&answer).map_err(garbage)? {
            Some(length) if length > LONGEST => return Err(garbage(frame::Garbage)),
            Some(length) if length == answer.len() => break,
            Some(_) | None => answer.push(tcp.read_u8().await.map_err(broken)?),
        }
    }
    match frame::starttls_result(&answer).map_err(garbage)? {
        0 => Ok(()),
        code => Err(Fault::StartTls(format!("result {code}"))),
    }
}

/// Gives the library one end of a pair of sockets, and passes on at the other what may pass.
async fn hand_over(stream: TlsStream<TcpStream>) -> Result<Link, String> {
    let (ours, theirs) = pair().map_err(|error| error.to_string())?;
    let settings = LdapConnSettings::new().set_std_stream(StdStream::Unix(theirs));
    let (connection, ldap) =
        LdapConnAsync::with_settings(settings, "ldapi:///").await.map_err(|error| error.to_string())?;
    let end = Arc::new(OnceLock::new());
    let why = Arc::clone(&end);
    // Both end with the last handle to the connection, or with the server.
    tokio::spawn(async move {
        if let Err(error) = relay(stream, ours).await {
            let _ = why.set(error.to_string());
        }
    });
    tokio::spawn(async move {
        if let Err(error) = connection.drive().await {
            tracing::debug!(%error, "a connection to a directory ended");
        }
    });
    Ok(Link { ldap, end })
}

fn pair() -> io::Result<(UnixStream, StdUnixStream)> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, theirs))
}

async fn relay(stream: TlsStream<TcpStream>, ours: UnixStream) -> io::Result<()> {
    let (mut from_server, mut to_server) = tokio::io::split(stream);
    let (mut from_library, mut to_library) = ours.into_split();
    tokio::select! {
        sent = tokio::io::copy(&mut from_library, &mut to_server) => {
            sent?;
            // A server that does not take the goodbye is not waited for.
            let _ = tokio::time::timeout(Duration::from_secs(1), to_server.shutdown()).await;
            Ok(())
        }
        received = receive(&mut from_server, &mut to_library) => received,
    }
}

/// Passes whole messages on, each after a look at it.
async fn receive(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let garbage = |garbage: frame::Garbage| io::Error::new(io::ErrorKind::InvalidData, garbage);
    let mut buffer = BytesMut::new();
    loop {
        while let Some(length) = frame::length(&buffer).map_err(garbage)?.filter(|length| *length <= buffer.len()) {
            let message = buffer.split_to(length);
            frame::check(&message).map_err(garbage)?;
            to.write_all(&message).await?;
        }
        if from.read_buf(&mut buffer).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed it"));
        }
    }
}

/// The error, and what to look at where that is known.
fn explained(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    // A bad signature is that of another authority of the same name.
    let hint = if text.contains("UnknownIssuer") || text.contains("BadSignature") {
        "see ca_file"
    } else if text.contains("NotValidForName") || text.contains("not valid for name") {
        "write the name that is in the certificate into urls"
    } else if text.contains("handshake eof") || text.contains("corrupt message") {
        "is this a port for ldap:// with starttls: true?"
    } else {
        return text;
    };
    format!("{text}: {hint}")
}
