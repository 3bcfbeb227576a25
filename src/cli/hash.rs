//! `portcullis hash`: a line for a password file.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::{Context, bail, ensure};
use zeroize::Zeroizing;

use crate::{
    config::Secret,
    identity::{check_user, hash_password},
};

/// The longest line that is read from standard input, in bytes.
const MAX_INPUT: u64 = 4096;
/// From here on a login is slow enough to be noticed.
const SLOW_COST: u32 = 15;

/// Print an htpasswd line with a bcrypt hash.
///
/// The password is asked for twice on a terminal, without showing it; otherwise it is the first line of standard
/// input. It is never taken from the command line, where other users of the machine could see it.
///
/// The line goes to standard output and belongs into the file of an htpasswd provider, for instance with
/// "portcullis hash alice >> htpasswd". Where a user has several lines there, the last counts.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct HashArgs {
    /// Name of the user; no colon, no control character, no blank at its ends
    #[arg(value_name = "USER", value_parser = user)]
    user: String,

    /// Work factor of bcrypt, 4 to 17; each step doubles the time of a login
    #[arg(long, value_name = "COST", default_value_t = 12, value_parser = clap::value_parser!(u32).range(4..=17))]
    cost: u32,
}

/// Asks for the password and prints `user:hash`.
pub(super) fn run(args: HashArgs) -> anyhow::Result<()> {
    let HashArgs { user, cost } = args;
    if cost >= SLOW_COST {
        writeln!(
            io::stderr(),
            "warning: a cost of {cost} makes each login take seconds; docker gives up after 15 seconds"
        )?;
    }
    let stdin = io::stdin();
    let password = if stdin.is_terminal() { ask_twice()? } else { first_line(stdin.lock())? };
    let line = hash_password(&user, &password, cost).map_err(anyhow::Error::msg)?;
    writeln!(io::stdout(), "{line}").context("cannot write the line")
}

fn user(text: &str) -> Result<String, String> {
    check_user(text).map(|()| text.to_owned())
}

fn ask_twice() -> anyhow::Result<Secret> {
    let ask = |prompt: &str| rpassword::prompt_password(prompt).map(Secret::new).context("cannot ask for the password");
    let password = ask("Password: ")?;
    ensure!(!password.reveal().is_empty(), "the password is empty");
    ensure!(password.reveal() == ask("Again: ")?.reveal(), "the two passwords differ");
    Ok(password)
}

/// The first line without its end; the rest is not looked at.
pub(super) fn first_line(input: impl BufRead) -> anyhow::Result<Secret> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_INPUT as usize + 1));
    input.take(MAX_INPUT).read_until(b'\n', &mut bytes).context("cannot read the password from standard input")?;
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let Ok(line) = str::from_utf8(line) else {
        bail!("the password on standard input is not UTF-8");
    };
    Ok(Secret::new(line.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        hash: HashArgs,
    }

    fn parse(args: &[&str]) -> Result<HashArgs, clap::Error> {
        Command::try_parse_from([&["hash"], args].concat()).map(|command| command.hash)
    }

    #[test]
    fn the_first_line_is_the_password() {
        for (input, password) in [
            ("p:ss wörd\nrest\n", "p:ss wörd"),
            ("secret", "secret"),
            ("secret\r\n", "secret"),
            (" s \n", " s "),
            ("", ""),
            ("\nsecret\n", ""),
        ] {
            assert_eq!(first_line(input.as_bytes()).expect("readable").reveal(), password, "{input:?}");
        }
        assert!(first_line(&b"\xff\n"[..]).is_err());
    }

    #[test]
    fn endless_input_ends() {
        let line = first_line(io::BufReader::new(io::repeat(b'x'))).expect("readable");
        assert_eq!(line.reveal().len() as u64, MAX_INPUT);
        assert!(hash_password("alice", &line, 4).is_err());
    }

    #[test]
    fn the_cost_is_twelve_unless_said_and_bounded() {
        assert_eq!(parse(&["alice"]).expect("valid").cost, 12);
        assert_eq!(parse(&["--cost", "17", "alice"]).expect("valid").cost, 17);
        for cost in ["3", "18", "31", "x", "-1"] {
            assert!(parse(&["--cost", cost, "alice"]).is_err(), "{cost}");
        }
    }

    #[test]
    fn no_password_is_taken_from_the_command_line() {
        assert!(parse(&["alice", "secret"]).is_err());
        assert!(parse(&["--password", "secret", "alice"]).is_err());
    }

    #[test]
    fn a_name_that_no_line_can_hold_is_refused_at_once() {
        for name in ["", "al:ice", " alice", "alice ", "#alice", "al\nice"] {
            assert!(parse(&[name]).is_err(), "{name:?}");
        }
    }
}
