//! A login told step by step.

use std::sync::Arc;

use ldap3::{dn_escape, ldap_escape};

use super::{
    Directory, account, outcome,
    session::{Answer, Question},
};
use crate::{
    config::{GroupKey, LdapFind, LdapGroupSource},
    identity::{BasicCredentials, Outcome, ProviderError},
};

pub(super) async fn of(
    directory: &Arc<Directory>,
    login: &BasicCredentials,
) -> (Vec<String>, Result<Outcome, ProviderError>) {
    let BasicCredentials { username: user, password } = login;
    let mut lines = vec![servers(directory)];
    if password.reveal().is_empty() || !account::is_usable(user) {
        lines.push("not asked: nobody can have this name".to_owned());
        return (lines, Ok(Outcome::Unknown));
    }
    lines.push(asked(directory, user));
    let question = Question::Login { user: user.clone(), password: password.clone() };
    match Arc::clone(directory).ask(question).await {
        Ok(reply) => {
            lines.extend(reply.before);
            lines.push(format!("{} answers: {}", reply.server, words(&reply.answer)));
            if let Answer::Account(account) = &reply.answer {
                lines.extend(groups(directory, &account.dn, &account.standing.groups));
            }
            (lines, Ok(outcome(reply.answer)))
        }
        Err(error) => (lines, Err(error)),
    }
}

fn servers(directory: &Directory) -> String {
    let names: Vec<&str> = directory.servers.iter().map(|server| server.name.as_str()).collect();
    let service = directory.settings.service.as_ref();
    let who = service.map_or_else(|| "nobody".to_owned(), |service| format!("{:?}", service.dn));
    let starttls = if directory.settings.starttls { " with StartTLS" } else { "" };
    format!("servers: {}{starttls}, bound as {who}", names.join(", "))
}

fn asked(directory: &Directory, user: &str) -> String {
    match &directory.settings.users.find {
        LdapFind::Search { base, filter } => {
            format!("user: below {base:?} by {}", filter.fill(&ldap_escape(user), ""))
        }
        LdapFind::Direct { dn, .. } => format!("user: bind as {}", dn.fill(&dn_escape(user), "")),
    }
}

fn words(answer: &Answer) -> String {
    match answer {
        Answer::Nobody => "nobody has this name, or the entry may not be read, or the base is wrong".to_owned(),
        Answer::Unusable(why) => why.clone(),
        Answer::Wrong(why) => format!("the bind is refused: {why}"),
        Answer::Account(account) if account.disabled => format!(
            "{} is disabled or expired: see its userAccountControl, accountExpires, nsAccountLock, pwdAccountLockedTime",
            account.dn
        ),
        Answer::Account(account) => format!("{}, whose password this is", account.dn),
    }
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
