//! Which bodies take memory out of `limits.buffers`, and for how long.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, header, response::Parts};
use pingora_core::protocols::http::ServerSession;

use super::{Case, client, pump::Stop, respond::Rejection, window::Growth};
use crate::{
    budget::{Demand, Direction, LARGEST_FRAME, Place, SMALLEST_FRAME},
    listener::Transfer,
    registry::Route,
    upstream::Pool,
};

/// Answers of our own up to this size are taken for a part of the connection.
const SMALLEST_PAGE: usize = 16 * 1024;

/// The largest frame of a body that comes after so many others on its connection, so that all of them hold no more than
/// 8 MiB: many streams of one HTTP/2 connection share its line anyway.
fn largest_frame(others: usize) -> usize {
    match others {
        0..4 => LARGEST_FRAME,
        4..8 => LARGEST_FRAME / 2,
        8..16 => SMALLEST_FRAME,
        16..32 => SMALLEST_FRAME / 4,
        _ => SMALLEST_FRAME / 8,
    }
}

/// Memory for a body under way, and the room that goes with it in the buffers of the client's connection.
#[derive(Debug)]
pub(super) struct Held {
    place: Place,
    transfer: Arc<Transfer>,
}

impl Held {
    /// Lets the connection's buffers hold as much as the place.
    pub(super) fn over(place: Place, transfer: Transfer) -> Self {
        transfer.moves_in(place.frame());
        Self { place, transfer: Arc::new(transfer) }
    }

    pub(super) fn frame(&self) -> usize {
        self.place.frame()
    }

    /// See [`Place::keep`].
    pub(super) fn keep(&self, frame: Bytes) -> Bytes {
        self.place.keep(frame, Arc::clone(&self.transfer))
    }
}

/// For the body of the registry's answer, whose head has come; None where it has none.
pub(super) async fn for_answer(
    session: &mut ServerSession,
    case: Case<'_>,
    pool: &Pool,
    route: &Route,
    head: &Parts,
) -> Result<Option<Held>, Stop> {
    let length = head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if case.head.method == Method::HEAD || !client::has_body(head.status) || length == Some(0) {
        return Ok(None);
    }
    let demand = demand(Direction::Answer, matches!(route, Route::Blob { .. }), length);
    let demand = Demand { verified: pool.verifies(), ..demand };
    wait(session, case, demand, largest_frame).await.map(Some)
}

/// For the body of an answer of our own.
pub(super) async fn for_page(session: &mut ServerSession, case: Case<'_>, page: &Bytes) -> Result<Option<Held>, Stop> {
    if page.len() <= SMALLEST_PAGE {
        return Ok(None);
    }
    let demand = demand(Direction::Answer, false, u64::try_from(page.len()).ok());
    // It is there as a whole, however many others there are.
    wait(session, case, demand, |_| LARGEST_FRAME).await.map(Some)
}

/// For a request's body on its way to the registry; over HTTP/2 with a blob's part in the connection's window. A client that leaves meanwhile is not noticed: its body would have
/// to be read for that.
pub(super) async fn for_upload<'a>(case: Case<'a>, route: &Route) -> Result<(Held, Option<Growth<'a>>), Rejection> {
    let Case { runtime, outlet, head, .. } = case;
    let demand = demand(Direction::Upload, matches!(route, Route::Upload { .. }), head.content_length);
    let held = take(case, demand, largest_frame).await?;
    let window = outlet.window.filter(|_| demand.blob);
    Ok((held, window.map(|window| Growth::new(window, &runtime.buffers, head.client))))
}

/// Blobs that fit into the smallest frame (most are images' configurations) count as small, like manifests.
fn demand(direction: Direction, blob: bool, length: Option<u64>) -> Demand {
    let small = u64::try_from(SMALLEST_FRAME).unwrap_or(u64::MAX);
    let blob = blob && length.is_none_or(|length| length > small);
    Demand { direction, blob, length, verified: false, largest: LARGEST_FRAME }
}

async fn wait(
    session: &mut ServerSession,
    case: Case<'_>,
    demand: Demand,
    largest: fn(usize) -> usize,
) -> Result<Held, Stop> {
    tokio::select! {
        biased;
        held = take(case, demand, largest) => Ok(held?),
        () = client::gone(session) => Err(Stop::ClientGone),
    }
}

/// `largest` tells the largest frame of a body that comes after so many others.
async fn take(case: Case<'_>, demand: Demand, largest: fn(usize) -> usize) -> Result<Held, Rejection> {
    // It counts while it waits: many that wait at the same time must not all be taken for the first.
    let (transfer, others) = case.outlet.activity.transfer();
    let demand = Demand { largest: largest(others), ..demand };
    let place = case.runtime.buffers.place(case.head.client, demand).await?;
    Ok(Held::over(place, transfer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bodies_of_one_connection_are_bounded() {
        // A frame under way and one that waits, of which the allocator rounds up a part: see `budget::Demand`.
        let all: usize = (0..100).map(|others| largest_frame(others) * 5 / 2).sum();
        assert!(all <= 8 << 20, "{all}");
        assert_eq!(largest_frame(0), LARGEST_FRAME);
    }
}
