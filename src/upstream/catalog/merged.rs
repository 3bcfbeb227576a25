//! One catalog out of those of several upstreams.

use std::{iter::Peekable, sync::Arc, time::Instant, vec::IntoIter};

use super::{BUDGET, Catalog, CatalogError, Found, Question};
use crate::{
    registry::{RepositoryName, segment_order},
    upstream::{Pool, Pools},
};

/// The catalog of a registry: of each upstream the names that live there.
pub struct Catalogs {
    pools: Arc<Pools>,
    catalogs: Vec<Arc<Catalog>>,
}

impl Catalogs {
    /// What is known of the catalogs of pools that there were before stays known.
    pub fn new(pools: Arc<Pools>, before: Option<&Self>) -> Self {
        let catalog = |pool: &Arc<Pool>| {
            let mut known = before.into_iter().flat_map(|before| &before.catalogs);
            let same = known.find(|catalog| Arc::ptr_eq(&catalog.pool, pool)).cloned();
            same.unwrap_or_else(|| Arc::new(Catalog::new(Arc::clone(pool))))
        };
        Self { catalogs: pools.all().iter().map(catalog).collect(), pools }
    }

    /// The next names for which `shows` holds, in distribution's order; see `Catalog::page`.
    ///
    /// # Errors
    /// Where one of the upstreams fails or cannot say in time: a list that silently lacks a part would be wrong. Those where
    /// nothing can be that is asked for are left alone.
    pub async fn page(
        &self,
        question: Question<'_>,
        shows: impl Fn(&RepositoryName) -> bool,
    ) -> Result<Found, CatalogError> {
        let wanted = question.wanted;
        let until = Instant::now() + BUDGET;
        let mut parts = Vec::new();
        for (position, catalog) in self.catalogs.iter().enumerate() {
            let here = |name: &RepositoryName| self.pools.position(name) == position && shows(name);
            let named = |name: &str| RepositoryName::parse(name).is_ok_and(|name| here(&name));
            let ranges = match self.pools.spans(position) {
                Some(spans) => question.ranges.within(&spans),
                None => question.ranges.clone(),
            };
            if !ranges.spans().is_empty() {
                let question = Question { ranges, ..question.clone() };
                parts.push(Part::from(catalog.page(question, named, until).await?));
            }
        }
        Ok(merge(parts, wanted))
    }
}

struct Part {
    names: Peekable<IntoIter<String>>,
    more: bool,
}

impl From<Found> for Part {
    fn from(found: Found) -> Self {
        Self { names: found.names.into_iter().peekable(), more: found.more }
    }
}

fn merge(mut parts: Vec<Part>, wanted: usize) -> Found {
    let mut names = Vec::new();
    while names.len() < wanted {
        // What follows in a part that is not known to its end could come before anything else.
        if parts.iter_mut().any(|part| part.more && part.names.peek().is_none()) {
            return Found { names, more: true };
        }
        let heads = parts.iter_mut().enumerate().filter_map(|(at, part)| Some((at, part.names.peek()?.clone())));
        let Some((at, _)) = heads.min_by(|(_, one), (_, other)| segment_order(one, other)) else { break };
        names.extend(parts.get_mut(at).and_then(|part| part.names.next()));
    }
    let more = parts.iter_mut().any(|part| part.more || part.names.peek().is_some());
    Found { names, more }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Beside, OpenUploads, ReadOnly, Registry, Routed, ServerUrl, Upstream},
        registry::Pattern,
        upstream::Plan,
    };

    /// Pools of an upstream at each of these ports, the first one the default.
    fn pools(ports: &[u16], before: &[Arc<Pool>]) -> Arc<Pools> {
        let upstream = |port: &u16| Upstream::of(ServerUrl::Http { host: "127.0.0.1".to_owned(), port: *port }, "/v2/");
        let repositories = vec![Pattern::parse("mirror/**").unwrap()];
        let routed = |port| Routed { repositories: repositories.clone(), upstream: upstream(port) };
        let registry = Registry {
            hosts: Vec::new(),
            upstream: upstream(&ports[0]),
            routes: ports[1..].iter().map(routed).collect(),
            read_only: ReadOnly::default(),
            open_uploads: OpenUploads::default(),
            beside: Beside::default(),
        };
        let plans = ports.iter().map(|port| Plan::read("r", &upstream(port), None).unwrap()).collect();
        Arc::new(Pools::new(&registry, Plan::carry_out(plans, before.to_vec()).unwrap()))
    }

    #[test]
    fn what_is_known_of_a_catalog_goes_on_with_its_pool() {
        let before = Catalogs::new(pools(&[1, 2], &[]), None);
        let after = Catalogs::new(pools(&[3, 1], before.pools.all()), Some(&before));
        let known = |catalog: &Arc<Catalog>| before.catalogs.iter().position(|one| Arc::ptr_eq(one, catalog));
        assert_eq!(after.catalogs.iter().map(known).collect::<Vec<_>>(), [None, Some(0)]);
        let here: Vec<_> = after.catalogs.iter().zip(after.pools.all()).collect();
        assert!(here.iter().all(|(catalog, pool)| Arc::ptr_eq(&catalog.pool, pool)));
    }

    fn part(names: &[&str], more: bool) -> Part {
        Found { names: names.iter().map(|name| (*name).to_owned()).collect(), more }.into()
    }

    #[test]
    fn parts_are_merged_in_order_as_far_as_they_are_known() {
        let merged = |parts, wanted| {
            let Found { names, more } = merge(parts, wanted);
            (names.join(" "), more)
        };
        let parts = |more| vec![part(&["a/x", "a-b", "z"], more), part(&["mirror/a", "mirror/b"], false)];
        assert_eq!(merged(parts(false), 9), ("a/x a-b mirror/a mirror/b z".to_owned(), false));
        assert_eq!(merged(parts(false), 5), ("a/x a-b mirror/a mirror/b z".to_owned(), false));
        assert_eq!(merged(parts(false), 3), ("a/x a-b mirror/a".to_owned(), true));
        assert_eq!(merged(parts(true), 9), ("a/x a-b mirror/a mirror/b z".to_owned(), true));
        assert_eq!(merged(vec![part(&["b"], true), part(&["a", "c"], false)], 9), ("a b".to_owned(), true));
        assert_eq!(merged(vec![part(&[], false), part(&[], false)], 9), (String::new(), false));
    }
}
