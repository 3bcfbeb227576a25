//! `portcullis token inspect`

use std::{
    io::{self, Read as _, Write as _},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context as _, bail};
use clap::Args;
use zeroize::Zeroizing;

use crate::{
    cli::ConfigArgs,
    config::Config,
    identity::Chain,
    runtime,
    token::{Inspection, Keys, TokenKind, TokenState, date, inspect},
};

/// More than any token of ours.
const MAX_INPUT: u64 = 64 * 1024;

/// Say what a token is, and whether it would be accepted now.
///
/// Reads the token from standard input: an access, refresh or deploy token. Exit code 0: it is good; 1: it is not. The
/// reason is for the operator; a client is never told.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  portcullis token inspect < ci.token")]
pub(super) struct InspectArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Answers on standard output.
///
/// # Errors
/// A configuration, key or password file that cannot be used, or an input that is no token of this product.
pub(super) fn run(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config.config)?;
    let keys = Arc::new(Keys::open(&config.tokens.keys)?);
    let chain = Chain::build(&config.identity).map_err(runtime::BuildError::from)?;
    let services: Vec<_> =
        config.registries.iter().map(|registry| runtime::service(registry, &config.tokens)).collect();
    let mut text = Zeroizing::new(String::new());
    io::stdin().take(MAX_INPUT).read_to_string(&mut text).context("cannot read the token from standard input")?;
    let text = text.trim();
    let text = text.strip_prefix("Bearer ").unwrap_or(text);
    if text.is_empty() {
        bail!("nothing came on standard input: write portcullis token inspect < FILE");
    }
    let verifier = runtime::verifier(&config.tokens, &keys);
    let asked = inspect(text, &verifier, &services, &chain, config.tokens.refresh.is_some());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let Some(inspection) = runtime.block_on(asked) else { bail!("this is no token of portcullis, or not all of one") };
    print(&inspection).context("cannot write")?;
    Ok(if inspection.state == TokenState::Good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(inspection: &Inspection) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let user = if inspection.user.is_empty() { "(anonymous)" } else { &inspection.user };
    let mut line = |name: &str, value: &str| writeln!(out, "{name:<9}{value}");
    line("kind", inspection.kind.as_str())?;
    line("id", &inspection.id)?;
    if let Some(parent) = &inspection.parent {
        line("parent", parent)?;
    }
    line("user", user)?;
    line("for", &inspection.audience)?;
    for scope in &inspection.allows {
        line("allows", scope)?;
    }
    line("begins", &date(inspection.begins))?;
    // Clocks may differ by a minute, and an access token is taken for so much longer.
    let late = if inspection.kind == TokenKind::Access { ", accepted for a minute more" } else { "" };
    line("ends", &format!("{}{late}", date(inspection.ends)))?;
    line("state", &inspection.state.to_string())
}
