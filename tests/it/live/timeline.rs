//! Which configurations were in force when.

use std::{sync::RwLock, time::Instant};

use super::variant::Variant;

pub(super) struct Timeline(RwLock<Vec<Span>>);

#[derive(Clone, Copy, Debug)]
struct Span {
    variant: Variant,
    /// From when on it may have been in force: before it was written.
    from: Instant,
    /// When another was certainly in force instead.
    until: Option<Instant>,
}

impl Timeline {
    pub(super) fn new(first: Variant) -> Self {
        Self(RwLock::new(vec![Span { variant: first, from: Instant::now(), until: None }]))
    }

    /// From now on this one may be in force.
    pub(super) fn may_be(&self, variant: Variant) {
        self.0.write().unwrap().push(Span { variant, from: Instant::now(), until: None });
    }

    /// From now on the one announced last is in force, and no other.
    pub(super) fn is(&self) {
        let now = Instant::now();
        if let Some((_, former)) = self.0.write().unwrap().split_last_mut() {
            former.iter_mut().filter(|span| span.until.is_none()).for_each(|span| span.until = Some(now));
        }
    }

    /// All that may have been in force at some moment between these.
    pub(super) fn between(&self, begin: Instant, end: Instant) -> Vec<Variant> {
        let spans = self.0.read().unwrap();
        let met = spans.iter().filter(|span| span.from <= end && span.until.is_none_or(|until| until >= begin));
        met.map(|span| span.variant).collect()
    }
}
