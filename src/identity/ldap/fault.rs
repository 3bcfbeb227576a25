//! Why a server could not be asked.

use std::time::Duration;

/// Why a server gave no answer about a user.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("TLS fails: {0}")]
    Tls(String),
    #[error("StartTLS is refused: {0}")]
    StartTls(String),
    #[error("no answer in time while {step}")]
    Timeout { step: &'static str, waited: Duration },
    /// The time was up after other steps had taken most of it.
    #[error("the time was up while {0}")]
    Late(&'static str),
    #[error("no connection became free in time")]
    Crowded,
    /// The connection ended while it was used.
    #[error("the connection broke: {0}")]
    Lost(String),
    /// The service account's own bind.
    #[error("the service account is refused: {0}: see bind_dn and the content of bind_password_file")]
    Service(String),
    /// A result code that says nothing of the user.
    #[error("{0}")]
    Result(Refusal),
    #[error("the answer cannot be used: {0}")]
    Answer(String),
}

/// A result other than success (RFC 4511, appendix A).
#[derive(Clone, Debug, thiserror::Error)]
#[error("the server answers {code} to {what}: {text}")]
pub(super) struct Refusal {
    pub(super) what: &'static str,
    pub(super) code: u32,
    pub(super) text: String,
}

/// The server is busy (RFC 4511, appendix A.2).
const BUSY: u32 = 51;
/// The server is shutting down, or lacks what it needs.
const UNAVAILABLE: u32 = 52;

impl Fault {
    /// The same, where the server had so much time for everything. One that was silent for less than half of it is not
    /// taken for one that hangs: waiting for a free connection took the time, or a user with many groups.
    pub(super) fn after(self, share: Duration) -> Self {
        if let Self::Timeout { step, waited } = self
            && waited < share / 2
        {
            return Self::Late(step);
        }
        self
    }

    /// For metrics.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Tls(_) => "tls",
            Self::StartTls(_) => "starttls",
            Self::Timeout { .. } => "timeout",
            Self::Late(_) => "late",
            Self::Crowded => "crowded",
            Self::Lost(_) => "lost",
            Self::Service(_) => "bind",
            Self::Result(_) => "result",
            Self::Answer(_) => "answer",
        }
    }

    /// True where it says of the server that others would fare no better. A service account that is refused is not to be
    /// tried at each login: that locks it out.
    pub(super) fn is_of_the_server(&self) -> bool {
        match self {
            Self::Connect(_)
            | Self::Tls(_)
            | Self::StartTls(_)
            | Self::Timeout { .. }
            | Self::Lost(_)
            | Self::Service(_) => true,
            Self::Crowded | Self::Late(_) | Self::Answer(_) => false,
            Self::Result(refusal) => [BUSY, UNAVAILABLE].contains(&refusal.code),
        }
    }
}
