//! `portcullis check`

use std::process::ExitCode;

use clap::Args;

use super::{ConfigArgs, EXIT_CONFIG, complain, say};
use crate::{config::Config, runtime::Runtime, tls};

/// Check a configuration and everything it names, without listening.
///
/// Reports every problem with file, line and column, then loads certificates, password files and token keys as
/// `serve` would. Warnings do not fail the check unless --strict is given.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,

    /// Fail on warnings too.
    #[arg(long)]
    strict: bool,

    /// Check the configuration file alone, not the files that it names.
    #[arg(long)]
    syntax_only: bool,
}

pub(super) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config.config)?;
    let mut report = Report::default();
    report.warnings.extend(config.warnings.iter().map(ToString::to_string));
    if !args.syntax_only {
        check_files(&config, &mut report);
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
