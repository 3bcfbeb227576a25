//! `portcullis check`

use std::{io, process::ExitCode};

use clap::Args;

use super::{ConfigArgs, EXIT_CONFIG, complain, say};
use crate::{
    config::{self, Config, Problem, Severity},
    identity::{Chain, DirectoryProblem},
    runtime::Runtime,
    tls::{
        self,
        acme::{self, TrialError},
    },
};

/// Check a configuration and everything it names, without listening.
///
/// Reports every problem with file, line and column, then loads certificates, password files and token keys as
/// `serve` would. Every directory server and the ACME authority are asked once: one that cannot be reached is a warning,
/// one that refuses us, or has no such profile, an error. Warnings do not fail the check unless --strict is given.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,

    /// Fail on warnings too.
    #[arg(long)]
    strict: bool,

    /// Check the configuration file alone, not the files and servers that it names.
    #[arg(long)]
    syntax_only: bool,
}

pub(super) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config.config)?;
    let mut report = Report::default();
    report.warnings.extend(config.warnings.iter().map(ToString::to_string));
    if !args.syntax_only {
        check_files(&config, &mut report);
        check_directories(&config, &mut report)?;
        check_authority(&config, &mut report)?;
    }
    for line in report.warnings.iter().chain(&report.errors) {
        complain(line);
    }
    let shown = args.config.config.display();
    let acceptable = !args.strict || report.warnings.is_empty();
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    if report.errors.is_empty() && acceptable {
        say(&format!("{shown}: ok ({})", count(report.warnings.len(), "warning")));
        return Ok(ExitCode::SUCCESS);
    }
    let (errors, warnings) = (count(report.errors.len(), "error"), count(report.warnings.len(), "warning"));
    complain(&format!("{shown}: {errors}, {warnings}"));
    Ok(ExitCode::from(EXIT_CONFIG))
}

#[derive(Default)]
struct Report {
    warnings: Vec<String>,
    errors: Vec<String>,
}

/// Everything `serve` would load, each problem on its own.
fn check_files(config: &Config, report: &mut Report) {
    tls::install_provider();
    let check = Runtime::check(config);
    report.warnings.extend(check.warnings.iter().map(ToString::to_string));
    report.errors.extend(check.errors.iter().map(ToString::to_string));
}

/// Every directory server, asked as `serve` would at a login.
fn check_directories(config: &Config, report: &mut Report) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for (directory, problem) in runtime.block_on(Chain::try_out(&config.identity)) {
        let problem = place(config, directory, &problem);
        let (errors, warnings) = (&mut report.errors, &mut report.warnings);
        let told = if problem.severity == Severity::Error { errors } else { warnings };
        told.push(problem.to_string());
    }
    Ok(())
}

/// The authority of `tls.acme`, asked for its directory alone.
fn check_authority(config: &Config, report: &mut Report) -> io::Result<()> {
    let Some(acme) = config.tls.acme.as_ref().filter(|_| report.errors.is_empty()) else { return Ok(()) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(acme::try_out(acme)) {
        Ok(()) => {}
        Err(error @ TrialError::Refused(_)) => report.errors.push(config.error_at("tls.acme", error).to_string()),
        Err(error @ TrialError::Unreachable(_)) => {
            let problem =
                config.error_at("tls.acme", format_args!("{error} (until it answers as it should, nothing is issued)"));
            report.warnings.push(Problem { severity: Severity::Warning, ..problem }.to_string());
        }
    }
    Ok(())
}

/// Where the configuration names what is at fault.
fn place(config: &Config, directory: &config::Ldap, problem: &DirectoryProblem) -> Problem {
    let url = |server: usize| format!("{}.urls[{server}]", directory.key);
    let name = |server: usize| directory.servers.get(server).map(ToString::to_string).unwrap_or_default();
    match problem {
        DirectoryProblem::Unreachable { server, reason } => {
            let message = format!("{}: {reason}; nobody logs in by this server until it answers", name(*server));
            Problem { severity: Severity::Warning, ..config.error_at(&url(*server), message) }
        }
        DirectoryProblem::Refused { server, reason } => {
            config.error_at(&url(*server), format_args!("{}: {reason}", name(*server)))
        }
        DirectoryProblem::Baseless { server, key } => {
            let message = format!("{}: there is nothing, or nothing that bind_dn may see", name(*server));
            config.error_at(&format!("{}.{key}", directory.key), message)
        }
        DirectoryProblem::Service { server, reason } => {
            let message = format!("{}: {reason}", name(*server));
            config.error_at(&format!("{}.bind_password_file", directory.key), message)
        }
    }
}
