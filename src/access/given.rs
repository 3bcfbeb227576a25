//! What the grants hold for one caller, as a list.

use std::fmt;

use super::{GrantPlace, Policy};
use crate::{identity::Principal, registry::Actions};

/// A grant that is for a caller. Displays as a line for a human.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    pub grant: GrantPlace,
    pub actions: Actions,
    /// Patterns as they are written.
    pub repositories: Vec<String>,
    /// Patterns as they are written.
    pub except: Vec<String>,
    /// Client networks; empty: from anywhere.
    pub from: Vec<String>,
    /// Hosts; empty: on all registries.
    pub registries: Vec<String>,
}

impl Policy {
    /// The grants that name a caller in their `to`, in the order of the file.
    pub fn given(&self, principal: &Principal) -> Vec<Given> {
        self.grants().filter(|grant| grant.is_for(principal)).map(|grant| grant.given()).collect()
    }
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { grant, actions, repositories, except, from, registries } = self;
        write!(f, "{actions} on {}", repositories.join(", "))?;
        for (word, items) in [("except", except), ("from", from), ("at", registries)] {
            if !items.is_empty() {
                write!(f, " {word} {}", items.join(", "))?;
            }
        }
        write!(f, "  by grant {:?} (line {})", grant.name, grant.line)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Policy,
        fixtures::{access, grant, group_subject, user, user_subject},
    };
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
        let lines: Vec<String> = policy.given(&user("alice", &[])).iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            ["pull on library/**  by grant \"public\" (line 10)", "pull,push on a, b  by grant \"hers\" (line 20)"]
        );
    }

    /// A directory's groups are compared without regard to letter case, those of the configuration letter by letter.
    #[test]
    fn groups_of_both_kinds() {
        let to = |group| vec![grant(group, &["a"], &[Action::Pull], &[group_subject(group)])];
        let reaches = |group, principal: &Principal| !Policy::compile(&access(to(group))).given(principal).is_empty();
        let configured = user("alice", &["Devs"]);
        let directory = |name| {
            let user = User {
                name: "alice".into(),
                groups: Vec::new(),
                directory_groups: vec![GroupKey::of_grant(name).unwrap()],
                via: "ldap".into(),
                proof: Proof(String::new()),
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
