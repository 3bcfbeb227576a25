//! What changes a registry right now, so that nothing is collected while it does.

use std::{
    collections::{HashMap, VecDeque},
    hash::BuildHasher,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::registry::{Change, Route};

/// An upload whose last request is longer ago counts as abandoned, and a write whose answer nobody saw as over. Clients
/// send an upload's requests one right after the other.
const QUIET: Duration = Duration::from_secs(60);

/// More than so many uploads, or unanswered writes, are not told apart.
const MOST: usize = 65_536;

/// The writes of one registry that this process knows to be open. It outlives reloads, and nothing of it is stored.
///
/// Open is
/// - a request under way that changes something, from before it leaves for the registry until the registry's answer,
/// - for a minute, a write whose answer was not awaited or did not come, since the registry may still be at it,
/// - for a minute after its last request here, an upload that was neither finished nor given up.
#[derive(Debug, Default)]
pub struct Writes(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    under_way: usize,
    /// When those began to be unknown, oldest first.
    unanswered: VecDeque<Instant>,
    /// Uploads between two requests, by a hash of their ids, and when the last request ended.
    waiting: HashMap<u64, Instant>,
    /// When an upload last found no place in `waiting`.
    untold: Option<Instant>,
    hasher: std::hash::RandomState,
}

/// A write under way. Dropped without a word, it counts as one whose end nobody saw.
#[must_use]
#[derive(Debug)]
pub struct OpenWrite {
    writes: Arc<Writes>,
    upload: Option<u64>,
    ended: bool,
}

impl Writes {
    /// Counts a route that changes something; None for any other.
    pub fn begin(self: &Arc<Self>, route: &Route) -> Option<OpenWrite> {
        let mut state = self.lock();
        let upload = match route.change() {
            Change::None => return None,
            Change::Begins => None,
            Change::Continues => route.upload_session().map(|(_, session)| state.key(session.id.as_str())),
        };
        if let Some(upload) = upload {
            state.waiting.remove(&upload);
        }
        state.under_way += 1;
        Some(OpenWrite { writes: Arc::clone(self), upload, ended: false })
    }

    /// An upload was given up.
    pub fn gave_up(&self, upload: &str) {
        let mut state = self.lock();
        let key = state.key(upload);
        state.waiting.remove(&key);
    }

    /// How many are open; `uploads` where those between two requests count.
    pub fn open(&self, uploads: bool) -> usize {
        self.lock().open(uploads, Instant::now())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenWrite {
    /// The registry answered, and no upload is left that could go on.
    pub fn settled(mut self) {
        self.ended = true;
        self.upload = None;
    }

    /// The registry answered, and this upload may go on.
    pub fn goes_on(mut self, upload: &str) {
        self.ended = true;
        self.upload = Some(self.writes.lock().key(upload));
    }
}

impl Drop for OpenWrite {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut state = self.writes.lock();
        state.under_way = state.under_way.saturating_sub(1);
        match self.upload {
            Some(upload) => state.wait(upload, now),
            None if self.ended => {}
            None => state.forget(now),
        }
    }
}

impl State {
    fn key(&self, upload: &str) -> u64 {
        self.hasher.hash_one(upload)
    }

    fn wait(&mut self, upload: u64, now: Instant) {
        if self.waiting.len() >= MOST {
            self.waiting.retain(|_, since| is_recent(*since, now));
        }
        if self.waiting.len() < MOST {
            self.waiting.insert(upload, now);
        } else {
            self.untold = Some(now);
        }
    }

    fn forget(&mut self, now: Instant) {
        if self.unanswered.len() >= MOST {
            self.unanswered.pop_front();
        }
        self.unanswered.push_back(now);
    }

    fn open(&mut self, uploads: bool, now: Instant) -> usize {
        while self.unanswered.front().is_some_and(|since| !is_recent(*since, now)) {
            self.unanswered.pop_front();
        }
        self.waiting.retain(|_, since| is_recent(*since, now));
        let untold = usize::from(self.untold.is_some_and(|since| is_recent(since, now)));
        let waiting = if uploads { self.waiting.len() + untold } else { 0 };
        self.under_way + self.unanswered.len() + waiting
    }
}

fn is_recent(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) < QUIET
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn route(method: &str, rest: &str) -> Route {
        let digest = format!("sha256:{}", "a".repeat(64));
        let target = format!("/v2/team-a/app/{}", rest.replace('D', &digest));
        let (path, query) = target.split_once('?').map_or((target.as_str(), None), |(path, query)| (path, Some(query)));
        Route::parse(&Method::from_bytes(method.as_bytes()).unwrap(), path, query, "/token").unwrap()
    }

    fn later(writes: &Writes, seconds: u64) -> usize {
        writes.lock().open(true, Instant::now() + Duration::from_secs(seconds))
    }

    #[test]
    fn what_changes_nothing_is_not_counted() {
        let writes = Arc::new(Writes::default());
        for (method, rest) in [
            ("GET", "manifests/v1"),
            ("HEAD", "blobs/D"),
            ("GET", "tags/list"),
            ("GET", "blobs/uploads/u"),
            ("DELETE", "blobs/uploads/u"),
        ] {
            assert!(writes.begin(&route(method, rest)).is_none(), "{method} {rest}");
        }
        assert_eq!(writes.open(true), 0);
    }

    #[test]
    fn a_write_is_open_until_it_is_answered() {
        let writes = Arc::new(Writes::default());
        let manifest = writes.begin(&route("PUT", "manifests/v1")).unwrap();
        let blob = writes.begin(&route("DELETE", "blobs/D")).unwrap();
        assert_eq!((writes.open(true), writes.open(false)), (2, 2));
        manifest.settled();
        assert_eq!(writes.open(false), 1);
        // Nobody knows what became of it.
        drop(blob);
        assert_eq!((writes.open(true), writes.open(false)), (1, 1));
        assert_eq!((later(&writes, 59), later(&writes, 61)), (1, 0));
    }

    #[test]
    fn an_upload_is_open_from_its_start_to_its_end() {
        let writes = Arc::new(Writes::default());
        writes.begin(&route("POST", "blobs/uploads/")).unwrap().goes_on("u-1");
        assert_eq!((writes.open(true), writes.open(false)), (1, 0));
        let chunk = writes.begin(&route("PATCH", "blobs/uploads/u-1")).unwrap();
        assert_eq!((writes.open(true), writes.open(false)), (1, 1));
        chunk.goes_on("u-1");
        assert_eq!((later(&writes, 59), later(&writes, 61)), (1, 0));
        let aborted = writes.begin(&route("PATCH", "blobs/uploads/u-1")).unwrap();
        drop(aborted);
        assert_eq!((writes.open(true), writes.open(false)), (1, 0));
        writes.begin(&route("PUT", "blobs/uploads/u-1?digest=D")).unwrap().settled();
        assert_eq!(writes.open(true), 0);
    }

    #[test]
    fn an_upload_that_is_given_up_is_over() {
        let writes = Arc::new(Writes::default());
        writes.begin(&route("POST", "blobs/uploads/")).unwrap().goes_on("u-1");
        writes.begin(&route("POST", "blobs/uploads/")).unwrap().goes_on("u-2");
        writes.gave_up("u-1");
        writes.gave_up("u-3");
        assert_eq!(writes.open(true), 1);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_never_nothing() {
        let mut state = State::default();
        let now = Instant::now();
        for upload in 0..MOST as u64 + 10 {
            state.wait(upload, now);
            state.forget(now);
        }
        assert_eq!((state.waiting.len(), state.unanswered.len()), (MOST, MOST));
        let end = now + QUIET;
        state.wait(0, end - Duration::from_secs(1));
        assert_eq!(state.open(true, end), 1);
        assert_eq!(state.open(true, end + QUIET), 0);
    }
}
