//! What those have in common who ask other servers over HTTP: the ACME authority, the receivers of events.

use std::{
    error::Error,
    time::{Duration, SystemTime},
};

/// How long `Retry-After` asks to wait: seconds, or until a date (RFC 9110 §10.2.3). None for a date that is past, or what
/// is neither.
pub fn retry_after(text: &str) -> Option<Duration> {
    let text = text.trim();
    let seconds = text.parse().map(Duration::from_secs).ok();
    let until = || httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).ok();
    seconds.or_else(until)
}

/// An error and what caused it, in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_seconds_or_a_date() {
        assert_eq!(retry_after(" 120 "), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Fri, 31 Dec 1999 23:59:59 GMT"), None, "long past");
        let later = SystemTime::now() + Duration::from_secs(3600);
        let left = retry_after(&httpdate::fmt_http_date(later)).unwrap();
        assert!((3590..=3600).contains(&left.as_secs()), "{left:?}");
        assert_eq!(retry_after("soon"), None);
    }
}
