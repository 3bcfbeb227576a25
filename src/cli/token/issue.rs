//! `portcullis token issue`

use std::{io::Write as _, sync::Arc, time::Duration};

use anyhow::{Context as _, bail, ensure};
use clap::Args;

use crate::{
    cli::{ConfigArgs, complain},
    config::{Config, Host, parse_duration},
    identity::{BasicCredentials, Chain, User},
    registry::{ScopePattern, ScopePatterns},
    runtime,
    token::{Issuer, Keys, date},
};

/// Make a deploy token: a password for machines, limited to some repositories.
///
/// The token goes to standard output, its id and how to revoke it to standard error. A client uses it as the password
/// of its user, for instance "docker login -u ci --password-stdin". It allows what its grants and the live policy both
/// allow. It ends when it expires, when its id stands in tokens.revoked, or when its user's password changes or its
/// user is disabled; nothing of it is stored.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  portcullis token issue --user ci --grant 'team-a/**:pull,push' > ci.token
  docker login -u ci --password-stdin registry.example.com < ci.token")]
pub(super) struct IssueArgs {
    #[command(flatten)]
    config: ConfigArgs,

    /// The user it is for: one that a provider of the configuration knows.
    #[arg(long, value_name = "USER")]
    user: String,

    /// Repositories and actions, like 'team-a/**:pull,push'; may be repeated.
    #[arg(long = "grant", value_name = "PATTERN:ACTIONS", required = true, value_parser = parse_grant)]
    grants: Vec<ScopePattern>,

    /// How long it lasts, like 90d or 12h.
    #[arg(long, value_name = "DURATION", default_value = "90d", value_parser = parse_lifetime)]
    lifetime: Duration,

    /// The registry it is for; needed where the configuration has several.
    #[arg(long, value_name = "HOST", value_parser = parse_host)]
    registry: Option<Host>,
}

/// Prints the token.
///
/// # Errors
/// A configuration or key that cannot be used, a user that nobody knows, a registry that is none of ours.
pub(super) fn run(args: &IssueArgs) -> anyhow::Result<()> {
    let config = Config::load(&args.config.config)?;
    let registry = registry(&config, args.registry.as_ref())?;
    let service = runtime::service(registry, &config.tokens);
    let user = user(&config, &args.user)?;
    let patterns: ScopePatterns = args.grants.iter().cloned().collect();
    let keys = Arc::new(Keys::open(&config.tokens.keys)?);
    let issuer = Issuer::new(keys, config.tokens.issuer.clone(), config.tokens.lifetime);
    let issued = issuer.issue_deploy(&service, &user, &patterns, args.lifetime)?;
    ensure!(
        BasicCredentials::new(&user.name, &issued.token).is_ok(),
        "the token is too long for a password: use fewer or wider patterns"
    );
    let grants: Vec<_> = args.grants.iter().map(ToString::to_string).collect();
    complain(&format!(
        "deploy token {} for {} at {service}: {}; ends {}",
        issued.id,
        user.name,
        grants.join(" "),
        date(issued.expires),
    ));
    complain(&format!("to revoke it: tokens: {{ revoked: [\"{}\"] }}", issued.id));
    writeln!(std::io::stdout(), "{}", issued.token).context("cannot write the token")
}

fn registry<'a>(config: &'a Config, host: Option<&Host>) -> anyhow::Result<&'a crate::config::Registry> {
    let names = || {
        let first = config.registries.iter().filter_map(|registry| registry.hosts.first());
        first.map(Host::to_string).collect::<Vec<_>>().join(", ")
    };
    match (host, config.registries.as_slice()) {
        (None, [only]) => Ok(only),
        (None, _) => bail!("there are several registries, say which: --registry with one of {}", names()),
        (Some(host), all) => {
            let found = all.iter().find(|registry| registry.hosts.contains(host));
            found.with_context(|| format!("{host} is no registry of this configuration: it has {}", names()))
        }
    }
}

fn user(config: &Config, name: &str) -> anyhow::Result<User> {
    let chain = Chain::build(&config.identity).map_err(runtime::BuildError::from)?;
    let found = tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(chain.find(name))?;
    found.with_context(|| {
        format!("no identity provider knows {name:?}, or it is disabled: add a user for the machine first (portcullis hash {name})")
    })
}

fn parse_grant(text: &str) -> Result<ScopePattern, String> {
    ScopePattern::parse(text).map_err(|error| error.to_string())
}

fn parse_lifetime(text: &str) -> Result<Duration, String> {
    const LEAST: Duration = Duration::from_secs(60);
    match parse_duration(text) {
        Some(lifetime) if lifetime >= LEAST => Ok(lifetime),
        Some(_) => Err("at least 60s".to_owned()),
        None => Err("write a whole number and a unit, like 12h or 90d".to_owned()),
    }
}

fn parse_host(text: &str) -> Result<Host, String> {
    Host::parse(text).ok_or_else(|| "not a host".to_owned())
}
