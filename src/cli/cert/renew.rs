//! `portcullis cert renew`

use std::{
    process::ExitCode,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;

use crate::{
    cli::{ConfigArgs, running::parse_timeout, say},
    config::{AcmeCertificate, Config, Host},
    tls::acme::{Moment, Slot, Storage, StoredCertificate},
};

/// How often the storage is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// Within this a running portcullis has begun, unless the clock is wrong.
const BEGIN: Duration = Duration::from_secs(10);

/// Have the running portcullis order a certificate of tls.acme anew, whenever it would be due.
///
/// Where that fails it stays asked for, and is tried again as other failures are, until it succeeds.
///
/// For a key that is no longer secret, and the like: a certificate is renewed in time by itself. It is asked through the
/// storage folder, so this has to be run by the user that portcullis runs as, or by root. Limits of the authority count.
///
/// Exit code 0: it was issued and is in force; 1: it was not, with the reason.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  runuser -u portcullis -- portcullis cert renew registry.example.com")]
pub(super) struct RenewArgs {
    #[command(flatten)]
    config: ConfigArgs,

    /// One of the certificate's names.
    name: String,

    /// How long to wait for it.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_timeout)]
    timeout: Duration,
}

pub(super) fn run(args: &RenewArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config.config)?;
    let acme = config.tls.acme.as_ref().context("the configuration has no tls.acme: nothing is renewed here")?;
    let certificate = named(&acme.certificates, &args.name)?;
    let slot = Storage::new(acme).slot(certificate);
    let asking = Asking { before: slot.certificate()?, at: Moment::now(), begin: Instant::now(), slot };
    asking.slot.ask_renewal()?;
    say(&asking.outcome(args.timeout)?);
    Ok(ExitCode::SUCCESS)
}

fn named<'a>(certificates: &'a [AcmeCertificate], name: &str) -> anyhow::Result<&'a AcmeCertificate> {
    let wanted = Host::parse(name).map_or_else(|| name.to_owned(), |host| host.name.to_string());
    let is = |certificate: &&AcmeCertificate| certificate.names.iter().any(|name| name.to_string() == wanted);
    certificates.iter().find(is).ok_or_else(|| {
        let mut known: Vec<String> = Vec::new();
        for name in certificates.iter().flat_map(|one| &one.names).map(ToString::to_string) {
            if !known.contains(&name) {
                known.push(name);
            }
        }
        anyhow!("tls.acme has no certificate for {name}; it has some for: {}", known.join(", "))
    })
}

/// A renewal that was asked for.
struct Asking {
    slot: Slot,
    before: Option<StoredCertificate>,
    at: Moment,
    begin: Instant,
}

impl Asking {
    fn outcome(&self, timeout: Duration) -> anyhow::Result<String> {
        loop {
            if let Some(said) = self.look()? {
                return Ok(said);
            }
            let passed = self.begin.elapsed();
            if passed > BEGIN.min(timeout) && self.slot.is_renewal_asked() {
                bail!(
                    "no portcullis that runs has begun within {:?}: is one running? The mark {} stays, and is followed when one does",
                    BEGIN.min(timeout),
                    self.slot.path().with_file_name("renew").display()
                );
            }
            if passed > timeout {
                bail!("nothing came of it within {timeout:?}: see `portcullis cert status` and the log");
            }
            sleep(LOOK);
        }
    }

    /// What came of it, where something did.
    fn look(&self) -> anyhow::Result<Option<String>> {
        if self.slot.is_renewal_asked() {
            return Ok(None);
        }
        let state = self.slot.state();
        if state.began.is_some() {
            return Ok(None);
        }
        if let Some(failure) = state.error.filter(|failure| failure.at >= self.at) {
            let again = state.not_before.map(|next| format!(" from {next} on")).unwrap_or_default();
            bail!("no certificate was issued: {}; it stays asked for, and is tried again{again}", failure.reason);
        }
        let now = self.slot.certificate()?;
        Ok((now != self.before).then(|| "a certificate was issued and is in force".to_owned()))
    }
}
