//! `portcullis acl`: questions to the grants of a configuration.

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
#[derive(Debug, clap::Args)]
pub(super) struct AclArgs {
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, clap::Subcommand)]
enum Question {
    /// Say whether a caller may do something, by which grant, and which grants nearly apply.
    ///
    /// Exit code 0: allowed; 1: denied. The caller need not exist: no password file or directory is asked.
    Explain(Explain),
}

#[derive(Debug, clap::Args)]
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
/// A configuration that cannot be loaded (as [`config::Problems`]) or a registry that it does not have.
pub(super) fn run(args: AclArgs) -> anyhow::Result<ExitCode> {
    let Question::Explain(question) = args.question;
    let config = Config::load(&question.config.config)?;
    let (answer, allowed) = explain(&config, &question)?;
    writeln!(std::io::stdout().lock(), "{answer}").context("cannot write the answer")?;
    Ok(if allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The text to print, and whether it says ALLOW.
fn explain(config: &Config, question: &Explain) -> anyhow::Result<(String, bool)> {
    let Explain { action, repository, .. } = question;
    if let Some(user) = question.user.as_ref().filter(|user| config.identity.disabled_users.contains(*user)) {
        let answer = format!("DENY   {action} {repository}  {user:?} is in identity.disabled_users");
        return Ok((answer, false));
    }
    let registry = find_registry(config, question.registry.as_ref())?;
    let principal = caller(&config.identity, question);
    let asker = Asker {
        principal: &principal,
        registry: registry.hosts.first().context("the registry has no host")?,
        hosts: &registry.hosts,
        client: question.from,
    };
    let explanation = Policy::compile(&config.access).explain(asker, *action, repository);
    Ok((explanation.located(&config.path).to_string(), explanation.allowed()))
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

/// The caller as the gate would see it after a login, had there been one.
fn caller(identity: &config::Identity, question: &Explain) -> Principal {
    let Some(name) = &question.user else {
        return Principal::anonymous();
    };
    let configured = identity.groups.iter().filter(|(_, users)| users.contains(name)).map(|(group, _)| group);
    let groups = configured.chain(&question.groups).map(|group| Arc::from(group.as_str())).collect();
    Principal::user(Arc::new(User {
        name: name.as_str().into(),
        groups,
        directory_groups: question.groups.iter().filter_map(|group| GroupKey::of_grant(group)).collect(),
        via: "acl-explain".into(),
        proof: Proof(String::new()),
    }))
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
