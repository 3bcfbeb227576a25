//! Nothing that can stand in a file makes the loader panic, hang or forget the places.

use proptest::prelude::*;

use super::{LEAST, read};

const REFERENCE: &str = include_str!("../../../conf/portcullis.yml");
const TOKENS: &[&str] = &[
    "*",
    "&a",
    "<<:",
    "!t",
    "---\n",
    "? ",
    "[",
    "]",
    "{",
    "}",
    ":",
    ",",
    "\n",
    "\n  ",
    "\t",
    "\"",
    "'",
    "|",
    ">",
    "~",
    "null",
    "true",
    "-1",
    "1e999",
    ".nan",
    "\0",
    "é",
    "\u{feff}",
    "0s",
    "99999999999999999999",
    "version",
    "- ",
    "# ",
];

fn judge(text: &str) -> Result<(), TestCaseError> {
    if let Err(problems) = read(text) {
        prop_assert!(!problems.0.is_empty());
        prop_assert_eq!(problems.to_string().lines().count(), problems.0.len(), "a problem is one line");
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_text(text in "(?s).{0,300}") {
        judge(&text)?;
    }

    #[test]
    fn anything_after_a_whole_configuration(text in "(?s).{0,200}") {
        judge(&format!("{LEAST}{text}"))?;
    }

    #[test]
    fn the_reference_with_tokens_strewn_in(
        strewn in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(TOKENS)), 1..6),
    ) {
        let mut text = REFERENCE.to_owned();
        for (at, token) in strewn {
            let start: String = text.chars().take(at.index(text.len())).collect();
            let rest: String = text.chars().skip(start.chars().count()).collect();
            text = format!("{start}{token}{rest}");
        }
        judge(&text)?;
    }

    #[test]
    fn the_reference_with_a_piece_cut_out(from: prop::sample::Index, length in 1usize..400) {
        let start = from.index(REFERENCE.len());
        let rest = REFERENCE.chars().skip(start.saturating_add(length));
        let text: String = REFERENCE.chars().take(start).chain(rest).collect();
        judge(&text)?;
    }
}
