//! The command line: each command a short function over the library.

mod acl;
mod cert;
mod check;
mod hash;
mod healthcheck;
mod login_test;
mod quickstart;
mod running;
mod serve;
mod token;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::{config::Problems, runtime::BuildError, telemetry::log, tls::CertificateError, token::KeyError};

/// The configuration, or what it names, cannot be used (`EX_CONFIG` of sysexits.h).
const EXIT_CONFIG: u8 = 78;

/// portcullis: the gate in front of a container registry.
///
/// Terminates TLS, signs users in, decides per repository who may pull, push and delete, and streams everything else
/// to a registry that only portcullis reaches.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, about, long_about, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done, 1 failed (or DENY), 2 wrong usage, 78 the configuration cannot be used.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Check(check::CheckArgs),
    Healthcheck(healthcheck::HealthcheckArgs),
    Hash(hash::HashArgs),
    LoginTest(login_test::LoginTestArgs),
    Quickstart(quickstart::QuickstartArgs),
    Acl(acl::AclArgs),
    Cert(cert::CertArgs),
    Token(token::TokenArgs),
}

/// Where the configuration is.
#[derive(Clone, Debug, Args)]
pub(crate) struct ConfigArgs {
    /// The configuration file.
    #[arg(
        short = 'c',
        long = "config",
        value_name = "FILE",
        env = "PORTCULLIS_CONFIG",
        default_value = "/etc/portcullis/portcullis.yml"
    )]
    pub(crate) config: PathBuf,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Healthcheck(args) => healthcheck::run(&args),
        Command::Hash(args) => hash::run(args).map(|()| ExitCode::SUCCESS),
        Command::LoginTest(args) => login_test::run(&args),
        Command::Quickstart(args) => quickstart::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Acl(args) => acl::run(&args),
        Command::Cert(args) => cert::run(&args),
        Command::Token(args) => token::run(&args),
    };
    // What is said at the terminal comes behind it.
    log::flush();
    outcome.unwrap_or_else(|error| {
        let text = match error.downcast_ref::<Problems>() {
            Some(problems) => problems.to_string(),
            None => format!("portcullis: {error:#}"),
        };
        complain(&text);
        if is_configuration(&error) { ExitCode::from(EXIT_CONFIG) } else { ExitCode::FAILURE }
    })
}

/// True where the configuration, or a file that it names, is at fault.
fn is_configuration(error: &anyhow::Error) -> bool {
    error.is::<Problems>() || error.is::<BuildError>() || error.is::<CertificateError>() || error.is::<KeyError>()
}

/// One line for the person at the terminal.
#[allow(clippy::print_stderr)] // the terminal is what a command line speaks to
fn complain(line: &str) {
    eprintln!("{line}");
}

/// One line of the command's result.
#[allow(clippy::print_stdout)] // as above
fn say(line: &str) {
    println!("{line}");
}

#[cfg(test)]
mod tests;
