//! Runs of repository names: where in a registry's catalog the names are that may matter.

use std::{cmp::Ordering, sync::Arc};

/// A run of names that is contiguous both in byte order and in distribution's order (where `/` sorts before everything).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Span {
    /// Every name.
    All,
    /// This name alone.
    Name(Box<str>),
    /// Every name that begins with this text, which ends in `/`.
    Under(Box<str>),
}

impl Span {
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Name(only) => **only == *name,
            Self::Under(prefix) => name.starts_with(&**prefix),
        }
    }

    /// A text that sorts before every name of the span in either order, with no more between than there must be; None for
    /// the very beginning.
    pub fn begin(&self) -> Option<String> {
        match self {
            Self::All => None,
            Self::Name(name) => Some(just_before(name)),
            Self::Under(prefix) => Some((**prefix).to_owned()),
        }
    }

    /// True where the name lies behind the whole span in either order.
    pub fn passed_by(&self, name: &str) -> bool {
        !self.contains(name) && precedes(self.text(), name)
    }

    /// True where, in distribution's order, no name of the span comes after `last`.
    pub fn over_at(&self, last: &str) -> bool {
        match self {
            Self::All => false,
            Self::Name(name) => segment_order(name, last) != Ordering::Greater,
            Self::Under(prefix) => segment_order(prefix, last) == Ordering::Less && !last.starts_with(&**prefix),
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::All => "",
            Self::Name(text) | Self::Under(text) => text,
        }
    }
}

/// Disjoint spans in distribution's order. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ranges(Arc<[Span]>);

impl Ranges {
    /// More spans than this become [`Ranges::everything`]: that walk is then the shorter one, or as good as.
    pub const MOST: usize = 1024;

    pub fn everything() -> Self {
        Self(Arc::from([Span::All]))
    }

    /// Sorts, and leaves out what lies within another span.
    pub fn new(spans: impl IntoIterator<Item = Span>) -> Self {
        let mut spans: Vec<Span> = spans.into_iter().collect();
        // What contains another span sorts before it, with nothing but its other contents between.
        spans.sort_by(|a, b| segment_order(a.text(), b.text()));
        spans.dedup_by(|later, kept| *later == *kept || !matches!(kept, Span::Name(_)) && kept.contains(later.text()));
        if spans.len() > Self::MOST { Self::everything() } else { Self(spans.into()) }
    }

    pub fn spans(&self) -> &[Span] {
        &self.0
    }

    /// What of them lies within one of these.
    pub fn within(&self, spans: &[Span]) -> Self {
        let common = |one: &Span, other: &Span| {
            let inner = |outer: &Span, inner: &Span| match (outer, inner) {
                (Span::All, _) => true,
                (_, Span::All) => false,
                (Span::Name(_), Span::Under(_)) => false,
                (Span::Name(_) | Span::Under(_), Span::Name(_)) | (Span::Under(_), Span::Under(_)) => {
                    outer.contains(inner.text())
                }
            };
            if inner(one, other) { Some(other.clone()) } else { inner(other, one).then(|| one.clone()) }
        };
        Self::new(self.0.iter().flat_map(|one| spans.iter().filter_map(move |other| common(one, other))))
    }

    pub fn is_everything(&self) -> bool {
        self.0.contains(&Span::All)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|span| span.contains(name))
    }
}

/// distribution's order of names: as bytes, but `/` before everything, so that a namespace stays together.
pub fn segment_order(a: &str, b: &str) -> Ordering {
    let key = |byte: u8| if byte == b'/' { 0 } else { byte };
    a.bytes().map(key).cmp(b.bytes().map(key))
}

/// True where `a` sorts before `b` both in byte order and in distribution's.
pub fn precedes(a: &str, b: &str) -> bool {
    a < b && segment_order(a, b) == Ordering::Less
}

/// The name with its last letter or digit replaced by the one before and `~`, which sorts behind all that names hold. `-`,
/// `.`, `/` and `_` sort before the letters or the digits; a name never ends in one.
fn just_before(name: &str) -> String {
    let mut chars = name.chars();
    let before = match chars.next_back() {
        Some('a') => '_',
        Some('0') => '.',
        Some(last) => char::from_u32(u32::from(last).saturating_sub(1)).unwrap_or(last),
        None => return String::new(),
    };
    format!("{}{before}~", chars.as_str())
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn any_name() -> impl Strategy<Value = String> {
        "[ab09]([-._]?[ab09]){0,2}(/[ab09]([-._]?[ab09]){0,1}){0,3}"
    }

    fn any_span() -> impl Strategy<Value = Span> {
        prop_oneof![
            1 => Just(Span::All),
            9 => any_name().prop_map(|name| Span::Name(name.into())),
            9 => any_name().prop_map(|name| Span::Under(format!("{name}/").into())),
        ]
    }

    fn spans(texts: &[&str]) -> Vec<Span> {
        let span =
            |text: &&str| if text.ends_with('/') { Span::Under((*text).into()) } else { Span::Name((*text).into()) };
        texts.iter().map(span).collect()
    }

    #[test]
    fn sorted_as_distribution_does_and_merged() {
        let ranges = Ranges::new(spans(&["b", "a-x/", "a/", "a", "a/b/", "a/b", "a.c", "b", "a/b/c", "a-x/y"]));
        assert_eq!(ranges.spans(), spans(&["a", "a/", "a-x/", "a.c", "b"]));
        assert!(Ranges::new([spans(&["a", "a/"]), vec![Span::All]].concat()).is_everything());
        let many = (0..=Ranges::MOST).map(|number| Span::Name(format!("a{number}").into()));
        assert!(Ranges::new(many.clone()).is_everything());
        assert!(!Ranges::new(many.skip(1)).is_everything());
    }

    #[test]
    fn where_spans_begin() {
        for (name, begin) in [("a/b", "a/a~"), ("a", "_~"), ("x0", "x.~"), ("x1", "x0~")] {
            assert_eq!(Span::Name(name.into()).begin().as_deref(), Some(begin));
        }
        assert_eq!(Span::Under("a/".into()).begin().as_deref(), Some("a/"));
        assert_eq!(Span::All.begin(), None);
    }

    proptest! {
        #[test]
        fn what_lies_within_spans_is_in_both(one in vec(any_span(), 0..6), other in vec(any_span(), 0..6), name in any_name()) {
            let both = one.iter().any(|span| span.contains(&name)) && other.iter().any(|span| span.contains(&name));
            prop_assert_eq!(Ranges::new(one).within(&other).contains(&name), both);
        }

        #[test]
        fn merging_loses_nothing_and_leaves_spans_apart(spans in vec(any_span(), 0..8), name in any_name()) {
            let ranges = Ranges::new(spans.clone());
            prop_assert_eq!(ranges.contains(&name), spans.iter().any(|span| span.contains(&name)));
            prop_assert!(ranges.spans().iter().filter(|span| span.contains(&name)).count() <= 1);
        }

        #[test]
        fn a_span_lies_between_its_begin_and_what_passes_it(span in any_span(), name in any_name(), other in any_name()) {
            if span.contains(&name) {
                prop_assert!(span.begin().is_none_or(|begin| precedes(&begin, &name)));
                prop_assert!(!span.passed_by(&name));
                if span.passed_by(&other) {
                    prop_assert!(precedes(&name, &other));
                }
                // What is said to be over holds nothing more.
                prop_assert!(!span.over_at(&other) || segment_order(&name, &other) != Ordering::Greater);
            }
        }

        #[test]
        fn nothing_lies_between_a_begin_and_its_name_in_distributions_order(name in any_name(), other in any_name()) {
            let begin = just_before(&name);
            let between = segment_order(&begin, &other) == Ordering::Less && segment_order(&other, &name) == Ordering::Less;
            prop_assert!(!between, "{begin} {other} {name}");
        }
    }
}
