//! The body of `POST /token`: a small form, read whole.

use http::{HeaderMap, header};
use pingora_core::protocols::http::ServerSession;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};
use zeroize::Zeroizing;

use super::{
    Case, client,
    pump::Stop,
    record::Record,
    respond::{OAuthError, Rejection},
};
use crate::registry::QueryPairs;

/// The largest form, in bytes.
const LARGEST: usize = 64 * 1024;
/// What a form may hold without a share of [`LARGE_FORMS`]; hardly one is larger.
const SMALL: usize = 8 * 1024;

/// Bytes that large forms under way may hold together: nobody needs to log in to send one.
static LARGE_FORMS: Semaphore = Semaphore::const_new(8 * 1024 * 1024);

/// The form of a request, or why there is none.
pub(super) async fn read(session: &mut ServerSession, case: Case<'_>, record: &mut Record) -> Result<QueryPairs, Stop> {
    let head = case.head;
    if !is_form(&session.req_header().headers) {
        return Err(invalid("send a form: Content-Type: application/x-www-form-urlencoded"));
    }
    let limit = u64::try_from(LARGEST).unwrap_or(u64::MAX);
    if head.content_length.is_some_and(|length| length > limit) {
        return Err(Rejection::TooLarge { limit }.into());
    }
    // A form is as small as a head, and the whole of it has a head's time.
    let patience = case.runtime.limits.request_head;
    if head.expects_continue {
        client::ask_for_body(session, patience).await?;
    }
    let body = timeout(patience, collect(session, record)).await.map_err(|_| Rejection::SlowBody)??;
    let text = std::str::from_utf8(&body).map_err(|_| invalid("the form is not UTF-8"))?;
    QueryPairs::parse_form(text).map_err(|_| invalid("the form cannot be read"))
}

async fn collect(session: &mut ServerSession, record: &mut Record) -> Result<Zeroizing<Vec<u8>>, Stop> {
    let mut body = Zeroizing::new(Vec::new());
    let mut shares: Option<SemaphorePermit<'static>> = None;
    while let Some(piece) = session.read_request_body().await.map_err(|_| Stop::ClientGone)? {
        record.reads(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        let length = body.len().saturating_add(piece.len());
        if length > LARGEST {
            return Err(Rejection::TooLarge { limit: u64::try_from(LARGEST).unwrap_or(u64::MAX) }.into());
        }
        let held = shares.as_ref().map_or(0, SemaphorePermit::num_permits);
        let lacking = length.saturating_sub(SMALL).saturating_sub(held);
        if lacking > 0 {
            let more = LARGE_FORMS.try_acquire_many(u32::try_from(lacking).unwrap_or(u32::MAX));
            let more = more.map_err(|_| Rejection::Busy)?;
            match &mut shares {
                Some(shares) => shares.merge(more),
                None => shares = Some(more),
            }
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

fn invalid(reason: &'static str) -> Stop {
    Rejection::OAuth(OAuthError::InvalidRequest(reason)).into()
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = kind.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}
