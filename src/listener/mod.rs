//! Sockets to pingora streams, and the plain HTTP port that only redirects.

mod accept;
mod activity;
mod admission;
mod buffer;
mod drain;
mod not_tls;
mod plain;
mod socket;
mod stream;

pub use accept::{ConnectionInfo, Handler, Terms, TlsListener};
pub use activity::{Activity, Transfer};
pub use drain::{Drain, DrainGuard};
pub use plain::PlainListener;
pub use stream::ClientStream;
