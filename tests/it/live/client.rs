//! Clients that report whatever a client can notice, and do nothing twice that a server did not tell them to.

use std::{
    fmt,
    io::{self, Read as _},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rustls::{ClientConfig, client::Resumption};

use super::http2::{Outcome, Streams};
use crate::support::{Portcullis, Response, Tls, client_config};

/// Silence that is a failure.
pub(super) const STILL: Duration = Duration::from_secs(30);

/// How a client connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// HTTP/1.1, one connection for as long as the gate keeps it.
    Kept,
    /// HTTP/1.1, a connection for each request.
    Fresh,
    /// HTTP/2, one connection for as long as the gate keeps it.
    Http2,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
    /// The name that is dialled.
    pub(super) name: &'static str,
    /// The most that is taken of the answer in a second, in bytes; 0: all that comes.
    pub(super) rate: u64,
}

impl Ask {
    pub(super) fn new(method: &'static str, path: impl Into<String>) -> Self {
        let (headers, body) = (Vec::new(), Bytes::new());
        Self { method, path: path.into(), headers, body, name: "localhost", rate: 0 }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn body(self, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..self }
    }

    pub(super) fn dialling(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    pub(super) fn slowly(self, rate: u64) -> Self {
        Self { rate, ..self }
    }

    fn http1(&self, port: u16) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {}:{port}\r\n", self.method, self.path, self.name);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !self.body.is_empty() || matches!(self.method, "POST" | "PUT" | "PATCH") {
            head += &format!("content-length: {}\r\n", self.body.len());
        }
        [head.as_bytes(), b"\r\n", &self.body].concat()
    }
}

/// What came.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) response: Response,
    /// Before the request left; the connection stood where it was there already.
    pub(super) begin: Instant,
    /// When the making of a connection for it began, where one was made.
    pub(super) connecting: Option<Instant>,
    /// The leaf that was shown then, unless an earlier session went on.
    pub(super) shown: Option<Vec<u8>>,
    /// The last byte was there.
    pub(super) end: Instant,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Broken {
    /// Nobody listens.
    Refused,
    Otherwise(String),
}

impl From<String> for Broken {
    fn from(text: String) -> Self {
        Self::Otherwise(text)
    }
}

impl Broken {
    /// No connection stands, for this reason.
    pub(super) fn unconnected(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::ConnectionRefused {
            return Self::Refused;
        }
        Self::Otherwise(format!("no connection: {error}"))
    }

    /// With what was done.
    pub(super) fn during(self, what: impl fmt::Display) -> Self {
        match self {
            Self::Refused => Self::Refused,
            Self::Otherwise(text) => Self::Otherwise(format!("{what}: {text}")),
        }
    }
}

/// What clients met besides answers. None of it is a failure: the gate had said so before anything was asked, or says
/// that it did nothing.
#[derive(Debug, Default)]
pub(super) struct Events {
    pub(super) connections: AtomicUsize,
    /// Connections ended by an answer that said so (`Connection: close`).
    pub(super) told: AtomicUsize,
    /// Connections found closed, or said to be going (GOAWAY), before the next request.
    pub(super) idle: AtomicUsize,
    /// HTTP/2 requests that came back untouched, and were sent again on another connection.
    pub(super) untouched: AtomicUsize,
}

impl Events {
    pub(super) fn told(&self) -> String {
        let of = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        format!(
            "{} connections, {} ended by an answer that said so, {} found closed before a request, {} HTTP/2 requests \
             given back untouched",
            of(&self.connections),
            of(&self.told),
            of(&self.idle),
            of(&self.untouched)
        )
    }
}

pub(super) fn count(of: &AtomicUsize) {
    of.fetch_add(1, Ordering::SeqCst);
}

/// One client.
pub(super) struct Client<'a> {
    way: Way,
    port: u16,
    /// The first goes on with sessions of earlier connections, the second does not; they take turns.
    http1: [Arc<ClientConfig>; 2],
    http2: Arc<ClientConfig>,
    events: &'a Events,
    kept: Option<Tls>,
    streams: Option<Streams>,
}

impl<'a> Client<'a> {
    pub(super) fn new(gate: &Portcullis, way: Way, events: &'a Events) -> Self {
        let [http1, http2] = ["http/1.1", "h2"].map(|protocol| client_config(gate.pki(), &[protocol]));
        let mut forgetful = (*http1).clone();
        forgetful.resumption = Resumption::disabled();
        let http1 = [http1, Arc::new(forgetful)];
        Self { way, port: gate.port(), http1, http2, events, kept: None, streams: None }
    }

    /// One answer to its end, or what kept it from coming.
    pub(super) fn ask(&mut self, ask: &Ask) -> Result<Answered, Broken> {
        let outcome = match self.way {
            Way::Http2 => self.over_http2(ask),
            Way::Kept | Way::Fresh => self.over_http1(ask),
        };
        outcome.map_err(|error| {
            (self.kept, self.streams) = (None, None);
            error.during(format_args!("{:?} {} {}", self.way, ask.method, ask.path))
        })
    }

    fn over_http1(&mut self, ask: &Ask) -> Result<Answered, Broken> {
        let begin = Instant::now();
        let kept = self.kept.take().and_then(|mut kept| {
            let open = kept.is_open();
            (!open).then(|| count(&self.events.idle));
            open.then_some(kept)
        });
        let (mut tls, reused) = match kept {
            Some(kept) => (kept, true),
            None => (self.connect(ask.name)?, false),
        };
        let connecting = (!reused).then_some(begin);
        let shown = (!reused && !tls.is_resumed()).then(|| tls.certificate());
        let begin = Instant::now();
        let on = if reused { "on a kept connection" } else { "on a new connection" };
        tls.try_send(ask.http1(self.port)).map_err(|error| format!("not sent {on}: {error}"))?;
        let mut head = tls.answer_with_interim().ok_or_else(|| format!("closed without an answer {on}"))?;
        while head.status < 200 {
            head = tls.answer_with_interim().ok_or_else(|| format!("closed after an interim answer {on}"))?;
        }
        let response = body(&mut tls, head, ask)?;
        let end = Instant::now();
        let ends = response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if self.way == Way::Kept && !ends {
            self.kept = Some(tls);
        } else {
            (ends && self.way == Way::Kept).then(|| count(&self.events.told));
            tls.close();
        }
        Ok(Answered { response, begin, connecting, shown, end })
    }

    fn connect(&mut self, name: &str) -> Result<Tls, Broken> {
        count(&self.events.connections);
        self.http1.swap(0, 1);
        let config = Arc::clone(&self.http1[0]);
        let mut tls = Tls::configured(config, self.port, name).map_err(|error| Broken::unconnected(&error))?;
        tls.patience(STILL);
        Ok(tls)
    }

    fn over_http2(&mut self, ask: &Ask) -> Result<Answered, Broken> {
        // More attempts than there can be stops in a row.
        for _ in 0..5 {
            let begin = Instant::now();
            if self.streams.as_mut().is_some_and(|streams| !streams.is_open()) {
                count(&self.events.idle);
                self.streams = None;
            }
            let (mut streams, connecting) = match self.streams.take() {
                Some(streams) => (streams, None),
                None => {
                    count(&self.events.connections);
                    (Streams::connect(Arc::clone(&self.http2), self.port, ask.name)?, Some(begin))
                }
            };
            let shown = streams.shown.take();
            let begin = Instant::now();
            match streams.ask(ask, &format!("https://{}:{}", ask.name, self.port)) {
                Outcome::Answer(response) => {
                    self.streams = Some(streams);
                    return Ok(Answered { response, begin, connecting, shown, end: Instant::now() });
                }
                Outcome::Untouched => count(&self.events.untouched),
                Outcome::Broken(error) => return Err(error.into()),
            }
        }
        Err(Broken::from("given back untouched five times".to_owned()))
    }
}

/// The rest of an answer, as fast as it is wanted.
fn body(tls: &mut Tls, mut head: Response, ask: &Ask) -> Result<Response, String> {
    let length = head.header("content-length").and_then(|length| length.parse::<usize>().ok());
    let (true, Some(length)) = (head.status == 200 && ask.method != "HEAD", length) else {
        return tls.rest_of(head, ask.method == "HEAD").ok_or_else(|| "closed in the middle of an answer".to_owned());
    };
    let (begin, mut piece) = (Instant::now(), vec![0; 64 * 1024]);
    while head.body.len() < length {
        let most = piece.len().min(length - head.body.len());
        let count = tls.read(&mut piece[..most]).map_err(|error| cut(&head, length, &error.to_string()))?;
        if count == 0 {
            return Err(cut(&head, length, "closed"));
        }
        head.body.extend_from_slice(&piece[..count]);
        thread::sleep(due(head.body.len(), ask.rate).saturating_sub(begin.elapsed()));
    }
    Ok(head)
}

fn cut(head: &Response, length: usize, why: &str) -> String {
    format!("cut off after {} of {length} bytes: {why}", head.body.len())
}

/// When so many bytes may be there at the earliest.
pub(super) fn due(bytes: usize, rate: u64) -> Duration {
    (bytes as u64 * 1000).checked_div(rate).map_or(Duration::ZERO, Duration::from_millis)
}
