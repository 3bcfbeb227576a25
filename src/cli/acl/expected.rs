//! `portcullis acl test`

use std::path::PathBuf;

use super::{Asked, Judge, find_registry};
use crate::{
    cli::ConfigArgs,
    config::{Config, Expectation, Expectations},
    registry::{Action, Actions},
};

/// Hold the grants against a file of expectations, for continuous integration.
///
/// Every expectation that does not hold is listed with the reason: the grant that allows it, or those
/// that come close. The file is YAML:
///
///   version: 1
///   registry: "registry.example.com"   # left out: the first of the configuration
///   from: "10.1.2.3"                   # the clients' address; left out: 127.0.0.1
///   expect:
///     - { user: "alice", allow: [pull, push], deny: [delete], repository: "team-a/app" }
///     - { user: "carol", groups: ["devs"], deny: [push], repository: "team-a/app", from: "192.0.2.1" }
///     - { anonymous: true, allow: [pull], deny: [push], repository: "library/nginx" }
///
/// A user has the groups that identity.groups gives, and those in `groups` besides. `read_only`,
/// which is for a time, does not count.
///
/// Exit code 0: all hold; 1: some do not; 78: one of the two files cannot be used.
#[derive(Debug, clap::Args)]
#[command(about = "Hold the grants against a file of expectations, for continuous integration", verbatim_doc_comment)]
pub(super) struct TestArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The file of expectations.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// The text to print, and whether all expectations hold.
///
/// # Errors
/// A configuration or a file of expectations that cannot be used.
pub(super) fn answer(question: &TestArgs) -> anyhow::Result<(String, bool)> {
    let config = Config::load(&question.config.config)?;
    let expectations = Expectations::load(&question.file, &config)?;
    let judge = Judge::new(&config);
    let (mut lines, mut held) = (Vec::new(), 0_usize);
    for expectation in &expectations.all {
        for (action, expected) in actions(expectation) {
            match surprise(&judge, expectation, action, expected)? {
                None => held = held.saturating_add(1),
                Some(text) => {
                    let Expectation { line, column, .. } = expectation;
                    lines.push(format!("{}:{line}:{column}: {text}", expectations.path.display()));
                }
            }
        }
    }
    let surprises = lines.len();
    lines.push(match surprises {
        0 => format!("all {held} expectations hold"),
        1 => format!("1 of {} expectations does not hold", held.saturating_add(1)),
        _ => format!("{surprises} of {} expectations do not hold", held.saturating_add(surprises)),
    });
    Ok((lines.join("\n"), surprises == 0))
}

/// Each action that something is expected of, and whether it is to be allowed.
fn actions(expectation: &Expectation) -> impl Iterator<Item = (Action, bool)> {
    let of = |actions: Actions, expected| actions.iter().map(move |action| (action, expected));
    of(expectation.allow, true).chain(of(expectation.deny, false))
}

/// What is otherwise than expected, and why.
fn surprise(
    judge: &Judge<'_>,
    expectation: &Expectation,
    action: Action,
    expected: bool,
) -> anyhow::Result<Option<String>> {
    let Expectation { user, groups, registry, from, repository, .. } = expectation;
    let registry = find_registry(judge.config, registry.as_ref())?;
    let asked = Asked { user: user.as_deref(), groups, registry, client: *from, action, repository };
    let (why, allowed) = judge.explain(&asked);
    let who = user.as_deref().unwrap_or("an anonymous caller");
    let says = if allowed { "is allowed to" } else { "is not allowed to" };
    Ok((allowed != expected).then(|| format!("{who} {says} {action} {repository}, unlike expected\n  {why}")))
}
