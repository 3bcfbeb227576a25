//! `portcullis login-test`

use std::{
    io::{self, IsTerminal as _},
    process::ExitCode,
};

use anyhow::Context as _;

use super::{ConfigArgs, hash::first_line, say};
use crate::{
    access::{Policy, Whence},
    config::{Config, Secret},
    identity::{BasicCredentials, Chain, LoginError, Principal, Step},
    tls,
};

/// Try a login, and say provider by provider what was asked and what came back.
///
/// The password is asked for on a terminal, without showing it; otherwise it is the first line of standard input. A wrong
/// one counts where the directory counts wrong passwords. Shows the groups of the user and the grants that are for it.
/// With --no-password the user is only looked up.
///
/// Exit code 0: the login succeeds, or would with the right password; 1: it does not.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  portcullis login-test alice
  portcullis login-test --no-password alice        # groups and grants of somebody else")]
pub(super) struct LoginTestArgs {
    #[command(flatten)]
    config: ConfigArgs,

    /// The name as a client would send it.
    #[arg(value_name = "USER")]
    user: String,

    /// Look the user up, and try no password.
    #[arg(long)]
    no_password: bool,
}

pub(super) fn run(args: &LoginTestArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config.config)?;
    tls::install_provider();
    let chain = Chain::build(&config.identity).map_err(crate::runtime::BuildError::from)?;
    let login = if args.no_password { None } else { Some(login(&args.user)?) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let trial = runtime.block_on(async {
        match &login {
            Some(login) => chain.trial(login).await,
            None => chain.trial_without_password(&args.user).await,
        }
    });
    trial.steps.iter().for_each(tell);
    Ok(match trial.outcome {
        Ok(principal) => {
            tell_rights(&config, &principal);
            ExitCode::SUCCESS
        }
        Err(error) => {
            if login.is_some() {
                tell_refusal(error);
            }
            ExitCode::FAILURE
        }
    })
}

fn login(user: &str) -> anyhow::Result<BasicCredentials> {
    BasicCredentials::new(user, password()?.reveal())
        .context("no client can send this name and this password: a colon, a control character, or too long")
}

fn password() -> anyhow::Result<Secret> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return rpassword::prompt_password("Password: ").map(Secret::new).context("cannot ask for the password");
    }
    first_line(stdin.lock())
}

fn tell_refusal(error: LoginError) {
    let status = match error {
        LoginError::Rejected => "401: wrong credentials",
        LoginError::Unavailable => "503: an identity source cannot answer",
        LoginError::Overloaded => "503: too many logins wait to be verified",
        LoginError::Throttled { .. } => "429: too many failed logins",
    };
    say(&format!("clients are answered {status}"));
}

fn tell(step: &Step) {
    say(&format!("{}: {}", step.provider, step.verdict));
    step.lines.iter().for_each(|line| say(&format!("  {}", printable(line))));
}

/// Names of a directory are shown on terminals, and may hold anything.
fn printable(line: &str) -> String {
    line.chars().filter(|letter| !letter.is_control()).collect()
}

fn tell_rights(config: &Config, principal: &Principal) {
    let groups = principal.as_user().map(|user| user.groups.join(", ")).unwrap_or_default();
    say(&format!("groups of the configuration: {}", if groups.is_empty() { "none" } else { &groups }));
    let given = Policy::compile(&config.access).given(principal, Whence::default());
    say(if given.is_empty() { "no grant is for this user" } else { "grants for this user:" });
    given.iter().for_each(|given| say(&format!("  {given}")));
}
