//! A body that goes on from another server where the first one dies, falls silent or resets half way.

use std::{cmp::Ordering, future::poll_fn, sync::Arc, task::Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, response::Parts};
use tokio::time::{Instant, timeout};
use tracing::{debug, info};

use super::{
    Error, Exchange, Pool,
    pool::{TICK, request_id},
    rounds::{Failures, Rounds},
    server::Server,
    verify::Check,
};
use crate::{
    access::Permit,
    config::Timeouts,
    registry::{BlobVerb, ManifestVerb, Route},
};

/// Conditions were met when the answer began, and the rest belongs to that answer.
const CONDITIONS: [HeaderName; 5] =
    [header::IF_MATCH, header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::IF_UNMODIFIED_SINCE, header::IF_RANGE];
/// The digest of a manifest or blob, as registries say it.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// An answer's body. Of a blob or manifest it goes on from wherever the rest can be had, for up to `timeouts.idle`
/// without a byte, or `timeouts.first_byte` where some servers are silent; any other body ends where its server ends.
pub struct Download<'a> {
    pool: &'a Pool,
    permit: &'a Permit,
    /// Of the request, for the ones that go on with it.
    headers: HeaderMap,
    exchange: Exchange,
    plan: Option<Plan>,
    check: Option<Check>,
    /// Bytes of the answer that came.
    received: u64,
    /// Bytes still to be left out: a server that knows no ranges begins anew.
    skip: u64,
    /// See [`Exchange::in_frames_of`].
    frame: Option<usize>,
    /// Since when nothing has come but failures.
    trouble: Option<Rounds>,
    resumed: u32,
}

impl Pool {
    /// The body of an answer that [`Pool::fetch`] gave for this permit and these headers.
    pub fn download<'a>(&'a self, permit: &'a Permit, headers: HeaderMap, exchange: Exchange) -> Download<'a> {
        let route = permit.route();
        Download {
            plan: Plan::of(route, &exchange.head),
            check: if self.verify { Check::of(route, &exchange.head) } else { None },
            pool: self,
            permit,
            headers,
            exchange,
            received: 0,
            skip: 0,
            frame: None,
            trouble: None,
            resumed: 0,
        }
    }
}

impl Download<'_> {
    /// The size of the frames from here on, whichever server they come from; see [`Exchange::in_frames_of`].
    pub fn in_frames_of(&mut self, size: usize) {
        self.frame = Some(size);
        self.exchange.in_frames_of(size);
    }

    /// True where the body is hashed on its way.
    pub fn is_verified(&self) -> bool {
        self.check.is_some()
    }

    /// The server that it comes from now.
    pub fn server(&self) -> &Arc<str> {
        self.exchange.server()
    }

    /// How often another server went on with it.
    pub fn resumed(&self) -> u32 {
        self.resumed
    }

    /// The next frame of the body; None at its end, which is the true one. To be dropped where it is not awaited to its end.
    pub async fn frame(&mut self) -> Option<Result<Bytes, Error>> {
        loop {
            let frame = match self.next().await {
                Ok(frame) => frame,
                Err(error) => return Some(Err(error)),
            };
            match (frame, &mut self.check) {
                (Some(data), None) => return Some(Ok(data)),
                (Some(data), Some(check)) => {
                    if let Some(before) = check.exchange(data) {
                        return Some(Ok(before));
                    }
                }
                (None, None) => return None,
                (None, Some(_)) => return self.checked(),
            }
        }
    }

    /// After the body's end: the connection goes back to the pool where it can be used again.
    pub fn finish(self) {
        self.exchange.finish();
    }

    fn checked(&mut self) -> Option<Result<Bytes, Error>> {
        let digest = match self.check.take()?.finish() {
            Ok(last) => return last.map(Ok),
            Err(digest) => digest.to_string(),
        };
        self.exchange.from().spoilt(&digest);
        let error = Error::Corrupt { server: Arc::clone(self.exchange.server()), digest };
        self.exchange.from().erred(&error);
        Some(Err(error))
    }

    /// The next bytes, from whichever server.
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let error = match self.wait().await {
                Ok(Some(data)) => match self.take(data) {
                    Some(data) => return Ok(Some(data)),
                    None => continue,
                },
                Ok(None) if self.plan.is_none() => return Ok(None),
                Ok(None) => Error::Unusable("a body shorter than announced"),
                Err(error) => error,
            };
            let Some(plan) = &self.plan else {
                self.exchange.erred(&error);
                return Err(error);
            };
            match self.received.cmp(&plan.length()) {
                Ordering::Less => {
                    self.exchange.erred(&error);
                    Box::pin(self.go_on(error)).await?;
                }
                // The connection may break after the last byte.
                Ordering::Equal => return Ok(None),
                Ordering::Greater => return Err(Error::Unusable("a body longer than announced")),
            }
        }
    }

    fn take(&mut self, mut data: Bytes) -> Option<Bytes> {
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(data.len());
        let data = data.split_off(skipped);
        self.skip -= skipped as u64;
        if data.is_empty() {
            return None;
        }
        self.trouble = None;
        self.received += data.len() as u64;
        Some(data)
    }

    /// The server's next frame, within `timeouts.idle`; a server that has lost its turn gets less.
    async fn wait(&mut self) -> Result<Option<Bytes>, Error> {
        // Much of a body is there already, and needs no clock.
        if let Poll::Ready(frame) = poll_fn(|context| Poll::Ready(self.exchange.poll_frame(context))).await {
            return frame.transpose();
        }
        let idle = self.pool.timeouts.idle;
        let begun = Instant::now();
        loop {
            let left = idle.saturating_sub(begun.elapsed());
            let tick = if self.plan.is_some() { left.min(TICK) } else { left };
            if let Ok(frame) = timeout(tick, self.exchange.frame()).await {
                return frame.transpose();
            }
            let forsaken = self.plan.is_some() && self.exchange.is_forsaken();
            if forsaken || begun.elapsed() >= idle {
                return Err(Error::Silent(begun.elapsed()));
            }
        }
    }

    /// Has another server, or the same one where it is back, go on where this one failed.
    async fn go_on(&mut self, error: Error) -> Result<(), Error> {
        let failed = Arc::clone(self.exchange.from());
        // What nobody has more of may be one blob's trouble, and says nothing of the servers that are asked for it.
        if self.trouble.is_none() {
            self.exchange.failed(&error);
        }
        let (registry, reason) = (self.pool.registry(), error.kind());
        let next = self.elsewhere(&failed).await?;
        let outcome = if next.is_some() { "resumed" } else { "lost" };
        failed.health.counts.resumed(reason, outcome);
        let request_id = request_id(&self.headers);
        let Some((exchange, skip)) = next else {
            // The request tells it.
            debug!(
                registry, request_id, server = %failed.name(), received = self.received, %error,
                "a body broke off, and nobody has the rest"
            );
            return Err(error);
        };
        info!(
            registry, request_id, server = %failed.name(), received = self.received, %error, by = %exchange.server(),
            "a body broke off and goes on"
        );
        self.exchange = exchange;
        if let Some(frame) = self.frame {
            self.exchange.in_frames_of(frame);
        }
        self.skip = skip;
        self.resumed = self.resumed.saturating_add(1);
        Ok(())
    }

    /// An answer with the rest, and how much of it is known already; None where it cannot be had.
    async fn elsewhere(&mut self, failed: &Arc<Server>) -> Result<Option<(Exchange, u64)>, Error> {
        let Some(plan) = &self.plan else { return Ok(None) };
        let headers = plan.headers(&self.headers, self.received);
        let Timeouts { idle, first_byte, .. } = self.pool.timeouts;
        // A head that fits and not a byte behind it was no success.
        let again = self.trouble.is_some();
        let trouble = self.trouble.get_or_insert_with(|| Rounds::new(idle, first_byte));
        if again && !trouble.pause(Failures::Refused).await {
            return Ok(None);
        }
        loop {
            let mut failures = Failures::None;
            let mut order = self.pool.order(self.permit.route(), None)?;
            order.sort_by_key(|server| Arc::ptr_eq(server, failed));
            for (index, server) in order.iter().enumerate() {
                let turn = trouble.turn(order.len().saturating_sub(index + 1));
                match self.pool.attempt(server, self.permit, &headers, turn).await {
                    Ok(answer) => match plan.skip(&answer.head, self.received) {
                        Some(skip) => return Ok(Some((answer, skip))),
                        None if answer.head.status.is_server_error() => failures = Failures::Mixed,
                        None => {}
                    },
                    Err(error) if !error.is_servers_fault() => return Err(error),
                    Err(error) => failures = failures.and(&error),
                }
            }
            // The request is harmless: it was answered before.
            let harmless = matches!(failures, Failures::Broken | Failures::Silent);
            if !trouble.pause(if harmless { Failures::Refused } else { failures }).await {
                return Ok(None);
            }
        }
    }
}

/// What the whole of an answer is, so that a part of it can be had from elsewhere.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// The answer's first byte within the content, and the one after its last.
    first: u64,
    end: u64,
    total: u64,
    digest: Option<HeaderValue>,
    etag: Option<HeaderValue>,
    /// A range can be asked for; a manifest comes whole.
    ranged: bool,
}

impl Plan {
    /// None for an answer that cannot be told apart from another one of the same length.
    fn of(route: &Route, head: &Parts) -> Option<Self> {
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
        let digest = head.headers.get(CONTENT_DIGEST).cloned();
        let etag = head.headers.get(header::ETAG).filter(|etag| !etag.as_bytes().starts_with(b"W/")).cloned();
        let told_apart = digest.is_some() || etag.is_some();
        let plan = Self { first, end, total, digest, etag, ranged };
        (told_apart && !head.headers.contains_key(header::CONTENT_ENCODING)).then_some(plan)
    }

    fn length(&self) -> u64 {
        self.end - self.first
    }

    /// The headers of a request for what is left after `received` bytes.
    fn headers(&self, request: &HeaderMap, received: u64) -> HeaderMap {
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
    fn skip(&self, head: &Parts, received: u64) -> Option<u64> {
        let same = |name: HeaderName, ours: &Option<HeaderValue>| Some(head.headers.get(name)? == ours.as_ref()?);
        let agrees = same(CONTENT_DIGEST, &self.digest).or_else(|| same(header::ETAG, &self.etag))?;
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
        let plan = Plan::of(&blob(), &whole("1000")).unwrap();
        let mut request = HeaderMap::new();
        request.insert(header::IF_NONE_MATCH, HeaderValue::from_static("\"x\""));
        request.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        let headers = plan.headers(&request, 300);
        assert_eq!(headers.get(header::RANGE).unwrap(), "bytes=300-999");
        assert!(!headers.contains_key(header::IF_NONE_MATCH) && headers.contains_key(header::ACCEPT));
        assert_eq!(plan.skip(&part("bytes 300-999/1000", DIGEST), 300), Some(0));
        assert_eq!(plan.skip(&whole("1000"), 300), Some(300));
        for (range, digest) in [
            ("bytes 300-999/1001", DIGEST),
            ("bytes 301-999/1000", DIGEST),
            ("bytes 200-999/1000", DIGEST),
            ("bytes 300-998/1000", DIGEST),
            ("bytes 300-999/*", DIGEST),
            ("300-999/1000", DIGEST),
            ("bytes 300-999/1000", "sha256:other"),
        ] {
            assert_eq!(plan.skip(&part(range, digest), 300), None, "{range} {digest}");
        }
        assert_eq!(plan.skip(&whole("999"), 300), None);
        assert_eq!(plan.skip(&head(404, &[("docker-content-digest", DIGEST)]), 300), None);
        assert_eq!(plan.skip(&head(206, &[("content-range", "bytes 300-999/1000")]), 300), None);
    }

    #[test]
    fn the_rest_of_a_range() {
        let plan = Plan::of(&blob(), &part("bytes 100-499/1000", DIGEST)).unwrap();
        assert_eq!(plan.length(), 400);
        assert_eq!(plan.headers(&HeaderMap::new(), 50).get(header::RANGE).unwrap(), "bytes=150-499");
        assert_eq!(plan.skip(&part("bytes 150-499/1000", DIGEST), 50), Some(0));
        assert_eq!(plan.skip(&part("bytes 150-999/1000", DIGEST), 50), None);
        // It would have to end before its end.
        assert_eq!(plan.skip(&whole("1000"), 50), None);
        let tail = Plan::of(&blob(), &part("bytes 600-999/1000", DIGEST)).unwrap();
        assert_eq!(tail.skip(&whole("1000"), 50), Some(650));
    }

    #[test]
    fn an_etag_tells_apart_where_there_is_no_digest() {
        let tagged = |etag: &str| head(200, &[("content-length", "9"), ("etag", etag)]);
        let plan = Plan::of(&blob(), &tagged("\"a\"")).unwrap();
        assert_eq!(plan.skip(&tagged("\"a\""), 4), Some(4));
        assert_eq!(plan.skip(&tagged("\"b\""), 4), None);
        assert!(Plan::of(&blob(), &tagged("W/\"a\"")).is_none());
        assert!(Plan::of(&blob(), &head(200, &[("content-length", "9")])).is_none());
    }

    #[test]
    fn what_cannot_be_had_in_part_is_not_planned() {
        let lists = Route::parse(&Method::GET, "/v2/a/tags/list", None, "/token").unwrap();
        assert!(Plan::of(&lists, &whole("9")).is_none());
        let coded = [("content-length", "9"), ("docker-content-digest", DIGEST), ("content-encoding", "gzip")];
        assert!(Plan::of(&blob(), &head(200, &coded)).is_none());
        assert!(Plan::of(&blob(), &head(200, &[("docker-content-digest", DIGEST)])).is_none());
        assert!(Plan::of(&blob(), &part("bytes 5-4/9", DIGEST)).is_none());
        assert!(Plan::of(&blob(), &part("bytes 0-9/9", DIGEST)).is_none());
        let several = [("content-type", "multipart/byteranges; boundary=x"), ("docker-content-digest", DIGEST)];
        assert!(Plan::of(&blob(), &head(206, &several)).is_none());
    }

    #[test]
    fn a_manifest_comes_whole_again() {
        let route = Route::parse(&Method::GET, "/v2/a/manifests/latest", None, "/token").unwrap();
        let plan = Plan::of(&route, &whole("1000")).unwrap();
        assert!(!plan.headers(&HeaderMap::new(), 300).contains_key(header::RANGE));
        assert_eq!(plan.skip(&whole("1000"), 300), Some(300));
    }
}
