//! `--help` is the manual: nothing in it is without a word.

use clap::CommandFactory as _;

use super::*;

/// Every command below this one, itself included, with the words that lead to it.
fn commands(words: &str, command: &clap::Command) -> Vec<(String, clap::Command)> {
    let below = command.get_subcommands().filter(|command| command.get_name() != "help");
    let below = below.flat_map(|command| commands(&format!("{words} {}", command.get_name()), command));
    [(words.to_owned(), command.clone())].into_iter().chain(below).collect()
}

#[test]
fn every_command_and_every_argument_has_help() {
    let all = commands("portcullis", &Cli::command());
    assert!(all.iter().any(|(words, _)| words == "portcullis acl test"), "{:?}", all.iter().map(|(words, _)| words));
    for (words, command) in &all {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        assert!(about.len() > 10 && !about.contains('\n'), "{words}: {about:?}");
        for argument in
            command.get_arguments().filter(|argument| !matches!(argument.get_id().as_str(), "help" | "version"))
        {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.len() > 5, "{words} {}: {help:?}", argument.get_id());
            assert!(argument.is_positional() || argument.get_long().is_some(), "{words} {}", argument.get_id());
        }
    }
}

/// The line of a command in a list begins with what it does, like all others, and ends without a full stop.
#[test]
fn the_words_of_commands_are_alike() {
    for (words, command) in commands("portcullis", &Cli::command()) {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let first = about.chars().next();
        assert!(words == "portcullis" || first.is_some_and(char::is_uppercase), "{words}: {about:?}");
        assert!(!about.ends_with('.'), "{words}: {about:?}");
    }
}

#[test]
fn the_readme_names_every_command() {
    let readme = include_str!("../../README.md");
    for (words, command) in commands("portcullis", &Cli::command()) {
        let (above, last) = words.rsplit_once(' ').unwrap_or_default();
        let beside = |line: &str| line.contains(&format!("`{above} ")) && line.contains(&format!("`{last}"));
        let named = readme.contains(&words) || readme.lines().any(beside);
        assert!(named || command.has_subcommands(), "{words} is not in the README");
    }
}

/// What is laid out by hand must not be wrapped.
#[test]
fn examples_fit_in_a_terminal() {
    for (words, command) in commands("portcullis", &Cli::command()) {
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(after.lines().all(|line| line.chars().count() <= 100), "{words}: {after}");
        let named = |line: &&str| line.trim_start().starts_with("portcullis ");
        assert!(after.lines().filter(named).all(|line| line.trim_start().starts_with(&words)), "{words}: {after}");
    }
}
