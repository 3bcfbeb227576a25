//! `Authorization: Basic` (RFC 7617), strictly.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use zeroize::Zeroizing;

use crate::config::Secret;

/// The longest `user:password`, in bytes.
const MAX_DECODED: usize = 4096;
/// What [`MAX_DECODED`] bytes take in padded base64.
const MAX_ENCODED: usize = MAX_DECODED.div_ceil(3) * 4;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A user name and a password as sent. Names are compared byte by byte: case and Unicode normal forms differ.
#[derive(Clone, Debug)]
pub struct BasicCredentials {
    pub username: String,
    pub password: Secret,
}

/// Why is not said: the text would repeat what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed Basic credentials")]
pub struct BasicError;

impl BasicCredentials {
    /// Decodes the part after `Basic `: base64 of `user:password` in UTF-8, split at the first colon; control characters refused.
    ///
    /// The base64 is RFC 4648's standard alphabet with all of its padding or none, without blanks; decoded it is at most
    /// 4096 bytes. Both parts may be empty here: no login succeeds with an empty part.
    pub fn decode(encoded: &str) -> Result<Self, BasicError> {
        if encoded.len() > MAX_ENCODED || (encoded.ends_with('=') && !encoded.len().is_multiple_of(4)) {
            return Err(BasicError);
        }
        let decoded = Zeroizing::new(BASE64.decode(encoded).map_err(|_| BasicError)?);
        let text = str::from_utf8(&decoded).map_err(|_| BasicError)?;
        let (username, password) = text.split_once(':').ok_or(BasicError)?;
        Self::new(username, password)
    }

    /// A user name and a password that came otherwise (the form of a token request), under the same rules.
    pub fn new(username: &str, password: &str) -> Result<Self, BasicError> {
        let long = username.len() + 1 + password.len() > MAX_DECODED;
        if long || username.contains(':') || [username, password].iter().any(|part| part.contains(char::is_control)) {
            return Err(BasicError);
        }
        Ok(Self { username: username.to_owned(), password: Secret::new(password.to_owned()) })
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
    use proptest::prelude::*;

    use super::*;

    fn decoded(text: &[u8]) -> Result<(String, String), BasicError> {
        BasicCredentials::decode(&STANDARD.encode(text))
            .map(|login| (login.username, login.password.reveal().to_owned()))
    }

    fn pair(username: &str, password: &str) -> Result<(String, String), BasicError> {
        Ok((username.to_owned(), password.to_owned()))
    }

    /// C24
    #[test]
    fn splits_at_the_first_colon_and_reads_utf_8() {
        assert_eq!(decoded("alice:p:ss wörd".as_bytes()), pair("alice", "p:ss wörd"));
        assert_eq!(decoded("żółw:".as_bytes()), pair("żółw", ""));
        assert_eq!(decoded(b":secret"), pair("", "secret"));
        assert_eq!(decoded(b":"), pair("", ""));
    }

    #[test]
    fn padding_is_whole_or_absent() {
        for encoded in ["YTpi", "YTpiYw", "YTpiYw==", "YTpiY2Q", "YTpiY2Q="] {
            assert!(BasicCredentials::decode(encoded).is_ok(), "{encoded}");
        }
        for encoded in ["YTpiYw=", "YTpi====", "YTpi=", "YTpiYw===", "YT=piYw="] {
            assert!(BasicCredentials::decode(encoded).is_err(), "{encoded}");
        }
    }

    #[test]
    fn foreign_letters_and_loose_bits_are_refused() {
        // URL-safe letters, blanks, a line end, a second header value, and bits that no encoder sets.
        for encoded in ["YTo_", "YTo-", " YTpi", "YTpi ", "YT pi", "YTpi\n", "YTpi,YTpi", "YTpiYx==", "YTpiYx", "Ä", ""]
        {
            assert!(BasicCredentials::decode(encoded).is_err(), "{encoded:?}");
        }
        assert_eq!(decoded(b"a:?"), pair("a", "?"));
    }

    #[test]
    fn what_is_not_user_colon_password_in_text_is_refused() {
        for text in [
            &b"alice"[..],
            b"alice:\xff",
            b"\xc3\x28:x",
            b"al\0ice:x",
            b"alice:x\0y",
            b"alice:x\n",
            b"a\x7f:x",
            b"a\tb:x",
        ] {
            assert_eq!(decoded(text), Err(BasicError), "{text:?}");
        }
        assert_eq!(decoded("a\u{85}b:x".as_bytes()), Err(BasicError));
    }

    #[test]
    fn length_is_bounded() {
        let exact = format!("u:{}", "p".repeat(MAX_DECODED - 2));
        assert!(decoded(exact.as_bytes()).is_ok());
        assert_eq!(decoded(format!("{exact}p").as_bytes()), Err(BasicError));
        assert_eq!(decoded(format!("{exact}pppp").as_bytes()), Err(BasicError));
    }

    #[test]
    fn a_form_is_under_the_same_rules() {
        assert!(BasicCredentials::new("alice", "p:ss").is_ok());
        assert!(BasicCredentials::new("al:ice", "x").is_err());
        assert!(BasicCredentials::new("alice", "x\0").is_err());
    }

    #[test]
    fn nothing_tells_the_password() {
        let login = BasicCredentials::new("alice", "correct horse").expect("well formed");
        assert!(!format!("{login:?}").contains("horse"));
    }

    proptest! {
        #[test]
        fn any_text_is_survived(encoded in ".*") {
            let _ = BasicCredentials::decode(&encoded);
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decoded(&bytes);
        }

        #[test]
        fn what_was_encoded_is_read(username in "[^:\\p{Cc}]{0,40}", password in "[^\\p{Cc}]{0,80}") {
            let text = format!("{username}:{password}");
            prop_assert_eq!(decoded(text.as_bytes()), pair(&username, &password));
            let bare = BasicCredentials::decode(&STANDARD_NO_PAD.encode(&text)).expect("well formed");
            prop_assert_eq!(bare.username, username);
        }
    }
}
