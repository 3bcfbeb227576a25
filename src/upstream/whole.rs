//! What an answer is as a whole, and whether another one is the rest of it.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, response::Parts};

use crate::registry::{BlobVerb, Digest, ManifestVerb, Route};

/// Conditions were met when the answer began, and the rest belongs to that answer.
const CONDITIONS: [HeaderName; 5] =
    [header::IF_MATCH, header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::IF_UNMODIFIED_SINCE, header::IF_RANGE];
/// What the whole of an answer is, so that a part of it can be had from elsewhere.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Whole {
    /// The answer's first byte within the content, and the one after its last.
    first: u64,
    end: u64,
    total: u64,
    digest: Option<HeaderValue>,
    etag: Option<HeaderValue>,
    /// A range can be asked for; a manifest comes whole.
    ranged: bool,
}

impl Whole {
    /// None for an answer that cannot be told apart from another one of the same length.
    pub(super) fn of(route: &Route, head: &Parts) -> Option<Self> {
        let ranged = match route {
            Route::Blob { verb: BlobVerb::Get, .. } => true,
            Route::Manifest { verb: ManifestVerb::Get, .. } => false,
            Route::Blob { .. }
            | Route::Manifest { .. }
            | Route::Landing(_)
            | Route::Base(_)
            | Route::Token(_)
            | Route::Catalog { .. }
            | Route::TagList { .. }
            | Route::Upload { .. }
            | Route::Referrers { .. }
            | Route::Notary { .. }
            | Route::Ui { .. }
            | Route::Preflight { .. } => return None,
        };
        let (first, end, total) = extent(head)?;
        let digest = head.headers.get(Digest::HEADER).cloned();
        let etag = head.headers.get(header::ETAG).filter(|etag| !etag.as_bytes().starts_with(b"W/")).cloned();
        let told_apart = digest.is_some() || etag.is_some();
        let content = Self { first, end, total, digest, etag, ranged };
        (told_apart && !head.headers.contains_key(header::CONTENT_ENCODING)).then_some(content)
    }

    /// Of the answer, in bytes.
    pub(super) fn length(&self) -> u64 {
        self.end - self.first
    }

    /// The headers of a request for what is left after `received` bytes.
    pub(super) fn headers(&self, request: &HeaderMap, received: u64) -> HeaderMap {
        let mut headers = request.clone();
        for name in CONDITIONS {
            headers.remove(name);
        }
        headers.remove(header::RANGE);
        let range = format!("bytes={}-{}", self.first + received, self.end - 1);
        if self.ranged
            && let Ok(range) = HeaderValue::from_str(&range)
        {
            headers.insert(header::RANGE, range);
        }
        headers
    }

    /// How many bytes of this answer are known already; None where it is not the rest of the same content: total length
    /// and digest, or ETag, must agree.
    pub(super) fn skip(&self, head: &Parts, received: u64) -> Option<u64> {
        let same = |name: HeaderName, ours: &Option<HeaderValue>| Some(head.headers.get(name)? == ours.as_ref()?);
        let agrees = same(Digest::HEADER, &self.digest).or_else(|| same(header::ETAG, &self.etag))?;
        let (first, end, total) = extent(head)?;
        let fits = agrees && end == self.end && total == self.total;
        let known = (self.first + received).checked_sub(first)?;
        let begins = first == self.first + received || first == 0 && end == total;
        (fits && begins && !head.headers.contains_key(header::CONTENT_ENCODING)).then_some(known)
    }
}

/// The bytes that an answer holds of its content: the first, the one after the last, and the content's length.
pub(super) fn extent(head: &Parts) -> Option<(u64, u64, u64)> {
    if head.status == StatusCode::OK {
        let total = number(head.headers.get(header::CONTENT_LENGTH)?)?;
        return Some((0, total, total));
    }
    if head.status != StatusCode::PARTIAL_CONTENT {
        return None;
    }
    let text = head.headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, total): (u64, u64, u64) = (first.parse().ok()?, last.parse().ok()?, total.parse().ok()?);
    let end = last.checked_add(1)?;
    let length = head.headers.get(header::CONTENT_LENGTH).map_or(Some(end - first.min(end)), number)?;
    (first < end && end <= total && length == end - first).then_some((first, end, total))
}

fn number(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use http::{Method, Response};

    use super::*;

    const DIGEST: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    fn head(status: u16, headers: &[(&str, &str)]) -> Parts {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        response.body(()).unwrap().into_parts().0
    }

    fn blob() -> Route {
        Route::parse(&Method::GET, &format!("/v2/a/blobs/{DIGEST}"), None, "/token").unwrap()
    }

    fn whole(total: &str) -> Parts {
        head(200, &[("content-length", total), ("docker-content-digest", DIGEST)])
    }

    fn part(range: &str, digest: &str) -> Parts {
        head(206, &[("content-range", range), ("docker-content-digest", digest)])
    }

    #[test]
    fn the_rest_of_a_whole_answer() {
        let content = Whole::of(&blob(), &whole("1000")).unwrap();
        let mut request = HeaderMap::new();
        request.insert(header::IF_NONE_MATCH, HeaderValue::from_static("\"x\""));
        request.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        let headers = content.headers(&request, 300);
        assert_eq!(headers.get(header::RANGE).unwrap(), "bytes=300-999");
        assert!(!headers.contains_key(header::IF_NONE_MATCH) && headers.contains_key(header::ACCEPT));
        assert_eq!(content.skip(&part("bytes 300-999/1000", DIGEST), 300), Some(0));
        assert_eq!(content.skip(&whole("1000"), 300), Some(300));
        for (range, digest) in [
            ("bytes 300-999/1001", DIGEST),
            ("bytes 301-999/1000", DIGEST),
            ("bytes 200-999/1000", DIGEST),
            ("bytes 300-998/1000", DIGEST),
            ("bytes 300-999/*", DIGEST),
            ("300-999/1000", DIGEST),
            ("bytes 300-999/1000", "sha256:other"),
        ] {
            assert_eq!(content.skip(&part(range, digest), 300), None, "{range} {digest}");
        }
        assert_eq!(content.skip(&whole("999"), 300), None);
        assert_eq!(content.skip(&head(404, &[("docker-content-digest", DIGEST)]), 300), None);
        assert_eq!(content.skip(&head(206, &[("content-range", "bytes 300-999/1000")]), 300), None);
    }

    #[test]
    fn the_rest_of_a_range() {
        let content = Whole::of(&blob(), &part("bytes 100-499/1000", DIGEST)).unwrap();
        assert_eq!(content.length(), 400);
        assert_eq!(content.headers(&HeaderMap::new(), 50).get(header::RANGE).unwrap(), "bytes=150-499");
        assert_eq!(content.skip(&part("bytes 150-499/1000", DIGEST), 50), Some(0));
        assert_eq!(content.skip(&part("bytes 150-999/1000", DIGEST), 50), None);
        // It would have to end before its end.
        assert_eq!(content.skip(&whole("1000"), 50), None);
        let tail = Whole::of(&blob(), &part("bytes 600-999/1000", DIGEST)).unwrap();
        assert_eq!(tail.skip(&whole("1000"), 50), Some(650));
    }

    #[test]
    fn an_etag_tells_apart_where_there_is_no_digest() {
        let tagged = |etag: &str| head(200, &[("content-length", "9"), ("etag", etag)]);
        let content = Whole::of(&blob(), &tagged("\"a\"")).unwrap();
        assert_eq!(content.skip(&tagged("\"a\""), 4), Some(4));
        assert_eq!(content.skip(&tagged("\"b\""), 4), None);
        assert!(Whole::of(&blob(), &tagged("W/\"a\"")).is_none());
        assert!(Whole::of(&blob(), &head(200, &[("content-length", "9")])).is_none());
    }

    #[test]
    fn what_cannot_be_had_in_part_is_none() {
        let lists = Route::parse(&Method::GET, "/v2/a/tags/list", None, "/token").unwrap();
        assert!(Whole::of(&lists, &whole("9")).is_none());
        let coded = [("content-length", "9"), ("docker-content-digest", DIGEST), ("content-encoding", "gzip")];
        assert!(Whole::of(&blob(), &head(200, &coded)).is_none());
        assert!(Whole::of(&blob(), &head(200, &[("docker-content-digest", DIGEST)])).is_none());
        assert!(Whole::of(&blob(), &part("bytes 5-4/9", DIGEST)).is_none());
        assert!(Whole::of(&blob(), &part("bytes 0-9/9", DIGEST)).is_none());
        let several = [("content-type", "multipart/byteranges; boundary=x"), ("docker-content-digest", DIGEST)];
        assert!(Whole::of(&blob(), &head(206, &several)).is_none());
    }

    #[test]
    fn a_manifest_comes_whole_again() {
        let route = Route::parse(&Method::GET, "/v2/a/manifests/latest", None, "/token").unwrap();
        let content = Whole::of(&route, &whole("1000")).unwrap();
        assert!(!content.headers(&HeaderMap::new(), 300).contains_key(header::RANGE));
        assert_eq!(content.skip(&whole("1000"), 300), Some(300));
    }
}
