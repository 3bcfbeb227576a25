//! Where to: the servers behind a registry, which of them is asked, and what becomes of a request that one of them fails.
//!
//! Nothing reaches an upstream but through a [`Pool`], which takes a [`Permit`](crate::access::Permit) and writes the
//! request line that the permit holds. The one exception is a probe of a server's health, which is a type of its own
//! and can do nothing else.

mod address;
mod body;
mod bounded;
mod catalog;
mod client;
mod credentials;
mod exchange;
mod health;
mod idle;
mod latency;
mod plan;
mod pool;
mod pools;
mod redirect;
mod resume;
mod rounds;
mod select;
mod server;
mod tls;
mod verify;
mod whole;

pub use body::{Feed, Pieces, UploadBody};
pub use catalog::{CatalogError, Catalogs, Found, Question};
pub use client::dial_tcp;
pub use exchange::{Exchange, Pending};
pub use plan::{Plan, retire};
pub use pool::{Pool, ServerState};
pub use pools::Pools;
pub use redirect::RedirectError;
pub use resume::Download;

use std::{path::PathBuf, sync::Arc};

use crate::token::KeyError;

/// Why an upstream did not answer, or stopped answering.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection within `timeouts.connect`, or refused.
    #[error("cannot connect to the upstream: {0}")]
    Connect(String),
    /// The connection broke before or within the answer, or the answer is not HTTP.
    #[error("the upstream broke off: {}", whole(.0))]
    Broken(#[source] hyper::Error),
    /// The answer's framing or status is one that must not be passed on.
    #[error("the upstream's answer is unusable: {0}")]
    Unusable(&'static str),
    /// 401 or 407: what the gate shows the upstream is not accepted. The text says what to look at.
    #[error("the upstream refuses the gate: {0}")]
    Refused(String),
    /// A blob's redirect to object storage came to nothing.
    #[error(transparent)]
    Redirect(#[from] RedirectError),
    /// The token for the upstream could not be made.
    #[error("no token for the upstream: {0}")]
    Unsigned(#[from] KeyError),
    /// `timeouts.first_byte`, `timeouts.commit` or `timeouts.idle` ran out, or the server lost its turn meanwhile.
    #[error("the upstream did not go on within {0:?}")]
    Silent(std::time::Duration),
    /// A whole blob or manifest that is not what its digest says.
    #[error("what {server} sent is not {digest}: its storage may be damaged")]
    Corrupt { server: Arc<str>, digest: String },
}

impl Error {
    /// A fixed word for metrics: connect, broken, unusable, refused, redirect, storage, unsigned, silent, corrupt.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Broken(_) => "broken",
            Self::Unusable(_) => "unusable",
            Self::Refused(_) => "refused",
            Self::Redirect(error) => error.kind(),
            Self::Unsigned(_) => "unsigned",
            Self::Silent(_) => "silent",
            Self::Corrupt { .. } => "corrupt",
        }
    }

    /// What to look at.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Connect(_) => "is the registry running, and reachable from here at the address in upstream.servers?",
            Self::Broken(_) => "see the registry's own log for why it ends connections",
            Self::Unusable(_) => "is that address a registry's, with nothing in front of it?",
            Self::Refused(_) => "see upstream.credentials and upstream.pass_token, and the clocks of both",
            Self::Redirect(_) => "see upstream.redirects, and whether the storage is well",
            Self::Unsigned(_) => "see tokens.keys, and the messages before this one",
            Self::Silent(_) => {
                "is the registry overloaded, or its storage slow? upstream.timeouts says how long is waited"
            }
            Self::Corrupt { .. } => "check the storage of that server, and push the image again",
        }
    }

    /// True where another server could do better.
    fn is_servers_fault(&self) -> bool {
        match self {
            Self::Connect(_)
            | Self::Broken(_)
            | Self::Unusable(_)
            | Self::Refused(_)
            | Self::Redirect(_)
            | Self::Silent(_) => true,
            Self::Unsigned(_) | Self::Corrupt { .. } => false,
        }
    }
}

impl From<hyper::Error> for Error {
    fn from(error: hyper::Error) -> Self {
        tls::refused(&error).unwrap_or(Self::Broken(error))
    }
}

/// An error with what caused it: what hyper says by itself names no reason.
fn whole(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// The settings of an upstream cannot be used (a CA file, a server name).
#[derive(Clone, Debug, thiserror::Error)]
#[error("upstream {server}: {reason}")]
pub struct SetupError {
    pub server: String,
    /// The file that is at fault.
    pub file: Option<PathBuf>,
    pub reason: String,
}
