//! One walk over an upstream's catalog and what it has found, shared by all who ask the same.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::course::{Course, Listed};
use crate::registry::{Ranges, RepositoryName};

/// How old names may be that are shown again. A new repository is in the catalog after this at the latest.
const AGE: Duration = Duration::from_secs(30);
/// The most a walk holds; beyond it the names found first are forgotten.
const HELD_BYTES: usize = 4 * 1024 * 1024;

pub(super) struct Walk {
    ranges: Ranges,
    from: Option<String>,
    /// Whoever holds it moves the walk on.
    pub(super) driving: Arc<tokio::sync::Mutex<()>>,
    state: Mutex<State>,
}

struct State {
    course: Course,
    found: VecDeque<Arc<Chunk>>,
    requests: usize,
    good_until: Instant,
    /// Somebody was told to come back: what is found must last until then.
    promised: bool,
}

/// The names that one page gave.
pub(super) struct Chunk {
    /// The number of the first one in the whole walk, from 0.
    first: usize,
    count: usize,
    /// One a line.
    lines: Box<str>,
}

/// What a walk has found from some position on.
pub(super) struct Reading {
    pub(super) chunks: Vec<Arc<Chunk>>,
    pub(super) ended: bool,
    /// Upstream pages so far.
    pub(super) requests: usize,
}

impl Walk {
    pub(super) fn new(ranges: Ranges, from: Option<&str>) -> Self {
        let state = State {
            course: Course::new(ranges.clone(), from),
            found: VecDeque::new(),
            requests: 0,
            good_until: Instant::now() + AGE,
            promised: false,
        };
        Self { ranges, from: from.map(str::to_owned), driving: Arc::default(), state: Mutex::new(state) }
    }

    pub(super) fn ranges(&self) -> &Ranges {
        &self.ranges
    }

    /// The number of the first name after `last`, where this walk can say what follows it.
    pub(super) fn position(&self, ranges: &Ranges, last: Option<&str>) -> Option<usize> {
        if self.ranges != *ranges {
            return None;
        }
        let state = self.lock();
        if self.from.as_deref() == last {
            return state.found.front().is_none_or(|chunk| chunk.first == 0).then_some(0);
        }
        let last = last?;
        state.found.iter().find_map(|chunk| chunk.position(last)).map(|position| position + 1)
    }

    pub(super) fn is_good(&self) -> bool {
        Instant::now() < self.lock().good_until
    }

    /// True while a page of it is being read, and where somebody was told to come back for it.
    pub(super) fn is_awaited(&self) -> bool {
        self.driving.try_lock().is_err() || self.lock().promised
    }

    pub(super) fn bytes(&self) -> usize {
        self.lock().bytes()
    }

    /// What is found from a position on; None where that is forgotten already.
    pub(super) fn read(&self, position: usize) -> Option<Reading> {
        let state = self.lock();
        if state.found.front().is_some_and(|chunk| chunk.first > position) {
            return None;
        }
        let chunks = state.found.iter().filter(|chunk| chunk.end() > position).cloned().collect();
        Some(Reading { chunks, ended: state.course.ended(), requests: state.requests })
    }

    pub(super) fn requests(&self) -> usize {
        self.lock().requests
    }

    /// The `last` of the next page to ask the upstream for; the outer None at the end.
    pub(super) fn next(&self) -> Option<Option<String>> {
        let state = self.lock();
        (!state.course.ended()).then(|| state.course.next().map(str::to_owned))
    }

    pub(super) fn take(&self, page: &Listed) {
        let mut state = self.lock();
        let mut names = state.course.take(page);
        // What is no name can be nobody's to see.
        names.retain(|name| RepositoryName::parse(name).is_ok());
        state.requests += 1;
        let first = state.found.back().map_or(0, |chunk| chunk.end());
        if !names.is_empty() {
            state.found.push_back(Arc::new(Chunk { first, count: names.len(), lines: names.join("\n").into() }));
        }
        while state.bytes() > HELD_BYTES && state.found.len() > 1 {
            state.found.pop_front();
        }
        if state.promised && state.course.ended() {
            state.good_until = Instant::now() + AGE;
        }
    }

    /// Keeps an unfinished walk for whoever was told to ask again.
    pub(super) fn promise(&self) {
        let mut state = self.lock();
        state.promised = true;
        state.good_until = Instant::now() + AGE;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn bytes(&self) -> usize {
        self.found.iter().map(|chunk| chunk.lines.len()).sum()
    }
}

impl Chunk {
    /// The names from a position on.
    pub(super) fn names_from(&self, position: usize) -> impl Iterator<Item = &str> {
        self.lines.split('\n').skip(position.saturating_sub(self.first))
    }

    /// The position behind the last name.
    pub(super) fn end(&self) -> usize {
        self.first + self.count
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.lines.split('\n').position(|line| line == name).map(|line| self.first + line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(names: &[String], follows: bool) -> Listed {
        Listed { names: names.to_vec(), follows }
    }

    fn numbered(count: usize, from: usize) -> Vec<String> {
        (from..from + count).map(|number| format!("space/{number:0>200}")).collect()
    }

    fn seen(walk: &Walk, position: usize) -> Option<Vec<String>> {
        let names = |chunk: &Arc<Chunk>| chunk.names_from(position).map(str::to_owned).collect::<Vec<_>>();
        Some(walk.read(position)?.chunks.iter().flat_map(names).collect())
    }

    #[test]
    fn a_walk_is_read_from_where_one_is() {
        let walk = Walk::new(Ranges::everything(), Some("a"));
        let (first, second) = (["b", "c", "NOT A NAME"].map(str::to_owned), ["d", "e"].map(str::to_owned));
        walk.take(&page(&first, true));
        walk.take(&page(&second, false));
        assert_eq!(walk.next(), None);
        assert_eq!(seen(&walk, 0).unwrap(), ["b", "c", "d", "e"]);
        assert_eq!(seen(&walk, 3).unwrap(), ["e"]);
        assert!(seen(&walk, 4).unwrap().is_empty());
        let position = |last| walk.position(&Ranges::everything(), last);
        assert_eq!([Some("a"), Some("b"), Some("e")].map(position), [Some(0), Some(1), Some(4)]);
        assert_eq!([None, Some("bb"), Some("")].map(position), [None; 3]);
        assert_eq!(walk.position(&Ranges::new([]), Some("a")), None);
    }

    #[test]
    fn what_a_walk_holds_is_bounded() {
        let walk = Walk::new(Ranges::everything(), None);
        for number in 0..30 {
            walk.take(&page(&numbered(1000, number * 1000), true));
            assert!(walk.bytes() <= HELD_BYTES);
        }
        assert!(walk.bytes() > HELD_BYTES / 2);
        assert!(seen(&walk, 0).is_none());
        assert_eq!(walk.position(&Ranges::everything(), None), None);
        assert_eq!(seen(&walk, 29_999).unwrap(), numbered(1, 29_999));
        assert_eq!(walk.position(&Ranges::everything(), Some(&numbered(1, 29_990)[0])), Some(29_991));
    }

    #[test]
    fn who_was_told_to_come_back_finds_the_walk() {
        let walk = Walk::new(Ranges::everything(), None);
        let before = walk.lock().good_until;
        walk.take(&page(&numbered(1, 0), true));
        assert_eq!(walk.lock().good_until, before);
        walk.promise();
        let promised = walk.lock().good_until;
        assert!(promised > before);
        walk.take(&page(&numbered(1, 1), false));
        assert!(walk.lock().good_until > promised);
        walk.lock().good_until = Instant::now();
        assert!(!walk.is_good());
    }
}
