//! In which order the servers of an upstream are asked.

use std::{
    cmp::Ordering as Compared,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use aws_lc_rs::digest::{SHA256, digest};

use super::server::Server;
use crate::{
    config::Balance,
    registry::{BlobVerb, ManifestVerb, Reference, Route},
};

/// 2^64 divided by the golden ratio: its multiples fall evenly everywhere, so that each server's part of the line is met
/// as often as its weight says, without a state that requests would have to share.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Who may serve a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Eligible {
    /// What a digest names is the same everywhere.
    Everybody,
    /// Replicas only where no primary answers. A pusher asks whether something exists in order to leave it out, and
    /// a replica does not know what the primary has given up.
    PrimariesFirst,
    /// What changes, and what changes it.
    Primaries,
}

impl Eligible {
    pub(super) fn of(route: &Route) -> Self {
        match route {
            Route::Blob { verb: BlobVerb::Get, .. }
            | Route::Manifest { reference: Reference::Digest(_), verb: ManifestVerb::Get, .. } => Self::Everybody,
            Route::Blob { verb: BlobVerb::Head, .. }
            | Route::Manifest { reference: Reference::Digest(_), verb: ManifestVerb::Head, .. } => Self::PrimariesFirst,
            Route::Blob { verb: BlobVerb::Delete, .. }
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
            | Route::Preflight { .. } => Self::Primaries,
        }
    }
}

/// The choice of one pool.
#[derive(Debug)]
pub(super) struct Selector {
    balance: Balance,
    turn: AtomicU64,
}

impl Selector {
    pub(super) fn new(balance: Balance) -> Self {
        Self { balance, turn: AtomicU64::new(0) }
    }

    /// The servers that may serve the route, the best first; those that lost their turn come last.
    pub(super) fn order(&self, servers: &[Arc<Server>], route: &Route) -> Vec<Arc<Server>> {
        let eligible = Eligible::of(route);
        let mut order: Vec<(Rank, &Arc<Server>)> = servers
            .iter()
            .filter(|server| eligible != Eligible::Primaries || server.is_primary())
            .map(|server| (self.rank(server, eligible, route), server))
            .collect();
        order.sort_by(|(one, _), (other, _)| one.compare(other));
        self.take_turns(&mut order);
        order.into_iter().map(|(_, server)| Arc::clone(server)).collect()
    }

    fn rank(&self, server: &Server, eligible: Eligible, route: &Route) -> Rank {
        let cost = match (self.balance, digest_of(route)) {
            (Balance::ByDigest, Some(name)) => distance(&name, server),
            (Balance::RoundRobin, _) => 0.0,
            (Balance::LeastRequests | Balance::ByDigest, _) => {
                #[allow(clippy::cast_precision_loss)] // requests under way are few
                let load = server.under_way() as f64;
                load / server.share()
            }
        };
        Rank {
            behind: eligible == Eligible::PrimariesFirst && !server.is_primary(),
            down: !server.health.is_up(),
            cost,
            share: server.share(),
        }
    }

    /// Among the best that are equal, the next whose turn it is by weight.
    fn take_turns(&self, order: &mut [(Rank, &Arc<Server>)]) {
        let Some((best, _)) = order.first() else { return };
        let equal: Vec<f64> =
            order.iter().map(|(rank, _)| rank).take_while(|rank| rank.compare(best).is_eq()).map(|r| r.share).collect();
        if equal.len() < 2 {
            return;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed).wrapping_mul(GOLDEN);
        let chosen = pick(&equal, turn);
        order.get_mut(..equal.len()).unwrap_or_default().rotate_left(chosen);
    }
}

/// What servers are compared by.
struct Rank {
    behind: bool,
    down: bool,
    cost: f64,
    share: f64,
}

impl Rank {
    fn compare(&self, other: &Self) -> Compared {
        self.behind.cmp(&other.behind).then(self.down.cmp(&other.down)).then(self.cost.total_cmp(&other.cost))
    }
}

/// Whose part of a line the point lies in, where each part is as long as the share says; `point` is a fraction of 2^64.
fn pick(shares: &[f64], point: u64) -> usize {
    #[allow(clippy::cast_precision_loss)] // a point on a line need not be exact
    let mut left = (point >> 11) as f64 / 2_f64.powi(53) * shares.iter().sum::<f64>();
    for (index, share) in shares.iter().enumerate() {
        left -= share;
        if left < 0.0 {
            return index;
        }
    }
    shares.len().saturating_sub(1)
}

fn digest_of(route: &Route) -> Option<String> {
    match route {
        Route::Blob { digest, .. } | Route::Manifest { reference: Reference::Digest(digest), .. } => {
            Some(digest.to_string())
        }
        Route::Manifest { reference: Reference::Tag(_), .. }
        | Route::Landing(_)
        | Route::Base(_)
        | Route::Token(_)
        | Route::Catalog { .. }
        | Route::TagList { .. }
        | Route::Upload { .. }
        | Route::Referrers { .. }
        | Route::Notary { .. }
        | Route::Ui { .. }
        | Route::Preflight { .. } => None,
    }
}

/// Weighted rendezvous hashing: each server draws a number for the digest, the least wins. Where a server leaves, only
/// what it had moves; every gate that knows the servers by the same addresses draws the same.
fn distance(name: &str, server: &Server) -> f64 {
    -draw(name, server.name()).ln() / server.share()
}

/// A number between 0 and 1, neither of them.
fn draw(name: &str, server: &str) -> f64 {
    let hash = digest(&SHA256, format!("{name} {server}").as_bytes());
    let bits = hash.as_ref().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    #[allow(clippy::cast_precision_loss)] // 53 bits are as good
    let drawn = ((bits >> 11) as f64 + 0.5) / 2_f64.powi(53);
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_follow_the_weights() {
        let shares = [1.0, 2.0, 5.0];
        let mut counts = [0_i32; 3];
        for turn in 0..800_u64 {
            counts[pick(&shares, turn.wrapping_mul(GOLDEN))] += 1;
        }
        for (count, wanted) in counts.into_iter().zip([100, 200, 500]) {
            assert!((count - wanted).abs() <= 5, "{counts:?}");
        }
        assert_eq!(pick(&shares, u64::MAX), 2);
    }

    #[test]
    fn draws_follow_the_weights_and_stay_where_a_server_leaves() {
        let servers = [("http://a:5000", 1.0), ("http://b:5000", 2.0), ("http://c:5000", 5.0)];
        let winner = |name: &str, without: Option<usize>| {
            let best = servers.iter().enumerate().filter(|(index, _)| Some(*index) != without);
            let cost = |(_, (server, share)): &(usize, &(&str, f64))| -draw(name, server).ln() / share;
            best.min_by(|one, other| cost(one).total_cmp(&cost(other))).unwrap().0
        };
        let names: Vec<String> = (0..8000).map(|number| format!("sha256:{number:064x}")).collect();
        let mut counts = [0_i32; 3];
        for name in &names {
            let first = winner(name, None);
            counts[first] += 1;
            for without in (0..3).filter(|without| *without != first) {
                assert_eq!(winner(name, Some(without)), first);
            }
        }
        for (count, wanted) in counts.into_iter().zip([1000, 2000, 5000]) {
            assert!((count - wanted).abs() < wanted / 10, "{counts:?}");
        }
    }
}
