//! The file of `acl test`: who is expected to be allowed what. Read like the configuration, and against one.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

use super::{
    Config, Host, Identity, Problems,
    access::read_registry,
    load,
    problem::Report,
    reader::{self, Field, Section},
    yaml,
};
use crate::registry::{Action, Actions, RepositoryName};

/// What the grants of a configuration are expected to say.
#[derive(Clone, Debug)]
pub struct Expectations {
    pub path: PathBuf,
    /// At least one.
    pub all: Vec<Expectation>,
}

/// What one caller is expected to be allowed on one repository.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// None: an anonymous caller.
    pub user: Option<String>,
    /// Besides those that `identity.groups` gives.
    pub groups: Vec<String>,
    /// None: the first registry of the configuration.
    pub registry: Option<Host>,
    pub from: IpAddr,
    pub repository: RepositoryName,
    pub allow: Actions,
    pub deny: Actions,
    /// Where it stands in the file, 1-based.
    pub line: usize,
    pub column: usize,
}

/// What holds for all expectations of a file that do not say otherwise.
struct Defaults<'c> {
    registry: Option<Host>,
    from: IpAddr,
    hosts: Vec<&'c Host>,
    identity: &'c Identity,
}

impl Expectations {
    /// Reads and checks the file; every problem found is reported, with line and column.
    ///
    /// # Errors
    /// What is wrong with the file. Its registries must be ones of the configuration.
    pub fn load(path: &Path, config: &Config) -> Result<Self, Problems> {
        let report = Report::new(path);
        let all = read(&report, config);
        match all {
            Some(all) if report.is_clean() => Ok(Self { path: path.to_owned(), all }),
            _ => Err(Problems(report.finish())),
        }
    }
}

fn read(report: &Report<'_>, config: &Config) -> Option<Vec<Expectation>> {
    const HINT: &str = "write - { user: \"alice\", allow: [pull], repository: \"team-a/app\" }";
    let text = load::read_text(report.file(), report)?;
    let tree = yaml::parse(&text, report)?;
    let root = Section::root(&tree, report)?;
    if let Some(field) = root.required("version", "write version: 1") {
        load::read_version(&field);
    }
    let hosts = config.registries.iter().flat_map(|registry| &registry.hosts).collect();
    let mut defaults =
        Defaults { registry: None, from: IpAddr::V4(Ipv4Addr::LOCALHOST), hosts, identity: &config.identity };
    defaults.registry = root.get("registry").and_then(|field| read_registry(&field, &defaults.hosts));
    defaults.from = root.get("from").and_then(|field| read_address(&field)).unwrap_or(defaults.from);
    let fields = root.required("expect", HINT).map(|field| field.filled_list(HINT)).unwrap_or_default();
    root.finish();
    Some(fields.iter().filter_map(|field| read_one(field, &defaults)).collect())
}

fn read_one(field: &Field<'_>, defaults: &Defaults<'_>) -> Option<Expectation> {
    let section = field.section()?;
    let place = field.place();
    let user = read_user(&section);
    let groups = section.get("groups");
    if let Some(groups) = groups.as_ref().filter(|_| section.get("user").is_none()) {
        groups.error_at_key("an anonymous caller is in no group: write user");
    }
    let registry = section.get("registry").and_then(|field| read_registry(&field, &defaults.hosts));
    let from = section.get("from").and_then(|field| read_address(&field));
    let repository = section.required("repository", "write the name of a repository, like \"team-a/app\"");
    let (allow, deny) = (read_actions(&section, "allow"), read_actions(&section, "deny"));
    if section.get("allow").is_none() && section.get("deny").is_none() {
        section.error("neither allow nor deny: write what is expected, like allow: [pull]");
    }
    let both = allow.intersection(deny);
    if !both.is_empty() {
        section.error(format_args!("{both} is expected to be allowed and to be denied"));
    }
    let expectation = repository.and_then(|field| read_repository(&field)).map(|repository| Expectation {
        user,
        groups: groups.map(|field| read_groups(&field, defaults.identity)).unwrap_or_default(),
        registry: registry.or_else(|| defaults.registry.clone()),
        from: from.unwrap_or(defaults.from),
        repository,
        allow,
        deny,
        line: place.line,
        column: place.column,
    });
    section.finish();
    expectation
}

/// Who it is must be said: one left out by mistake would be a test of anonymous callers.
fn read_user(section: &Section<'_>) -> Option<String> {
    let user = section.get("user");
    let anonymous = section.get("anonymous");
    match (&user, &anonymous) {
        (None, None) => section.error("neither user nor anonymous: write user: \"NAME\" or anonymous: true"),
        (Some(_), Some(anonymous)) => anonymous.error_at_key("there is a user: write one of both"),
        (None, Some(anonymous)) if anonymous.flag() == Some(false) => anonymous.error("write true, or a user instead"),
        (Some(_), None) | (None, Some(_)) => {}
    }
    user.and_then(|field| field.text()).map(str::to_owned)
}

fn read_groups(field: &Field<'_>, identity: &Identity) -> Vec<String> {
    field.list().unwrap_or_default().iter().filter_map(|field| read_group(field, identity)).collect()
}

fn read_group(field: &Field<'_>, identity: &Identity) -> Option<String> {
    let group = field.text()?;
    if !identity.groups.contains_key(group) && !identity.has_directory_groups() {
        let known: Vec<&str> = identity.groups.keys().map(String::as_str).collect();
        let meant = reader::closest(group, &known).map(|meant| format!(": did you mean {meant:?}?"));
        field.error(format_args!("identity.groups has no group {group:?}{}", meant.unwrap_or_default()));
    }
    Some(group.to_owned())
}

fn read_actions(section: &Section<'_>, key: &'static str) -> Actions {
    let Some(field) = section.get(key) else { return Actions::NONE };
    let words = Action::ALL.map(|action| (action.as_str(), action));
    field.filled_list("leave the key out").iter().filter_map(|field| field.word(&words)).collect()
}

fn read_repository(field: &Field<'_>) -> Option<RepositoryName> {
    let text = field.text()?;
    RepositoryName::parse(text).map_err(|error| field.error(format_args!("{text:?}: {error}"))).ok()
}

fn read_address(field: &Field<'_>) -> Option<IpAddr> {
    let text = field.text()?;
    let address = text.parse().ok();
    if address.is_none() {
        field.error(format_args!("{text:?} is not an address: write the one of a client, like \"10.1.2.3\""));
    }
    address
}

#[cfg(test)]
mod tests;
