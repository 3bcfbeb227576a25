//! A login told step by step.

use std::sync::Arc;

use ldap3::{dn_escape, ldap_escape};

use super::{
    Directory, Reply,
    account::{self, Account},
    outcome,
    session::{Answer, Question},
};
use crate::{
    config::{GroupKey, LdapFind, LdapGroupSource, Secret},
    identity::{Outcome, ProviderError},
};

/// With a password a login, without one a look at the user.
pub(super) async fn of(
    directory: &Arc<Directory>,
    user: &str,
    password: Option<&Secret>,
) -> (Vec<String>, Result<Outcome, ProviderError>) {
    let mut lines = vec![servers(directory)];
    if password.is_some_and(|password| password.reveal().is_empty()) || !account::is_usable(user) {
        lines.push("not asked: nobody can have this name".to_owned());
        return (lines, Ok(Outcome::Unknown));
    }
    let look = Question::Look { user: user.to_owned() };
    let alone = directory.settings.asks_as_user();
    let question = match password {
        Some(password) => Question::Login { user: user.to_owned(), password: password.clone() },
        None if alone => {
            let (provider, reason) = (directory.name.to_string(), "only the user can be asked: give a bind_dn");
            return (lines, Err(ProviderError { provider, reason: reason.to_owned() }));
        }
        None => look.clone(),
    };
    lines.push(asked(directory, user, password.is_some()));
    let reply = match Arc::clone(directory).ask(question).await {
        Ok(reply) => reply,
        Err(error) => return (lines, Err(error)),
    };
    lines.extend(reply.before);
    lines.push(format!("{} answers: {}", reply.server, words(&reply.answer, password.is_some())));
    match &reply.answer {
        Answer::Account(account) => {
            lines.extend(locks(account));
            lines.extend(groups(directory, &account.dn, &account.standing.groups));
        }
        // Whom the password is not of may be kept from logging in by more than that.
        Answer::Wrong(_) if !alone => {
            if let Ok(Reply { answer: Answer::Account(account), .. }) = Arc::clone(directory).ask(look).await {
                lines.extend(locks(&account));
            }
        }
        Answer::Wrong(_) | Answer::Unusable(_) | Answer::Nobody => {}
    }
    (lines, Ok(outcome(reply.answer)))
}

fn servers(directory: &Directory) -> String {
    let names: Vec<&str> = directory.servers.iter().map(|server| server.name.as_str()).collect();
    let service = directory.settings.service.as_ref();
    let who = service.map_or_else(|| "nobody".to_owned(), |service| format!("{:?}", service.dn));
    let starttls = if directory.settings.starttls { " with StartTLS" } else { "" };
    format!("servers: {}{starttls}, bound as {who}", names.join(", "))
}

fn asked(directory: &Directory, user: &str, binds: bool) -> String {
    match &directory.settings.users.find {
        LdapFind::Search { base, filter } => {
            format!("user: below {base:?} by {}", filter.fill(&ldap_escape(user), ""))
        }
        LdapFind::Direct { dn, .. } => {
            format!("user: {} {}", if binds { "bind as" } else { "read" }, dn.fill(&dn_escape(user), ""))
        }
    }
}

fn words(answer: &Answer, bound: bool) -> String {
    match answer {
        Answer::Nobody => "nobody has this name, or the entry may not be read, or the base is wrong".to_owned(),
        Answer::Unusable(why) => why.clone(),
        Answer::Wrong(why) => format!("the bind is refused: {why}"),
        Answer::Account(account) if bound => format!("{}, whose password this is", account.dn),
        Answer::Account(account) => account.dn.clone(),
    }
}

/// What the entry says of being disabled or locked.
fn locks(account: &Account) -> Option<String> {
    let what = if account.disabled { "is disabled or expired" } else { "may be locked for a time" };
    (!account.locks.is_empty()).then(|| format!("{} {what}: {}", account.dn, account.locks.join(", ")))
}

fn groups(directory: &Directory, dn: &str, found: &[GroupKey]) -> Vec<String> {
    let Some(groups) = &directory.settings.groups else { return vec!["groups: none are asked for".to_owned()] };
    let how = match &groups.source {
        LdapGroupSource::Attribute { attribute, .. } => format!("from {attribute}"),
        LdapGroupSource::Search { base, filter } => {
            format!("below {base:?} by {}", filter.fill("$user", &ldap_escape(dn)))
        }
    };
    let nested = if groups.nested { ", with the groups that these are in" } else { "" };
    let mut lines =
        vec![format!("groups: {how}{nested}: {}", if found.is_empty() { "none that may be read" } else { "these" })];
    lines.extend(found.iter().map(|group| format!("  group:{group}")));
    lines
}
