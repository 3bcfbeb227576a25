//! Grants that are allowed but look like mistakes: they give too much, nothing, or what another one gives. What is told is
//! true for every caller and every repository; where that cannot be seen, nothing is told.

use super::{Grant, Host, Identity, Registry, Subject, problem::Place, reader::Field};
use crate::registry::{Action, Pattern, RepositoryName};

/// What one grant says by itself.
pub(super) fn alone(grant: &Grant, field: &Field<'_>) {
    let Grant { name, repositories, actions, to, .. } = grant;
    let (pushes, deletes) = (actions.contains(Action::Push), actions.contains(Action::Delete));
    let anyone = to.contains(&Subject::Anyone);
    let everybody = anyone || to.contains(&Subject::Authenticated);
    let everywhere = repositories.iter().any(is_all);
    if (pushes || deletes) && anyone {
        field.warning(format_args!(
            "{name:?} lets anyone write, without a login: name users, groups or authenticated in `to`"
        ));
    }
    if (pushes || deletes) && everybody && everywhere {
        field.warning(format_args!(
            "{name:?} gives push or delete on every repository (\"**\") to everybody: name groups in `to`, or fewer \
             repositories"
        ));
    } else if deletes && everybody && !anyone && !repositories.iter().all(Pattern::is_personal) {
        field.warning(format_args!(
            "{name:?} lets everybody who is signed in delete what others pushed: name groups in `to`, or leave delete out"
        ));
    }
    if anyone && repositories.iter().any(Pattern::is_personal) {
        field.warning(format_args!(
            "{name:?} uses $user for anyone: without a login there is no user, and the pattern matches nothing; write \
             authenticated in `to`"
        ));
    }
    if let Some(why) = barren(grant) {
        field.warning(format_args!("{name:?} allows nothing: {why}"));
    }
}

/// True for a pattern that matches every name, however it is written.
fn is_all(pattern: &Pattern) -> bool {
    Pattern::parse("*/**").is_ok_and(|all| pattern.covers(&all))
}

/// Why a grant can match no repository, and what to do.
fn barren(grant: &Grant) -> Option<&'static str> {
    let Grant { repositories, except, to, .. } = grant;
    if repositories.iter().all(|pattern| covered(except, pattern)) {
        return Some("its `except` takes out all of its repositories; take the grant out, or narrow `except`");
    }
    if repositories.iter().all(|pattern| pattern.shortest() > RepositoryName::MAX_BYTES) {
        return Some("no repository has so long a name; shorten the patterns");
    }
    let nameless = |subject: &Subject| matches!(subject, Subject::User(name) if RepositoryName::parse(name).is_err());
    (repositories.iter().all(Pattern::is_personal) && to.iter().all(nameless))
        .then_some("the user's name cannot stand in a repository's for $user; write the repositories out")
}

/// What grants say beside each other: one that adds nothing to another one, and push to those whom none gives pull.
/// `fields` is the list the grants were read from.
pub(super) fn together(grants: &[(Grant, Place)], fields: &[Field<'_>], registries: &[Registry], identity: &Identity) {
    /// Every pair is compared; beyond this the answer is not worth the time.
    const MOST: usize = 1000;
    if grants.len() > MOST {
        return;
    }
    let facts = Facts { registries, identity };
    for (index, (grant, place)) in grants.iter().enumerate() {
        let Some(field) = fields.iter().find(|field| field.place() == *place) else { continue };
        let wider = grants.iter().enumerate().find(|(other, (wide, _))| {
            // Of two that say the same, the later one is redundant.
            *other != index && facts.contains(wide, grant) && (*other < index || !facts.contains(grant, wide))
        });
        if let Some((_, (wide, _))) = wider {
            field.warning(format_args!(
                "{:?} adds nothing to {:?} in line {}, which contains it: take it out",
                grant.name, wide.name, wide.line
            ));
        }
        let pull = Grant { actions: [Action::Pull].into_iter().collect(), ..grant.clone() };
        if grant.actions.contains(Action::Push) && !grants.iter().any(|(other, _)| facts.contains(other, &pull)) {
            field.warning(format_args!(
                "{:?} gives push, and no grant gives pull to all the same: clients pull while they push; add pull",
                grant.name
            ));
        }
    }
}

/// What two grants are compared by, besides themselves.
struct Facts<'c> {
    registries: &'c [Registry],
    identity: &'c Identity,
}

impl Facts<'_> {
    /// True only where everything that `narrow` allows is allowed by `wide` too.
    fn contains(&self, wide: &Grant, narrow: &Grant) -> bool {
        // What `wide` takes out is taken out here too, or was never meant.
        let spares = |except: &Pattern| {
            covered(&narrow.except, except) || narrow.repositories.iter().all(|pattern| pattern.is_apart(except))
        };
        wide.actions.is_superset(narrow.actions)
            && narrow.to.iter().all(|subject| wide.to.iter().any(|wide| self.includes(wide, subject)))
            && narrow.repositories.iter().all(|pattern| covered(&wide.repositories, pattern))
            && wide.except.iter().all(spares)
            && is_subset(&narrow.from, &wide.from, |wide, narrow| wide.contains(narrow))
            && is_subset(&narrow.registries, &wide.registries, |wide, narrow| self.is_same(wide, narrow))
    }

    fn includes(&self, wide: &Subject, narrow: &Subject) -> bool {
        match (wide, narrow) {
            (Subject::Anyone, _) => true,
            (Subject::Authenticated, _) => *narrow != Subject::Anyone,
            // The configuration's own groups hold whoever logs in by the name.
            (Subject::Group(group), Subject::User(user)) => {
                self.identity.groups.get(group).is_some_and(|users| users.contains(user))
            }
            (Subject::User(_) | Subject::Group(_), _) => wide == narrow,
        }
    }

    /// True for two names of one registry.
    fn is_same(&self, one: &Host, other: &Host) -> bool {
        one == other
            || self.registries.iter().any(|registry| registry.hosts.contains(one) && registry.hosts.contains(other))
    }
}

fn covered(patterns: &[Pattern], pattern: &Pattern) -> bool {
    patterns.iter().any(|wide| wide.covers(pattern))
}

/// Where an empty list means no restriction.
fn is_subset<T>(narrow: &[T], wide: &[T], contains: impl Fn(&T, &T) -> bool) -> bool {
    wide.is_empty()
        || (!narrow.is_empty() && narrow.iter().all(|narrow| wide.iter().any(|wide| contains(wide, narrow))))
}
