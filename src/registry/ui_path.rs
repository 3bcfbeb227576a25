//! Paths of the web UI.

use std::{fmt, sync::Arc};

/// A path that a web UI serves, in its one spelling: what it says to us it says to every server.
///
/// `/`, or segments of ASCII letters, digits and `-._~+@=,`, none of which is empty (but the last may be, for a folder) or
/// begins with a dot; at most 1024 bytes. The first is not `v1` or `v2` in letters of either case, alone or followed by
/// something other than a letter or digit: what some server could take for the registry's is none of the UI's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UiPath(Arc<str>);

impl UiPath {
    pub const MAX_BYTES: usize = 1024;

    pub fn parse(path: &str) -> Option<Self> {
        let rest = path.strip_prefix('/')?;
        let valid = path.len() <= Self::MAX_BYTES
            && (rest.is_empty() || rest.strip_suffix('/').unwrap_or(rest).split('/').all(is_segment))
            && !belongs_to_a_registry(rest);
        valid.then(|| Self(path.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UiPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_segment(segment: &str) -> bool {
    !segment.is_empty()
        && !segment.starts_with('.')
        && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+@=,".contains(&byte))
}

fn belongs_to_a_registry(path: &str) -> bool {
    let word = path.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    ["v1", "v2"].into_iter().any(|version| word.eq_ignore_ascii_case(version))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_uis_files_have_paths() {
        for path in [
            "/",
            "/index.html",
            "/favicon.ico",
            "/assets/index-BxY_1~2.js",
            "/assets/",
            "/a/b/c.woff2",
            "/v3/x",
            "/v2x/y",
            "/v22/",
            "/ui/v2/x",
            "/@vite/client",
            "/a+b,c=d",
        ] {
            assert_eq!(UiPath::parse(path).as_ref().map(UiPath::as_str), Some(path));
        }
        assert!(UiPath::parse(&format!("/{}", "a".repeat(1023))).is_some());
        assert!(UiPath::parse(&format!("/{}", "a".repeat(1024))).is_none());
    }

    #[test]
    fn no_spelling_of_the_registry_is_a_path_of_the_ui() {
        for path in [
            "/v2",
            "/v2/",
            "/v2/a",
            "/V2/a",
            "/v1/search",
            "/V1",
            "/v2./a",
            "/v2,a",
            "/v2=/a",
            "/v2~",
            "/v2-x/a",
            "/v2@x",
            "//v2/a",
            "/./v2/a",
            "/x/../v2/a",
            "/../v2",
            "/%762/a",
            "/v%32/a",
            "/v2%2fa",
            "/v2;x/a",
            "/\\v2/a",
            "/v2\\a",
            "/v２/a",
            "/ⅴ2/a",
        ] {
            assert_eq!(UiPath::parse(path), None, "{path}");
        }
    }

    #[test]
    fn what_two_servers_could_read_in_two_ways_is_no_path() {
        for path in [
            "",
            "index.html",
            "//",
            "/a//b",
            "/a//",
            "/a/./b",
            "/a/../b",
            "/..",
            "/.",
            "/a/..",
            "/a/...",
            "/.git/config",
            "/.env",
            "/a/.hidden",
            "/a%20b",
            "/a b",
            "/a?b",
            "/a#b",
            "/a;b",
            "/a\\b",
            "/a:b",
            "/a|b",
            "/é",
            "/a\u{0}",
            "/a\n",
            "/a\"b",
            "/a'b",
            "/a<b",
            "/a$b",
            "/a&b",
            "/a*b",
            "/a(b)",
            "/a^b",
            "/a`b",
            "/a{b}",
            "/a[b]",
        ] {
            assert_eq!(UiPath::parse(path), None, "{path:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_a_path_is_plain(path in "/?[vV12a./%\\\\;~-]{0,12}") {
            if let Some(parsed) = UiPath::parse(&path) {
                prop_assert_eq!(parsed.as_str(), path.as_str());
                prop_assert!(!path.contains(['%', '\\', ';']) && !path.contains("//") && !path.contains("/."));
                let first = path.split('/').nth(1).unwrap().to_lowercase();
                prop_assert!(first != "v1" && first != "v2");
            }
        }
    }
}
