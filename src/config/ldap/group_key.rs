//! How groups of a directory are compared with groups that grants name.

use std::{fmt, sync::Arc};

use super::dn::{Dn, fold};

/// A group of a directory, by its name or by its distinguished name, in one spelling: letter case does not count.
///
/// What reads as a distinguished name is one and never the name of a group: whoever may name groups in a directory
/// cannot name one like the distinguished name of another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroupKey(Arc<str>);

impl GroupKey {
    /// By the name that the directory shows; `None` where that reads as a distinguished name or holds nothing.
    pub fn of_name(name: &str) -> Option<Self> {
        let folded = fold(name);
        (!folded.is_empty() && Dn::parse(name).is_none()).then(|| Self(folded.into()))
    }

    pub fn of_dn(dn: &Dn) -> Self {
        Self(dn.to_string().into())
    }

    /// By what a grant says after `group:`.
    pub fn of_grant(text: &str) -> Option<Self> {
        Dn::parse(text).as_ref().map(Self::of_dn).or_else(|| Self::of_name(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_distinguished_names_are_told_apart() {
        let grant = |text| GroupKey::of_grant(text).unwrap();
        assert_eq!(Some(grant("DevOps Team")), GroupKey::of_name("devops team"));
        assert_eq!(grant("CN=Devs, OU=Groups"), GroupKey::of_dn(&Dn::parse("cn=devs,ou=groups").unwrap()));
        assert_eq!(GroupKey::of_name("cn=admins,ou=groups"), None);
        assert_eq!(GroupKey::of_name(" "), None);
        assert_ne!(Some(grant("team-a")), GroupKey::of_name("team-b"));
    }
}
