//! What the client is told: the only place with status codes, error codes and challenges.

use std::{fmt::Write as _, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::{
    access::Denial,
    budget,
    registry::{ErrorBody, ErrorCode, RouteError},
    runtime::{NotAuthenticated, PublicOrigin},
    token::Refusal,
    upstream::{self, CatalogError},
};

/// Room for a usual challenge.
const CHALLENGE: usize = 256;

/// Why a form at the token endpoint is not served (RFC 6749 §5.2).
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum OAuthError {
    #[error("{0}")]
    InvalidRequest(&'static str),
    #[error("grant_type must be password or refresh_token")]
    UnsupportedGrantType,
}

impl OAuthError {
    fn code(self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "invalid_request",
            Self::UnsupportedGrantType => "unsupported_grant_type",
        }
    }
}

/// Why a request is not served.
#[derive(Debug, thiserror::Error)]
pub(super) enum Rejection {
    #[error("{0}")]
    BadRequest(&'static str),
    #[error("the request head cannot be read")]
    UnreadableHead,
    #[error("the request head did not arrive in time")]
    SlowHead,
    #[error("unknown expectation")]
    ExpectationFailed,
    /// A host that is not ours, or another registry's than the one the TLS handshake named.
    #[error("no registry of that name here")]
    Misdirected,
    #[error(transparent)]
    Route(#[from] RouteError),
    /// An upload session that the caller did not open, or whose address is not as it was given out.
    #[error("not the caller's upload session")]
    ForeignUpload,
    /// An upload session at a server that the configuration does not name.
    #[error("the server of the upload session is not known here")]
    LostUpload,
    #[error("wrong credentials")]
    WrongCredentials(Option<Box<Refusal>>),
    #[error("invalid token")]
    InvalidToken(Option<Box<Refusal>>),
    /// Something other than Basic at the token endpoint.
    #[error("a token does not renew itself")]
    NotBasic,
    /// The token endpoint has nothing for callers without credentials.
    #[error("a login is needed")]
    LoginNeeded,
    #[error("there are no refresh tokens here")]
    NoRefreshTokens,
    #[error("the refresh token is not valid")]
    InvalidRefresh(Option<Box<Refusal>>),
    /// More is under way than may be.
    #[error("too much is under way")]
    Busy,
    /// No memory for the body became free in time.
    #[error(transparent)]
    BuffersFull(#[from] budget::Full),
    #[error(transparent)]
    OAuth(OAuthError),
    #[error("an identity source cannot answer")]
    IdentityUnavailable,
    /// More logins are to be verified than can be.
    #[error("too many logins wait to be verified")]
    IdentityOverloaded,
    /// Nothing was verified: too many logins failed before.
    #[error("too many failed logins")]
    Throttled { retry_after: Duration },
    /// A page of another origin has a person's browser ask, and nothing allows it to.
    #[error("a page of another origin asks")]
    CrossSite,
    #[error("denied")]
    Denied(Denial),
    #[error("the body is larger than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("the request body did not arrive in time")]
    SlowBody,
    #[error(transparent)]
    Upstream(#[from] upstream::Error),
    /// Nothing to show was found in the time an answer may take.
    #[error("the catalog is still being read")]
    CatalogUnfinished,
    #[error("the token could not be signed")]
    Signing,
}

impl Rejection {
    /// A fixed word for the access line.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::BadRequest(_) | Self::UnreadableHead | Self::ExpectationFailed => "bad_request",
            Self::SlowHead | Self::SlowBody => "too_slow",
            Self::Misdirected => "unknown_host",
            Self::Route(_) => "unknown_route",
            Self::OAuth(_) => "bad_request",
            Self::NoRefreshTokens => "no_refresh_tokens",
            Self::LoginNeeded => "login_needed",
            Self::WrongCredentials(Some(refusal))
            | Self::InvalidToken(Some(refusal))
            | Self::InvalidRefresh(Some(refusal)) => refusal.reason.as_str(),
            Self::Busy => "busy",
            Self::BuffersFull(_) => "buffers_full",
            Self::WrongCredentials(None) | Self::NotBasic => "wrong_credentials",
            Self::InvalidToken(None) | Self::InvalidRefresh(None) => "invalid_token",
            Self::ForeignUpload => "upload_of_another",
            Self::LostUpload => "upload_at_unknown_server",
            Self::IdentityUnavailable => "identity_unavailable",
            Self::IdentityOverloaded => "identity_overloaded",
            Self::Throttled { .. } => "throttled",
            Self::Denied(Denial::Challenge { narrow: true, .. }) => "insufficient_scope",
            Self::Denied(Denial::Challenge { narrow: false, .. }) => "login_needed",
            Self::Denied(Denial::Forbidden { .. }) => "denied",
            Self::Denied(Denial::ReadOnly { .. }) => "read_only",
            Self::CrossSite => "cross_site",
            Self::TooLarge { .. } => "too_large",
            Self::Upstream(_) => "upstream_failed",
            Self::CatalogUnfinished => "catalog_unfinished",
            Self::Signing => "internal",
        }
    }
}

impl Rejection {
    /// What it comes to, a fixed word for the audit line.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::WrongCredentials(_) | Self::InvalidToken(_) | Self::InvalidRefresh(_) | Self::NotBasic => "rejected",
            Self::LoginNeeded | Self::Denied(Denial::Challenge { .. }) => "challenged",
            Self::Denied(Denial::Forbidden { .. }) => "denied",
            Self::Denied(Denial::ReadOnly { .. }) => "read_only",
            Self::Throttled { .. } => "throttled",
            Self::IdentityUnavailable | Self::IdentityOverloaded => "unavailable",
            Self::Upstream(_) | Self::CatalogUnfinished | Self::Signing => "failed",
            Self::BadRequest(_)
            | Self::UnreadableHead
            | Self::SlowHead
            | Self::ExpectationFailed
            | Self::Misdirected
            | Self::Route(_)
            | Self::ForeignUpload
            | Self::LostUpload
            | Self::NoRefreshTokens
            | Self::Busy
            | Self::BuffersFull(_)
            | Self::OAuth(_)
            | Self::CrossSite
            | Self::TooLarge { .. }
            | Self::SlowBody => "refused",
        }
    }

    /// What is known of the token that was refused.
    pub(super) fn refusal(&self) -> Option<&Refusal> {
        let (Self::WrongCredentials(refusal) | Self::InvalidToken(refusal) | Self::InvalidRefresh(refusal)) = self
        else {
            return None;
        };
        refusal.as_deref()
    }
}

impl From<NotAuthenticated> for Rejection {
    fn from(error: NotAuthenticated) -> Self {
        match error {
            NotAuthenticated::WrongCredentials(refusal) => Self::WrongCredentials(refusal),
            NotAuthenticated::InvalidToken(refusal) => Self::InvalidToken(refusal),
            NotAuthenticated::Unavailable => Self::IdentityUnavailable,
            NotAuthenticated::Overloaded => Self::IdentityOverloaded,
            NotAuthenticated::Throttled { retry_after } => Self::Throttled { retry_after },
        }
    }
}

impl From<CatalogError> for Rejection {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::Upstream(error) => Self::Upstream(error),
            CatalogError::Unfinished => Self::CatalogUnfinished,
        }
    }
}

impl From<Denial> for Rejection {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

/// What a challenge is made of, for the registry that was asked.
#[derive(Debug)]
pub(super) struct Challenger<'a> {
    pub origin: PublicOrigin<'a>,
    /// With the origin it is the realm.
    pub token_path: &'a str,
    pub service: &'a str,
    /// What a browser's password prompt shows.
    pub prompt: &'a str,
    /// The scope that the request's route needs; known where it was found to be needed.
    pub scope: Option<String>,
    pub navigation: bool,
    pub token_endpoint: bool,
}

/// A whole answer of our own.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub(super) fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        // Room for those that every answer has, too.
        let mut headers = HeaderMap::with_capacity(12);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        Self { status, headers, body: body.into() }
    }

    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Bytes::new() }
    }

    pub(super) fn json(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self::new(status, "application/json", body)
    }

    #[must_use]
    pub(super) fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    fn error(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        Self::json(status, ErrorBody::new(code, message).to_json())
    }
}

/// The answer to a rejection. `challenger` is None where the registry is not known yet.
pub(super) fn answer(rejection: &Rejection, challenger: Option<&Challenger<'_>>, request_id: &str) -> Answer {
    match rejection {
        Rejection::BadRequest(message) => Answer::error(StatusCode::BAD_REQUEST, ErrorCode::Unsupported, *message),
        Rejection::UnreadableHead => {
            Answer::error(StatusCode::BAD_REQUEST, ErrorCode::Unsupported, "the request head cannot be read")
        }
        Rejection::SlowHead | Rejection::SlowBody => {
            Answer::error(StatusCode::REQUEST_TIMEOUT, ErrorCode::Unsupported, rejection.to_string())
        }
        Rejection::ExpectationFailed => {
            Answer::error(StatusCode::EXPECTATION_FAILED, ErrorCode::Unsupported, "unknown expectation")
        }
        Rejection::Misdirected => {
            Answer::error(StatusCode::MISDIRECTED_REQUEST, ErrorCode::NameUnknown, "no registry of that name here")
        }
        Rejection::Route(error) => route_answer(error),
        // Like one that does not exist.
        Rejection::ForeignUpload | Rejection::LostUpload => route_answer(&RouteError::UnknownUpload),
        Rejection::WrongCredentials(_) => challenge(challenger, None, "wrong user name or password"),
        Rejection::InvalidToken(_) => challenge(challenger, Some("invalid_token"), "authentication required"),
        Rejection::NotBasic => challenge(challenger, None, "the token endpoint takes user name and password"),
        Rejection::LoginNeeded => challenge(challenger, None, "authentication required"),
        Rejection::NoRefreshTokens => Answer::error(
            StatusCode::NOT_FOUND,
            ErrorCode::Unsupported,
            "refresh tokens are switched off here: log in again",
        ),
        Rejection::OAuth(error) => oauth_answer(*error),
        Rejection::Denied(denial) => denial_answer(denial, challenger),
        Rejection::CrossSite => Answer::error(
            StatusCode::FORBIDDEN,
            ErrorCode::Denied,
            "a page of another origin may not do this here: cors.origins names those that may look and delete",
        ),
        Rejection::TooLarge { limit } => Answer::error(
            StatusCode::PAYLOAD_TOO_LARGE,
            ErrorCode::SizeInvalid,
            format!("the body is larger than the limit of {limit} bytes"),
        ),
        Rejection::InvalidRefresh(_) => challenge(challenger, None, "the refresh token is not valid: log in again"),
        Rejection::Busy => unavailable("too much is under way", request_id),
        Rejection::BuffersFull(_) => unavailable("too many transfers are under way", request_id),
        Rejection::IdentityUnavailable => unavailable("the identity source cannot answer now", request_id),
        Rejection::IdentityOverloaded => unavailable("too many log in at once: try again", request_id),
        Rejection::Throttled { retry_after } => throttled(*retry_after),
        Rejection::Upstream(error) => upstream_answer(error, request_id),
        // What was read is kept, but not for long.
        Rejection::CatalogUnfinished => {
            unavailable("the catalog is still being read; ask again", request_id).with(header::RETRY_AFTER, "1")
        }
        Rejection::Signing => internal(request_id),
    }
}

/// Both forms in one: `error` for OAuth2 clients, `errors` for a registry's.
fn oauth_answer(error: OAuthError) -> Answer {
    let message = error.to_string();
    let body = serde_json::json!({
        "error": error.code(),
        "error_description": message,
        "errors": [{ "code": ErrorCode::Unsupported.as_str(), "message": message, "detail": null }],
    });
    Answer::json(StatusCode::BAD_REQUEST, body.to_string()).with(header::CACHE_CONTROL, "no-store")
}

fn route_answer(error: &RouteError) -> Answer {
    let (status, code) = match error {
        RouteError::NotFound => (StatusCode::NOT_FOUND, ErrorCode::NameUnknown),
        RouteError::InvalidName => (StatusCode::BAD_REQUEST, ErrorCode::NameInvalid),
        RouteError::UnknownReference => (StatusCode::NOT_FOUND, ErrorCode::ManifestUnknown),
        RouteError::InvalidDigest => (StatusCode::BAD_REQUEST, ErrorCode::DigestInvalid),
        RouteError::UnknownUpload => (StatusCode::NOT_FOUND, ErrorCode::BlobUploadUnknown),
        RouteError::InvalidPage => (StatusCode::BAD_REQUEST, ErrorCode::PaginationNumberInvalid),
        RouteError::BadRequest(_) => (StatusCode::BAD_REQUEST, ErrorCode::Unsupported),
        RouteError::Method { .. } => (StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported),
    };
    let answer = Answer::error(status, code, error.to_string());
    if let RouteError::Method { allow } = error { answer.with(header::ALLOW, allow) } else { answer }
}

fn denial_answer(denial: &Denial, challenger: Option<&Challenger<'_>>) -> Answer {
    match denial {
        Denial::Challenge { scope, narrow } => {
            let error = narrow.then_some("insufficient_scope");
            // Clients show their users nothing of a message that is the code's usual one.
            let message = match scope {
                Some(scope) => ["authentication required for ", scope].concat(),
                None => "authentication required".to_owned(),
            };
            challenge(challenger, error, message)
        }
        Denial::ReadOnly { repository } => Answer::error(
            StatusCode::FORBIDDEN,
            ErrorCode::Denied,
            format!("{repository} is read-only at the moment, for maintenance: pulls go on, push again later"),
        ),
        Denial::Forbidden { action, repository } => Answer::error(
            StatusCode::FORBIDDEN,
            ErrorCode::Denied,
            format!("{action} access to {repository} is denied"),
        ),
    }
}

/// 401 with exactly one challenge: Bearer for clients, Basic where a person needs a prompt.
fn challenge(challenger: Option<&Challenger<'_>>, error: Option<&str>, message: impl Into<String>) -> Answer {
    let body = ErrorBody::new(ErrorCode::Unauthorized, message);
    let answer = Answer::json(StatusCode::UNAUTHORIZED, body.to_json());
    let Some(challenger) = challenger else { return answer };
    let value = if challenger.token_endpoint || challenger.navigation {
        format!("Basic realm=\"{}\"", challenger.prompt)
    } else {
        bearer(challenger, error)
    };
    answer.with(header::WWW_AUTHENTICATE, &value).with(header::CACHE_CONTROL, "no-store")
}

/// Parameters quoted, lower case, no blank after a comma, none empty: the form that every client reads.
fn bearer(challenger: &Challenger<'_>, error: Option<&str>) -> String {
    let Challenger { origin, token_path, service, .. } = challenger;
    let mut value = String::with_capacity(CHALLENGE);
    // A string takes whatever is written.
    let _ = write!(value, "Bearer realm=\"{origin}{token_path}\",service=\"{service}\"");
    for (name, text) in [("scope", challenger.scope.as_deref()), ("error", error)] {
        if let Some(text) = text {
            value.extend([",", name, "=\"", text, "\""]);
        }
    }
    value
}

/// 5xx bodies hold a code and a request id, nothing of what is behind.
fn upstream_answer(error: &upstream::Error, request_id: &str) -> Answer {
    match error {
        upstream::Error::Connect(_) | upstream::Error::Broken(_) | upstream::Error::Unusable(_) => Answer::error(
            StatusCode::BAD_GATEWAY,
            ErrorCode::Unavailable,
            format!("the registry cannot be reached (request {request_id})"),
        ),
        upstream::Error::Redirect(_) | upstream::Error::Corrupt { .. } => Answer::error(
            StatusCode::BAD_GATEWAY,
            ErrorCode::Unavailable,
            format!("the blob cannot be had at the moment (request {request_id})"),
        ),
        upstream::Error::Refused(_) => Answer::error(
            StatusCode::BAD_GATEWAY,
            ErrorCode::Unavailable,
            format!("the registry does not accept this gate (request {request_id})"),
        ),
        upstream::Error::Unsigned(_) => internal(request_id),
        upstream::Error::Silent(_) => Answer::error(
            StatusCode::GATEWAY_TIMEOUT,
            ErrorCode::Unavailable,
            format!("the registry did not answer in time (request {request_id})"),
        ),
    }
}

fn unavailable(message: &str, request_id: &str) -> Answer {
    Answer::error(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, format!("{message} (request {request_id})"))
        .with(header::RETRY_AFTER, "5")
}

/// The same for every name, whether there is such a user or not.
fn throttled(retry_after: Duration) -> Answer {
    let seconds = retry_after.as_secs();
    let message = format!("too many failed logins: try again in {seconds} s");
    Answer::error(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests, message)
        .with(header::RETRY_AFTER, &seconds.to_string())
        .with(header::CACHE_CONTROL, "no-store")
}

fn internal(request_id: &str) -> Answer {
    Answer::error(
        StatusCode::INTERNAL_SERVER_ERROR,
        ErrorCode::Unknown,
        format!("internal error (request {request_id})"),
    )
}

#[cfg(test)]
mod tests;
