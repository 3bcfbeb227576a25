//! A body that goes on from another server where the first one dies, falls silent or resets half way.

use std::{cmp::Ordering, future::poll_fn, sync::Arc, task::Poll};

use bytes::Bytes;
use http::HeaderMap;
use tokio::time::{Instant, timeout};
use tracing::{debug, info};

use super::{
    Error, Exchange, Pool,
    pool::{TICK, request_id},
    rounds::{Failures, Rounds},
    server::Server,
    verify::Check,
    whole::Whole,
};
use crate::{access::Permit, config::Timeouts};

/// An answer's body. Of a blob or manifest it goes on from wherever the rest can be had, for up to `timeouts.idle`
/// without a byte, or `timeouts.first_byte` where some servers are silent; any other body ends where its server ends.
pub struct Download<'a> {
    pool: &'a Pool,
    permit: &'a Permit,
    /// Of the request, for the ones that go on with it.
    headers: HeaderMap,
    exchange: Exchange,
    whole: Option<Whole>,
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
            whole: Whole::of(route, &exchange.head),
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
                Ok(None) if self.whole.is_none() => return Ok(None),
                Ok(None) => Error::Unusable("a body shorter than announced"),
                Err(error) => error,
            };
            let Some(whole) = &self.whole else {
                self.exchange.erred(&error);
                return Err(error);
            };
            match self.received.cmp(&whole.length()) {
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
            let tick = if self.whole.is_some() { left.min(TICK) } else { left };
            if let Ok(frame) = timeout(tick, self.exchange.frame()).await {
                return frame.transpose();
            }
            let forsaken = self.whole.is_some() && self.exchange.is_forsaken();
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
        let Some(whole) = &self.whole else { return Ok(None) };
        let headers = whole.headers(&self.headers, self.received);
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
                    Ok(answer) => match whole.skip(&answer.head, self.received) {
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
