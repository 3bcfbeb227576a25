//! Where to: one pool of connections per registry, and exchanges over them.
//!
//! Nothing reaches an upstream but through [`Pool::send`], which takes a [`Permit`](crate::access::Permit) and
//! writes the request line that the permit holds.

mod address;
mod body;
mod catalog;
mod client;
mod exchange;
mod pool;
mod redirect;
mod tls;

pub use body::{Feed, Pieces, UploadBody};
pub use catalog::{Catalog, CatalogError, Found, Question};
pub use exchange::{Exchange, Pending};
pub use pool::Pool;
pub use redirect::RedirectError;

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
    /// `timeouts.first_byte`, `timeouts.commit` or `timeouts.idle` ran out.
    #[error("the upstream did not go on within {0:?}")]
    Silent(std::time::Duration),
}

impl Error {
    /// A fixed word for metrics: connect, broken, unusable, refused, redirect, storage, unsigned, silent.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Broken(_) => "broken",
            Self::Unusable(_) => "unusable",
            Self::Refused(_) => "refused",
            Self::Redirect(error) => error.kind(),
            Self::Unsigned(_) => "unsigned",
            Self::Silent(_) => "silent",
        }
    }
}

impl From<hyper::Error> for Error {
    fn from(error: hyper::Error) -> Self {
        tls::refused(&error).unwrap_or(Self::Broken(error))
    }
}

/// The settings of an upstream cannot be used (a CA file, a server name).
#[derive(Debug, thiserror::Error)]
#[error("upstream {server}: {reason}")]
pub struct SetupError {
    pub server: String,
    pub reason: String,
}

/// An error with what caused it: what hyper says by itself names no reason.
fn whole(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
