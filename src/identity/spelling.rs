//! Spellings of a name. Directories compare names by rules of their own (RFC 4518, and those of Active Directory): case,
//! width and other forms of a letter do not count, in some of them marks on letters neither.

use icu_normalizer::DecomposingNormalizer;

/// One spelling for those that name the same user in every directory: without case, in the plain form of each letter.
pub(super) fn folded(name: &str) -> String {
    let normalizer = DecomposingNormalizer::new_nfkd();
    let plain = normalizer.normalize(name);
    // By way of the upper case: some letters have a lower case of several that are equal, and a sharp s is SS.
    let lower: String = plain.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect();
    normalizer.normalize(&lower).into_owned()
}

/// One spelling for those that name the same user in any directory, and for some more: also without blanks, marks on
/// letters, and what is not seen.
pub(super) fn outline(name: &str) -> String {
    folded(name).chars().filter(|letter| letter.is_ascii_graphic() || letter.is_alphanumeric()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_name() {
        for other in
            ["ALICE", "\u{ff41}lice", "ali\u{217d}e", "\u{24d0}lice", "\u{ff21}\u{ff2c}\u{ff29}\u{ff23}\u{ff25}"]
        {
            assert_eq!(folded(other), "alice", "{other}");
        }
        for other in ["J\u{dc}RGEN", "ju\u{308}rgen", "\u{17f}tra\u{df}e j\u{fc}rgen"] {
            assert_eq!(folded(other), folded(&other.to_uppercase()), "{other}");
        }
        assert_eq!(folded("\u{212a}im"), "kim");
        for (one, other) in [("m\u{fc}ller", "muller"), ("a b", "ab"), ("ci", "c1"), ("alice", "alic\u{435}")] {
            assert_ne!(folded(one), folded(other));
        }
    }

    #[test]
    fn outlines() {
        for other in ["\u{e1}lic\u{e9}", "a li ce", "al\u{ad}ice", "al\u{200b}ice", "ALI\u{327}CE\u{301}\u{302}"] {
            assert_eq!(outline(other), "alice", "{other}");
        }
        for (one, other) in [("a-b", "ab"), ("a.b", "a_b"), ("\u{43e}", "o"), ("\u{738b}", "\u{674e}")] {
            assert_ne!(outline(one), outline(other));
        }
    }
}
