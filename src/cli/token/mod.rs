//! `portcullis token`: what the keys of a configuration are for.

mod keys;

/// Work with the tokens of a configuration and the keys that sign them.
#[derive(Debug, clap::Args)]
pub(super) struct TokenArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Keys(keys::KeysArgs),
}

/// Answers on standard output.
///
/// # Errors
/// A configuration that cannot be loaded, or a key that it names.
pub(super) fn run(args: &TokenArgs) -> anyhow::Result<()> {
    match &args.command {
        Command::Keys(args) => keys::run(args),
    }
}
