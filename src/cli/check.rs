//! `portcullis check`

use std::{io, process::ExitCode};

use clap::Args;

use super::{ConfigArgs, EXIT_CONFIG, complain, say};
use crate::{
    config::{self, Config, Problem, Severity},
    identity::{Chain, DirectoryProblem, DirectoryTrouble},
    runtime::Runtime,
    tls::{self, acme},
};

/// Check a configuration and everything it names, without listening.
///
/// Reports every problem with file, line and column, then loads certificates, password files and token keys as
/// `serve` would. Every directory server and the ACME authority are asked once: one that cannot be reached is a warning.
/// A directory server that refuses us is an error, unless another of the same directory answers. Whatever is wrong with
/// the authority, no ACME directory and a profile that it does not have included, is a warning: what is in force goes on
/// without it. Warnings do not fail the check unless --strict is given.
///
/// Exit code 0: it can be used; 78: it cannot, with every reason.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  portcullis check                                     # as the user that portcullis runs as
  portcullis check --strict --syntax-only -c new.yml   # the file alone, in CI")]
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
    // A warning whatever it says: what it withdrew must not keep a change of something else from being put in force.
    if let Err(error) = runtime.block_on(acme::try_out(acme)) {
        let problem = config.error_at("tls.acme", format_args!("{error} (until that is mended, nothing is issued)"));
        report.warnings.push(Problem { severity: Severity::Warning, ..problem }.to_string());
    }
    Ok(())
}

/// Where the configuration names what is at fault.
fn place(config: &Config, directory: &config::Ldap, problem: &DirectoryProblem) -> Problem {
    let DirectoryProblem { server, trouble, severity } = problem;
    let url = || format!("{}.urls[{server}]", directory.key);
    let (key, told) = match trouble {
        DirectoryTrouble::Unreachable(reason) => {
            (url(), format!("{reason}; nobody logs in by this server until it answers"))
        }
        DirectoryTrouble::Refused(reason) => (url(), reason.clone()),
        DirectoryTrouble::Baseless(key) => {
            (format!("{}.{key}", directory.key), "there is nothing, or nothing that bind_dn may see".to_owned())
        }
        DirectoryTrouble::Service(reason) => (format!("{}.bind_password_file", directory.key), reason.clone()),
    };
    let name = directory.servers.get(*server).map(ToString::to_string).unwrap_or_default();
    let refuses = matches!(trouble, DirectoryTrouble::Refused(_) | DirectoryTrouble::Service(_));
    let others = if refuses && *severity == Severity::Warning { "; logins go by the others" } else { "" };
    Problem { severity: *severity, ..config.error_at(&key, format_args!("{name}: {told}{others}")) }
}
