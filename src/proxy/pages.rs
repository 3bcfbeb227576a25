//! The few answers that are the gate's own.

use http::StatusCode;

use super::respond::Answer;
use crate::config::Host;

const LANDING: &str = include_str!("landing.html");

/// `/`: a page that says what this is to a person who opens it. Self-contained; names no version.
pub(super) fn landing(host: &Host) -> Answer {
    // A host's grammar has no character that means anything in HTML.
    Answer::new(StatusCode::OK, "text/html; charset=utf-8", LANDING.replace("HOST", &host.to_string())).with(
        http::header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    )
}

/// `/v2/` for a person who opened it to sign in: on to the UI. The browser shows its credentials from now on.
pub(super) fn signed_in() -> Answer {
    Answer::empty(StatusCode::SEE_OTHER).with(http::header::LOCATION, "/")
}

/// `/v2/` for an accepted caller.
pub(super) fn base() -> Answer {
    Answer::json(StatusCode::OK, "{}")
}
