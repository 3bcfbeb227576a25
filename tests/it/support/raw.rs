//! Bytes as they are: requests no client would send, answers as they came.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Pki, Response};

const TIMEOUT: Duration = Duration::from_secs(10);

/// A TLS connection to 127.0.0.1.
pub(crate) struct Tls(StreamOwned<ClientConnection, TcpStream>);

impl Tls {
    /// Connects offering HTTP/1.1. `name` is the SNI; an IP address sends none.
    pub(crate) fn connect(pki: &Pki, port: u16, name: &str) -> Self {
        Self::offering(pki, port, name, &["http/1.1"]).unwrap()
    }

    /// The same from another address of this machine.
    pub(crate) fn connect_from(source: IpAddr, pki: &Pki, port: u16, name: &str) -> Self {
        Self::over(plain_from(source, port), client_config(pki, &["http/1.1"]), name).unwrap()
    }

    /// The same, with these bytes before TLS, in one packet with its beginning. `Err` where the server closes.
    pub(crate) fn after(preface: &[u8], source: IpAddr, pki: &Pki, port: u16, name: &str) -> std::io::Result<Self> {
        Self::begun(preface, plain_from(source, port), client_config(pki, &["http/1.1"]), name)
    }

    /// Connects offering these protocols; an empty list is no ALPN at all.
    pub(crate) fn offering(pki: &Pki, port: u16, name: &str, protocols: &[&str]) -> std::io::Result<Self> {
        Self::configured(client_config(pki, protocols), port, name)
    }

    /// Connects with a configuration that several connections share: they resume each other's sessions.
    pub(crate) fn configured(config: Arc<ClientConfig>, port: u16, name: &str) -> std::io::Result<Self> {
        Self::over(connect(port)?, config, name)
    }

    /// Over a socket that is connected already.
    pub(crate) fn over(socket: TcpStream, config: Arc<ClientConfig>, name: &str) -> std::io::Result<Self> {
        Self::begun(&[], socket, config, name)
    }

    fn begun(preface: &[u8], mut socket: TcpStream, config: Arc<ClientConfig>, name: &str) -> std::io::Result<Self> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut connection = ClientConnection::new(config, name).map_err(std::io::Error::other)?;
        let mut first = preface.to_vec();
        connection.write_tls(&mut first)?;
        socket.write_all(&first)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        Ok(Self(StreamOwned::new(connection, socket)))
    }

    /// What is under TLS.
    pub(crate) fn socket(&self) -> &TcpStream {
        self.0.get_ref()
    }

    /// The leaf that the server showed.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        self.0.conn.peer_certificates().unwrap()[0].to_vec()
    }

    /// True where the session of an earlier connection goes on: then the server showed no certificate anew.
    pub(crate) fn is_resumed(&self) -> bool {
        self.0.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The protocol that the server chose.
    pub(crate) fn protocol(&self) -> Option<String> {
        self.0.conn.alpn_protocol().map(|protocol| String::from_utf8_lossy(protocol).into_owned())
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap();
    }

    /// `Err` where the server closed meanwhile.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.0.write_all(bytes.as_ref())?;
        self.0.flush()
    }

    /// One answer; the connection may go on. `None` where the server closed instead.
    pub(crate) fn answer(&mut self, to_head: bool) -> Option<Response> {
        read_answer(&mut self.0, to_head)
    }

    /// The next head, whether it is final or of an interim answer (100); a body is left unread.
    pub(crate) fn answer_with_interim(&mut self) -> Option<Response> {
        read_head(&mut self.0)
    }

    /// The rest of the answer that begins with this head. `None` where the server closed before its end.
    pub(crate) fn rest_of(&mut self, head: Response, to_head: bool) -> Option<Response> {
        read_body(&mut self.0, head, to_head)
    }

    /// False where the server has closed: seen without waiting, and without asking anything.
    pub(crate) fn is_open(&mut self) -> bool {
        self.0.sock.set_nonblocking(true).unwrap();
        let read = self.0.read(&mut [0]);
        self.0.sock.set_nonblocking(false).unwrap();
        read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Everything until the server closes. Panics where it does not within 10 s.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        read_rest(&mut self.0)
    }

    /// Says that nothing more is coming; what the server says can still be read.
    pub(crate) fn close(&mut self) {
        self.0.conn.send_close_notify();
        let _ = self.0.flush();
        let _ = self.0.sock.shutdown(Shutdown::Write);
    }

    /// How long a single read waits, instead of 10 s.
    pub(crate) fn patience(&mut self, patience: Duration) {
        self.0.sock.set_read_timeout(Some(patience)).unwrap();
    }
}

impl Read for Tls {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

/// Trusts this CA alone and offers these protocols.
pub(crate) fn client_config(pki: &Pki, protocols: &[&str]) -> Arc<ClientConfig> {
    trusting(&pki.ca_file(), protocols)
}

/// Trusts the CA of this file alone.
pub(crate) fn trusting(ca_file: &Path, protocols: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca_file).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// Sends bytes to a port in plain and reads until the server closes.
pub(crate) fn exchange(port: u16, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut socket = connect(port).unwrap();
    socket.write_all(bytes.as_ref()).unwrap();
    let _ = socket.shutdown(Shutdown::Write);
    read_rest(&mut socket)
}

/// A plain GET from 127.0.0.1. `None` where nobody answers.
pub(crate) fn http_get(port: u16, path: &str) -> Option<Response> {
    let mut socket = connect(port).ok()?;
    ask(&mut socket, path)
}

/// The same of another address.
pub(crate) fn http_get_at(address: &str, path: &str) -> Option<Response> {
    let mut socket = within_limits(TcpStream::connect(address)).ok()?;
    ask(&mut socket, path)
}

/// The status of a plain GET over any connection.
pub(crate) fn status(mut stream: impl Read + Write, path: &str) -> Option<u16> {
    ask(&mut stream, path).map(|response| response.status)
}

fn ask(stream: &mut (impl Read + Write), path: &str) -> Option<Response> {
    // A registry keeps manifests from those who do not name their type.
    const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, */*";
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {ACCEPT}\r\nConnection: close\r\n\r\n").ok()?;
    read_answer(stream, false)
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    within_limits(TcpStream::connect(("127.0.0.1", port)))
}

/// A connection to 127.0.0.1 from another address of this machine.
pub(crate) fn plain_from(source: IpAddr, port: u16) -> TcpStream {
    within_limits(connect_from(source, port)).unwrap()
}

fn connect_from(source: IpAddr, port: u16) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into())?;
    Ok(socket.into())
}

fn within_limits(socket: std::io::Result<TcpStream>) -> std::io::Result<TcpStream> {
    let socket = socket?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.set_write_timeout(Some(TIMEOUT))?;
    Ok(socket)
}

fn read_answer(stream: &mut impl Read, to_head: bool) -> Option<Response> {
    let head = read_head(stream)?;
    if head.status < 200 {
        return read_answer(stream, to_head);
    }
    read_body(stream, head, to_head)
}

fn read_body(stream: &mut impl Read, mut response: Response, to_head: bool) -> Option<Response> {
    if to_head || matches!(response.status, 204 | 304) {
        return Some(response);
    }
    response.body = match (response.header("content-length"), response.header("transfer-encoding")) {
        (_, Some(coding)) if coding.eq_ignore_ascii_case("chunked") => read_chunks(stream)?,
        (Some(length), _) => {
            let mut body = vec![0; length.parse().unwrap()];
            stream.read_exact(&mut body).ok()?;
            body
        }
        (None, _) => read_rest(stream),
    };
    Some(response)
}

fn read_head(stream: &mut impl Read) -> Option<Response> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(read_byte(stream)?);
    }
    Some(Response::parse_head(&String::from_utf8_lossy(&head)))
}

fn read_chunks(stream: &mut impl Read) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(stream)?;
        let length = usize::from_str_radix(line.split(';').next()?.trim(), 16).unwrap();
        let mut chunk = vec![0; length];
        stream.read_exact(&mut chunk).ok()?;
        body.append(&mut chunk);
        if length == 0 {
            while !read_line(stream)?.is_empty() {}
            return Some(body);
        }
        assert_eq!(read_line(stream)?, "", "a chunk ends with CRLF");
    }
}

fn read_line(stream: &mut impl Read) -> Option<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(read_byte(stream)?);
    }
    Some(String::from_utf8_lossy(&line).trim_end().to_owned())
}

fn read_byte(stream: &mut impl Read) -> Option<u8> {
    let mut byte = [0];
    loop {
        match stream.read(&mut byte) {
            Ok(0) => return None,
            Ok(_) => return Some(byte[0]),
            // Where the whole machine is stopped for a moment, a read with a time limit ends.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                assert!(!timed_out(&error), "no answer within {TIMEOUT:?}");
                return None;
            }
        }
    }
}

fn read_rest(stream: &mut impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    if let Err(error) = stream.read_to_end(&mut all) {
        assert!(!timed_out(&error), "not closed within {TIMEOUT:?}; so far: {:?}", String::from_utf8_lossy(&all));
    }
    all
}

fn timed_out(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
