//! `portcullis acl list`

mod listing;

use std::net::IpAddr;

use self::listing::{Ceiling, Line, Listing};
use super::{caller, find_registry, groups_of, is_disabled, parse_action, parse_host, parse_repository};
use crate::{
    access::{Given, Policy, Whence},
    cli::ConfigArgs,
    config::{Config, Host, Registry},
    registry::{Action, RepositoryName},
};

/// List what somebody may do, or who may do something to a repository.
///
/// By grant: what it allows, by which subject it applies, under which conditions, and where it stands. Grants with
/// `from` or `registries` are listed with these conditions; --from and --registry leave those out that do not hold there.
/// `$user` is filled in where --user names one. What is read-only at the moment is told at the end.
///
/// Exit code 0, also where there is nothing to list.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  portcullis acl list --user alice                  # with the groups that identity.groups gives
  portcullis acl list --user alice --group devs     # and with one that a directory does
  portcullis acl list --group devs                  # what its members may do by it
  portcullis acl list --anyone                      # what needs no login
  portcullis acl list --repository team-a/app --action push")]
#[command(group(clap::ArgGroup::new("question").required(true).multiple(true)
    .args(["user", "groups", "anyone", "authenticated", "repository"])))]
pub(super) struct ListArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// What this user may do.
    #[arg(long, value_name = "U", conflicts_with_all = ["anyone", "authenticated", "repository"])]
    user: Option<String>,
    /// With --user: a group besides those that identity.groups gives. Alone: what whoever is in it may do. May be
    /// repeated.
    #[arg(long = "group", value_name = "G", conflicts_with_all = ["anyone", "authenticated", "repository"])]
    groups: Vec<String>,
    /// What callers without a login may do.
    #[arg(long, conflicts_with_all = ["authenticated", "repository"])]
    anyone: bool,
    /// What everybody who is signed in may do.
    #[arg(long, conflicts_with = "repository")]
    authenticated: bool,
    /// Who may do something to this repository.
    #[arg(long, value_name = "NAME", value_parser = parse_repository)]
    repository: Option<RepositoryName>,
    /// With --repository: pull, push or delete; without it, anything.
    #[arg(long, value_name = "ACTION", value_parser = parse_action, requires = "repository",
        conflicts_with_all = ["user", "groups", "anyone", "authenticated"])]
    action: Option<Action>,
    /// Only what holds on this registry.
    #[arg(long, value_name = "HOST", value_parser = parse_host)]
    registry: Option<Host>,
    /// Only what holds for clients of this address.
    #[arg(long, value_name = "IP")]
    from: Option<IpAddr>,
    /// Print what was found as JSON.
    #[arg(long)]
    json: bool,
}

/// The text to print.
///
/// # Errors
/// A configuration that cannot be loaded, or a registry that it does not have.
pub(super) fn answer(question: &ListArgs) -> anyhow::Result<String> {
    let config = Config::load(&question.config.config)?;
    let listing = listing(question, &config)?;
    Ok(if question.json { serde_json::to_string_pretty(&listing)? } else { listing.to_string() })
}

fn listing<'a>(question: &'a ListArgs, config: &'a Config) -> anyhow::Result<Listing<'a>> {
    let ListArgs { user, groups, repository, action, from, .. } = question;
    let registry = question.registry.as_ref().map(|host| find_registry(config, Some(host))).transpose()?;
    let policy = Policy::compile(&config.access).under(&config.registries);
    let whence = Whence { hosts: registry.map(|registry| &*registry.hosts), client: *from };
    let disabled = user.as_ref().is_some_and(|user| is_disabled(config, user));
    let grants = match repository {
        Some(repository) => {
            let holdings = policy.holdings(repository, *action, whence);
            holdings.iter().map(|holding| Line::of_holding(holding, config)).collect()
        }
        None if disabled => Vec::new(),
        None => {
            of_caller(question, config, &policy, whence).iter().map(|given| Line::of_given(given, config)).collect()
        }
    };
    let configured = user.iter().flat_map(|user| groups_of(&config.identity, user));
    let registries = config.registries.iter().filter(|other| registry.is_none_or(|asked| asked.hosts == other.hosts));
    Ok(Listing {
        user: user.as_deref(),
        groups: configured.chain(groups.iter().map(String::as_str)).collect(),
        repository: repository.as_ref().map(RepositoryName::as_str),
        action: action.map(Action::as_str),
        disabled,
        grants,
        read_only: registries
            .filter(|registry| concerns(&policy, registry, repository.as_ref()))
            .filter_map(Ceiling::of)
            .collect(),
    })
}

fn of_caller(question: &ListArgs, config: &Config, policy: &Policy, whence: Whence<'_>) -> Vec<Given> {
    let ListArgs { user, groups, anyone, .. } = question;
    // Without a name it is somebody who is signed in, and no `user:` in the file: a user's name is not empty.
    let name = (!anyone).then(|| user.as_deref().unwrap_or_default());
    let given = policy.given(&caller(&config.identity, name, groups), whence);
    let as_written = name.is_some() && user.is_none();
    if as_written { given } else { given.into_iter().filter_map(|given| given.filled(name)).collect() }
}

/// True where what the registry has read-only is of interest.
fn concerns(policy: &Policy, registry: &Registry, repository: Option<&RepositoryName>) -> bool {
    repository.is_none_or(|repository| registry.hosts.first().is_some_and(|host| policy.is_read_only(host, repository)))
}

#[cfg(test)]
mod tests;
