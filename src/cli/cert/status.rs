//! `portcullis cert status`

use std::{fmt::Display, process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::{
    admin::{AcmeStatus, CertificateStatus, WindowStatus},
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
        found.lines().iter().for_each(|line| say(line));
    }
    Ok(if found.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// As /status has it.
#[derive(Serialize, Deserialize)]
struct Found {
    certificates: Vec<CertificateStatus>,
    acme: Vec<AcmeStatus>,
}

async fn in_force(args: &StatusArgs) -> anyhow::Result<Found> {
    let answer = running::ask(&args.config.config, args.url.as_ref(), "/status", args.timeout).await?;
    if !answer.status.is_success() {
        bail!("/status: {}", answer.status);
    }
    serde_json::from_slice(&answer.body).context("/status: that is no portcullis of this version")
}

/// What a portcullis that starts now would find.
fn stored(config: &Config) -> Found {
    tls::install_provider();
    let mut infos = Vec::new();
    for files in &config.tls.certificates {
        match tls::load(files) {
            Ok(loaded) => infos.push(loaded.info),
            Err(error) => complain(&format!("portcullis: {error}")),
        }
    }
    infos.extend(config.tls.acme.iter().flat_map(acme::stored));
    let acme = config.tls.acme.as_ref().map(acme::survey).unwrap_or_default();
    Found {
        certificates: infos.into_iter().map(CertificateStatus::from).collect(),
        acme: acme.into_iter().map(AcmeStatus::from).collect(),
    }
}

impl Found {
    /// Everything that there is to be is there, and has not ended.
    fn is_good(&self) -> bool {
        let lasts = |certificate: &CertificateStatus| certificate.source != "temporary" && certificate.days_left >= 0;
        self.certificates.iter().all(lasts) && self.acme.iter().all(|wanted| wanted.not_after.is_some())
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for certificate in &self.certificates {
            let CertificateStatus { names, source, file, not_after, days_left } = certificate;
            let origin = file.as_ref().map(|file| format!(" ({file})")).unwrap_or_default();
            let left = match days_left {
                ..0 => "ended".to_owned(),
                0 => "less than a day left".to_owned(),
                1 => "1 day left".to_owned(),
                days => format!("{days} days left"),
            };
            lines.push(names.join(", "));
            lines.push(detail("source", format_args!("{source}{origin}")));
            lines.push(detail("until", format_args!("{not_after}, {left}")));
        }
        for wanted in &self.acme {
            lines.push(format!("renewal of {}", wanted.names.join(", ")));
            lines.extend(renewal(wanted));
        }
        lines
    }
}

fn renewal(wanted: &AcmeStatus) -> Vec<String> {
    let AcmeStatus { not_after, next_attempt, asked, window, under_way, error, failed_at, .. } = wanted;
    let next = match next_attempt {
        _ if *under_way => "under way",
        Some(next) => next,
        None => "once the clock of this machine is right",
    };
    let mut lines =
        vec![detail("stored until", not_after.as_deref().unwrap_or("there is none yet")), detail("next attempt", next)];
    if *asked {
        lines.push(detail("wanted now", "asked for by hand, and tried until it succeeds"));
    }
    if let Some(WindowStatus { start, end, explanation }) = window {
        let why = explanation.as_ref().map(|page| format!(", see {page}")).unwrap_or_default();
        lines.push(detail("window", format_args!("{start} to {end}{why}")));
    }
    if let Some(error) = error {
        lines.push(detail("last error", format_args!("{}: {error}", failed_at.as_deref().unwrap_or_default())));
    }
    lines
}

fn detail(what: &str, text: impl Display) -> String {
    format!("  {what:<14}{text}")
}
