//! `portcullis healthcheck`

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use clap::Args;

use super::{
    ConfigArgs, complain,
    running::{self, Address, parse_timeout, parse_url},
    say,
};

const LONGEST_LINE: usize = 300;
const MOST_LINES: usize = 20;

/// Ask a running portcullis whether it is ready.
///
/// For container health checks and scripts. Asks the admin address of the configuration (`listen.admin`) for /readyz:
/// whether its listeners accept. The registry behind may be down all the same, and what is wrong is printed: see /status. A file that has become
/// unusable for another reason does not matter: the running process goes on with what it last read.
///
/// Exit code 0: it is; 1: it is not, with a line that says why.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  HEALTHCHECK CMD [\"portcullis\", \"healthcheck\"]        # Dockerfile
  exec: { command: [\"portcullis\", \"healthcheck\", \"--live\"] }   # Kubernetes, livenessProbe
  portcullis healthcheck --url http://10.0.2.7:9090 --timeout 1s      # elsewhere")]
pub(super) struct HealthcheckArgs {
    #[command(flatten)]
    config: ConfigArgs,

    /// The admin address to ask, instead of the configuration's: http://HOST:PORT.
    #[arg(long, value_name = "URL", value_parser = parse_url)]
    url: Option<Address>,

    /// Ask for /healthz: whether the process answers at all.
    #[arg(long)]
    live: bool,

    /// How long to wait for the answer.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = parse_timeout)]
    timeout: Duration,
}

pub(super) fn run(args: &HealthcheckArgs) -> anyhow::Result<ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    let path = if args.live { "/healthz" } else { "/readyz" };
    Ok(match runtime.block_on(check(args, path)) {
        Ok(answer) => {
            say(&answer);
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&format!("portcullis: {error:#}"));
            ExitCode::FAILURE
        }
    })
}

/// What it says, where that is good; the lines behind the first tell what is wrong all the same.
async fn check(args: &HealthcheckArgs, path: &str) -> anyhow::Result<String> {
    let answer = running::ask(&args.config.config, args.url.as_ref(), path, args.timeout).await?;
    let text = String::from_utf8_lossy(&answer.body);
    let plain = |line: &str| line.chars().filter(|letter| !letter.is_control()).take(LONGEST_LINE).collect::<String>();
    let said = text.lines().take(MOST_LINES).map(plain).collect::<Vec<_>>().join("\n");
    if !answer.status.is_success() {
        bail!("{path} ({}): {said}", answer.status.as_u16());
    }
    Ok(said)
}
