//! An HTTP/2 connection: its accept loop, its window, and when it has to end.
//!
//! pingora's own accept loop gives no way to the connection that it serves, and a connection's window must be opened
//! when its first upload is let in: a window is memory that the client may fill at any time.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use pingora_core::{
    protocols::{
        Digest, Stream,
        http::{
            ServerSession,
            v2::server::{self, H2Accept, H2Options, HttpSession, default_h2_options},
        },
    },
    server::ShutdownWatch,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use super::{
    client::HTTP2_FRAME,
    connection::{Connection, TICK, stopped},
};
use crate::budget::{Budget, SMALLEST_FRAME, Window};

/// The fewest that RFC 9113 §6.5.2 recommends: each may cost memory while its client does not read.
const CONCURRENT_STREAMS: u32 = 100;
/// How much of an answer may wait for a stream's turn, besides what its task holds: whole frames.
const SEND_BUFFER: usize = 4 * HTTP2_FRAME;
/// What a connection's window is at first. What is on its way here while the registry is the slower side only waits, and
/// leaves the processor's caches meanwhile: with 2 MiB an upload is a sixth dearer.
const FIRST_WINDOW: u64 = 256 << 10;
/// A connection's window is at most this: over longer distances than it serves at 1 Gbit/s, pushes are slower.
const LARGEST_WINDOW: u64 = 6 << 20;
/// A stream's window is at most this; what all streams may send is what the connection's window says.
const LARGEST_STREAM_WINDOW: u64 = LARGEST_WINDOW;
/// A windowful that comes within this time comes fast enough: the smallest is 130 MB/s then.
const FAR: Duration = Duration::from_millis(2);
/// A stream's window is at most this part of the budget.
const STREAM_SHARE: u64 = 64;
/// The initial window of RFC 9113 §6.9.2.
const LEAST_WINDOW: u64 = 65_535;
/// Heads that are none, after which a client is not listened to any more.
const MALFORMED: usize = 32;
/// What a client sends before anything else (RFC 9113 §3.4).
const PREFACE: u64 = 24;

/// The window that a connection's uploads share beyond what the protocol gives every connection. Empty until the first
/// upload is let in, it grows while it is too small for the way to the client (see [`Growth`]); it is the connection's
/// until its end, since what was promised cannot be taken back.
#[derive(Debug, Default)]
pub(super) struct ClientWindow {
    granted: Mutex<Vec<Window>>,
    changed: Notify,
}

impl ClientWindow {
    /// Opens the window as far as the budget allows this client; does nothing where it is open.
    pub(super) fn open(&self, budget: &Arc<Budget>, client: IpAddr) {
        self.widen(budget, client, FIRST_WINDOW);
    }

    /// Doubles the window, up to [`LARGEST_WINDOW`] and as far as the budget allows this client.
    pub(super) fn grow(&self, budget: &Arc<Budget>, client: IpAddr) {
        // Where there was no memory for it at first, there may be now.
        self.widen(budget, client, (2 * self.size()).clamp(FIRST_WINDOW, LARGEST_WINDOW));
    }

    /// Several uploads may do it at once: none is granted what another has made needless.
    fn widen(&self, budget: &Arc<Budget>, client: IpAddr, target: u64) {
        let mut granted = self.granted();
        let before = granted.len();
        while let missing @ 1.. = target.saturating_sub(size(&granted)) {
            let Some(part) = budget.window(client, missing) else { break };
            granted.push(part);
        }
        if granted.len() > before {
            self.changed.notify_one();
        }
    }

    /// In bytes.
    pub(super) fn size(&self) -> u64 {
        size(&self.granted())
    }

    /// The window's size, when it has changed.
    async fn changed(&self) -> u32 {
        self.changed.notified().await;
        u32::try_from(self.size().min(LARGEST_WINDOW)).unwrap_or(u32::MAX >> 1)
    }

    fn granted(&self) -> MutexGuard<'_, Vec<Window>> {
        self.granted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn size(granted: &[Window]) -> u64 {
    granted.iter().map(Window::size).sum()
}

/// Tells from how an upload comes in whether its connection's window is too small for the way to the client, and lets it
/// grow then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Growth<'a> {
    window: &'a ClientWindow,
    buffers: &'a Arc<Budget>,
    client: IpAddr,
    /// What has come since then, and how long it had to be waited for.
    since: Instant,
    came: u64,
    waited: Duration,
}

impl<'a> Growth<'a> {
    pub(super) fn new(window: &'a ClientWindow, buffers: &'a Arc<Budget>, client: IpAddr) -> Self {
        Self { window, buffers, client, since: Instant::now(), came: 0, waited: Duration::ZERO }
    }

    /// A piece has come, and was waited for.
    ///
    /// A client that has to hear of more window after each windowful sends it at once and is silent for a round trip. What
    /// was read is given back as window at once, so it makes no difference how fast the registry is.
    pub(super) fn note(&mut self, piece: usize, waited: Duration) {
        self.came += u64::try_from(piece).unwrap_or(u64::MAX);
        self.waited += waited;
        if self.came < self.window.size() {
            return;
        }
        let taken = self.since.elapsed();
        if taken >= FAR && self.waited >= taken / 2 {
            self.window.grow(self.buffers, self.client);
        }
        *self = Self::new(self.window, self.buffers, self.client);
    }
}

/// The requests under way on one connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    active: AtomicUsize,
    quiet: Notify,
}

struct Active(Arc<Streams>);

impl Streams {
    fn begin(self: &Arc<Self>) -> Active {
        self.active.fetch_add(1, Ordering::Relaxed);
        Active(Arc::clone(self))
    }

    fn none(&self) -> bool {
        self.active.load(Ordering::Relaxed) == 0
    }

    /// Ends when no request has been under way for so long. To be asked anew after each request.
    async fn idle(&self, limit: Duration) {
        while !self.none() {
            self.quiet.notified().await;
        }
        sleep(limit).await;
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        if self.0.active.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.quiet.notify_one();
        }
    }
}

/// Serves a connection to its end, each request in a task of its own.
pub(super) async fn serve(connection: Arc<Connection>, stream: Stream, shutdown: ShutdownWatch) {
    let streams = Arc::default();
    tokio::select! {
        () = accept(&connection, &streams, stream, shutdown.clone()) => {}
        () = without_preface(&connection) => {}
        () = left_over(&connection, &streams, shutdown) => {}
    }
}

async fn accept(connection: &Arc<Connection>, streams: &Arc<Streams>, stream: Stream, mut shutdown: ShutdownWatch) {
    let digest = Arc::new(Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: stream.get_socket_digest(),
    });
    let limits = connection.limits();
    let Ok(mut http2) = server::handshake(stream, Some(options(limits.buffers))).await else { return };
    let (mut stopping, mut malformed) = (false, 0);
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut shutdown), if !stopping => {
                // What clients send before they hear of it is still served.
                http2.graceful_shutdown();
                stopping = true;
                continue;
            }
            size = connection.window.changed() => {
                http2.set_target_window_size(size);
                continue;
            }
            accepted = HttpSession::from_h2_conn(&mut http2, Arc::clone(&digest)) => accepted,
            () = streams.idle(limits.idle), if !stopping => return,
        };
        match accepted {
            Ok(Some(H2Accept::Session(session))) => {
                let (connection, shutdown, active) = (Arc::clone(connection), shutdown.clone(), streams.begin());
                // In a box, since the runtime moves what it is given several times, and this is large.
                tokio::spawn(Box::pin(async move {
                    let _active = active;
                    connection.request(ServerSession::new_http2(session), &shutdown).await;
                }));
            }
            Ok(Some(H2Accept::Rejected)) if malformed < MALFORMED => malformed += 1,
            Ok(Some(H2Accept::Rejected) | None) | Err(_) => return,
        }
    }
}

fn options(buffers: u64) -> H2Options {
    let window = (buffers / STREAM_SHARE).clamp(LEAST_WINDOW, LARGEST_STREAM_WINDOW);
    let mut options = default_h2_options();
    options
        .initial_window_size(u32::try_from(window).unwrap_or(u32::MAX >> 1))
        .max_frame_size(u32::try_from(SMALLEST_FRAME).unwrap_or(u32::MAX >> 8))
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_streams(CONCURRENT_STREAMS);
    options
}

/// Ends when the client has not said so much as the preface within `limits.request_head`: the engine waits for it without
/// a limit.
async fn without_preface(connection: &Connection) {
    sleep(connection.limits().request_head).await;
    if connection.info.activity.heard() >= PREFACE {
        std::future::pending::<()>().await;
    }
}

/// Ends when the server stops, no request is under way any more and nothing moves: a client need not close a connection
/// that it was told to leave.
async fn left_over(connection: &Connection, streams: &Streams, mut shutdown: ShutdownWatch) {
    stopped(&mut shutdown).await;
    let activity = &connection.info.activity;
    let moved = || (activity.heard(), activity.taken());
    let (mut silent, mut before) = (0, moved());
    while silent < 2 {
        sleep(TICK).await;
        let now = moved();
        silent = if streams.none() && now == before { silent + 1 } else { 0 };
        before = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_window_grows_up_to_its_limit_and_is_given_back() {
        let (budget, client) = (Arc::new(Budget::new(512 << 20)), IpAddr::from([192, 0, 2, 1]));
        let window = ClientWindow::default();
        window.open(&budget, client);
        assert_eq!(window.changed().await, 256 << 10);
        for size in [512 << 10, 1 << 20, 2 << 20, 4 << 20, 6 << 20] {
            window.open(&budget, client);
            window.grow(&budget, client);
            assert_eq!((window.changed().await, budget.state().used), (size, u64::from(size)));
        }
        window.grow(&budget, client);
        assert_eq!(window.size(), LARGEST_WINDOW);
        drop(window);
        assert_eq!(budget.state().used, 0);
    }

    /// The window after uploads that came in pieces of 64 KiB, with so many milliseconds for each, and so many of them waited for.
    async fn grown(millis: u64, waited: u64) -> u64 {
        let (budget, client) = (Arc::new(Budget::new(512 << 20)), IpAddr::from([192, 0, 2, 1]));
        let window = ClientWindow::default();
        window.open(&budget, client);
        let mut growth = Growth::new(&window, &budget, client);
        for _ in 0..1000 {
            sleep(Duration::from_millis(millis)).await;
            growth.note(64 << 10, Duration::from_millis(waited));
        }
        window.size()
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_grows_for_who_is_far_away() {
        assert_eq!(grown(5, 5).await, LARGEST_WINDOW);
        assert_eq!(grown(5, 3).await, LARGEST_WINDOW);
        assert_eq!(grown(5, 2).await, FIRST_WINDOW, "the registry is the slower side");
        assert_eq!(grown(0, 0).await, FIRST_WINDOW, "near");
    }
}
