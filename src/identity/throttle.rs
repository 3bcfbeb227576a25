//! How many failed logins a network may have: token buckets, one for each name in each network, one for each network, and
//! the same again for each site of IPv6, whose 65,536 networks may be one client's.
//!
//! A bucket is the time at which it is empty again: a failure moves that on by `per / count`, and there is room as long as
//! it is no more than `per` away. A login takes its place before it is verified, so that however many come at a time, no
//! more are verified than may fail; a success gives the place back. (`governor`'s keyed limiters know neither places that
//! are given back nor a bound on keys that keeps those under attack.)
//!
//! There is no bucket that nothing failed in, so verifying is what makes them, and there are at most [`CAPACITY`]: a full
//! table drops the bucket that is empty first, which one under attack is not.

use std::{
    collections::{BTreeSet, HashMap},
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{network::Network, spelling};
use crate::{config::FailedLogins, telemetry::metrics};

/// How often as many a network may have over all names: trying one password on many names is bounded too. So many people
/// behind one address may still log in at a time.
const NAMES: u32 = 100;
/// How often as many a site may have over all of its networks: it may as well be many clients'.
const NETWORKS: u32 = 16;
/// How many buckets are kept, those of logins under way apart: 25 MiB at most.
const CAPACITY: usize = 65_536;
/// How often the log speaks of one bucket.
const TELLING: Duration = Duration::from_secs(60);
/// The most of a name that the log shows, in characters.
const LONGEST_NAME: usize = 128;

/// Too many logins failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many failed logins; the next one is possible in {retry_after:?}")]
pub(super) struct Throttled {
    pub(super) retry_after: Duration,
}

/// How many are refused for now because too many logins failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Barred {
    /// Names, each in one network or site.
    pub names: usize,
    /// Networks and sites, with any name.
    pub networks: usize,
}

/// The buckets of a process, whatever is read again.
pub(super) struct Throttle {
    epoch: Instant,
    hasher: RandomState,
    capacity: usize,
    table: Mutex<Table>,
}

/// A name in a network or site; without a name the network or site itself.
type Key = (Network, Option<u64>);

#[derive(Default)]
struct Table {
    /// By which the buckets were filled.
    limit: FailedLogins,
    buckets: HashMap<Key, Bucket>,
    /// The buckets that nobody is using just now, the first to be empty first.
    idle: BTreeSet<(Duration, Key)>,
}

/// Times count from the table's epoch.
#[derive(Clone, Copy, Default)]
struct Bucket {
    /// When it is empty.
    empty: Duration,
    /// Logins that are being verified.
    under_way: u32,
    /// When the log spoke of it last.
    told: Option<Duration>,
}

/// How fast a bucket empties, and how much it holds.
#[derive(Clone, Copy)]
struct Rate {
    step: Duration,
    per: Duration,
}

/// The bucket of a name, that of its network, and both of its site.
fn all(key: Key) -> impl Iterator<Item = Key> {
    let (network, name) = key;
    [Some(network), network.site()].into_iter().flatten().flat_map(move |from| [(from, name), (from, None)])
}

impl Rate {
    /// Of a bucket.
    fn of((network, name): Key, limit: FailedLogins) -> Self {
        let names = if name.is_some() { 1 } else { NAMES };
        let networks = match network {
            Network::V4(_) | Network::V6(_) => 1,
            Network::Site(_) => NETWORKS,
        };
        Self { step: limit.per / limit.count.max(1).saturating_mul(names * networks), per: limit.per }
    }

    /// How long until there is room for one more; zero: there is.
    fn wait(self, bucket: Bucket, now: Duration) -> Duration {
        let taken = self.step.saturating_mul(bucket.under_way.saturating_add(1));
        (self.owed(bucket, now) + taken).saturating_sub(self.per)
    }

    /// What is left of earlier failures.
    fn owed(self, bucket: Bucket, now: Duration) -> Duration {
        bucket.empty.saturating_sub(now)
    }

    /// The same as so many failures.
    fn failures(self, bucket: Bucket, now: Duration) -> f64 {
        self.owed(bucket, now).as_secs_f64() / self.step.max(Duration::from_nanos(1)).as_secs_f64()
    }

    fn after_failure(self, bucket: Bucket, now: Duration) -> Duration {
        now + (self.owed(bucket, now) + self.step).min(self.per)
    }
}

impl Throttle {
    pub(super) fn new() -> Self {
        Self::with(CAPACITY)
    }

    fn with(capacity: usize) -> Self {
        Self { epoch: Instant::now(), hasher: RandomState::new(), capacity, table: Mutex::default() }
    }

    /// A place for a login that is to be verified.
    pub(super) fn admit(
        self: &Arc<Self>,
        limit: Option<FailedLogins>,
        name: &str,
        network: Network,
    ) -> Result<Attempt, Throttled> {
        let Some(limit) = limit else { return Ok(Attempt(None)) };
        let key = self.key(name, network);
        let now = self.epoch.elapsed();
        let mut table = self.lock();
        table.obey(limit, now);
        match table.room(key, now) {
            Ok(()) => all(key).for_each(|key| table.begin(key)),
            Err(full) => {
                let tell = table.tells(full.key, now);
                drop(table);
                return Err(full.says(name, tell));
            }
        }
        Ok(Attempt(Some(Place { throttle: Arc::clone(self), key })))
    }

    /// Counts a login that has failed already; the error says that there is no room for it.
    pub(super) fn fail(
        self: &Arc<Self>,
        limit: Option<FailedLogins>,
        name: &str,
        network: Network,
    ) -> Result<(), Throttled> {
        self.admit(limit, name, network).map(drop)
    }

    /// How much has no room for a failure now. Looks at every bucket.
    pub(super) fn barred(&self) -> Barred {
        let now = self.epoch.elapsed();
        let table = self.lock();
        let full =
            table.buckets.iter().filter(|(key, bucket)| !Rate::of(**key, table.limit).wait(**bucket, now).is_zero());
        full.fold(Barred::default(), |count, ((_, name), _)| match name {
            Some(_) => Barred { names: count.names + 1, ..count },
            None => Barred { networks: count.networks + 1, ..count },
        })
    }

    /// What a directory may take for one name shares a bucket: else each spelling had its own guesses.
    fn key(&self, name: &str, network: Network) -> Key {
        (network, Some(self.hasher.hash_one(spelling::outline(name))))
    }

    fn settle(&self, key: Key, failed: bool) {
        let now = self.epoch.elapsed();
        let mut table = self.lock();
        for key in all(key) {
            table.end(key, now, failed);
        }
        table.tidy(now, self.capacity);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// There is no room in a bucket.
struct Full {
    key: Key,
    wait: Duration,
}

impl Full {
    fn says(&self, name: &str, tell: bool) -> Throttled {
        let retry_after = whole_seconds(self.wait);
        let (network, of) = (self.key.0, if self.key.1.is_some() { "name" } else { "network" });
        metrics::login_throttled(of);
        if tell {
            let name: String = name.chars().take(LONGEST_NAME).collect();
            let seconds = retry_after.as_secs();
            let why = "too many failed logins, no password is verified for now: limits.failed_logins";
            tracing::warn!(%network, name, of, retry_after = seconds, "{why}");
        }
        Throttled { retry_after }
    }
}

impl Table {
    /// What failed under another limit goes on as so many failures under this one.
    fn obey(&mut self, limit: FailedLogins, now: Duration) {
        if self.limit == limit {
            return;
        }
        for (key, bucket) in &mut self.buckets {
            let [before, after] = [self.limit, limit].map(|limit| Rate::of(*key, limit));
            let owed = after.step.as_secs_f64() * before.failures(*bucket, now);
            bucket.empty = now + Duration::try_from_secs_f64(owed).unwrap_or(after.per).min(after.per);
        }
        self.limit = limit;
        let idle = self.buckets.iter().filter(|(_, bucket)| bucket.under_way == 0);
        self.idle = idle.map(|(key, bucket)| (bucket.empty, *key)).collect();
    }

    /// The error is of the bucket that has no room for the longest.
    fn room(&self, key: Key, now: Duration) -> Result<(), Full> {
        let full = all(key).filter_map(|key| {
            let wait = Rate::of(key, self.limit).wait(*self.buckets.get(&key)?, now);
            (!wait.is_zero()).then_some(Full { key, wait })
        });
        full.max_by_key(|full| full.wait).map_or(Ok(()), Err)
    }

    fn begin(&mut self, key: Key) {
        let bucket = self.buckets.entry(key).or_default();
        bucket.under_way = bucket.under_way.saturating_add(1);
        self.idle.remove(&(bucket.empty, key));
    }

    /// Ends what [`Table::begin`] began.
    fn end(&mut self, key: Key, now: Duration, failed: bool) {
        let Some(bucket) = self.buckets.get_mut(&key) else { return };
        bucket.under_way = bucket.under_way.saturating_sub(1);
        if failed {
            bucket.empty = Rate::of(key, self.limit).after_failure(*bucket, now);
        }
        if bucket.under_way == 0 {
            self.idle.insert((bucket.empty, key));
        }
    }

    /// Drops what is empty, and what will be first where there are too many.
    fn tidy(&mut self, now: Duration, capacity: usize) {
        while let Some((empty, key)) = self.idle.first().copied()
            && (empty <= now || self.idle.len() > capacity)
        {
            self.idle.pop_first();
            self.buckets.remove(&key);
        }
    }

    /// Whether it is time to speak of a bucket.
    fn tells(&mut self, key: Key, now: Duration) -> bool {
        let Some(bucket) = self.buckets.get_mut(&key) else { return false };
        let due = bucket.told.is_none_or(|told| now.saturating_sub(told) >= TELLING);
        if due {
            bucket.told = Some(now);
        }
        due
    }
}

/// A login that is being verified. It counts as failed unless something else is said of it: also where nobody waits for
/// the answer any more, since the password was tried.
pub(super) struct Attempt(Option<Place>);

struct Place {
    throttle: Arc<Throttle>,
    key: Key,
}

impl Attempt {
    /// A success, or no outcome for a reason that is not the client's.
    pub(super) fn gives_back(mut self) {
        if let Some(place) = self.0.take() {
            place.throttle.settle(place.key, false);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(place) = self.0.take() {
            place.throttle.settle(place.key, true);
        }
    }
}

/// Rounded up, and at least one.
fn whole_seconds(wait: Duration) -> Duration {
    let up = u64::from(wait.subsec_nanos() > 0);
    Duration::from_secs(wait.as_secs().saturating_add(up).max(1))
}

#[cfg(test)]
mod tests;
