//! What is inside a repository: tags, digests, upload sessions.

use std::{fmt, sync::Arc};

use http::HeaderName;

/// A tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tag(Arc<str>);

/// A digest `algorithm:encoded` in the grammar of the OCI image-spec's descriptors, at most 512 bytes.
///
/// `[a-z0-9]+([.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+`; of `sha256`, `sha384` and `sha512` the encoded part is exactly
/// 64, 96 or 128 lower-case hex digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Digest(Arc<str>);

/// The opaque id of an upload session, `[a-zA-Z0-9-_.=]+`, at most 1024 bytes and no dot segment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UploadId(String);

/// The registry's own memory of an upload session (`_state`), opaque and given back as it came. Whoever holds it can go
/// on with the upload, so it is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UploadState(String);

/// Our part of an upload session's address: it says who opened the session and when, in a form that only the gate can
/// make. The text is opaque here.
#[derive(Clone, PartialEq, Eq)]
pub struct UploadSeal(String);

/// What `/manifests/<reference>` names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    Tag(Tag),
    Digest(Digest),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Not of the form `algorithm:encoded`.
    #[error("not a digest")]
    NotADigest,
    /// A known algorithm with the wrong length or alphabet.
    #[error("malformed digest of a known algorithm")]
    Malformed,
}

impl Tag {
    pub const MAX_BYTES: usize = 128;

    pub fn parse(tag: &str) -> Option<Self> {
        let first = tag.bytes().next()?;
        let readable = tag.len() <= Self::MAX_BYTES
            && (first.is_ascii_alphanumeric() || first == b'_')
            && tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        readable.then(|| Self(tag.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Digest {
    /// The header in which a registry says the digest of what it answers with, or of what it has taken.
    pub const HEADER: HeaderName = HeaderName::from_static("docker-content-digest");

    pub const MAX_BYTES: usize = 512;

    pub fn parse(digest: &str) -> Result<Self, DigestError> {
        let (algorithm, encoded) = digest.split_once(':').ok_or(DigestError::NotADigest)?;
        if let Some(digits) = hex_digits(algorithm) {
            let exact = encoded.len() == digits && encoded.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            return if exact { Ok(Self(digest.into())) } else { Err(DigestError::Malformed) };
        }
        if digest.len() <= Self::MAX_BYTES && is_algorithm(algorithm) && is_encoded(encoded) {
            Ok(Self(digest.into()))
        } else {
            Err(DigestError::NotADigest)
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn algorithm(&self) -> &str {
        self.0.split_once(':').map_or("", |(algorithm, _)| algorithm)
    }

    pub fn encoded(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, encoded)| encoded)
    }
}

impl UploadId {
    pub const MAX_BYTES: usize = 1024;

    pub fn parse(id: &str) -> Option<Self> {
        let readable = (1..=Self::MAX_BYTES).contains(&id.len())
            && !matches!(id, "." | "..")
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'='));
        readable.then(|| Self(id.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl UploadState {
    /// distribution's own stays under 1 KiB; with every byte escaped this bound still fits into a query.
    pub const MAX_BYTES: usize = 2048;

    /// `None` where it is too long or holds control characters.
    pub fn parse(state: &str) -> Option<Self> {
        let readable = state.len() <= Self::MAX_BYTES && !state.chars().any(char::is_control);
        readable.then(|| Self(state.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl UploadSeal {
    /// The query parameter that carries it.
    pub const PARAMETER: &str = "_seal";
    const MAX_BYTES: usize = 128;

    /// `None` where it is not base64url (RFC 4648 §5) of at most 128 letters.
    pub fn parse(seal: &str) -> Option<Self> {
        let readable = (1..=Self::MAX_BYTES).contains(&seal.len())
            && seal.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        readable.then(|| Self(seal.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for UploadSeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UploadSeal(..)")
    }
}

impl fmt::Debug for UploadState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UploadState(..)")
    }
}

impl Reference {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Tag(tag) => tag.as_str(),
            Self::Digest(digest) => digest.as_str(),
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The exact length of the encoded part, for algorithms whose form is fixed.
fn hex_digits(algorithm: &str) -> Option<usize> {
    match algorithm {
        "sha256" => Some(64),
        "sha384" => Some(96),
        "sha512" => Some(128),
        _ => None,
    }
}

fn is_algorithm(algorithm: &str) -> bool {
    algorithm
        .split(['.', '+', '_', '-'])
        .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()))
}

fn is_encoded(encoded: &str) -> bool {
    !encoded.is_empty() && encoded.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'=' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a24_a_tag_has_at_most_128_bytes() {
        assert!(Tag::parse(&"t".repeat(128)).is_some());
        assert!(Tag::parse(&"t".repeat(129)).is_none());
    }

    #[test]
    fn tags() {
        for tag in ["latest", "v1", "V1.0_rc-2", "_", "0", "sha256-abc", "a..b"] {
            assert_eq!(Tag::parse(tag).map(|t| t.to_string()).as_deref(), Some(tag));
        }
        for tag in ["", ".", "..", ".a", "-a", "a:b", "a/b", "a b", "a%3Ab", "ä", "a\n", "a+b", "@a"] {
            assert_eq!(Tag::parse(tag), None, "{tag:?}");
        }
    }

    #[test]
    fn a25_digests_of_known_algorithms_are_exact() {
        for (algorithm, digits) in [("sha256", 64), ("sha384", 96), ("sha512", 128)] {
            let hex = "0a".repeat(digits / 2);
            let digest = Digest::parse(&format!("{algorithm}:{hex}")).unwrap();
            assert_eq!((digest.algorithm(), digest.encoded()), (algorithm, hex.as_str()));
            for wrong in [
                hex.to_uppercase(),
                format!("{hex}0"),
                hex.replace('a', "g"),
                String::new(),
                "..".into(),
                format!("{hex}:"),
            ] {
                assert_eq!(Digest::parse(&format!("{algorithm}:{wrong}")), Err(DigestError::Malformed), "{wrong}");
            }
            let shouted = format!("{}:{hex}", algorithm.to_uppercase());
            assert_eq!(Digest::parse(&shouted), Err(DigestError::NotADigest));
        }
        let truncated = format!("sha256:{}", "0".repeat(63));
        assert_eq!(Digest::parse(&truncated), Err(DigestError::Malformed));
    }

    #[test]
    fn digests_of_other_algorithms_follow_the_grammar() {
        for digest in [
            "a:b",
            "multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8",
            "sha256+b64u:LCa0a2j_xo-m0=",
            "a.b_c-d:E",
        ] {
            assert!(Digest::parse(digest).is_ok(), "{digest}");
        }
        for digest in [
            "", ":", "a", "a:", ":b", "a:b:c", "A:b", "a..b:c", "+a:b", "a+:b", "a:b.c", "a:b/c", "a:b c", "a:é", "é:b",
        ] {
            assert_eq!(Digest::parse(digest), Err(DigestError::NotADigest), "{digest:?}");
        }
        assert!(Digest::parse(&format!("a:{}", "b".repeat(510))).is_ok());
        assert!(Digest::parse(&format!("a:{}", "b".repeat(511))).is_err());
    }

    #[test]
    fn upload_ids() {
        for id in ["045ca411-b2a3-4084-9f85-60ccca6e1b6b", "A_b.c=", "...", "uploads"] {
            assert!(UploadId::parse(id).is_some(), "{id}");
        }
        for id in ["", ".", "..", "a/b", "a%2f", "a b", "a:b", "é", "a\0"] {
            assert_eq!(UploadId::parse(id), None, "{id:?}");
        }
        assert!(UploadId::parse(&"a".repeat(1024)).is_some());
        assert!(UploadId::parse(&"a".repeat(1025)).is_none());
    }

    #[test]
    fn the_state_of_an_upload_is_not_shown() {
        let state = UploadState::parse("c2VjcmV0").unwrap();
        assert_eq!(format!("{state:?}"), "UploadState(..)");
        assert!(UploadState::parse("a\r\nb").is_none());
        assert!(UploadState::parse(&"a".repeat(2049)).is_none());
    }

    proptest! {
        #[test]
        fn what_parses_prints_the_same(text in "[a-z0-9.+_:=A-F-]{0,80}") {
            if let Ok(digest) = Digest::parse(&text) {
                prop_assert_eq!(format!("{}:{}", digest.algorithm(), digest.encoded()), text.clone());
                prop_assert_eq!(Tag::parse(&text), None);
            }
        }

        #[test]
        fn never_panics(text in any::<String>()) {
            let _ = (Tag::parse(&text), Digest::parse(&text), UploadId::parse(&text), UploadState::parse(&text));
        }
    }
}
