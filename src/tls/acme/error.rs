//! Why an attempt failed, and what a person should do about it.

use std::{fmt, time::Duration};

use instant_acme::{Error, Problem};
use tokio::task::JoinError;

use super::{Moment, StorageError, client::CallError, order::Kind};
use crate::tls::FileFault;

/// An attempt that led to no certificate. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum AttemptError {
    #[error("{0}: the storage folder must belong to portcullis, and have room")]
    Storage(#[from] StorageError),
    #[error("{0}")]
    Setting(#[from] FileFault),
    #[error("{}", of_authority(.error, .url, *.is_directory))]
    Authority {
        #[source]
        error: Box<Error>,
        /// What was called last.
        url: String,
        is_directory: bool,
        retry_after: Option<Duration>,
    },
    #[error("{}", .refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Proof { refusals: Vec<Refusal>, retry_after: Option<Duration> },
    #[error("the authority has no profile {profile:?}, but {known}: see tls.acme.profile")]
    Profile { profile: String, known: String },
    #[error("it is {here} here and {there} at the authority: set the clock of this machine; nothing is ordered before")]
    Clock { here: Moment, there: Moment },
    #[error("the certificate that was issued cannot be used: {0}")]
    Unusable(String),
    #[error("no certificate after {} minutes", .0.as_secs() / 60)]
    Timeout(Duration),
    #[error(
        "the account is being made for another certificate and does not get finished: the authority hangs, or another \
         portcullis on the storage folder"
    )]
    Busy,
    #[error("an error in portcullis or in what the authority sent: {0}")]
    Internal(String),
}

/// What an authority said of one name.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// None: the authority does not offer that kind.
    pub(super) reason: Option<String>,
}

impl From<JoinError> for AttemptError {
    /// Of a task of its own.
    fn from(error: JoinError) -> Self {
        Self::Internal(error.to_string())
    }
}

impl AttemptError {
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Authority { retry_after, .. } | Self::Proof { retry_after, .. } => *retry_after,
            Self::Storage(_)
            | Self::Setting(_)
            | Self::Profile { .. }
            | Self::Clock { .. }
            | Self::Unusable(_)
            | Self::Timeout(_)
            | Self::Busy
            | Self::Internal(_) => None,
        }
    }

    /// A label for metrics.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Storage(_) => "storage",
            Self::Setting(_) | Self::Profile { .. } => "configuration",
            Self::Authority { error, .. } if has_type(error, "rateLimited") => "rate_limited",
            Self::Authority { error, .. } if call_of(error).is_some() => "unreachable",
            Self::Authority { .. } | Self::Unusable(_) => "authority",
            Self::Proof { .. } => "challenge",
            Self::Clock { .. } => "clock",
            Self::Timeout(_) => "timeout",
            Self::Busy | Self::Internal(_) => "internal",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, kind, reason } = self;
        let Some(reason) = reason else {
            return write!(f, "the authority does not offer {kind} for {name}: see tls.acme.challenge");
        };
        write!(f, "{name} was not proven to be ours by {kind}: {reason}: ")?;
        match kind {
            Kind::TlsAlpn01 => {
                write!(
                    f,
                    "its DNS records must lead here, and port 443 be reached by the authority with TLS passed through"
                )
            }
            Kind::Http01 => write!(
                f,
                "its DNS records must lead here, and port 80 be reached by the authority, which listen.http answers"
            ),
        }
    }
}

/// True where the same attempt without changes may go well later.
pub(super) fn may_pass(error: &AttemptError) -> bool {
    match error {
        AttemptError::Authority { error, .. } => is_passing(error),
        AttemptError::Storage(_) | AttemptError::Timeout(_) | AttemptError::Busy => true,
        AttemptError::Setting(_)
        | AttemptError::Proof { .. }
        | AttemptError::Profile { .. }
        | AttemptError::Clock { .. }
        | AttemptError::Unusable(_)
        | AttemptError::Internal(_) => false,
    }
}

/// True where the authority does not know our account any more.
pub(super) fn is_account_unknown(error: &Error) -> bool {
    has_type(error, "accountDoesNotExist")
}

pub(super) fn is_bad_nonce(error: &Error) -> bool {
    has_type(error, "badNonce")
}

/// True where the same call without changes may go well later.
pub(super) fn is_passing(error: &Error) -> bool {
    call_of(error).is_some() || ["rateLimited", "serverInternal", "badNonce"].iter().any(|kind| has_type(error, kind))
}

/// For a log and a file: one line, and no more of it than a person reads. Much of it may be the authority's words.
pub(super) fn in_one_line(text: &str) -> String {
    const LONGEST: usize = 2000;
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    let mut line: String = text.chars().take(LONGEST).map(plain).collect();
    if text.chars().nth(LONGEST).is_some() {
        line.push('…');
    }
    line
}

/// What the CA says in its problem document, without the library's words around it.
pub(super) fn words(problem: &Problem) -> String {
    let detail = problem.detail.clone().or_else(|| problem.r#type.clone()).unwrap_or_default();
    let of_parts = problem.subproblems.iter().filter_map(|part| part.detail.clone());
    std::iter::once(detail).chain(of_parts).filter(|text| !text.is_empty()).collect::<Vec<_>>().join(", ")
}

/// What happened, in our words, and the authority's where it has some.
pub(super) fn said(error: &Error) -> String {
    match error {
        Error::Api(problem) => format!("the authority says: {}", words(problem)),
        Error::Json(_) => "the authority answered something that is not ACME".to_owned(),
        Error::Timeout(_) => "the authority did not get finished in time".to_owned(),
        Error::Unsupported(what) => format!("the authority does not know of {what}"),
        Error::Crypto
        | Error::KeyRejected
        | Error::Http(_)
        | Error::InvalidUri(_)
        | Error::Other(_)
        | Error::Str(_)
        | _ => error.to_string(),
    }
}

fn of_authority(error: &Error, url: &str, is_directory: bool) -> String {
    let said = match (error, call_of(error)) {
        (Error::Json(_), _) if is_directory => return format!("{url} is no ACME directory: see tls.acme.directory"),
        (_, Some(call @ CallError::Status { status, .. })) if is_directory && !status.is_server_error() => {
            return format!("{call}: that is no ACME directory: see tls.acme.directory");
        }
        (Error::Json(_), _) => format!("{url} answered something that is not ACME"),
        _ => said(error),
    };
    format!("{said}{}", advice(error))
}

fn has_type(error: &Error, name: &str) -> bool {
    problem_of(error).and_then(kind_of) == Some(name)
}

fn problem_of(error: &Error) -> Option<&Problem> {
    if let Error::Api(problem) = error { Some(problem) } else { None }
}

/// `urn:ietf:params:acme:error:` goes without saying (RFC 8555 §6.7).
fn kind_of(problem: &Problem) -> Option<&str> {
    problem.r#type.as_deref().map(|kind| kind.rsplit(':').next().unwrap_or(kind))
}

fn call_of(error: &Error) -> Option<&CallError> {
    if let Error::Other(error) = error { error.downcast_ref() } else { None }
}

fn advice(error: &Error) -> &'static str {
    if let Some(call) = call_of(error) {
        return match call {
            CallError::Connect { .. } | CallError::Timeout { .. } => {
                ": check that this machine reaches the authority, and tls.acme.directory"
            }
            CallError::Status { status, .. } if status.is_server_error() => ": the authority has trouble of its own",
            CallError::Status { .. } | CallError::Tls { .. } | CallError::Broken { .. } | CallError::Address { .. } => {
                ""
            }
        };
    }
    match problem_of(error).and_then(kind_of) {
        Some("serverInternal") => ": the authority has trouble of its own",
        Some("externalAccountRequired") => ": see tls.acme.external_account",
        Some("rateLimited") => ": the authority limits how often; it is asked again when it allows",
        Some("rejectedIdentifier" | "unsupportedIdentifier") => {
            ": the authority issues nothing for this name: take it out of tls.acme.certificates"
        }
        Some("caa") => ": a CAA record of the name forbids this authority",
        Some("dns") => ": look at the DNS records of the name",
        Some("invalidContact" | "unsupportedContact") => ": see tls.acme.contact",
        Some("invalidProfile") => ": see tls.acme.profile",
        Some("userActionRequired") => ": the authority wants something of you: open the address that it names",
        Some("unauthorized") => {
            ": the authority refuses the account or its external account; where it was deactivated, move account.json \
             out of the storage folder"
        }
        Some("accountDoesNotExist") => ": the authority does not know the account",
        Some(_) | None => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_quoted_without_the_librarys_words() {
        let kind = "urn:ietf:params:acme:error:rateLimited".to_owned();
        let detail = Some("too many certificates".to_owned());
        let problem = Problem { r#type: Some(kind), detail, status: Some(429), subproblems: Vec::new() };
        let said = |error, is_directory| of_authority(&error, "https://ca.test/dir", is_directory);
        assert_eq!(
            said(Error::Api(problem), false),
            "the authority says: too many certificates: the authority limits how often; it is asked again when it allows"
        );
        let garbled = || Error::Json(serde_json::from_str::<u32>("<html>").unwrap_err());
        assert_eq!(said(garbled(), true), "https://ca.test/dir is no ACME directory: see tls.acme.directory");
        assert_eq!(said(garbled(), false), "https://ca.test/dir answered something that is not ACME");
    }

    /// What was said last is stored with the time of the next attempt: neither must be lost by the other.
    #[test]
    fn an_authority_that_talks_much_is_quoted_in_part() {
        assert_eq!(in_one_line("no\r\nsuch\tname"), "no  such name");
        let line = in_one_line(&"é".repeat(1_000_000));
        assert_eq!((line.chars().count(), line.ends_with("é…")), (2001, true));
    }
}
