//! The answer of `acl list`, as JSON and as text.

use std::fmt;

use serde::Serialize;

use crate::{
    access::{Given, Holders, Holding},
    config::{Config, OpenUploads, ReadOnly, Registry, Subject},
    registry::{Action, Pattern},
};

/// What was asked, and the grants that answer it.
#[derive(Debug, Serialize)]
pub(super) struct Listing<'a> {
    pub(super) user: Option<&'a str>,
    pub(super) groups: Vec<&'a str>,
    pub(super) repository: Option<&'a str>,
    pub(super) action: Option<&'static str>,
    /// The user is in `identity.disabled_users`, and nothing is listed.
    pub(super) disabled: bool,
    pub(super) grants: Vec<Line>,
    pub(super) read_only: Vec<Ceiling>,
}

/// One grant.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    grant: String,
    file: String,
    line: usize,
    actions: Vec<&'static str>,
    repositories: Vec<String>,
    except: Vec<String>,
    /// By what it applies to the caller, or whom it gives the repository.
    to: Vec<Holder>,
    /// `$user` is in the patterns: users of these names alone, where they are in `to`.
    #[serde(skip_serializing_if = "Option::is_none")]
    only_users: Option<Vec<String>>,
    /// `$user` is in the patterns: not users of these names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    but_not_users: Vec<String>,
    /// Empty: from anywhere.
    from: Vec<String>,
    /// Empty: on all registries.
    registries: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Holder {
    subject: String,
    /// Of a group, those that the configuration knows and that are not disabled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    members: Vec<String>,
}

/// What of a registry nobody may write to at the moment.
#[derive(Debug, Serialize)]
pub(super) struct Ceiling {
    registry: String,
    repositories: Vec<String>,
    /// What becomes of uploads that were open: `finish` or `refuse`.
    read_only_uploads: &'static str,
}

impl Line {
    pub(super) fn of_given(given: &Given, config: &Config) -> Self {
        let Given { grant, actions, repositories, except, to, from, registries } = given;
        Self {
            grant: grant.name.to_string(),
            file: config.path.display().to_string(),
            line: grant.line,
            actions: actions.iter().map(Action::as_str).collect(),
            repositories: texts(repositories),
            except: texts(except),
            to: to.iter().map(|subject| Holder::of(subject, config)).collect(),
            only_users: None,
            but_not_users: Vec::new(),
            from: from.clone(),
            registries: registries.clone(),
        }
    }

    pub(super) fn of_holding(holding: &Holding, config: &Config) -> Self {
        let (only_users, but_not_users) = match &holding.holders {
            Holders::Everybody { but } => (None, but.clone()),
            Holders::Only(users) => (Some(users.clone()), Vec::new()),
        };
        Self { only_users, but_not_users, ..Self::of_given(&holding.given, config) }
    }
}

impl Holder {
    fn of(subject: &Subject, config: &Config) -> Self {
        let members = match subject {
            Subject::Group(name) => config.identity.groups.get(name).map(Vec::as_slice).unwrap_or_default(),
            Subject::Anyone | Subject::Authenticated | Subject::User(_) => &[],
        };
        let enabled = members.iter().filter(|user| !config.identity.disabled_users.contains(user));
        Self { subject: subject.to_string(), members: enabled.cloned().collect() }
    }
}

impl Ceiling {
    /// None where everything may be written to.
    pub(super) fn of(registry: &Registry) -> Option<Self> {
        let repositories = match &registry.read_only {
            ReadOnly::Nothing => return None,
            ReadOnly::Everything => vec!["**".to_owned()],
            ReadOnly::Repositories(patterns) => texts(patterns),
        };
        let read_only_uploads = match registry.open_uploads {
            OpenUploads::Finish => "finish",
            OpenUploads::Refuse => "refuse",
        };
        let registry = registry.hosts.first().map(ToString::to_string).unwrap_or_default();
        Some(Self { registry, repositories, read_only_uploads })
    }
}

fn texts(patterns: &[Pattern]) -> Vec<String> {
    patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect()
}

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(user), true) = (self.user, self.disabled) {
            return write!(f, "{user:?} is in identity.disabled_users: nothing is allowed");
        }
        let by = if self.repository.is_some() { "to" } else { "as" };
        for (position, line) in self.grants.iter().enumerate() {
            f.write_str(if position == 0 { "" } else { "\n" })?;
            line.write(f, by)?;
        }
        if self.grants.is_empty() {
            f.write_str("no grant allows anything")?;
        }
        self.read_only.iter().try_for_each(|ceiling| write!(f, "\n{ceiling}"))
    }
}

impl Line {
    fn write(&self, f: &mut fmt::Formatter<'_>, by: &str) -> fmt::Result {
        write!(f, "{} on {}", self.actions.join(","), self.repositories.join(", "))?;
        write_some(f, " except ", &self.except)?;
        let to: Vec<String> = self.to.iter().map(ToString::to_string).collect();
        write!(f, "\n  {by} {}", to.join(", "))?;
        write_some(f, ", users named ", self.only_users.as_deref().unwrap_or_default())?;
        f.write_str(if self.only_users.is_some() { " alone" } else { "" })?;
        write_some(f, ", but not users named ", &self.but_not_users)?;
        write_some(f, "; from ", &self.from)?;
        write_some(f, "; at ", &self.registries)?;
        write!(f, "\n  by grant {:?} ({}:{})", self.grant, self.file, self.line)
    }
}

fn write_some(f: &mut fmt::Formatter<'_>, word: &str, items: &[String]) -> fmt::Result {
    if items.is_empty() { Ok(()) } else { write!(f, "{word}{}", items.join(", ")) }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.subject)?;
        if self.members.is_empty() { Ok(()) } else { write!(f, " ({})", self.members.join(", ")) }
    }
}

impl fmt::Display for Ceiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { registry, repositories, read_only_uploads } = self;
        write!(f, "read-only at the moment at {registry}: {}", repositories.join(", "))?;
        write!(f, " (nobody pushes or deletes there; open uploads: {read_only_uploads})")
    }
}
