//! The groups of an entry: from an attribute, or by a search; groups of groups by a walk with bounds.

use std::collections::{HashSet, VecDeque};

use ldap3::{Scope, SearchEntry, ldap_escape};
use tokio::time::Instant;

use super::{
    account::values,
    connection::{Connection, Found, Search},
    fault::Fault,
};
use crate::config::{Dn, GroupKey, Ldap, LdapGroupSource, LdapGroups, Template};

/// How many groups of groups of groups are followed.
const DEEPEST: usize = 10;
/// How many groups a user may be in; what is beyond gives no rights.
const MOST: usize = 1000;
/// How many groups are asked about in one search.
const BATCH: usize = 20;
const ANY: &str = "(objectClass=*)";

/// The attributes of a user that are needed.
pub(super) fn attributes_of_users(settings: &Ldap) -> Option<&str> {
    match &settings.groups.as_ref()?.source {
        LdapGroupSource::Attribute { attribute, .. } => Some(attribute),
        LdapGroupSource::Search { .. } => None,
    }
}

/// All groups of an entry whose user has this name, each by its name and by its distinguished name.
pub(super) async fn of(
    connection: &mut Connection,
    settings: &Ldap,
    entry: &SearchEntry,
    user: &str,
    deadline: Instant,
) -> Result<Vec<GroupKey>, Fault> {
    let Some(groups) = &settings.groups else { return Ok(Vec::new()) };
    let mut walk = Walk { connection, groups, user, deadline, found: Keys::default() };
    match &groups.source {
        LdapGroupSource::Attribute { attribute, base } => walk.by_attribute(entry, attribute, base.as_ref()).await?,
        LdapGroupSource::Search { base, filter } => walk.by_search(entry, base, filter).await?,
    }
    if walk.found.dns.len() >= MOST {
        tracing::warn!(user, most = MOST, "the user is in more groups than are looked at");
    }
    Ok(walk.found.keys)
}

struct Walk<'a> {
    connection: &'a mut Connection,
    groups: &'a LdapGroups,
    user: &'a str,
    deadline: Instant,
    found: Keys,
}

#[derive(Default)]
struct Keys {
    dns: HashSet<GroupKey>,
    keys: Vec<GroupKey>,
}

impl Keys {
    /// False where it is known already, or one too many.
    fn add_dn(&mut self, dn: &str) -> bool {
        let Some(key) = Dn::parse(dn).as_ref().map(GroupKey::of_dn) else { return false };
        let new = self.dns.len() < MOST && self.dns.insert(key.clone());
        if new {
            self.keys.push(key);
        }
        new
    }

    fn add_names<'n>(&mut self, names: impl IntoIterator<Item = &'n str>) {
        for key in names.into_iter().filter_map(GroupKey::of_name) {
            if !self.keys.contains(&key) {
                self.keys.push(key);
            }
        }
    }
}

impl Walk<'_> {
    /// Level by level; a group that was seen is not looked at again, so that a loop ends.
    async fn by_search(&mut self, entry: &SearchEntry, base: &str, filter: &Template) -> Result<(), Fault> {
        let user = ldap_escape(self.user);
        let name = self.groups.name.clone();
        let mut level = vec![entry.dn.clone()];
        for _ in 0..=DEEPEST {
            let mut next = Vec::new();
            for batch in level.chunks(BATCH) {
                let filters = batch.iter().map(|dn| filter.fill(&user, &ldap_escape(dn.as_str())));
                let filter = any_of(filters.collect());
                for group in self.search(base, Scope::Subtree, &filter, &[&name]).await? {
                    if self.found.add_dn(&group.dn) {
                        self.found.add_names(values(&group, &name).iter().map(String::as_str));
                        next.push(group.dn);
                    }
                }
            }
            if next.is_empty() || !self.groups.nested {
                return Ok(());
            }
            level = next;
        }
        Ok(())
    }

    async fn by_attribute(&mut self, entry: &SearchEntry, attribute: &str, base: Option<&Dn>) -> Result<(), Fault> {
        let within = |dn: &str| Dn::parse(dn).is_some_and(|dn| base.is_none_or(|base| dn.is_within(base)));
        let mut queue: VecDeque<(String, usize)> =
            values(entry, attribute).iter().map(|dn| (dn.clone(), DEEPEST)).collect();
        while let Some((dn, depth)) = queue.pop_front() {
            if !within(&dn) || !self.found.add_dn(&dn) {
                continue;
            }
            let own = Dn::parse(&dn).and_then(|dn| dn.first(&self.groups.name).map(str::to_owned));
            let follow = self.groups.nested && depth > 0;
            self.found.add_names(own.as_deref());
            if own.is_some() && !follow {
                continue;
            }
            let name = self.groups.name.clone();
            for group in self.search(&dn, Scope::Base, ANY, &[&name, attribute]).await? {
                self.found.add_names(values(&group, &name).iter().map(String::as_str));
                if follow {
                    queue.extend(values(&group, attribute).iter().map(|dn| (dn.clone(), depth.saturating_sub(1))));
                }
            }
        }
        Ok(())
    }

    async fn search(
        &mut self,
        base: &str,
        scope: Scope,
        filter: &str,
        attributes: &[&str],
    ) -> Result<Vec<SearchEntry>, Fault> {
        let most = i32::try_from(MOST).unwrap_or(i32::MAX);
        let search = Search { base, scope, filter, attributes, most };
        let Found { entries, cut, .. } = self.connection.search(search, self.deadline).await?;
        if cut {
            let (user, shown) = (self.user, entries.len());
            tracing::warn!(user, base, shown, "the server does not show all groups of a user: see its size limit");
        }
        Ok(entries)
    }
}

/// One filter for several (RFC 4515 §3).
fn any_of(mut filters: Vec<String>) -> String {
    match filters.len() {
        1 => filters.pop().unwrap_or_default(),
        _ => format!("(|{})", filters.concat()),
    }
}
