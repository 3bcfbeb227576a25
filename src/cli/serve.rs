//! `portcullis serve`

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::ConfigArgs;
use crate::{
    config::Config,
    server::{self, Inheritance},
    telemetry,
};

/// Run the gate in the foreground.
///
/// Logs go to standard error.
///
/// SIGHUP reads the configuration again, which `reload.watch` does by itself where a file changed. SIGTERM and SIGINT end
/// it: no new connection is accepted, and transfers under way may finish within `shutdown.drain`; a second one, or SIGQUIT,
/// ends it at once. SIGUSR2 exchanges the binary: the one that is there now is started with the same arguments, takes the
/// listening sockets over, and this process drains; where it does not start, this one serves on.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Take over from the process that started this one.
    #[arg(long, hide = true)]
    take_over: bool,
}

pub(super) fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let inheritance = args.take_over.then(Inheritance::receive).transpose()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("portcullis")
        .build()
        .context("cannot start the runtime")?;
    // Before anything is read: whoever changes it afterwards may say so.
    let hangups = runtime.block_on(async { signal(SignalKind::hangup()) })?;
    let config = Config::load(&args.config.config)?;
    let log = telemetry::log::install(&config.log).context("cannot begin to log")?;
    let served = runtime.block_on(server::run(config, log, inheritance, hangups));
    // What is cut at the deadline is cut: nothing may hold the process up.
    runtime.shutdown_background();
    served.map(|()| ExitCode::SUCCESS)
}
