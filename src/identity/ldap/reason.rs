//! Why a directory refused a bind, in words for the log.

/// What Active Directory says behind `data` of a refused bind, with the words of its error codes.
const ACTIVE_DIRECTORY: &[(&str, &str)] = &[
    ("525", "there is no such user"),
    ("52e", "wrong password"),
    ("530", "not at this time of day"),
    ("531", "not from this computer"),
    ("532", "the password expired"),
    ("533", "the account is disabled"),
    ("568", "the user is in too many groups"),
    ("701", "the account expired"),
    ("773", "the password must be changed first"),
    ("775", "the account is locked"),
];

/// The longest text of a server that is passed on, in characters.
const LONGEST: usize = 200;

/// From the diagnostic message, as in `80090308: LdapErr: DSID-0C090449, comment: AcceptSecurityContext error, data 52e,
/// v4563`.
pub(super) fn of_bind(text: &str) -> String {
    let code = text.split_once(", data ").map(|(_, after)| after.split(',').next().unwrap_or(after).trim());
    let words = code.and_then(|code| ACTIVE_DIRECTORY.iter().find(|(known, _)| known.eq_ignore_ascii_case(code)));
    match words {
        Some((code, words)) => format!("{words} (data {code})"),
        None if text.is_empty() => "wrong password, or the account is locked".to_owned(),
        None => printable(text),
    }
}

/// One line of a bounded length.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn active_directory_says_why() {
        let text = |code: &str| {
            format!("80090308: LdapErr: DSID-0C090449, comment: AcceptSecurityContext error, data {code}, v4563\0")
        };
        for (code, words) in [
            ("52e", "wrong password (data 52e)"),
            ("525", "there is no such user (data 525)"),
            ("530", "not at this time of day (data 530)"),
            ("532", "the password expired (data 532)"),
            ("533", "the account is disabled (data 533)"),
            ("701", "the account expired (data 701)"),
            ("773", "the password must be changed first (data 773)"),
            ("775", "the account is locked (data 775)"),
        ] {
            assert_eq!(of_bind(&text(code)), words);
        }
        assert!(of_bind(&text("999")).contains("data 999"));
        assert_eq!(of_bind(""), "wrong password, or the account is locked");
        assert_eq!(printable("a\r\nb\0"), "ab");
    }
}
