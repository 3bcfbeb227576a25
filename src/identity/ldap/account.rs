//! What an entry says of its user.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::digest::{Context, SHA256};
use ldap3::SearchEntry;

use crate::{
    config::{Dn, GroupKey, LdapUsers},
    identity::{Proof, Standing},
};

/// When the password was changed last: the password policy of OpenLDAP and others, Active Directory, FreeIPA.
const PASSWORD_TIMES: [&str; 3] = ["pwdChangedTime", "pwdLastSet", "krbLastPwdChange"];
/// What stays the same while an entry is moved or renamed, and is never given out again.
const IDS: [&str; 4] = ["entryUUID", "objectGUID", "nsUniqueId", "ipaUniqueID"];
/// What says that an account is disabled.
const LOCKS: [&str; 4] = ["userAccountControl", "accountExpires", "nsAccountLock", LOCKED_TIME];
/// What says it too, or that the directory does not let it in for a time after wrong passwords.
const LOCKED_TIME: &str = "pwdAccountLockedTime";

/// `ACCOUNTDISABLE` of Active Directory's `userAccountControl`.
const ACCOUNT_DISABLED: i64 = 2;
/// For `pwdAccountLockedTime`: locked by an administrator, not for a time after wrong passwords.
const LOCKED_FOR_GOOD: &str = "000001010000Z";

/// A user as the directory shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) dn: String,
    pub(super) standing: Standing,
    /// Must not log in, whatever its password is.
    pub(super) disabled: bool,
    /// What says so, and what says that it is locked for a time; as `attribute: value`, for who administers the gate.
    pub(super) locks: Vec<String>,
}

/// The attributes to ask for.
pub(super) fn attributes(users: &LdapUsers) -> Vec<&str> {
    let own = [users.attribute.as_str()];
    own.into_iter().chain(PASSWORD_TIMES).chain(IDS).chain(LOCKS).collect()
}

impl Account {
    /// Without its groups.
    ///
    /// # Errors
    /// Where the entry shows no name that can be used.
    pub(super) fn of(entry: &SearchEntry, users: &LdapUsers) -> Result<Self, String> {
        let name = name(entry, &users.attribute)?;
        let standing = Standing { name: name.into(), groups: Vec::new(), proof: proof(entry) };
        let disabling = disabling(entry);
        let mut telling = disabling.clone();
        telling.extend(Some(LOCKED_TIME).filter(|lock| !disabling.contains(lock)));
        let lock = |name: &&str| values(entry, name).first().map(|value| format!("{name}: {value}"));
        let locks = telling.iter().filter_map(lock).collect();
        Ok(Self { dn: entry.dn.clone(), standing, disabled: !disabling.is_empty(), locks })
    }

    pub(super) fn with_groups(mut self, groups: Vec<GroupKey>) -> Arc<Self> {
        self.standing.groups = groups;
        Arc::new(self)
    }
}

/// The values of an attribute; letter case does not count in its name. Active Directory shows the first 1,500 of more
/// values as `memberOf;range=0-1499`, and may show the attribute itself without any.
pub(super) fn values<'e>(entry: &'e SearchEntry, attribute: &str) -> &'e [String] {
    let is_it = |name: &str| name.split(";range=").next().is_some_and(|name| name.eq_ignore_ascii_case(attribute));
    let found = entry.attrs.iter().filter(|(name, _)| is_it(name)).map(|(_, values)| values.as_slice());
    found.max_by_key(|values| values.len()).unwrap_or_default()
}

/// Of several values the one in the entry's own name, else the first in order: always the same, whatever was typed.
fn name(entry: &SearchEntry, attribute: &str) -> Result<String, String> {
    let values = values(entry, attribute);
    let first = Dn::parse(&entry.dn).and_then(|dn| dn.first(attribute).map(str::to_owned));
    let own = first.filter(|first| values.contains(first));
    let name = own.or_else(|| values.iter().min().cloned());
    let name = name.ok_or_else(|| format!("the entry {} shows no {attribute}", entry.dn))?;
    if !is_usable(&name) {
        return Err(format!("the {attribute} of {} cannot be the name of a user", entry.dn));
    }
    Ok(name)
}

/// True for what a login can send as a name, and a directory can hold as one: a colon ends the name in Basic credentials,
/// and blanks at the ends, which directories leave out where they compare, would make several names of one.
pub(super) fn is_usable(name: &str) -> bool {
    !name.is_empty() && name.len() <= 256 && name.trim() == name && !name.contains(|c: char| c == ':' || c.is_control())
}

/// Stays the same while the account does. With a time of the last change of its password it changes with the password too.
fn proof(entry: &SearchEntry) -> Proof {
    let mut context = Context::new(&SHA256);
    let mut add = |part: &[u8]| {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    };
    match IDS.iter().find_map(|id| raw(entry, id)) {
        Some(id) => add(id),
        None => add(Dn::parse(&entry.dn).map_or_else(|| entry.dn.to_lowercase(), |dn| dn.to_string()).as_bytes()),
    }
    let time = PASSWORD_TIMES.iter().find_map(|attribute| values(entry, attribute).iter().max());
    if let Some(time) = time {
        add(time.as_bytes());
    }
    let text: String = context.finish().as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    if time.is_some() { Proof(text.into()) } else { Proof::without_password(&text) }
}

/// The first value as bytes: some are no text.
fn raw<'e>(entry: &'e SearchEntry, attribute: &str) -> Option<&'e [u8]> {
    let binary = entry.bin_attrs.iter().find(|(name, _)| name.eq_ignore_ascii_case(attribute));
    let binary = binary.and_then(|(_, values)| values.first()).map(Vec::as_slice);
    binary.or_else(|| values(entry, attribute).first().map(String::as_bytes))
}

/// The attributes that say that the account is disabled or expired.
fn disabling(entry: &SearchEntry) -> Vec<&'static str> {
    let first = |attribute: &str| values(entry, attribute).first().map(String::as_str);
    let number = |attribute: &str| first(attribute).and_then(|text| text.parse::<i64>().ok());
    let says = |lock: &&str| match *lock {
        "userAccountControl" => number(lock).is_some_and(|flags| flags & ACCOUNT_DISABLED != 0),
        "accountExpires" => number(lock).is_some_and(|expires| ![0, i64::MAX].contains(&expires) && expires < now()),
        "nsAccountLock" => first(lock).is_some_and(|value| value.eq_ignore_ascii_case("true")),
        _ => first(lock) == Some(LOCKED_FOR_GOOD),
    };
    LOCKS.into_iter().filter(says).collect()
}

/// As Active Directory counts: in tenths of microseconds since 1601.
fn now() -> i64 {
    /// Seconds from 1601 to 1970.
    const BEFORE: u64 = 11_644_473_600;
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    i64::try_from(elapsed.saturating_add(BEFORE).saturating_mul(10_000_000)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LdapFind, Template};

    fn entry(dn: &str, attributes: &[(&str, &[&str])]) -> SearchEntry {
        let attrs = attributes.iter().map(|(name, values)| {
            ((*name).to_owned(), values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>())
        });
        SearchEntry { dn: dn.to_owned(), attrs: attrs.collect(), bin_attrs: std::collections::HashMap::new() }
    }

    fn account(dn: &str, attributes: &[(&str, &[&str])]) -> Result<Account, String> {
        let dn_of = Template::parse("uid=$user").unwrap();
        let users = LdapUsers { attribute: "uid".to_owned(), find: LdapFind::Direct { dn: dn_of, filter: None } };
        Account::of(&entry(dn, attributes), &users)
    }

    const ALICE: &str = "uid=alice,ou=people,dc=example";

    #[test]
    fn the_name_is_the_same_whatever_was_typed() {
        for (dn, values, name) in [
            (ALICE, &["alice"][..], "alice"),
            (ALICE, &["adams", "alice"], "alice"),
            (ALICE, &["alice", "adams"], "alice"),
            ("cn=Alice", &["alice", "adams"], "adams"),
            ("cn=Smith\\, John", &["j(o)h*n\\x"], "j(o)h*n\\x"),
        ] {
            assert_eq!(&*account(dn, &[("UID", values)]).unwrap().standing.name, name);
        }
        for values in [&[][..], &[""], &["a:b"], &["a\nb"], &[" a"], &["a "]] {
            assert!(account("cn=x", &[("uid", values)]).is_err(), "{values:?}");
        }
    }

    #[test]
    fn the_first_of_very_many_values() {
        let many =
            entry(ALICE, &[("memberOf", &[]), ("memberof;range=0-1499", &["a", "b"]), ("memberOf;x-other", &["c"])]);
        assert_eq!(values(&many, "memberOf"), ["a", "b"]);
        assert_eq!(values(&entry(ALICE, &[("memberOf", &["a"])]), "MEMBEROF"), ["a"]);
        assert_eq!(values(&many, "member"), <[&str; 0]>::default());
    }

    #[test]
    fn the_proof_changes_with_the_account_and_with_a_password_that_has_a_time() {
        let proof = |dn, attributes: &[(&str, &[&str])]| {
            let attributes = [attributes, &[("uid", &["alice"][..])]].concat();
            account(dn, &attributes).unwrap().standing.proof
        };
        let plain = proof(ALICE, &[]);
        assert_eq!(plain, proof("UID=Alice, OU=people,DC=example", &[]));
        assert_ne!(plain, proof("uid=alice,ou=admins,dc=example", &[]));
        assert!(!plain.binds_password());

        let known = proof(ALICE, &[("entryUUID", &["1"])]);
        assert_eq!(known, proof("uid=alice,ou=moved,dc=example", &[("entryuuid", &["1"])]));
        assert_ne!(known, proof(ALICE, &[("entryUUID", &["2"])]), "another account of the same name");

        let timed = proof(ALICE, &[("pwdChangedTime", &["20260101000000Z"])]);
        assert!(timed.binds_password());
        assert_ne!(timed, proof(ALICE, &[("pwdChangedTime", &["20260101000001Z"])]));
    }

    #[test]
    fn disabled_accounts() {
        for (attribute, value, disabled) in [
            ("userAccountControl", "512", false),
            ("userAccountControl", "514", true),
            ("accountExpires", "0", false),
            ("accountExpires", "9223372036854775807", false),
            ("accountExpires", "132000000000000000", true),
            ("accountExpires", "200000000000000000", false),
            ("nsAccountLock", "TRUE", true),
            ("nsAccountLock", "false", false),
            ("pwdAccountLockedTime", "000001010000Z", true),
            ("pwdAccountLockedTime", "20260101000000Z", false),
        ] {
            let account = account(ALICE, &[("uid", &["alice"]), (attribute, &[value])]).unwrap();
            assert_eq!(account.disabled, disabled, "{attribute}: {value}");
            let told = disabled || attribute == "pwdAccountLockedTime";
            assert_eq!(account.locks.contains(&format!("{attribute}: {value}")), told, "{:?}", account.locks);
        }
    }
}
