//! `portcullis acl`: questions to the grants of a configuration.

mod expected;
mod list;

use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context as _, bail};

use crate::{
    access::{Asker, Policy},
    config::{self, Config, GroupKey, Host},
    identity::{Principal, Proof, User},
    registry::{Action, RepositoryName},
};

/// Ask what the grants of a configuration allow.
///
/// No password file and no directory is asked: a caller need not exist, and the groups of a directory are given with
/// --group, as `portcullis login-test` shows them.
#[derive(Debug, clap::Args)]
pub(super) struct AclArgs {
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, clap::Subcommand)]
enum Question {
    Explain(Explain),
    List(list::ListArgs),
    Test(expected::TestArgs),
}

/// Say whether a caller may do something, by which grant, and which grants nearly apply.
///
/// Exit code 0: allowed; 1: denied.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  portcullis acl explain --user alice push team-a/app
  portcullis acl explain --user ci --group builders --from 10.20.0.7 push library/nginx
  portcullis acl explain pull library/nginx                 # without a login")]
struct Explain {
    #[command(flatten)]
    config: super::ConfigArgs,
    /// The caller's name; without it, an anonymous caller.
    #[arg(long, value_name = "U")]
    user: Option<String>,
    /// A group of the caller, besides those that identity.groups gives; may be repeated. No directory is asked:
    /// `portcullis login-test` shows its groups.
    #[arg(long = "group", value_name = "G", requires = "user")]
    groups: Vec<String>,
    /// The registry asked; without it, the first in the file.
    #[arg(long, value_name = "HOST", value_parser = parse_host)]
    registry: Option<Host>,
    /// The client's address, for grants with `from`.
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    from: IpAddr,
    /// pull, push or delete.
    #[arg(value_parser = parse_action)]
    action: Action,
    /// A repository name.
    #[arg(value_parser = parse_repository)]
    repository: RepositoryName,
}

/// Answers on standard output.
///
/// # Errors
/// A configuration or a file of expectations that cannot be loaded (as [`config::Problems`]), or a registry that the
/// configuration does not have.
pub(super) fn run(args: &AclArgs) -> anyhow::Result<ExitCode> {
    let (answer, good) = match &args.question {
        Question::Explain(question) => {
            let config = Config::load(&question.config.config)?;
            Judge::new(&config).explain(&Asked::of(&config, question)?)
        }
        Question::List(question) => (list::answer(question)?, true),
        Question::Test(question) => expected::answer(question)?,
    };
    writeln!(std::io::stdout().lock(), "{answer}").context("cannot write the answer")?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One question to the policy.
#[derive(Debug)]
struct Asked<'a> {
    /// None: an anonymous caller.
    user: Option<&'a str>,
    /// Besides those of the configuration.
    groups: &'a [String],
    registry: &'a config::Registry,
    client: IpAddr,
    action: Action,
    repository: &'a RepositoryName,
}

impl<'a> Asked<'a> {
    fn of(config: &'a Config, question: &'a Explain) -> anyhow::Result<Self> {
        Ok(Self {
            user: question.user.as_deref(),
            groups: &question.groups,
            registry: find_registry(config, question.registry.as_ref())?,
            client: question.from,
            action: question.action,
            repository: &question.repository,
        })
    }
}

/// The policy of a configuration, and what stands before it.
struct Judge<'c> {
    config: &'c Config,
    policy: Policy,
}

impl<'c> Judge<'c> {
    fn new(config: &'c Config) -> Self {
        Self { config, policy: Policy::compile(&config.access).under(&config.registries) }
    }

    /// The text to print, and whether it says ALLOW.
    fn explain(&self, asked: &Asked<'_>) -> (String, bool) {
        let Asked { user, groups, registry, client, action, repository } = asked;
        if let Some(user) = user.filter(|user| is_disabled(self.config, user)) {
            return (format!("DENY   {action} {repository}  {user:?} is in identity.disabled_users"), false);
        }
        let Some(first) = registry.hosts.first() else {
            return (format!("DENY   {action} {repository}  the registry has no host"), false);
        };
        let principal = caller(&self.config.identity, *user, groups);
        let asker = Asker { principal: &principal, registry: first, hosts: &registry.hosts, client: *client };
        let explanation = self.policy.explain(asker, *action, repository);
        let mut text = explanation.located(&self.config.path).to_string();
        if explanation.allowed() && *action != Action::Pull && self.policy.is_read_only(first, repository) {
            text.push_str(&format!("\n  but not at the moment: {first} is read-only there (registries[].read_only)"));
        }
        (text, explanation.allowed())
    }
}

fn is_disabled(config: &Config, user: &str) -> bool {
    config.identity.disabled_users.iter().any(|disabled| disabled == user)
}

fn find_registry<'c>(config: &'c Config, asked: Option<&Host>) -> anyhow::Result<&'c config::Registry> {
    let found = match asked {
        Some(host) => config.registries.iter().find(|registry| registry.hosts.contains(host)),
        None => config.registries.first(),
    };
    let Some(registry) = found else {
        let hosts = config.registries.iter().flat_map(|registry| &registry.hosts);
        let hosts: Vec<String> = hosts.map(Host::to_string).collect();
        bail!("no such registry; the configuration has: {}", hosts.join(", "));
    };
    Ok(registry)
}

/// The caller as the gate would see it after a login, had there been one. `groups` are besides those of the
/// configuration.
fn caller(identity: &config::Identity, user: Option<&str>, groups: &[String]) -> Principal {
    let Some(name) = user else {
        return Principal::anonymous();
    };
    let configured = groups_of(identity, name);
    Principal::user(Arc::new(User {
        name: name.into(),
        groups: configured.into_iter().chain(groups.iter().map(String::as_str)).map(Arc::from).collect(),
        directory_groups: groups.iter().filter_map(|group| GroupKey::of_grant(group)).collect(),
        via: "acl".into(),
        proof: Proof("".into()),
    }))
}

/// The groups that the configuration gives a user.
fn groups_of<'c>(identity: &'c config::Identity, name: &str) -> Vec<&'c str> {
    let holds = |users: &Vec<String>| users.iter().any(|user| user == name);
    identity.groups.iter().filter(|(_, users)| holds(users)).map(|(group, _)| group.as_str()).collect()
}

fn parse_host(text: &str) -> Result<Host, String> {
    Host::parse(text).ok_or_else(|| "not a host name or address".to_owned())
}

fn parse_action(word: &str) -> Result<Action, String> {
    Action::parse(word).ok_or_else(|| "use pull, push or delete".to_owned())
}

fn parse_repository(name: &str) -> Result<RepositoryName, String> {
    RepositoryName::parse(name).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
