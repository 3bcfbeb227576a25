//! An upstream's catalog, walked as far as a question needs it, and remembered for a short while.
//!
//! distribution (2.8) lists a page by walking its storage from the beginning up to the page's end, whatever `last` says: a
//! page costs the more the further back it is, seconds where there are 100,000 repositories. So only the ranges that the
//! caller's grants reach are sought, a page once asked for serves everybody who asks the same, and what one request could
//! not finish in time the next one goes on with.

mod course;
mod merged;
mod walk;

pub use merged::Catalogs;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use tokio::sync::Semaphore;

use self::{
    course::{Listed, in_some_order},
    walk::{Reading, Walk},
};
use super::{Error, Pool};
use crate::{
    access::Permit,
    registry::{Page, Ranges},
};

/// How long an answer may take, waiting for others included, out of however many catalogs it is made. Clients give up
/// after thirty seconds at the earliest.
const BUDGET: Duration = Duration::from_secs(20);
/// The most upstream pages that are asked for on behalf of one answer.
const REQUESTS: usize = 128;
/// The same where the answer is complete already: so many pages are read ahead, and the next answers come from memory.
const AHEAD_REQUESTS: usize = 8;
/// Names beyond an answer that are enough to know.
const AHEAD: usize = 100;

/// Upstream requests at a time, for all callers together. One caller has one at a time.
const PLACES: usize = 4;
/// Walks remembered, and the bytes of their names together.
const WALKS: usize = 16;
const WALKS_BYTES: usize = 8 * 1024 * 1024;

/// Names asked of an upstream at a time: first as many as distribution gives unless it is set up otherwise
/// (`catalog.maxentries`), then more where it gives more, fewer where it gives fewer.
const SIZE: u32 = 1000;
const LARGER_SIZE: u32 = 10_000;
const SMALLER_SIZE: u32 = 100;
/// Ten thousand names of 255 bytes with room to spare.
const LARGEST_BODY: usize = 4 * 1024 * 1024;

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error(transparent)]
    Upstream(#[from] Error),
    /// Nothing to show was found in time; the same question goes on from there.
    #[error("the catalog is still being read")]
    Unfinished,
}

/// What is asked for.
#[derive(Clone)]
pub struct Question<'a> {
    /// Where names may lie that the caller may see.
    pub ranges: Ranges,
    /// Names after this text, whatever it is.
    pub last: Option<&'a str>,
    /// How many names; not 0.
    pub wanted: usize,
    /// Who asks: each caller has one upstream request at a time.
    pub caller: &'a str,
    pub permit: &'a Permit,
    /// Of the upstream requests.
    pub headers: HeaderMap,
}

/// A page of what the caller may see.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub names: Vec<String>,
    /// There may be more after the last name.
    pub more: bool,
}

/// The walks over one upstream's catalog.
struct Catalog {
    pool: Arc<Pool>,
    /// The one asked for last at the end.
    walks: Mutex<Vec<Arc<Walk>>>,
    places: Arc<Semaphore>,
    callers: Mutex<HashMap<Box<str>, Weak<tokio::sync::Mutex<()>>>>,
    /// The largest page that the upstream was not seen to refuse.
    size: AtomicU32,
    /// The upstream lists names in an order of its own: then nothing can be sought.
    unordered: AtomicBool,
}

impl Catalog {
    fn new(pool: Arc<Pool>) -> Self {
        Self {
            pool,
            walks: Mutex::default(),
            places: Arc::new(Semaphore::new(PLACES)),
            callers: Mutex::default(),
            size: AtomicU32::new(LARGER_SIZE),
            unordered: AtomicBool::new(false),
        }
    }

    /// The next names for which `shows` holds. It is asked anew at every answer, however old the names are.
    ///
    /// A page is shorter than wanted where the time is over. Cancel safe: an upstream request under way then ends by
    /// itself, for whoever asks the same next.
    ///
    /// # Errors
    /// Where the upstream fails, or where nothing was found in time.
    async fn page(
        self: &Arc<Self>,
        question: Question<'_>,
        shows: impl Fn(&str) -> bool,
        until: Instant,
    ) -> Result<Found, CatalogError> {
        let mut walk = self.walk(&question);
        let mut search = Search::new(walk.1, question.wanted);
        for asked in 0..=REQUESTS {
            let reading = walk.0.read(search.position).ok_or(CatalogError::Unfinished)?;
            search.visit(&reading, &shows).await;
            let most = if search.is_full() { AHEAD_REQUESTS } else { REQUESTS };
            let left = until.saturating_duration_since(Instant::now());
            if reading.ended || search.sees_ahead() || asked >= most || left.is_zero() {
                break;
            }
            match tokio::time::timeout(left, self.advance(&walk.0, reading.requests, &question)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) if search.is_full() => break,
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => break,
            }
            if self.unordered.load(Ordering::Relaxed) && !walk.0.ranges().is_everything() {
                walk = self.walk(&question);
                search = Search::new(walk.1, question.wanted);
            }
        }
        let ended = walk.0.next().is_none() && walk.0.read(search.position).is_some_and(|rest| rest.chunks.is_empty());
        if search.found.is_empty() && !ended {
            walk.0.promise();
            return Err(CatalogError::Unfinished);
        }
        Ok(search.page(ended))
    }

    /// The walk that answers the question, and where in it the answer begins.
    fn walk(&self, question: &Question<'_>) -> (Arc<Walk>, usize) {
        let unordered = self.unordered.load(Ordering::Relaxed);
        let ranges = if unordered { Ranges::everything() } else { question.ranges.clone() };
        let mut walks = lock(&self.walks);
        walks.retain(|walk| walk.is_good());
        let known =
            walks.iter().enumerate().find_map(|(index, walk)| Some((index, walk.position(&ranges, question.last)?)));
        let (walk, position) = match known {
            Some((index, position)) => (walks.remove(index), position),
            None => (Arc::new(Walk::new(ranges, question.last)), 0),
        };
        // One that is at its end from the start has nothing that anybody could share.
        if walk.requests() > 0 || walk.next().is_some() {
            walks.push(Arc::clone(&walk));
            trim(&mut walks);
        }
        (walk, position)
    }

    /// Asks for the walk's next page, unless somebody else did since `seen` pages were there.
    async fn advance(self: &Arc<Self>, walk: &Arc<Walk>, seen: usize, question: &Question<'_>) -> Result<(), Error> {
        let turn = self.caller(question.caller).lock_owned().await;
        let driving = Arc::clone(&walk.driving).lock_owned().await;
        if walk.requests() != seen {
            return Ok(());
        }
        // The semaphore is never closed, and a walk without a place would be no harm.
        let place = Arc::clone(&self.places).acquire_owned().await;
        let permit = question.permit.catalog_page(Page::default()).ok_or(Error::Unusable("no catalog permit"))?;
        let (catalog, walk, headers) = (Arc::clone(self), Arc::clone(walk), question.headers.clone());
        // A task of its own, so that a page which takes the upstream longer than a client waits is not asked for in vain.
        let step = tokio::spawn(async move {
            let _held = (turn, driving, place);
            let Some(last) = walk.next() else { return Ok(()) };
            let first = walk.requests() == 0 || !walk.ranges().is_everything();
            let page = catalog.fetch(&permit, &headers, last, if first { SIZE } else { LARGER_SIZE }).await?;
            if !in_some_order(&page.names) {
                catalog.unordered.store(true, Ordering::Relaxed);
            }
            walk.take(&page);
            trim(&mut lock(&catalog.walks));
            Ok(())
        });
        step.await.unwrap_or(Err(Error::Unusable("its catalog could not be read")))
    }

    /// The lock that one caller's upstream requests take, one after the other.
    fn caller(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut callers = lock(&self.callers);
        callers.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = callers.get(name).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        callers.insert(name.into(), Arc::downgrade(&turn));
        turn
    }

    async fn fetch(
        &self,
        permit: &Permit,
        headers: &HeaderMap,
        last: Option<String>,
        size: u32,
    ) -> Result<Listed, Error> {
        let mut size = size.min(self.size.load(Ordering::Relaxed));
        loop {
            let page = Page { n: Some(size), last: last.clone() };
            let permit = permit.catalog_page(page).ok_or(Error::Unusable("no catalog permit"))?;
            let mut exchange = self.pool.fetch(&permit, headers, None).await?;
            let status = exchange.head.status;
            if status == StatusCode::BAD_REQUEST && size > SMALLER_SIZE {
                size = if size > SIZE { SIZE } else { SMALLER_SIZE };
                self.size.fetch_min(size, Ordering::Relaxed);
                continue;
            }
            if status != StatusCode::OK {
                return Err(Error::Unusable("its catalog cannot be read"));
            }
            let follows = exchange.head.headers.contains_key(header::LINK);
            let body = self.patiently(exchange.collect(LARGEST_BODY)).await?;
            exchange.finish();
            let names: Names = serde_json::from_slice(&body).map_err(|_| Error::Unusable("its catalog is not JSON"))?;
            return Ok(Listed { names: names.repositories.unwrap_or_default(), follows });
        }
    }

    /// An upstream that falls silent within a page must not hold its place for ever.
    async fn patiently<T>(&self, body: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let limit = self.pool.timeouts.first_byte;
        tokio::time::timeout(limit, body).await.map_err(|_| Error::Silent(limit))?
    }
}

/// Drops what is old, or too much: first what nobody waits for, the one asked for longest ago before the others. Cheap
/// questions must not push out a walk that somebody was told to come back for.
fn trim(walks: &mut Vec<Arc<Walk>>) {
    walks.retain(|walk| walk.is_good());
    let mut bytes: usize = walks.iter().map(|walk| walk.bytes()).sum();
    while walks.len() > WALKS || bytes > WALKS_BYTES {
        let last = walks.len().saturating_sub(1);
        // The one asked for just now stays.
        let surplus = walks.iter().take(last).position(|walk| !walk.is_awaited()).unwrap_or(0);
        if last == 0 {
            return;
        }
        bytes = bytes.saturating_sub(walks.remove(surplus).bytes());
    }
}

#[derive(Deserialize)]
struct Names {
    /// Null where there are none, by some registries.
    repositories: Option<Vec<String>>,
}

/// One answer being put together.
struct Search {
    wanted: usize,
    /// The number of the next name to look at.
    position: usize,
    found: Vec<String>,
    /// Names beyond the page that may be seen.
    ahead: usize,
}

impl Search {
    fn new(position: usize, wanted: usize) -> Self {
        Self { wanted, position, found: Vec::new(), ahead: 0 }
    }

    async fn visit(&mut self, reading: &Reading, shows: &impl Fn(&str) -> bool) {
        for chunk in &reading.chunks {
            for name in chunk.names_from(self.position) {
                if self.sees_ahead() {
                    return;
                }
                self.position += 1;
                match shows(name) {
                    true if self.is_full() => self.ahead += 1,
                    true => self.found.push(name.to_owned()),
                    false => {}
                }
            }
            // A hundred thousand names are many for one turn.
            tokio::task::yield_now().await;
        }
    }

    fn is_full(&self) -> bool {
        self.found.len() >= self.wanted
    }

    fn sees_ahead(&self) -> bool {
        self.ahead >= AHEAD
    }

    fn page(self, ended: bool) -> Found {
        Found { more: self.ahead > 0 || !ended, names: self.found }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
