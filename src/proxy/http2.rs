//! An HTTP/2 connection: its accept loop, its window, and when it has to end.
//!
//! pingora's own accept loop gives no way to the connection that it serves, and a connection's window must be opened
//! when its first upload is let in: a window is memory that the client may fill at any time.

use std::{
    sync::{
        Arc,
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
use tokio::{sync::Notify, time::sleep};

use super::{
    client::HTTP2_FRAME,
    connection::{Connection, TICK, stopped},
    window,
};
use crate::budget::SMALLEST_FRAME;

/// The fewest that RFC 9113 §6.5.2 recommends: each may cost memory while its client does not read.
const CONCURRENT_STREAMS: u32 = 100;
/// How much of an answer may wait for a stream's turn, besides what its task holds: whole frames.
const SEND_BUFFER: usize = 4 * HTTP2_FRAME;
/// A stream's window is at most this; what all streams may send is what the connection's window says.
const LARGEST_STREAM_WINDOW: u64 = window::LARGEST;
/// A stream's window is at most this part of the budget.
const STREAM_SHARE: u64 = 64;
/// The initial window of RFC 9113 §6.9.2.
const LEAST_WINDOW: u64 = 65_535;
/// Heads that are none, after which a client is not listened to any more.
const MALFORMED: usize = 32;
/// What a client sends before anything else (RFC 9113 §3.4).
const PREFACE: u64 = 24;

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
