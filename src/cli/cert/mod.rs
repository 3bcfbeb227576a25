//! `portcullis cert`: the certificates that are shown, and their renewal.

mod renew;
mod status;

use std::process::ExitCode;

/// See which certificates are in force, and have one renewed.
#[derive(Debug, clap::Args)]
pub(super) struct CertArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Status(status::StatusArgs),
    Renew(renew::RenewArgs),
}

/// Answers on standard output.
///
/// # Errors
/// A configuration that cannot be loaded, or storage that cannot be used.
pub(super) fn run(args: &CertArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Status(args) => status::run(args),
        Command::Renew(args) => renew::run(args),
    }
}
