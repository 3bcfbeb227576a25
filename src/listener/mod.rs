//! Sockets to pingora streams, and the plain HTTP port that only redirects.

mod accept;
mod activity;
mod admission;
mod buffer;
mod door;
mod drain;
mod handshake;
mod listening;
mod not_tls;
mod plain;
mod proxy_protocol;
mod refusals;
mod socket;
mod stream;

use std::time::Duration;

pub use accept::{ConnectionInfo, Handler, TlsListener};
pub use activity::{Activity, Transfer};
pub use door::Door;
pub use drain::{Drain, DrainGuard};
pub use listening::{ListenError, Listening, Live, Places, Terms};
pub use plain::{PlainListener, Redirect};
pub use socket::{HandedSocket, Sockets};
pub use stream::ClientStream;

/// How long after a stop a client that was silent until then may still begin to speak: a request that was on its way must
/// not meet a closed connection.
pub const LAST_WORD: Duration = Duration::from_secs(2);
