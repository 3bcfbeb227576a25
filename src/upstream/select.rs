//! In which order the servers of an upstream are asked.

use std::{
    cmp::Ordering as Compared,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use aws_lc_rs::digest::{SHA256, digest};

use super::server::Server;
use crate::{
    config::Balance,
    registry::{BlobVerb, ManifestVerb, Reference, Route},
};

/// What a server may have under way beyond its part before it counts as busy: even those who keep up do not always.
const SLACK: f64 = 1.25;
/// One turn, in the unit that turns are counted in.
const TURN: i64 = 1 << 20;
/// How many turns a server may be owed, or have had too many.
const MOST_OWED: i64 = 4 * TURN;

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
    /// The servers' weights, by their positions.
    weights: Vec<u32>,
    /// The turns that each server is owed, by its position. Requests at the same time may take the same one; the next ones
    /// make up for it.
    owed: Vec<AtomicI64>,
}

impl Selector {
    /// For servers of these weights.
    pub(super) fn new(balance: Balance, weights: Vec<u32>) -> Self {
        Self { balance, owed: weights.iter().map(|_| AtomicI64::new(0)).collect(), weights }
    }

    /// The servers that may serve the route, the best first; those that lost their turn come last.
    pub(super) fn order(&self, servers: &[Arc<Server>], route: &Route) -> Vec<Arc<Server>> {
        if let [only] = servers {
            return vec![Arc::clone(only)];
        }
        let eligible = Eligible::of(route);
        let name = if self.balance == Balance::ByDigest { digest_of(route) } else { None };
        let placed = servers.iter().zip(&self.weights).enumerate();
        let may = placed.filter(|(_, (server, _))| eligible != Eligible::Primaries || server.is_primary());
        let mut order: Vec<Candidate<'_>> = may
            .map(|(index, (server, weight))| {
                // Less while it is on its way back.
                let share = f64::from(*weight) * server.health.share();
                Candidate {
                    server,
                    index,
                    out: !server.health.is_up(),
                    behind: eligible == Eligible::PrimariesFirst && !server.is_primary(),
                    busy: false,
                    share,
                    cost: name.as_ref().map_or_else(|| load(server, share), |name| distance(name, server, share)),
                }
            })
            .collect();
        if name.is_none() && self.balance != Balance::RoundRobin {
            mark_busy(&mut order);
        }
        order.sort_by(Candidate::compare);
        if name.is_none() {
            self.take_turns(&mut order);
        }
        let mut order: Vec<_> = order.into_iter().map(|candidate| Arc::clone(candidate.server)).collect();
        // Whoever asks again for what was damaged gets it elsewhere, where somebody has it whole.
        if eligible == Eligible::Everybody
            && order.iter().any(|server| server.spoils_some())
            && let Some(digest) = digest_of(route)
        {
            order.sort_by_key(|server| server.spoils(&digest));
        }
        order
    }

    /// Among the best that are not busy, the one that is owed most comes first: each request owes every server a turn in
    /// part, by weight, and the one that is asked has had a whole one.
    fn take_turns(&self, order: &mut [Candidate<'_>]) {
        let Some(class) = order.first().map(Candidate::class) else { return };
        let free = order.iter().take_while(|candidate| candidate.class() == class && !candidate.busy).count();
        let equals: Vec<(usize, f64)> = order
            .iter()
            .take_while(|candidate| candidate.class() == class)
            .map(|candidate| (candidate.index, candidate.share))
            .collect();
        let chosen = next(&self.owed, &equals, free.max(1));
        if let Some(first) = order.get_mut(..=chosen) {
            first.rotate_right(1);
        }
    }
}

/// What servers are compared by.
struct Candidate<'a> {
    server: &'a Arc<Server>,
    index: usize,
    out: bool,
    behind: bool,
    /// It has its part of the requests under way already.
    busy: bool,
    share: f64,
    cost: f64,
}

impl Candidate<'_> {
    fn class(&self) -> (bool, bool) {
        (self.behind, self.out)
    }

    fn compare(&self, other: &Self) -> Compared {
        let classes = self.class().cmp(&other.class());
        classes.then(self.busy.cmp(&other.busy)).then(self.cost.total_cmp(&other.cost))
    }
}

/// Requests under way, for the server's share.
fn load(server: &Server, share: f64) -> f64 {
    #[allow(clippy::cast_precision_loss)] // requests under way are few
    let requests = server.under_way() as f64;
    requests / share
}

/// A server is busy that has more requests under way, by [`SLACK`], than it would have if those of all were dealt out by
/// weight. So a slow one gets no more than it finishes, and among the others weights alone decide, however few requests
/// there are.
fn mark_busy(order: &mut [Candidate<'_>]) {
    let class = order.iter().map(Candidate::class).min();
    let best = order.iter().filter(|candidate| Some(candidate.class()) == class);
    let (requests, shares) = best.fold((1.0, 0.0), |(requests, shares), candidate| {
        (requests + candidate.cost * candidate.share, shares + candidate.share)
    });
    for candidate in order {
        candidate.busy = is_busy(candidate.cost * candidate.share, candidate.share, requests / shares);
    }
}

fn is_busy(requests: f64, share: f64, level: f64) -> bool {
    // Of numbers that were multiplied and divided, one that should be whole may be a little more.
    requests + 0.5 > (level * share * SLACK - 1e-6).ceil()
}

/// Which of the first `free` of these servers, each with its share, is owed most; all are owed a part of this turn.
fn next(owed: &[AtomicI64], servers: &[(usize, f64)], free: usize) -> usize {
    let shares: f64 = servers.iter().map(|(_, share)| share).sum();
    let (mut chosen, mut most) = (0, i64::MIN);
    for (position, (index, share)) in servers.iter().enumerate() {
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // at most one turn
        let part = (share / shares * TURN as f64) as i64;
        let Some(owed) = owed.get(*index) else { continue };
        let now = change(owed, part);
        if position < free && now > most {
            (chosen, most) = (position, now);
        }
    }
    if let Some(owed) = servers.get(chosen).and_then(|(index, _)| owed.get(*index)) {
        change(owed, -TURN);
    }
    chosen
}

fn change(owed: &AtomicI64, by: i64) -> i64 {
    let changed = |now: i64| (now + by).clamp(-MOST_OWED, MOST_OWED);
    changed(owed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| Some(changed(now))).unwrap_or_default())
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
fn distance(name: &str, server: &Server, share: f64) -> f64 {
    -draw(name, server.name()).ln() / share
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

    /// Where this many clients ask one after the other, and each server needs so long for an answer.
    fn dealt(shares: [f64; 3], times: [u64; 3], clients: usize) -> [i32; 3] {
        let (owed, mut counts) = ([const { AtomicI64::new(0) }; 3], [0; 3]);
        // When each request ends, and where it is.
        let mut under_way: Vec<(u64, usize)> = Vec::new();
        for turn in 0..8000_u64 {
            let mut now = 0;
            if under_way.len() == clients {
                under_way.sort_unstable();
                now = under_way.remove(0).0;
            }
            let busy = |index: usize| {
                let requests = under_way.iter().filter(|(_, at)| *at == index).count() as f64;
                let level = (under_way.len() + 1) as f64 / shares.iter().sum::<f64>();
                is_busy(requests, shares[index], level)
            };
            let mut servers: Vec<_> = shares.into_iter().enumerate().collect();
            servers.sort_by_key(|(index, _)| busy(*index));
            let free = servers.iter().filter(|(index, _)| !busy(*index)).count();
            let at = servers[next(&owed, &servers, free)].0;
            counts[at] += 1;
            // No two take exactly as long.
            under_way.push((now + times[at] * (50 + turn.wrapping_mul(7919) % 101), at));
        }
        counts
    }

    #[test]
    fn turns_follow_the_weights() {
        for clients in [1, 2, 3, 4, 8, 16, 64] {
            for shares in [[1.0, 1.0, 1.0], [1.0, 2.0, 5.0], [0.1, 1.0, 1.0]] {
                let counts = dealt(shares, [1, 1, 1], clients);
                let all = shares.iter().sum::<f64>();
                for (count, share) in counts.into_iter().zip(shares) {
                    let wanted = 8000.0 * share / all;
                    assert!(
                        (f64::from(count) - wanted).abs() < wanted / 12.0 + 1.0,
                        "{clients} of {shares:?}: {counts:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_slow_server_gets_less_as_soon_as_somebody_waits_for_it() {
        assert_eq!(dealt([1.0, 1.0, 1.0], [8, 1, 1], 1).map(|count| (count + 50) / 100), [27, 27, 27]);
        for clients in [4, 8, 16, 64] {
            let [slow, second, third] = dealt([1.0, 1.0, 1.0], [8, 1, 1], clients);
            assert!(slow * 3 < second.min(third), "{clients}: {slow} {second} {third}");
        }
    }

    #[test]
    fn what_is_owed_has_a_limit() {
        let owed = [const { AtomicI64::new(0) }; 2];
        for _ in 0..100 {
            assert_eq!(next(&owed, &[(0, 1.0), (1, 1.0)], 1), 0);
        }
        assert!(owed.iter().all(|owed| owed.load(Ordering::Relaxed).abs() <= MOST_OWED), "{owed:?}");
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
