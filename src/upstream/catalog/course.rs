//! Which pages of an upstream's catalog to ask for, one after the other, and what to keep of them.

use std::{cmp::Ordering, collections::HashSet};

use crate::registry::{Ranges, Span, precedes, segment_order};

/// A page of an upstream's catalog.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) names: Vec<String>,
    /// More names follow, as the upstream says.
    pub(super) follows: bool,
}

/// A walk over the spans of [`Ranges`], in distribution's order; within a span in the upstream's own order.
///
/// A span is sought by a `last` that sorts before it, and left when a page ends behind it. Both hold in byte order and in
/// distribution's, so that either order of an upstream gives every name, and gives it once. No page is asked for twice.
#[derive(Debug)]
pub(super) struct Course {
    ranges: Ranges,
    /// The span that is walked.
    at: usize,
    /// The next request's `last`.
    next: Option<String>,
    /// Every `last` since a span was sought.
    asked: HashSet<String>,
    /// Names after the turning point of the page before: they come again.
    again: Vec<String>,
}

impl Course {
    /// The names after `last`, whatever text that is.
    pub(super) fn new(ranges: Ranges, last: Option<&str>) -> Self {
        let at = last.map_or(0, |last| ranges.spans().partition_point(|span| span.over_at(last)));
        let next = ranges.spans().get(at).and_then(|span| match last {
            Some(last) if span.contains(last) && !matches!(span, Span::Name(_)) => Some(last.to_owned()),
            Some(_) | None => span.begin(),
        });
        Self { ranges, at, next, asked: HashSet::new(), again: Vec::new() }
    }

    pub(super) fn ended(&self) -> bool {
        self.at >= self.ranges.spans().len()
    }

    /// The `last` of the page to ask for; None for the first page.
    pub(super) fn next(&self) -> Option<&str> {
        self.next.as_deref()
    }

    /// The names to keep of the page that was asked for.
    pub(super) fn take(&mut self, page: &Listed) -> Vec<String> {
        let asked = self.next.take();
        let again = std::mem::take(&mut self.again);
        let names = names_after(&page.names, asked.as_deref());
        let turn = turning_point(names);
        let end = names.get(turn).filter(|_| page.follows);
        self.asked.extend(asked.clone());
        if end.is_some_and(|end| self.asked.contains(end)) {
            // An upstream that goes in circles: what it lists was listed before.
            self.at = self.ranges.spans().len();
            return Vec::new();
        }
        let mut kept = Vec::new();
        let mut sought = true;
        while let Some(span) = self.ranges.spans().get(self.at) {
            let begin = span.begin();
            if !sought && !covers(asked.as_deref(), begin.as_deref()) {
                self.seek(begin);
                break;
            }
            let fresh = |name: &&String| span.contains(name) && !again.contains(name);
            kept.extend(names.iter().filter(fresh).cloned());
            if let Some(end) = end
                && !span.passed_by(end)
            {
                match begin {
                    Some(begin) if !sought && precedes(end, &begin) => self.seek(Some(begin)),
                    Some(_) | None => {
                        self.next = Some(end.clone());
                        self.again = names.iter().skip(turn + 1).cloned().collect();
                    }
                }
                break;
            }
            sought = false;
            self.at += 1;
        }
        kept
    }

    fn seek(&mut self, begin: Option<String>) {
        self.next = begin;
        // Where orders disagree, a span may lie before what was listed already.
        self.asked.clear();
    }
}

/// True where a page that began after `asked` has everything of what begins at `begin`, as far as the page goes.
fn covers(asked: Option<&str>, begin: Option<&str>) -> bool {
    match (asked, begin) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(asked), Some(begin)) => asked == begin || precedes(asked, begin),
    }
}

/// The position of the name to go on from. distribution lists `a/0` before `a` and all else beneath `a` after it, yet takes
/// `last=a` for what sorts before `a/0`; so it goes on from the name beneath.
fn turning_point(names: &[String]) -> usize {
    let inverted = names.windows(2).rev().take_while(|pair| match pair {
        [before, name] => beneath(before, name),
        _ => false,
    });
    names.len().saturating_sub(1 + inverted.count())
}

fn beneath(name: &str, parent: &str) -> bool {
    name.strip_prefix(parent).is_some_and(|rest| rest.starts_with('/'))
}

/// What a page lists after `asked`: all of it, unless the upstream cares nothing for `last`.
fn names_after<'a>(names: &'a [String], asked: Option<&str>) -> &'a [String] {
    let at = asked.and_then(|asked| names.iter().position(|name| name == asked));
    at.and_then(|at| names.get(at + 1..)).unwrap_or(names)
}

/// True where the names are sorted as bytes or as distribution sorts them: then a span can be sought.
pub(super) fn in_some_order(names: &[String]) -> bool {
    let as_bytes = names.is_sorted();
    as_bytes || names.is_sorted_by(|a, b| segment_order(a, b) == Ordering::Less || beneath(a, b))
}

#[cfg(test)]
mod tests;
