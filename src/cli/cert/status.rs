//! `portcullis cert status`

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use clap::Args;
use serde::Deserialize;

use crate::{
    admin::{CertificateStatus, RenewalStatus, certificates},
    cli::{
        ConfigArgs, complain,
        running::{self, Address, parse_timeout, parse_url},
        say,
    },
    config::Config,
    tls::{self, acme},
};

/// Say which certificates are in force, until when, and how they are renewed.
///
/// Asks the running portcullis on its admin address. Where none answers, says what is stored and what the files hold.
///
/// Exit code 0: every name has a certificate that has not ended; 1: one has not.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    config: ConfigArgs,

    /// The admin address to ask, instead of the configuration's: http://HOST:PORT.
    #[arg(long, value_name = "URL", value_parser = parse_url)]
    url: Option<Address>,

    /// Print what was found as JSON.
    #[arg(long)]
    json: bool,

    /// How long to wait for the answer.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = parse_timeout)]
    timeout: Duration,
}

pub(super) fn run(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    let found = match runtime.block_on(in_force(args)) {
        Ok(found) => found,
        Err(error) if args.url.is_some() => return Err(error),
        Err(error) => {
            complain(&format!("portcullis: {error:#}; so this is what is stored, not what is in force"));
            stored(&Config::load(&args.config.config)?)
        }
    };
    if args.json {
        say(&serde_json::to_string_pretty(&found)?);
    } else {
        found.iter().flat_map(lines).for_each(|line| say(&line));
    }
    Ok(if found.iter().all(is_good) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[derive(Deserialize)]
struct Shown {
    certificates: Vec<CertificateStatus>,
}

async fn in_force(args: &StatusArgs) -> anyhow::Result<Vec<CertificateStatus>> {
    let answer = running::ask(&args.config.config, args.url.as_ref(), "/status", args.timeout).await?;
    if !answer.status.is_success() {
        bail!("/status: {}", answer.status);
    }
    let shown: Shown =
        serde_json::from_slice(&answer.body).context("/status: that is no portcullis of this version")?;
    Ok(shown.certificates)
}

/// What a portcullis that starts now would find.
fn stored(config: &Config) -> Vec<CertificateStatus> {
    tls::install_provider();
    let mut infos = Vec::new();
    for files in &config.tls.certificates {
        match tls::load(files) {
            Ok(loaded) => infos.push(loaded.info),
            Err(error) => complain(&format!("portcullis: {error}")),
        }
    }
    let reports = config.tls.acme.as_ref().map(acme::survey).unwrap_or_default();
    infos.extend(config.tls.acme.iter().flat_map(acme::stored));
    certificates(&infos, &reports)
}

fn is_good(certificate: &CertificateStatus) -> bool {
    certificate.source != "temporary" && certificate.days_left.is_some_and(|days| days >= 0)
}

fn lines(certificate: &CertificateStatus) -> Vec<String> {
    let CertificateStatus { names, source, file, not_after, days_left, renewal } = certificate;
    let mut lines = vec![names.join(", ")];
    let mut tell = |what: &str, text: String| lines.push(format!("  {what:<14}{text}"));
    let origin = file.as_ref().map(|file| format!(", {file}")).unwrap_or_default();
    tell("source", format!("{source}{origin}"));
    match (not_after, days_left) {
        (Some(not_after), Some(days)) if *days < 0 => tell("ended", not_after.clone()),
        (Some(not_after), Some(days)) => tell("until", format!("{not_after} ({days} days left)")),
        _ => tell("until", "there is none yet".to_owned()),
    }
    if let Some(RenewalStatus { next_attempt, under_way, window, error }) = renewal {
        match next_attempt {
            _ if *under_way => tell("next attempt", "under way".to_owned()),
            Some(next) => tell("next attempt", next.clone()),
            None => tell("next attempt", "once the clock of this machine is right".to_owned()),
        }
        if let Some(window) = window {
            let why = window.explanation.as_ref().map(|page| format!(", see {page}")).unwrap_or_default();
            tell("window", format!("{} to {}{why}", window.start, window.end));
        }
        if let Some(error) = error {
            tell("last error", format!("{}: {}", error.at, error.reason));
        }
    }
    lines
}
