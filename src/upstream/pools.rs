//! The upstreams of one registry: the default one, and those of parts of its namespace.

use std::{cmp::Reverse, sync::Arc};

use super::Pool;
use crate::{
    config,
    registry::{Pattern, RepositoryName, Route, Span},
};

/// Which repository lives where.
pub struct Pools {
    /// The default one first, then one for each route, in the configuration's order.
    pools: Vec<Arc<Pool>>,
    /// With the pool's position; the longest pattern first.
    patterns: Vec<(Pattern, usize)>,
}

impl Pools {
    /// `pools` are that of the registry's upstream and those of its routes, in their order.
    pub fn new(registry: &config::Registry, pools: Vec<Arc<Pool>>) -> Self {
        let routed = registry.routes.iter().zip(1..);
        let placed = |(routed, position): (&config::Routed, usize)| {
            routed.repositories.iter().map(move |pattern| (pattern.clone(), position)).collect::<Vec<_>>()
        };
        let mut patterns: Vec<_> = routed.flat_map(placed).collect();
        patterns.sort_by_key(|(pattern, _)| Reverse(length(pattern)));
        Self { pools, patterns }
    }

    /// Where the route's repository lives; what has none lives at the default upstream.
    pub fn of(&self, route: &Route) -> Option<&Arc<Pool>> {
        self.pools.get(route.repository().map_or(0, |repository| self.position(repository)))
    }

    /// True where both live at the same upstream, so that a blob can be mounted.
    pub fn together(&self, one: &RepositoryName, other: &RepositoryName) -> bool {
        self.position(one) == self.position(other)
    }

    pub fn all(&self) -> &[Arc<Pool>] {
        &self.pools
    }

    /// Spans that hold every name which lives at the upstream in this position; None for the default one, where everything
    /// may live that is nowhere else.
    pub fn spans(&self, position: usize) -> Option<Vec<Span>> {
        let here = self.patterns.iter().filter(|(_, at)| *at == position);
        (position != 0).then(|| here.flat_map(|(pattern, _)| pattern.spans(None)).collect())
    }

    /// The position in [`Pools::all`] of the pool where a repository lives.
    pub fn position(&self, repository: &RepositoryName) -> usize {
        let routed = self.patterns.iter().find(|(pattern, _)| pattern.matches(repository, None));
        routed.map_or(0, |(_, position)| *position)
    }
}

/// What makes a pattern longer than another one: literal segments, then single ones, then any at all.
fn length(pattern: &Pattern) -> (usize, usize, usize) {
    let count = |wanted: fn(&str) -> bool| pattern.as_str().split('/').filter(|segment| wanted(segment)).count();
    (count(|segment| !segment.starts_with('*')), count(|segment| segment == "*"), count(|segment| segment == "**"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_pattern_is_the_most_exact_one() {
        let sorted = ["a/b/c", "a/b/**", "a/b", "a/*/**", "a/*", "a/**", "*/*", "*", "**"];
        let lengths: Vec<_> = sorted.iter().map(|text| length(&Pattern::parse(text).unwrap())).collect();
        assert!(lengths.is_sorted_by(|a, b| a > b), "{lengths:?}");
    }
}
