//! `portcullis cert status`

use std::{fmt::Display, process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
/// Exit code 0: every name is served by a certificate that has not ended; 1: one is not, or something cannot be read.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  portcullis cert status
  portcullis cert status --json")]
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
    /// Of the running process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    configuration: Option<Value>,
    certificates: Vec<CertificateStatus>,
    acme: Vec<AcmeStatus>,
    /// Something could not be read, and was told.
    #[serde(skip)]
    is_partial: bool,
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
    let (mut infos, mut reports, mut is_partial) = (Vec::new(), Vec::new(), false);
    let mut tell = |error: &dyn Display| {
        complain(&format!("portcullis: {error}"));
        is_partial = true;
    };
    for files in &config.tls.certificates {
        match tls::load(files) {
            Ok(loaded) => infos.push(loaded.info),
            Err(error) => tell(&error),
        }
    }
    infos.extend(config.tls.acme.iter().flat_map(acme::stored));
    for report in config.tls.acme.iter().flat_map(acme::survey) {
        match report {
            Ok(report) => reports.push(report),
            Err(error) => tell(&error),
        }
    }
    Found {
        configuration: None,
        certificates: infos.into_iter().map(CertificateStatus::from).collect(),
        acme: reports.into_iter().map(AcmeStatus::from).collect(),
        is_partial,
    }
}

impl Found {
    /// Every name has a certificate that is not a temporary one and has not ended.
    fn is_good(&self) -> bool {
        let nameless = self.certificates.iter().filter(|certificate| certificate.names.is_empty());
        let of_certificates = self.certificates.iter().flat_map(|certificate| &certificate.names);
        let mut names = of_certificates.chain(self.acme.iter().flat_map(|wanted| &wanted.names));
        !self.is_partial && nameless.into_iter().all(lasts) && names.all(|name| self.lasting(name).is_some())
    }

    /// The certificate for a name that lasts longest.
    fn lasting(&self, name: &str) -> Option<&CertificateStatus> {
        let wild = name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        let is_for = |certificate: &&CertificateStatus| {
            certificate.names.iter().any(|known| known == name || Some(known) == wild.as_ref())
        };
        // As RFC 3339 writes them, in UTC, they are in order.
        self.certificates.iter().filter(|one| lasts(one)).filter(is_for).max_by_key(|one| &one.not_after)
    }

    /// Until when others serve these names, where that is all of them.
    fn others_until(&self, names: &[String]) -> Option<&str> {
        let until: Option<Vec<&str>> =
            names.iter().map(|name| self.lasting(name).map(|one| one.not_after.as_str())).collect();
        until?.into_iter().min()
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let error = self.configuration.as_ref().and_then(|configuration| configuration.get("error")?.as_str());
        lines.extend(error.map(|error| format!("the configuration that was read last is not in force: {error}")));
        for certificate in &self.certificates {
            let CertificateStatus { names, source, file, not_after, days_left, standing: _ } = certificate;
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
            lines.extend(renewal(wanted, self.others_until(&wanted.names)));
        }
        lines
    }
}

fn lasts(certificate: &CertificateStatus) -> bool {
    certificate.source != "temporary" && certificate.days_left >= 0
}

/// `others_until`: when the first ends of those that serve its names.
fn renewal(wanted: &AcmeStatus, others_until: Option<&str>) -> Vec<String> {
    let AcmeStatus { not_after, next_attempt, asked, window, under_way, error, failed_at, .. } = wanted;
    let next = match next_attempt {
        _ if *under_way => "under way",
        // Both as RFC 3339 writes them, in UTC.
        Some(next) if *next <= acme::Moment::now().to_string() => "at once",
        Some(next) => next,
        None => "once the clock of this machine is right",
    };
    let stored = match (not_after, others_until) {
        (Some(until), _) => until.clone(),
        (None, Some(until)) => format!("none of its own; another one serves it until {until}"),
        (None, None) => "there is none yet".to_owned(),
    };
    let mut lines = vec![detail("stored until", stored), detail("next attempt", next)];
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
