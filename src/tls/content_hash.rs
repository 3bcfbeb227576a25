//! Whether what was read is what was read before.

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};

/// Stands for the content of some files: two are equal where the contents are. It tells nobody what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContentHash([u8; SHA256_OUTPUT_LEN]);

impl ContentHash {
    /// Of all these, in this order.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut context = Context::new(&SHA256);
        for part in parts {
            // Lengths come first, so that no byte can move from one part to the next.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut hash = [0; SHA256_OUTPUT_LEN];
        hash.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
        Self(hash)
    }
}

impl AsRef<[u8]> for ContentHash {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_place() {
        let of = |parts: &[&str]| ContentHash::of(parts.iter().map(|part| part.as_bytes()));
        assert_eq!(of(&["ab", "c"]), of(&["ab", "c"]));
        for other in [&["a", "bc"][..], &["abc"], &["c", "ab"], &["ab", "c", ""], &[]] {
            assert_ne!(of(&["ab", "c"]), of(other), "{other:?}");
        }
    }
}
