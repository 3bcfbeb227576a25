//! Query strings, decoded once: known parameters only, no duplicates, no `;`.

use std::fmt;

/// The decoded pairs of a query string, in order.
///
/// Pairs are parted by `&` alone; a pair without `=` has an empty value, empty pieces are skipped; `%XX` is decoded once
/// and `+` is a blank. Names are compared exactly. Values may be credentials, so `Debug` shows names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct QueryPairs(Vec<(String, String)>);

/// Why a query string is refused as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    #[error("the query is longer than 8 KiB")]
    TooLong,
    #[error("the query has more than 256 parameters")]
    TooMany,
    /// Some servers part pairs at `;`, others drop such a pair: what one of them judged is not what the other reads.
    #[error("the query holds a semicolon")]
    Semicolon,
    /// A blank, control byte, `#` or a byte outside ASCII that should have been escaped.
    #[error("the query holds a character that must be escaped")]
    Character,
    #[error("the query holds an invalid escape")]
    Escape,
    #[error("a query parameter is not UTF-8")]
    Encoding,
    #[error("a query parameter holds a control character")]
    Control,
    #[error("a query parameter is given twice")]
    Duplicate,
}

impl QueryPairs {
    /// The longest query that is read, in bytes before decoding.
    pub const MAX_BYTES: usize = 8 * 1024;
    /// The most pairs that are read.
    pub const MAX_PAIRS: usize = 256;

    /// Decodes a raw query (without its `?`).
    pub fn parse(raw: &str) -> Result<Self, QueryError> {
        if raw.len() > Self::MAX_BYTES {
            return Err(QueryError::TooLong);
        }
        if raw.contains(';') {
            return Err(QueryError::Semicolon);
        }
        if raw.bytes().any(|b| !b.is_ascii_graphic() || b == b'#') {
            return Err(QueryError::Character);
        }
        let pairs = Self::split(raw)?;
        if pairs.iter().any(|(name, value)| name.chars().chain(value.chars()).any(char::is_control)) {
            return Err(QueryError::Control);
        }
        Ok(Self(pairs))
    }

    /// Decodes a form (`application/x-www-form-urlencoded`), as the URL standard reads one: what is not an escape, `+`, `&`
    /// or `=` stands for itself. Only the gate reads it, so that nothing can be read in two ways; what a value may hold
    /// is for its reader to say. A line end behind the form is no part of it.
    pub fn parse_form(raw: &str) -> Result<Self, QueryError> {
        Self::split(raw.trim_end_matches(['\r', '\n'])).map(Self)
    }

    fn split(raw: &str) -> Result<Vec<(String, String)>, QueryError> {
        let mut pairs = Vec::new();
        for piece in raw.split('&').filter(|piece| !piece.is_empty()) {
            if pairs.len() == Self::MAX_PAIRS {
                return Err(QueryError::TooMany);
            }
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            pairs.push((decode(name)?, decode(value)?));
        }
        Ok(pairs)
    }

    /// The value of a parameter that may stand once at most.
    pub fn single(&self, name: &str) -> Result<Option<&str>, QueryError> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() { Err(QueryError::Duplicate) } else { Ok(first) }
    }

    /// All values of a repeatable parameter, in order.
    pub fn all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl fmt::Debug for QueryPairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

/// Appends `text` so that exactly it comes out of one decoding: unreserved characters (RFC 3986 §2.3) as they are,
/// every other byte as `%XX`.
pub(super) fn push_encoded(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(hex_digit(byte >> 4));
            out.push(hex_digit(byte & 0x0f));
        }
    }
}

fn hex_digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16).unwrap_or('0').to_ascii_uppercase()
}

fn decode(text: &str) -> Result<String, QueryError> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => escaped(bytes.next(), bytes.next()).ok_or(QueryError::Escape)?,
            plain => plain,
        });
    }
    String::from_utf8(decoded).map_err(|_| QueryError::Encoding)
}

fn escaped(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(raw: &str) -> Result<Vec<(String, String)>, QueryError> {
        QueryPairs::parse(raw).map(|query| query.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect())
    }

    #[test]
    fn decodes_once() {
        for (raw, expected) in [
            ("", &[][..]),
            ("&&", &[]),
            ("a", &[("a", "")]),
            ("a=", &[("a", "")]),
            ("=b", &[("", "b")]),
            ("a=b=c", &[("a", "b=c")]),
            ("%66rom=secret%2fapp&from=+x", &[("from", "secret/app"), ("from", " x")]),
            ("a=%2525", &[("a", "%25")]),
            ("scope=repository:a/b:pull,push", &[("scope", "repository:a/b:pull,push")]),
            (
                "client_id=regclient%2Fregctl+%28v0.0.0-2026%3Bx%29",
                &[("client_id", "regclient/regctl (v0.0.0-2026;x)")],
            ),
            ("a=%C3%A9", &[("a", "é")]),
        ] {
            let expected: Vec<_> = expected.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            assert_eq!(pairs(raw), Ok(expected), "{raw}");
        }
    }

    #[test]
    fn refuses_what_servers_read_in_two_ways() {
        for (raw, error) in [
            ("mount=D;from=secret", QueryError::Semicolon),
            ("a=%zz", QueryError::Escape),
            ("a=%", QueryError::Escape),
            ("a=%2", QueryError::Escape),
            ("a=%+1", QueryError::Escape),
            ("%=a", QueryError::Escape),
            ("a=%c0%af", QueryError::Encoding),
            ("a=%ff", QueryError::Encoding),
            ("a=%0d%0a", QueryError::Control),
            ("a=%00", QueryError::Control),
            ("a=%09", QueryError::Control),
            ("a%7f=", QueryError::Control),
            ("a=%C2%85", QueryError::Control),
            ("a=b c", QueryError::Character),
            ("a=\t", QueryError::Character),
            ("a=é", QueryError::Character),
            ("a=b#c", QueryError::Character),
        ] {
            assert_eq!(pairs(raw), Err(error), "{raw:?}");
        }
    }

    #[test]
    fn t31_length_and_number_are_bounded() {
        assert!(QueryPairs::parse(&"a".repeat(8 * 1024)).is_ok());
        assert_eq!(QueryPairs::parse(&"a".repeat(8 * 1024 + 1)), Err(QueryError::TooLong));
        assert!(QueryPairs::parse(&vec!["a=b"; 256].join("&")).is_ok());
        assert_eq!(QueryPairs::parse(&vec!["a=b"; 257].join("&")), Err(QueryError::TooMany));
        assert_eq!(QueryPairs::parse(&vec!["scope=repository:a/b:pull"; 1000].join("&")), Err(QueryError::TooLong));
    }

    #[test]
    fn a_form_holds_what_a_query_must_not() {
        let form = QueryPairs::parse_form("password=a;b c%0Aé&scope=x:pull\r\n").unwrap();
        assert_eq!(form.single("password"), Ok(Some("a;b c\né")));
        assert_eq!(form.single("scope"), Ok(Some("x:pull")));
        assert_eq!(QueryPairs::parse_form("a=%zz"), Err(QueryError::Escape));
        assert_eq!(QueryPairs::parse_form("a=%ff"), Err(QueryError::Encoding));
        assert_eq!(QueryPairs::parse_form("a=1&a=2").unwrap().single("a"), Err(QueryError::Duplicate));
        assert!(QueryPairs::parse_form(&format!("a={}", "x".repeat(60_000))).is_ok());
        assert_eq!(QueryPairs::parse_form(&vec!["a=b"; 257].join("&")), Err(QueryError::TooMany));
    }

    #[test]
    fn single_refuses_a_second_value_and_names_are_exact() {
        let query = QueryPairs::parse("from=a&From=b&x=1&%78=1").unwrap();
        assert_eq!(query.single("from"), Ok(Some("a")));
        assert_eq!(query.single("x"), Err(QueryError::Duplicate));
        assert_eq!(query.single("y"), Ok(None));
        assert_eq!(query.all("x").collect::<Vec<_>>(), ["1", "1"]);
    }

    #[test]
    fn values_are_not_shown() {
        assert_eq!(format!("{:?}", QueryPairs::parse("password=geheim").unwrap()), r#"["password"]"#);
    }

    proptest! {
        #[test]
        fn encoding_is_undone_by_one_decoding(text in "\\PC{0,40}") {
            let mut raw = String::from("k=");
            push_encoded(&mut raw, &text);
            let query = QueryPairs::parse(&raw).unwrap();
            prop_assert_eq!(query.single("k"), Ok(Some(text.as_str())));
        }

        #[test]
        fn never_panics_and_never_yields_controls(raw in "[a=&%0-9A-F+;é\r\n]{0,40}") {
            if let Ok(query) = QueryPairs::parse(&raw) {
                prop_assert!(query.iter().all(|(n, v)| !n.chars().chain(v.chars()).any(char::is_control)));
            }
        }
    }
}
