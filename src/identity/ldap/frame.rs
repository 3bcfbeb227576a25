//! What may reach the LDAP library: whole messages of a bounded size and depth (X.690, RFC 4511 §5.1).
//!
//! The library takes any length that a message claims and reads nested values one within the other without an end. Before
//! StartTLS has done its work, whoever is on the way can send both.

/// The largest message that is accepted, in bytes.
const LARGEST: usize = 4 << 20;
/// How deep values may be nested; entries of a search need five.
const DEEPEST: usize = 16;

const SEQUENCE: u8 = 0x30;
const CONSTRUCTED: u8 = 0x20;
const INTEGER: u8 = 0x02;
const ENUMERATED: u8 = 0x0a;
const EXTENDED_RESPONSE: u8 = 0x78;

/// ExtendedRequest with the name of StartTLS (RFC 4511 §4.14.1), as message 1.
pub(super) const STARTTLS: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";

/// What came is no LDAP message, or one that nobody sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what came is no LDAP message")]
pub(super) struct Garbage;

struct Header {
    tag: u8,
    /// Of the header itself.
    size: usize,
    /// Of what follows it.
    content: usize,
}

impl Header {
    /// `None` where more bytes are needed.
    fn read(bytes: &[u8]) -> Result<Option<Self>, Garbage> {
        let (Some(&tag), Some(&first)) = (bytes.first(), bytes.get(1)) else { return Ok(None) };
        if tag & 0x1f == 0x1f {
            return Err(Garbage);
        }
        if first < 0x80 {
            return Ok(Some(Self { tag, size: 2, content: first.into() }));
        }
        let more = usize::from(first & 0x7f);
        if !(1..=4).contains(&more) {
            return Err(Garbage);
        }
        let Some(length) = bytes.get(2..2 + more) else { return Ok(None) };
        let content = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        Ok(Some(Self { tag, size: 2 + more, content }))
    }
}

/// How long the message is that these bytes begin with; `None` where that cannot be told yet.
pub(super) fn length(bytes: &[u8]) -> Result<Option<usize>, Garbage> {
    if bytes.first().is_some_and(|tag| *tag != SEQUENCE) {
        return Err(Garbage);
    }
    let Some(header) = Header::read(bytes)? else { return Ok(None) };
    if header.content > LARGEST {
        return Err(Garbage);
    }
    Ok(Some(header.size + header.content))
}

/// Whether a whole message is made of whole values.
pub(super) fn check(message: &[u8]) -> Result<(), Garbage> {
    let (_, content) = only(message, SEQUENCE)?;
    let (tag, _, rest) = value(content)?;
    if tag != INTEGER || rest.is_empty() {
        return Err(Garbage);
    }
    nested(message, DEEPEST)
}

fn nested(mut bytes: &[u8], depth: usize) -> Result<(), Garbage> {
    let deeper = depth.checked_sub(1).ok_or(Garbage)?;
    while !bytes.is_empty() {
        let (tag, content, rest) = value(bytes)?;
        if tag & CONSTRUCTED != 0 {
            nested(content, deeper)?;
        }
        bytes = rest;
    }
    Ok(())
}

/// The result code of an answer to [`STARTTLS`].
pub(super) fn starttls_result(message: &[u8]) -> Result<u8, Garbage> {
    check(message)?;
    let (_, content) = only(message, SEQUENCE)?;
    let (_, id, rest) = value(content)?;
    let (tag, response, _) = value(rest)?;
    let (code_tag, code, _) = value(response)?;
    match (id, tag, code_tag, code) {
        ([1], EXTENDED_RESPONSE, ENUMERATED, [code]) => Ok(*code),
        _ => Err(Garbage),
    }
}

/// A value that is all there is.
fn only(bytes: &[u8], expected: u8) -> Result<(u8, &[u8]), Garbage> {
    match value(bytes)? {
        (tag, content, []) if tag == expected => Ok((tag, content)),
        _ => Err(Garbage),
    }
}

/// The first value's tag and content, and what follows it.
fn value(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), Garbage> {
    let header = Header::read(bytes)?.ok_or(Garbage)?;
    let (_, after) = bytes.split_at_checked(header.size).ok_or(Garbage)?;
    let (content, rest) = after.split_at_checked(header.content).ok_or(Garbage)?;
    Ok((header.tag, content, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An answer to StartTLS as slapd gives it.
    const ACCEPTED: &[u8] = b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00";

    #[test]
    fn whole_messages_are_known_by_their_length() {
        assert_eq!(length(b""), Ok(None));
        assert_eq!(length(b"\x30"), Ok(None));
        assert_eq!(length(b"\x30\x82\x01"), Ok(None));
        assert_eq!(length(ACCEPTED), Ok(Some(ACCEPTED.len())));
        assert_eq!(length(b"\x30\x82\x01\x00"), Ok(Some(4 + 256)));
        for garbage in
            [&b"HTTP/1.1"[..], b"\x30\x80", b"\x30\x85\0\0\0\0\0", b"\x30\x84\xff\xff\xff\xff", b"\x16\x03\x01"]
        {
            assert_eq!(length(garbage), Err(Garbage), "{garbage:?}");
        }
        assert_eq!(length(STARTTLS), Ok(Some(STARTTLS.len())));
        assert_eq!(check(STARTTLS), Ok(()));
    }

    #[test]
    fn what_starttls_was_answered() {
        assert_eq!(starttls_result(ACCEPTED), Ok(0));
        assert_eq!(starttls_result(b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x02\x04\x00\x04\x00"), Ok(2));
        // Another message, another operation, an empty code, a code of two bytes.
        for garbage in [
            &b"\x30\x0c\x02\x01\x02\x78\x07\x0a\x01\x00\x04\x00\x04\x00"[..],
            b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00",
            b"\x30\x0b\x02\x01\x01\x78\x06\x0a\x00\x04\x00\x04\x00",
            b"\x30\x0d\x02\x01\x01\x78\x08\x0a\x02\x00\x00\x04\x00\x04\x00",
            b"\x30\x03\x02\x01\x01",
            STARTTLS,
        ] {
            assert_eq!(starttls_result(garbage), Err(Garbage), "{garbage:?}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let wrapped = |depth: usize| {
            let content = (0..depth).fold(Vec::new(), |inner: Vec<u8>, _| {
                let mut outer = vec![SEQUENCE, 0x84];
                outer.extend(u32::try_from(inner.len()).unwrap().to_be_bytes());
                outer.extend(inner);
                outer
            });
            let mut message = vec![SEQUENCE, 0x84];
            message.extend(u32::try_from(content.len() + 3).unwrap().to_be_bytes());
            message.extend(b"\x02\x01\x01");
            message.extend(content);
            message
        };
        assert_eq!(check(&wrapped(DEEPEST - 2)), Ok(()));
        assert_eq!(check(&wrapped(DEEPEST)), Err(Garbage));
        assert_eq!(check(&wrapped(50_000)), Err(Garbage));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = (length(&bytes), check(&bytes), starttls_result(&bytes));
        }
    }
}
