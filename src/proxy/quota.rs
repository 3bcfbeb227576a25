//! `limits.upload` for uploads in several requests: what a session holds already counts.

use http::{HeaderMap, header};

use super::{forward, head::RequestHead, respond::Rejection};
use crate::{access::Permit, upstream::Pool};

/// What an upload request may still bring, where `limit` is the most a blob may hold.
///
/// The session, at the server that holds it, is asked for how far it has come; where it cannot say, the registry will refuse the request itself.
pub(super) async fn remaining(
    pool: &Pool,
    permit: &Permit,
    head: &RequestHead,
    at: Option<&str>,
    limit: u64,
) -> Result<u64, Rejection> {
    let Some(status) = permit.session_status() else { return Ok(limit) };
    let headers = forward::request_headers(&HeaderMap::new(), head, status.route());
    let exchange = pool.fetch(&status, &headers, at).await?;
    let held = exchange.head.headers.get(header::RANGE).and_then(|range| held(range.to_str().ok()?)).unwrap_or(0);
    exchange.finish();
    let left = limit.checked_sub(held).ok_or(Rejection::TooLarge { limit })?;
    match head.content_length {
        Some(length) if length > left => Err(Rejection::TooLarge { limit }),
        _ => Ok(left),
    }
}

/// Bytes that a `Range: 0-99` of a session's status stands for; an empty session says `0-0`.
fn held(range: &str) -> Option<u64> {
    let last: u64 = range.trim().strip_prefix("0-")?.parse().ok()?;
    Some(if last == 0 { 0 } else { last.saturating_add(1) })
}

#[cfg(test)]
mod tests {
    use super::held;

    #[test]
    fn a_sessions_range_is_read() {
        assert_eq!(held("0-0"), Some(0));
        assert_eq!(held("0-99"), Some(100));
        assert_eq!(held("bytes=0-99"), None);
        assert_eq!(held("5-99"), None);
        assert_eq!(held("0-18446744073709551615"), Some(u64::MAX));
    }
}
