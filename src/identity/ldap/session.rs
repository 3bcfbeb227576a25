//! One question to one server: who is that, is this the password, which groups.

use std::sync::Arc;

use ldap3::{Scope, SearchEntry, dn_escape, ldap_escape};
use tokio::time::Instant;

use super::{
    account::{self, Account},
    connection::{Bound, Connection, Found, Search},
    fault::Fault,
    groups,
    servers::{Lease, Server},
};
use crate::config::{Ldap, LdapFind, Secret};

/// Finds every entry.
const ANY: &str = "(objectClass=*)";
/// Asks for entries alone (RFC 4511, section 4.5.1.8).
const NO_ATTRIBUTE: &str = "1.1";

/// What is asked of a directory.
#[derive(Clone)]
pub(super) enum Question {
    /// Whether the password is this user's, and who that is.
    Login { user: String, password: Secret },
    /// Who has this name.
    Look { user: String },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Nobody,
    /// The name is of an entry that nobody can log in to, and no other provider's; in words for the log.
    Unusable(String),
    /// Of this entry, which the password is not; in words for the log.
    Wrong(String),
    Account(Arc<Account>),
}

impl Answer {
    /// True where the password was tried.
    pub(super) fn shows_a_bind(&self) -> bool {
        match self {
            Self::Wrong(_) | Self::Account(_) => true,
            Self::Nobody | Self::Unusable(_) => false,
        }
    }
}

/// What one server is asked until the deadline.
pub(super) struct Session<'a> {
    pub(super) server: &'a Server,
    pub(super) settings: &'a Ldap,
    pub(super) deadline: Instant,
}

enum Entry {
    None,
    Several,
    One(Box<SearchEntry>),
}

impl Session<'_> {
    pub(super) async fn answer(&self, question: &Question) -> Result<Answer, Fault> {
        let outcome = self.try_answer(question).await;
        match outcome {
            // A connection from the pool that its server has closed since.
            Err(Fault::Lost(_)) => {
                self.server.forget_connections();
                self.try_answer(question).await
            }
            _ => outcome,
        }
    }

    /// True where a search below this finds nothing because nothing is there.
    pub(super) async fn is_baseless(&self, base: &str) -> Result<bool, Fault> {
        let mut lease = self.server.searching(self.deadline).await?;
        let search = Search { base, scope: Scope::Base, filter: ANY, attributes: &[NO_ATTRIBUTE], most: 1 };
        let found = lease.search(search, self.deadline).await?;
        lease.give_back();
        Ok(found.baseless)
    }

    async fn try_answer(&self, question: &Question) -> Result<Answer, Fault> {
        match (question, &self.settings.users.find) {
            (Question::Look { user }, _) => match self.find(user).await? {
                Entry::None => Ok(Answer::Nobody),
                Entry::Several => Ok(several()),
                Entry::One(entry) => self.account(&entry).await,
            },
            (Question::Login { user, password }, LdapFind::Search { .. }) => match self.find(user).await? {
                Entry::None => Ok(Answer::Nobody),
                Entry::Several => Ok(several()),
                Entry::One(entry) => match self.prove(&entry.dn, password).await? {
                    Bound::Yes => self.proven(user, &entry).await,
                    Bound::No(why) => Ok(Answer::Wrong(why)),
                    Bound::NoEntry => Ok(Answer::Wrong("the entry is gone".to_owned())),
                },
            },
            (Question::Login { user, password }, LdapFind::Direct { dn, .. }) => {
                self.log_in_directly(&dn.fill(&dn_escape(user.as_str()), ""), user, password).await
            }
        }
    }

    /// The entry of a name, as the service account sees it.
    async fn find(&self, user: &str) -> Result<Entry, Fault> {
        let mut lease = self.server.searching(self.deadline).await?;
        let entry = self.find_on(&mut lease, user).await?;
        lease.give_back();
        Ok(entry)
    }

    async fn find_on(&self, connection: &mut Connection, user: &str) -> Result<Entry, Fault> {
        let users = &self.settings.users;
        let mut attributes = account::attributes(users);
        attributes.extend(groups::attributes_of_users(self.settings));
        let escaped = ldap_escape(user);
        let (base, scope, filter) = match &users.find {
            LdapFind::Search { base, filter } => (base.clone(), Scope::Subtree, filter.fill(&escaped, "")),
            LdapFind::Direct { dn, filter } => {
                let filter = filter.as_ref().map_or_else(|| ANY.to_owned(), |filter| filter.fill(&escaped, ""));
                (dn.fill(&dn_escape(user), ""), Scope::Base, filter)
            }
        };
        let search = Search { base: &base, scope, filter: &filter, attributes: &attributes, most: 2 };
        let Found { mut entries, cut, .. } = connection.search(search, self.deadline).await?;
        Ok(match (entries.pop(), entries.is_empty() && !cut) {
            (None, _) => Entry::None,
            (Some(entry), true) => Entry::One(Box::new(entry)),
            (Some(_), false) => Entry::Several,
        })
    }

    async fn prove(&self, dn: &str, password: &Secret) -> Result<Bound, Fault> {
        let mut lease = self.server.proving(self.deadline).await?;
        let bound = lease.bind(dn, password, self.deadline).await?;
        lease.give_back();
        Ok(bound)
    }

    /// The account of who typed this name and proved to be it. It is looked up again by its own name alone, so that has to
    /// lead to it.
    async fn proven(&self, typed: &str, entry: &SearchEntry) -> Result<Answer, Fault> {
        let answer = self.account(entry).await?;
        let Answer::Account(account) = &answer else { return Ok(answer) };
        let name = &*account.standing.name;
        if name == typed || matches!(self.find(name).await?, Entry::One(found) if found.dn == entry.dn) {
            return Ok(answer);
        }
        let attribute = &self.settings.users.attribute;
        Ok(Answer::Unusable(format!(
            "{} is called {name:?} by its {attribute}, and that name does not find it",
            entry.dn
        )))
    }

    async fn account(&self, entry: &SearchEntry) -> Result<Answer, Fault> {
        let mut lease = self.server.searching(self.deadline).await?;
        let account = self.account_on(&mut lease, entry).await?;
        lease.give_back();
        Ok(account)
    }

    async fn account_on(&self, connection: &mut Connection, entry: &SearchEntry) -> Result<Answer, Fault> {
        let account = match Account::of(entry, &self.settings.users) {
            Ok(account) => account,
            Err(why) => return Ok(Answer::Unusable(why)),
        };
        let name = Arc::clone(&account.standing.name);
        let groups = groups::of(connection, self.settings, entry, &name, self.deadline).await?;
        Ok(Answer::Account(account.with_groups(groups)))
    }

    /// With a service account an unknown name can be told from a wrong password; without one the user reads its own entry.
    async fn log_in_directly(&self, dn: &str, user: &str, password: &Secret) -> Result<Answer, Fault> {
        let alone = self.settings.asks_as_user();
        let mut lease: Lease<'_> = self.server.proving(self.deadline).await?;
        let bound = lease.bind(dn, password, self.deadline).await?;
        let answer = match bound {
            Bound::Yes if alone => match self.find_on(&mut lease, user).await? {
                Entry::One(entry) => Some(self.account_on(&mut lease, &entry).await?),
                Entry::None | Entry::Several => Some(Answer::Nobody),
            },
            Bound::No(ref why) if alone => Some(Answer::Wrong(why.clone())),
            Bound::NoEntry => Some(Answer::Nobody),
            Bound::Yes | Bound::No(_) => None,
        };
        lease.give_back();
        match (answer, bound) {
            (Some(answer), _) => Ok(answer),
            (None, bound) => match (self.find(user).await?, bound) {
                (Entry::None | Entry::Several, _) => Ok(Answer::Nobody),
                (Entry::One(entry), Bound::Yes) => self.proven(user, &entry).await,
                (Entry::One(_), Bound::No(why)) => Ok(Answer::Wrong(why)),
                (Entry::One(_), Bound::NoEntry) => Ok(Answer::Nobody),
            },
        }
    }
}

fn several() -> Answer {
    Answer::Unusable("several entries have this name".to_owned())
}
