//! Recent successes: keyed MAC of name and password, valid while the proof is unchanged.
//!
//! What is proven once need not be proven again at every request of a client that sends Basic credentials each time.
//! The cache holds no password and no hash: a key is a MAC under a key of this process, and an entry counts only while
//! the provider's present standing has the proof of that login.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use aws_lc_rs::{digest, error::Unspecified, hmac, rand::SystemRandom};
use moka::sync::Cache;
use tokio::sync::OnceCell;

use super::{BasicCredentials, Proof, Standing};

/// How many logins are remembered.
const CAPACITY: u64 = 10_000;
/// How long it is known that a login succeeded once. That proves nothing after its lifetime, but it is no guess. Machines
/// log in every night or every week, and not to the second.
const KNOWN: Duration = Duration::from_secs(8 * 24 * 60 * 60);

/// A MAC over a provider's name and what was sent.
pub(super) type Key = [u8; digest::SHA256_OUTPUT_LEN];

/// The logins that succeeded of late.
pub(super) struct Successes {
    secret: hmac::Key,
    entries: Cache<Key, Success>,
}

/// One login that succeeded.
#[derive(Clone)]
pub(super) struct Success {
    pub(super) proof: Proof,
    /// The provider's spelling of the name.
    pub(super) name: Arc<str>,
    proven: Instant,
}

impl Successes {
    /// Fails where the system has no random numbers.
    pub(super) fn new() -> Result<Self, Unspecified> {
        let secret = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())?;
        Ok(Self { secret, entries: Cache::builder().max_capacity(CAPACITY).time_to_live(KNOWN).build() })
    }

    /// The key of a login at a provider; an empty name stands for all providers together.
    pub(super) fn key(&self, provider: &str, login: &BasicCredentials) -> Key {
        let mut context = hmac::Context::with_key(&self.secret);
        // Lengths come first, so that no letter can move from one part to the next.
        for part in [provider, &login.username, login.password.reveal()] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut key = Key::default();
        key.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
        key
    }

    pub(super) fn remember(&self, key: Key, standing: &Standing) {
        let success =
            Success { proof: standing.proof.clone(), name: Arc::clone(&standing.name), proven: Instant::now() };
        self.entries.insert(key, success);
    }

    /// A success that was proven less than `lifetime` ago. Whether its proof still holds is for the caller to ask.
    pub(super) fn recall(&self, key: &Key, lifetime: Duration) -> Option<Success> {
        self.entries.get(key).filter(|success| success.proven.elapsed() < lifetime)
    }

    /// True where it succeeded at any time of late, and nothing since then says that it would not.
    pub(super) fn knows(&self, key: &Key) -> bool {
        self.entries.contains_key(key)
    }

    pub(super) fn forget(&self, key: &Key) {
        self.entries.invalidate(key);
    }
}

/// Work under way, so that identical logins at the same time are verified once.
pub(super) struct Flights<T>(Mutex<HashMap<Key, Weak<OnceCell<T>>>>);

impl<T: Clone> Flights<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    /// Does the work, or waits for the result of who does it already. Where that one gives up, another takes over.
    pub(super) async fn run(&self, key: Key, work: impl Future<Output = T>) -> T {
        let seat = Seat { flights: self, key, cell: Some(self.board(key)) };
        match &seat.cell {
            Some(cell) => cell.get_or_init(|| work).await.clone(),
            None => work.await,
        }
    }

    fn board(&self, key: Key) -> Arc<OnceCell<T>> {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = flights.get(&key).and_then(Weak::upgrade) {
            return cell;
        }
        let cell = Arc::new(OnceCell::new());
        flights.insert(key, Arc::downgrade(&cell));
        cell
    }
}

/// A share in the work under way; the last to leave takes the entry along, also where the future is dropped.
struct Seat<'a, T> {
    flights: &'a Flights<T>,
    key: Key,
    cell: Option<Arc<OnceCell<T>>>,
}

impl<T> Drop for Seat<'_, T> {
    fn drop(&mut self) {
        let mut flights = self.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: nobody can board in between.
        drop(self.cell.take());
        if flights.get(&self.key).is_some_and(|cell| cell.strong_count() == 0) {
            flights.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests;
