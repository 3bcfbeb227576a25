//! The body of `POST /token`: a small form, read whole.

use http::{HeaderMap, header};
use pingora_core::protocols::http::ServerSession;
use tokio::time::timeout;

use super::{
    Case, client,
    pump::Stop,
    respond::{OAuthError, Rejection},
};
use crate::registry::QueryPairs;

/// The largest form, in bytes.
const LARGEST: usize = 64 * 1024;

/// The form of a request, or why there is none.
pub(super) async fn read(session: &mut ServerSession, case: Case<'_>) -> Result<QueryPairs, Stop> {
    let head = case.head;
    if !is_form(&session.req_header().headers) {
        return Err(invalid("send a form: Content-Type: application/x-www-form-urlencoded"));
    }
    let limit = u64::try_from(LARGEST).unwrap_or(u64::MAX);
    if head.content_length.is_some_and(|length| length > limit) {
        return Err(Rejection::TooLarge { limit }.into());
    }
    let patience = case.runtime.limits.body_idle;
    if head.expects_continue {
        client::ask_for_body(session, patience).await?;
    }
    let mut body = zeroize::Zeroizing::new(Vec::new());
    loop {
        let piece = timeout(patience, session.read_request_body()).await.map_err(|_| Rejection::SlowBody)?;
        let Some(piece) = piece.map_err(|_| Stop::ClientGone)? else { break };
        if body.len().saturating_add(piece.len()) > LARGEST {
            return Err(Rejection::TooLarge { limit }.into());
        }
        body.extend_from_slice(&piece);
    }
    let text = std::str::from_utf8(&body).map_err(|_| invalid("the form is not UTF-8"))?;
    QueryPairs::parse_form(text, LARGEST).map_err(|_| invalid("the form cannot be read"))
}

fn invalid(reason: &'static str) -> Stop {
    Rejection::OAuth(OAuthError::InvalidRequest(reason)).into()
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = kind.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}
