//! Repository names.

use std::{fmt, sync::Arc};

/// A repository name in the grammar of the OCI distribution spec, at most 255 bytes. Cheap to clone.
///
/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*`. Nothing is normalised: a string is such a
/// name or it is not. distribution's router also lets a first component be an upper-case host with a port; that is no
/// name here.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryName(Arc<str>);

/// Why a string is not a repository name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("repository name is outside the grammar (lower-case path components of letters, digits, '.', '_', '-')")]
    Grammar,
    #[error("repository name is longer than 255 bytes")]
    TooLong,
}

impl RepositoryName {
    /// The most bytes a name can have; distribution fails with a server error above it.
    pub const MAX_BYTES: usize = 255;

    pub fn parse(name: &str) -> Result<Self, NameError> {
        if name.len() > Self::MAX_BYTES {
            return Err(NameError::TooLong);
        }
        if !name.split('/').all(is_component) {
            return Err(NameError::Grammar);
        }
        Ok(Self(name.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path components, in order.
    pub fn segments(&self) -> impl Iterator<Item = &str> + Clone {
        self.0.split('/')
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One path component: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`.
pub(super) fn is_component(component: &str) -> bool {
    let mut separator = Separator::Start;
    for byte in component.bytes() {
        let next = match byte {
            b'a'..=b'z' | b'0'..=b'9' => Some(Separator::None),
            _ => separator.followed_by(byte),
        };
        let Some(next) = next else { return false };
        separator = next;
    }
    separator == Separator::None
}

/// What stands between the last letter or digit and the next one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Separator {
    /// No letter or digit was seen yet.
    Start,
    None,
    Dot,
    Underscore,
    TwoUnderscores,
    Dashes,
}

impl Separator {
    fn followed_by(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::None, b'.') => Some(Self::Dot),
            (Self::None, b'_') => Some(Self::Underscore),
            (Self::Underscore, b'_') => Some(Self::TwoUnderscores),
            (Self::None | Self::Dashes, b'-') => Some(Self::Dashes),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_grammar_accepts() {
        for name in [
            "a",
            "0",
            "a/b",
            "a.b",
            "a_b",
            "a__b",
            "a-b",
            "a-----b",
            "library/alpine",
            "x/y/z/0",
            "a.b_c__d-e--f/1",
            "blobs",
            "manifests",
            "tags/list",
            "a/blobs/uploads",
            "v2",
            "sha256-abc",
        ] {
            assert_eq!(RepositoryName::parse(name).map(|n| n.to_string()), Ok(name.to_owned()), "{name}");
        }
    }

    #[test]
    fn the_grammar_refuses() {
        for name in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            ".",
            "..",
            "a/../b",
            "./a",
            ".a",
            "a.",
            "-a",
            "a-",
            "_a",
            "a_",
            "_",
            "__",
            "a..b",
            "a___b",
            "a._b",
            "a-_b",
            "a-.b",
            "A",
            "a/B",
            "aB",
            "a b",
            "a\\b",
            "a;b",
            "a%2fb",
            "a:b",
            "h:5000/foo",
            "a@b",
            "a*",
            "*",
            "é",
            "a\u{0}",
            "a\n",
            "\u{ff0f}",
            "ａ",
            "a~b",
            "$user",
            "a,b",
            "a\"b",
            "_catalog",
        ] {
            assert_eq!(RepositoryName::parse(name), Err(NameError::Grammar), "{name:?}");
        }
    }

    #[test]
    fn a23_the_length_is_bounded_at_255_bytes() {
        assert!(RepositoryName::parse(&"a".repeat(255)).is_ok());
        assert_eq!(RepositoryName::parse(&"a".repeat(256)), Err(NameError::TooLong));
        let components = vec!["a"; 128].join("/");
        assert_eq!(components.len(), 255);
        assert_eq!(RepositoryName::parse(&components).map(|n| n.segments().count()), Ok(128));
        assert_eq!(RepositoryName::parse(&"a".repeat(64 * 1024)), Err(NameError::TooLong));
    }

    /// The same grammar said another way: ends in letters or digits, and each run between them is a separator.
    fn slow_component(component: &str) -> bool {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        component.starts_with(plain)
            && component.ends_with(plain)
            && component
                .split(plain)
                .filter(|run| !run.is_empty())
                .all(|run| matches!(run, "." | "_" | "__") || run.chars().all(|c| c == '-'))
    }

    proptest! {
        #[test]
        fn agrees_with_the_slow_reading(name in "[a0._/A-]{0,12}") {
            prop_assert_eq!(RepositoryName::parse(&name).is_ok(), name.split('/').all(slow_component));
        }

        #[test]
        fn every_sentence_of_the_grammar_is_a_name(
            name in "[a-z0-9]{1,4}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,4}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}){0,4}"
        ) {
            prop_assert!(RepositoryName::parse(&name).is_ok());
        }

        #[test]
        fn never_panics(name in any::<String>()) {
            let _ = RepositoryName::parse(&name);
        }
    }
}
