//! Text in quotation marks that nothing in it can end.

const CHUNK: usize = 16;
const HALF: usize = 8;

/// Appends text as a JSON string. What ends a line anywhere, and what changes how a terminal or an editor shows the rest,
/// is escaped too, so that a line is one line and looks like what it is.
pub fn quote(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    if is_all_plain(text.as_bytes()) {
        out.extend_from_slice(text.as_bytes());
    } else {
        escape(out, text);
    }
    out.push(b'"');
}

#[inline(never)]
fn escape(out: &mut Vec<u8>, text: &str) {
    let mut rest = text;
    while !rest.is_empty() {
        let plain = plain(rest.as_bytes());
        let (plain, behind) = rest.split_at_checked(plain).unwrap_or((rest, ""));
        out.extend_from_slice(plain.as_bytes());
        let mut characters = behind.chars();
        characters.next().into_iter().for_each(|character| push(out, character));
        rest = characters.as_str();
    }
}

/// At most so many characters; whether there were more shows at its end.
pub(super) fn clip(text: &str, most: usize) -> (&str, bool) {
    if text.len() <= most {
        return (text, false);
    }
    match text.char_indices().nth(most).and_then(|(end, _)| text.get(..end)) {
        Some(clipped) => (clipped, true),
        None => (text, false),
    }
}

/// How many bytes at the beginning stand for themselves.
fn plain(bytes: &[u8]) -> usize {
    let (chunks, _) = bytes.as_chunks::<CHUNK>();
    let whole = chunks.iter().take_while(|chunk| are_plain(chunk)).count() * CHUNK;
    let rest = bytes.get(whole..).unwrap_or_default();
    whole + rest.iter().position(|byte| !is_plain(*byte)).unwrap_or(rest.len())
}

fn is_all_plain(bytes: &[u8]) -> bool {
    let (chunks, rest) = bytes.as_chunks::<CHUNK>();
    // What is left over is looked at together with some that were looked at before.
    let end = match (bytes.last_chunk::<CHUNK>(), rest.first_chunk::<HALF>(), rest.last_chunk::<HALF>()) {
        (Some(end), ..) => are_plain(end),
        (None, Some(begin), Some(end)) => are_plain(begin) & are_plain(end),
        (None, ..) => rest.iter().all(|byte| is_plain(*byte)),
    };
    end && chunks.iter().all(are_plain)
}

/// Without a branch for each byte: the compiler looks at all of them at once.
fn are_plain<const N: usize>(bytes: &[u8; N]) -> bool {
    bytes.iter().fold(true, |so_far, byte| so_far & is_plain(*byte))
}

fn is_plain(byte: u8) -> bool {
    (b' '..=b'~').contains(&byte) & (byte != b'"') & (byte != b'\\')
}

fn push(out: &mut Vec<u8>, character: char) {
    match character {
        '"' | '\\' => out.extend([b'\\', u8::try_from(character).unwrap_or(b'?')]),
        '\n' => out.extend(b"\\n"),
        '\r' => out.extend(b"\\r"),
        '\t' => out.extend(b"\\t"),
        character if is_harmful(character) => {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                out.extend(format!("\\u{unit:04x}").into_bytes());
            }
        }
        character => {
            let mut bytes = [0; 4];
            out.extend_from_slice(character.encode_utf8(&mut bytes).as_bytes());
        }
    }
}

/// Control characters, line and paragraph separators, marks of direction, and what nobody sees.
pub(super) fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quoted(text: &str) -> String {
        let mut out = Vec::new();
        quote(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_could_forge_or_hide_is_escaped() {
        for (text, written) in [
            ("plain ~ text", r#""plain ~ text""#),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("a\nb\r\tc\0\u{1b}[2J\u{7f}", r#""a\nb\r\tc\u0000\u001b[2J\u007f""#),
            ("\u{85}\u{9b}31m\u{2028}\u{2029}", r#""\u0085\u009b31m\u2028\u2029""#),
            ("\u{202e}gpj.\u{2066}\u{200b}\u{feff}", r#""\u202egpj.\u2066\u200b\ufeff""#),
            ("\u{e0041}", r#""\udb40\udc41""#),
            ("jürgen 日本 🐳", "\"jürgen 日本 🐳\""),
        ] {
            assert_eq!(quoted(text), written);
        }
    }

    #[test]
    fn wherever_it_stands_it_is_escaped() {
        for length in 1..70 {
            assert_eq!(quoted(&"x".repeat(length)), format!("\"{}\"", "x".repeat(length)));
            for place in 0..length {
                let (before, behind) = ("x".repeat(place), "x".repeat(length - place - 1));
                assert_eq!(quoted(&format!("{before}\n{behind}")), format!("\"{before}\\n{behind}\""));
            }
        }
    }

    #[test]
    fn clipping_keeps_characters_whole() {
        assert_eq!(clip("abc", 3), ("abc", false));
        assert_eq!(clip("abcd", 3), ("abc", true));
        assert_eq!(clip("äöü", 3), ("äöü", false));
        assert_eq!(clip("äöüß", 3), ("äöü", true));
    }

    proptest! {
        #[test]
        fn any_text_is_read_back_and_shows_nothing_harmful(text in any::<String>()) {
            let quoted = quoted(&text);
            prop_assert_eq!(&serde_json::from_str::<String>(&quoted).unwrap(), &text);
            prop_assert!(!quoted.chars().any(is_harmful), "{}", quoted);
        }

        #[test]
        fn control_characters_too(characters in proptest::collection::vec(any::<u8>().prop_map(char::from), 0..64)) {
            let text: String = characters.into_iter().collect();
            let quoted = quoted(&text);
            prop_assert_eq!(&serde_json::from_str::<String>(&quoted).unwrap(), &text);
            prop_assert!(!quoted.chars().any(is_harmful), "{}", quoted);
        }
    }
}
