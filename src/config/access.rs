//! `access`: who may do what.

use std::{collections::HashMap, fmt};

use ipnet::IpNet;

use super::{
    Host, Identity, Registry, dangers,
    problem::Place,
    reader::{self, Field, Section},
    yaml::Value,
};
use crate::registry::{Action, Actions, Pattern};

#[derive(Clone, Debug, Default)]
pub struct Access {
    /// A union: order means nothing, nothing denies.
    pub grants: Vec<Grant>,
}

#[derive(Clone, Debug)]
pub struct Grant {
    /// What decisions, logs and explanations call it; "grant N" where the file gives no name.
    pub name: String,
    /// At least one.
    pub repositories: Vec<Pattern>,
    pub except: Vec<Pattern>,
    /// At least one.
    pub actions: Actions,
    /// At least one.
    pub to: Vec<Subject>,
    /// Empty: from anywhere.
    pub from: Vec<IpNet>,
    /// Empty: on all registries. Each is one of the configured hosts.
    pub registries: Vec<Host>,
    /// Where the grant stands in the file (1-based), for `acl explain`.
    pub line: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    Anyone,
    Authenticated,
    User(String),
    Group(String),
}

/// As it is written in `to`.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("anyone"),
            Self::Authenticated => f.write_str("authenticated"),
            Self::User(name) => write!(f, "user:{name}"),
            Self::Group(name) => write!(f, "group:{name}"),
        }
    }
}

impl Access {
    pub(super) fn read(section: Section<'_>, registries: &[Registry], identity: &Identity) -> Self {
        let hosts: Vec<&Host> = registries.iter().flat_map(|registry| &registry.hosts).collect();
        let fields = section.list("grants");
        let mut grants: Vec<(Grant, Place)> = Vec::new();
        let mut lines = HashMap::new();
        for (index, field) in fields.iter().enumerate() {
            let Some(section) = field.section() else { continue };
            let name = read_name(&section, index);
            if let Some(line) = lines.get(&name) {
                field.warning(format_args!(
                    "the name {name:?} is taken by the grant in line {line}: logs could not tell them apart"
                ));
            }
            if let Some(grant) = read_grant(section, name, &hosts, identity) {
                dangers::alone(&grant, field);
                lines.entry(grant.name.clone()).or_insert(grant.line);
                grants.push((grant, field.place()));
            }
        }
        if section.is_clean() {
            dangers::together(&grants, &fields, registries, identity);
        }
        section.finish();
        Self { grants: grants.into_iter().map(|(grant, _)| grant).collect() }
    }
}

fn read_name(section: &Section<'_>, index: usize) -> String {
    let name = section.get("name").and_then(|field| field.text()).map(str::to_owned);
    name.unwrap_or_else(|| format!("grant {}", index.saturating_add(1)))
}

/// `None`, and reported, where a part that decides is missing or wrong.
fn read_grant(section: Section<'_>, name: String, hosts: &[&Host], identity: &Identity) -> Option<Grant> {
    let required =
        |key, hint| section.required(key, hint).map(|field: Field<'_>| field.filled_list(hint)).unwrap_or_default();
    let repositories =
        required("repositories", "a grant names the repositories it is for; write [\"team/**\"], or [\"**\"] for all");
    let actions =
        required("actions", "a grant names what it allows; write [pull], [pull, push] or [pull, push, delete]");
    let to = required(
        "to",
        "a grant names whom it is for; write [anyone], [authenticated], [\"user:NAME\"] or [\"group:NAME\"]",
    );
    let optional = |key, why| section.get(key).map(|field: Field<'_>| field.filled_list(why)).unwrap_or_default();
    let from = optional("from", "leave the key out to allow any client network");
    let only_on = optional("registries", "leave the key out to allow it on all registries");
    let grant = Grant {
        name,
        repositories: all(&repositories, read_pattern),
        except: all(&section.list("except"), read_pattern),
        actions: all(&actions, read_action).into_iter().collect(),
        to: all(&to, |field| read_subject(field, identity)),
        from: all(&from, Field::network),
        registries: all(&only_on, |field| read_registry(field, hosts)),
        line: section.place().line,
    };
    section.finish();
    let complete = !grant.repositories.is_empty() && !grant.actions.is_empty() && !grant.to.is_empty();
    complete.then_some(grant)
}

fn all<'a, T>(fields: &[Field<'a>], read: impl Fn(&Field<'a>) -> Option<T>) -> Vec<T> {
    fields.iter().filter_map(read).collect()
}

pub(super) fn read_pattern(field: &Field<'_>) -> Option<Pattern> {
    /// Names have at most 255 bytes, and comparing patterns costs the product of their lengths.
    const LONGEST: usize = 512;
    let text = field.text()?;
    if text.len() > LONGEST {
        field.error("a pattern has at most 512 characters");
        return None;
    }
    Pattern::parse(text).map_err(|problem| field.error(format_args!("{text:?}: {problem}"))).ok()
}

fn read_action(field: &Field<'_>) -> Option<Action> {
    field.word(&Action::ALL.map(|action| (action.as_str(), action)))
}

fn read_subject(field: &Field<'_>, identity: &Identity) -> Option<Subject> {
    if matches!(field.value(), Value::Map(_)) {
        field.error("write subjects without a blank and in quotes: \"user:NAME\" or \"group:NAME\"");
        return None;
    }
    let text = field.text()?;
    let subject = match text.split_once(':') {
        None if text == "anyone" => Subject::Anyone,
        None if text == "authenticated" => Subject::Authenticated,
        Some(("user", name)) if is_user(name) => Subject::User(name.to_owned()),
        Some(("group", name)) if !name.is_empty() && name.trim() == name => Subject::Group(name.to_owned()),
        _ => {
            field.error(not_a_subject(text));
            return None;
        }
    };
    if let Subject::Group(name) = &subject
        && !identity.groups.contains_key(name)
        && !identity.has_directory_groups()
        // A provider that could not be read may bring it.
        && field.is_clean()
    {
        let known: Vec<&str> = identity.groups.keys().map(String::as_str).collect();
        let meant =
            reader::closest(name, &known).map(|meant| format!(" Did you mean \"group:{meant}\"?")).unwrap_or_default();
        field.warning(format_args!("identity.groups has no group {name:?}, so nobody is in it.{meant}"));
    }
    Some(subject)
}

fn is_user(name: &str) -> bool {
    !name.is_empty() && name.trim() == name && !name.contains(':')
}

fn not_a_subject(text: &str) -> String {
    let hint = match reader::closest(text, &["anyone", "authenticated"]) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None if is_user(text) => format!("did you mean \"user:{text}\" or \"group:{text}\"?"),
        None => "write anyone, authenticated, \"user:NAME\" or \"group:NAME\"".to_owned(),
    };
    format!("{text:?} is not a subject: {hint}")
}

/// One of the configured hosts.
pub(super) fn read_registry(field: &Field<'_>, hosts: &[&Host]) -> Option<Host> {
    let text = field.text()?;
    let host = Host::parse(text).filter(|host| hosts.contains(&host));
    if host.is_none() {
        let names: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let meant = reader::closest(text, &names).map(|meant| format!(": did you mean {meant:?}?")).unwrap_or_default();
        field.error(format_args!("{text:?} is not a host of any configured registry{meant}"));
    }
    host
}
