//! What the grants hold, as lists: for one caller, and about one repository.

use std::{fmt, net::IpAddr};

use super::{
    GrantPlace, Policy,
    grant::{Grant, is_subject},
};
use crate::{
    config::{Host, Subject},
    identity::Principal,
    registry::{Action, Actions, Pattern, RepositoryName},
};

/// A grant as a list shows it. Displays as a line for a human.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    pub grant: GrantPlace,
    pub actions: Actions,
    pub repositories: Vec<Pattern>,
    pub except: Vec<Pattern>,
    /// Whom it is for; of a caller's grants: by what it is the caller's.
    pub to: Vec<Subject>,
    /// Client networks; empty: from anywhere.
    pub from: Vec<String>,
    /// Hosts; empty: on all registries.
    pub registries: Vec<String>,
}

/// Where a caller stands; what is None is left open.
#[derive(Clone, Copy, Debug, Default)]
pub struct Whence<'a> {
    /// All hosts of the registry asked.
    pub hosts: Option<&'a [Host]>,
    pub client: Option<IpAddr>,
}

/// A grant that reaches a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    pub given: Given,
    pub holders: Holders,
}

/// Whom of a grant's `to` it gives a repository, since `$user` may stand in its patterns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holders {
    /// Whoever is in `to`, but for users of these names.
    Everybody { but: Vec<String> },
    /// Users of these names alone, where they are in `to`.
    Only(Vec<String>),
}

impl Policy {
    /// The grants that name a caller in their `to` and hold there, in the order of the file.
    pub fn given(&self, principal: &Principal, whence: Whence<'_>) -> Vec<Given> {
        let grants = self.grants().filter(|grant| grant.is_for(principal) && whence.allows(grant));
        grants
            .map(|grant| {
                let mut given = grant.given();
                given.to.retain(|subject| is_subject(subject, principal));
                given
            })
            .collect()
    }

    /// The grants by which somebody may do something (or this one thing) to a repository, in the order of the file.
    pub fn holdings(&self, repository: &RepositoryName, action: Option<Action>, whence: Whence<'_>) -> Vec<Holding> {
        let gives = |grant: &&Grant| action.is_none_or(|action| grant.actions.contains(action));
        let grants = self.grants().filter(|grant| gives(grant) && whence.allows(grant));
        grants
            .filter_map(|grant| Some(Holding { given: grant.given(), holders: holders(grant, repository)? }))
            .collect()
    }
}

/// None where the grant gives nobody the repository. Only a user whose name is a segment of the repository's can make a
/// difference: so much `$user` can match.
fn holders(grant: &Grant, repository: &RepositoryName) -> Option<Holders> {
    let given = grant.given();
    let may_hold = |name: &&str| given.to.iter().any(|subject| may_be(subject, name));
    let mut names: Vec<&str> = repository.segments().filter(may_hold).collect();
    names.sort_unstable();
    names.dedup();
    let (with, without): (Vec<&str>, Vec<&str>) =
        names.into_iter().partition(|name| grant.reaches(repository, Some(name)));
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<Vec<_>>();
    if grant.reaches(repository, None) {
        let named_only = |subject: &Subject| matches!(subject, Subject::User(name) if without.contains(&&**name));
        return (!given.to.iter().all(named_only)).then(|| Holders::Everybody { but: owned(without) });
    }
    (!with.is_empty()).then(|| Holders::Only(owned(with)))
}

/// True where a user of the name can be the subject.
fn may_be(subject: &Subject, name: &str) -> bool {
    match subject {
        Subject::Anyone | Subject::Authenticated | Subject::Group(_) => true,
        Subject::User(user) => user == name,
    }
}

impl Whence<'_> {
    fn allows(self, grant: &Grant) -> bool {
        self.hosts.is_none_or(|hosts| grant.holds_on(hosts))
            && self.client.is_none_or(|client| grant.holds_from(client))
    }
}

impl Given {
    /// The same as it is for one user, `$user` filled in; None where it can match nothing for that user.
    #[must_use]
    pub fn filled(self, user: Option<&str>) -> Option<Self> {
        let fill =
            |patterns: &[Pattern]| patterns.iter().filter_map(|pattern| pattern.filled(user)).collect::<Vec<_>>();
        let (repositories, except) = (fill(&self.repositories), fill(&self.except));
        (!repositories.is_empty()).then_some(Self { repositories, except, ..self })
    }
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { grant, actions, repositories, except, to: _, from, registries } = self;
        let texts =
            |patterns: &[Pattern]| patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect::<Vec<_>>();
        write!(f, "{actions} on {}", texts(repositories).join(", "))?;
        for (word, items) in [("except", &texts(except)), ("from", from), ("at", registries)] {
            if !items.is_empty() {
                write!(f, " {word} {}", items.join(", "))?;
            }
        }
        write!(f, "  by grant {:?} (line {})", grant.name, grant.line)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{access, grant, group_subject, user, user_subject};
    use super::*;
    use crate::{
        config::{GroupKey, Subject},
        identity::{Principal, Proof, User},
        registry::Action,
    };

    #[test]
    fn the_grants_that_name_the_caller() {
        let policy = Policy::compile(&access(vec![
            grant("public", &["library/**"], &[Action::Pull], &[Subject::Anyone]),
            grant("hers", &["a", "b"], &[Action::Pull, Action::Push], &[user_subject("alice")]),
            grant("his", &["c"], &[Action::Pull], &[user_subject("bob")]),
        ]));
        let lines: Vec<String> =
            policy.given(&user("alice", &[]), Whence::default()).iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            ["pull on library/**  by grant \"public\" (line 10)", "pull,push on a, b  by grant \"hers\" (line 20)"]
        );
    }

    /// A directory's groups are compared without regard to letter case, those of the configuration letter by letter.
    #[test]
    fn groups_of_both_kinds() {
        let to = |group| vec![grant(group, &["a"], &[Action::Pull], &[group_subject(group)])];
        let reaches = |group, principal: &Principal| {
            !Policy::compile(&access(to(group))).given(principal, Whence::default()).is_empty()
        };
        let configured = user("alice", &["Devs"]);
        let directory = |name| {
            let user = User {
                name: "alice".into(),
                groups: Vec::new(),
                directory_groups: vec![GroupKey::of_grant(name).unwrap()],
                via: "ldap".into(),
                proof: Proof("".into()),
            };
            Principal::user(user.into())
        };
        assert!(reaches("Devs", &configured) && !reaches("devs", &configured));
        assert!(reaches("DEVS", &directory("Devs")) && reaches("devs", &directory("Devs")));
        let admins = directory("CN=Admins,DC=example");
        assert!(reaches("cn=admins, dc=Example", &admins) && !reaches("admins", &admins));
        assert!(!reaches("cn=admins,dc=other", &admins));
    }
}
