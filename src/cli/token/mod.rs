//! `portcullis token`: tokens of a configuration, and the keys that sign them.

mod inspect;
mod issue;
mod keys;

use std::process::ExitCode;

/// Work with the tokens of a configuration and the keys that sign them.
#[derive(Debug, clap::Args)]
pub(super) struct TokenArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Issue(issue::IssueArgs),
    Inspect(inspect::InspectArgs),
    Keys(keys::KeysArgs),
}

/// Answers on standard output.
///
/// # Errors
/// A configuration that cannot be loaded, or a key that it names.
pub(super) fn run(args: &TokenArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Issue(args) => issue::run(args).map(|()| ExitCode::SUCCESS),
        Command::Inspect(args) => inspect::run(args),
        Command::Keys(args) => keys::run(args).map(|()| ExitCode::SUCCESS),
    }
}
