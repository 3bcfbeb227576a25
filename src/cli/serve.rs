//! `portcullis serve`

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use super::ConfigArgs;
use crate::{config::Config, server, telemetry};

/// Run the gate in the foreground until SIGTERM or SIGINT.
///
/// Logs go to standard error. On SIGTERM no new connection is accepted, and transfers under way may finish within
/// `shutdown.drain`.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config.config)?;
    telemetry::log::install(&config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("portcullis")
        .build()
        .context("cannot start the runtime")?;
    let served = runtime.block_on(server::run(config));
    // What is cut at the deadline is cut: nothing may hold the process up.
    runtime.shutdown_background();
    served.map(|()| ExitCode::SUCCESS)
}
