//! Distinguished names (RFC 4514), taken apart and compared without regard to how they are spelt.

use std::fmt;

/// Characters that a value holds behind a backslash alone (RFC 4514 §2.4).
const SPECIAL: [char; 9] = ['"', '+', ',', ';', '<', '>', '\\', '=', '#'];

/// A name in a directory. Two are equal where they differ only in letter case, in blanks that mean nothing, in the way
/// characters are escaped, and in the order within one multi-valued part.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Dn(Vec<Vec<Ava>>);

/// An attribute's type and value: `cn=Alice`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Ava {
    /// In lower case.
    attribute: String,
    /// Without escapes, folded.
    value: String,
    /// Without escapes, as it was written.
    written: Written,
}

/// Does not count where two are compared.
#[derive(Clone)]
struct Written(String);

impl Dn {
    /// `None` where the text is no distinguished name, or an empty one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = text;
        let mut parts = Vec::new();
        loop {
            let mut part = Vec::new();
            loop {
                let (ava, end, after) = Ava::parse(rest)?;
                part.push(ava);
                rest = after;
                match end {
                    Some('+') => {}
                    Some(_) => break,
                    None => {
                        part.sort();
                        parts.push(part);
                        return Some(Self(parts));
                    }
                }
            }
            part.sort();
            parts.push(part);
        }
    }

    /// True for what is below `base`, and for `base` itself.
    pub fn is_within(&self, base: &Self) -> bool {
        self.0.ends_with(&base.0)
    }

    /// The value that the first part has of an attribute, without escapes.
    pub fn first(&self, attribute: &str) -> Option<&str> {
        let part = self.0.first()?;
        let found = part.iter().find(|ava| ava.attribute.eq_ignore_ascii_case(attribute))?;
        Some(&found.written.0)
    }
}

/// One spelling for all that are equal.
impl fmt::Display for Dn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, part) in self.0.iter().enumerate() {
            for (within, Ava { attribute, value, .. }) in part.iter().enumerate() {
                let separator = if within > 0 {
                    "+"
                } else if at > 0 {
                    ","
                } else {
                    ""
                };
                write!(f, "{separator}{attribute}=")?;
                for letter in value.chars() {
                    if SPECIAL.contains(&letter) {
                        f.write_str("\\")?;
                    }
                    write!(f, "{letter}")?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Dn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

impl Ava {
    /// The first one, what ends it, and what follows.
    fn parse(text: &str) -> Option<(Self, Option<char>, &str)> {
        let (attribute, after) = text.split_once('=')?;
        let attribute = attribute.trim();
        if !is_attribute(attribute) {
            return None;
        }
        let (value, end, after) = parse_value(after)?;
        let ava = Self { attribute: attribute.to_ascii_lowercase(), value: fold(&value), written: Written(value) };
        Some((ava, end, after))
    }
}

/// A short name or an object identifier (RFC 4512 §1.4), without options.
pub(in crate::config) fn is_attribute(text: &str) -> bool {
    let starts = text.starts_with(|first: char| first.is_ascii_alphanumeric());
    starts && text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-' || letter == '.')
}

/// Compared by the rules of names: case and runs of blanks do not count (RFC 4518).
pub(super) fn fold(text: &str) -> String {
    text.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}

/// A value without its escapes and without the blanks around it.
fn parse_value(text: &str) -> Option<(String, Option<char>, &str)> {
    let text = text.trim_start_matches(' ');
    let mut bytes = Vec::new();
    // Where the last character that is no bare blank ends.
    let mut solid = 0;
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            ',' | '+' => {
                bytes.truncate(solid);
                let after = text.get(at..)?.strip_prefix(letter)?;
                return Some((String::from_utf8(bytes).ok()?, Some(letter), after));
            }
            '\\' => {
                let (_, next) = letters.next()?;
                match next.to_digit(16) {
                    Some(high) => {
                        let low = letters.next()?.1.to_digit(16)?;
                        bytes.push(u8::try_from(high * 16 + low).ok()?);
                    }
                    None if next == ' ' || SPECIAL.contains(&next) => bytes.extend(next.to_string().bytes()),
                    None => return None,
                }
                solid = bytes.len();
            }
            '"' | ';' | '<' | '>' | '\0' => return None,
            _ => {
                bytes.extend(letter.to_string().bytes());
                if letter != ' ' {
                    solid = bytes.len();
                }
            }
        }
    }
    bytes.truncate(solid);
    Some((String::from_utf8(bytes).ok()?, None, ""))
}

impl PartialEq for Written {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Written {}

impl std::hash::Hash for Written {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

impl PartialOrd for Written {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Written {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dn(text: &str) -> Dn {
        Dn::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn spelling_does_not_count() {
        for (one, other) in [
            ("cn=devs,ou=groups,dc=example", "CN=Devs, OU=Groups , DC=Example"),
            ("cn=a\\2Cb,dc=x", "cn=A\\,b,dc=x"),
            ("cn=a\\,b,dc=x", "cn=a\\2cb,dc=x"),
            ("cn=j+sn=s,dc=x", "sn=S+cn=J,dc=x"),
            ("cn=Sm\\22ith\\5C (x)*", "cn=sm\\\"ith\\\\ (x)*"),
            ("uid=jürgen", "uid=J\\C3\\BCrgen"),
            ("cn=a  b", "cn=a b"),
            ("cn=\\ a", "cn=a"),
        ] {
            assert_eq!(dn(one), dn(other), "{one} {other}");
            assert_eq!(dn(one).to_string(), dn(other).to_string());
            assert_eq!(dn(&dn(one).to_string()), dn(one), "its own spelling is read again");
        }
        for (one, other) in [
            ("cn=a,dc=x", "cn=a\\,dc=x"),
            ("cn=a,dc=x", "cn=a,dc=y"),
            ("cn=a+sn=b", "cn=a,sn=b"),
            ("cn=a\\+sn\\=b", "cn=a+sn=b"),
            ("cn=a", "uid=a"),
        ] {
            assert_ne!(dn(one), dn(other), "{one} {other}");
            assert_ne!(dn(one).to_string(), dn(other).to_string());
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "",
            "devs",
            "=a",
            "cn",
            "cn=a,",
            "cn=a,,dc=x",
            "c n=a",
            "cn=\"a\"",
            "cn=a;b",
            "cn=a\\",
            "cn=\\zz",
            "cn=\\ff",
        ] {
            assert_eq!(Dn::parse(text), None, "{text}");
        }
    }

    #[test]
    fn places_and_first_values() {
        let devs = dn("cn=Devs\\, all,ou=groups,dc=example");
        assert_eq!(devs.first("CN"), Some("Devs, all"));
        assert_eq!(devs.first("ou"), None);
        assert!(devs.is_within(&dn("OU=Groups,dc=example")) && devs.is_within(&devs));
        assert!(!devs.is_within(&dn("ou=people,dc=example")));
    }
}
