use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

/// A registry as registries list names.
#[derive(Clone, Debug)]
struct Upstream {
    names: Vec<String>,
    sorting: Sorting,
    /// The most names of a page.
    most: usize,
    /// A link follows a page that is just full, too.
    eager: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Sorting {
    Bytes,
    /// distribution's walk: the entries of each folder sorted as bytes, a repository itself where `_layers` stands among
    /// them.
    Folders,
}

impl Upstream {
    fn listed(&self) -> Vec<String> {
        let mut names = self.names.clone();
        match self.sorting {
            Sorting::Bytes => names.sort(),
            Sorting::Folders => names.sort_by_key(|name| folders(name)),
        }
        names.dedup();
        names
    }

    fn is_after(&self, name: &str, last: Option<&str>) -> bool {
        last.is_none_or(|last| match self.sorting {
            Sorting::Bytes => name > last,
            Sorting::Folders => segment_order(name, last) == Ordering::Greater,
        })
    }

    fn page(&self, last: Option<&str>) -> Listed {
        let mut names = self.listed();
        names.retain(|name| self.is_after(name, last));
        let follows = names.len() > self.most || self.eager && names.len() == self.most;
        names.truncate(self.most);
        Listed { names, follows }
    }

    /// distribution 2.8 itself does not list `a` where a page ends right before it, among what is beneath `a`.
    fn may_miss(&self, name: &str) -> bool {
        let digit = |rest: &str| rest.starts_with(|first: char| first.is_ascii_digit());
        let beneath = |other: &String| other.strip_prefix(&format!("{name}/")).is_some_and(digit);
        self.sorting == Sorting::Folders && self.names.iter().any(beneath)
    }
}

fn folders(name: &str) -> Vec<String> {
    name.split('/').chain(["_layers"]).map(str::to_owned).collect()
}

/// All that a course keeps, and how many pages it asked for.
fn walked(ranges: &Ranges, last: Option<&str>, page: impl Fn(Option<&str>) -> Listed) -> (Vec<String>, usize) {
    let mut course = Course::new(ranges.clone(), last);
    let (mut kept, mut asked) = (Vec::new(), 0);
    while !course.ended() {
        assert!(asked < 1000, "no end");
        asked += 1;
        let page = page(course.next());
        kept.extend(course.take(&page));
    }
    (kept, asked)
}

fn any_name() -> impl Strategy<Value = String> {
    "[ab0]([-._]?[ab0]){0,1}(/[ab0]([-._]?[ab0]){0,1}){0,2}"
}

fn any_upstream() -> impl Strategy<Value = Upstream> {
    (vec(any_name(), 0..40), select(vec![Sorting::Bytes, Sorting::Folders]), 1..12_usize, any::<bool>())
        .prop_map(|(names, sorting, most, eager)| Upstream { names, sorting, most, eager })
}

fn any_ranges() -> impl Strategy<Value = Ranges> {
    let span = prop_oneof![
        1 => Just(Span::All),
        9 => any_name().prop_map(|name| Span::Name(name.into())),
        9 => any_name().prop_map(|name| Span::Under(format!("{name}/").into())),
    ];
    vec(span, 0..6).prop_map(Ranges::new)
}

fn spans(texts: &[&str]) -> Ranges {
    let span = |text: &&str| if text.ends_with('/') { Span::Under((*text).into()) } else { Span::Name((*text).into()) };
    Ranges::new(texts.iter().map(span))
}

fn numbered(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}{number:04}")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_name_of_the_ranges_comes_once_and_in_order(upstream in any_upstream(), ranges in any_ranges()) {
        let (kept, asked) = walked(&ranges, None, |last| upstream.page(last));
        let listed = upstream.listed();
        // Span by span, in each as the upstream lists.
        let of_span = |span: &Span| listed.iter().filter(|name| span.contains(name)).cloned().collect::<Vec<_>>();
        let mut expected: Vec<String> = ranges.spans().iter().flat_map(of_span).collect();
        expected.retain(|name| !upstream.may_miss(name) || kept.contains(name));
        prop_assert_eq!(kept, expected);
        // A full page moves on by its length, a seek by a span.
        prop_assert!(asked <= listed.len().div_ceil(upstream.most.saturating_sub(1).max(1)) + ranges.spans().len() + 2);
    }

    #[test]
    fn any_last_is_a_place_to_go_on_from(upstream in any_upstream(), ranges in any_ranges(), last in any_name()) {
        let (kept, _) = walked(&ranges, Some(&last), |last| upstream.page(last));
        let once: BTreeSet<&String> = kept.iter().collect();
        prop_assert_eq!(once.len(), kept.len());
        let all = walked(&ranges, None, |last| upstream.page(last)).0;
        let everything = ranges.is_everything();
        for name in &all {
            let after = match upstream.sorting {
                Sorting::Bytes if everything => *name > last,
                Sorting::Bytes | Sorting::Folders => segment_order(name, &last) == Ordering::Greater,
            };
            // Within a span the upstream's own order decides what comes after.
            let within = ranges.spans().iter().any(|span| span.contains(name) && span.contains(&last));
            if upstream.may_miss(name) || upstream.sorting == Sorting::Bytes && within && !everything {
                continue;
            }
            prop_assert_eq!(kept.contains(name), after, "{} after {}", name, &last);
        }
    }

    #[test]
    fn an_upstream_that_goes_nowhere_is_left(
        pages in vec(vec(any_name(), 0..4), 1..5), ranges in any_ranges(), last in prop::option::of(any_name())
    ) {
        let turn = std::cell::Cell::new(0);
        let page = |_: Option<&str>| {
            turn.set(turn.get() + 1);
            Listed { names: pages[turn.get() % pages.len()].clone(), follows: true }
        };
        let (_, asked) = walked(&ranges, last.as_deref(), page);
        prop_assert!(asked <= 40, "{}", asked);
    }

    #[test]
    fn an_upstream_without_pages_is_read_once(names in vec(any_name(), 1..30), ranges in any_ranges(), at in 0..30_usize) {
        let upstream = Upstream { names, sorting: Sorting::Bytes, most: 100, eager: false };
        let listed = upstream.listed();
        let (kept, _) = walked(&ranges, None, |_| upstream.page(None));
        let expected: BTreeSet<&String> = listed.iter().filter(|name| ranges.contains(name)).collect();
        prop_assert_eq!(kept.len(), expected.len());
        let last = &listed[at % listed.len()];
        let (after, _) = walked(&Ranges::everything(), Some(last), |_| upstream.page(None));
        prop_assert_eq!(after, listed.iter().filter(|name| *name > last).cloned().collect::<Vec<_>>());
    }
}

#[test]
fn three_repositories_among_many_take_three_pages() {
    let names = (0..50).flat_map(|space| numbered(&format!("team{space:02}/app"), 1000)).collect();
    let upstream = Upstream { names, sorting: Sorting::Folders, most: 1000, eager: true };
    let ranges = spans(&["team07/app0003", "team30/app0999", "team49/app0000"]);
    let (kept, asked) = walked(&ranges, None, |last| upstream.page(last));
    assert_eq!(kept, ["team07/app0003", "team30/app0999", "team49/app0000"]);
    assert_eq!(asked, 3);
    let (_, asked) = walked(&ranges, Some("team30/app0999"), |last| upstream.page(last));
    assert_eq!(asked, 1);
}

#[test]
fn ranges_close_to_each_other_share_a_page() {
    let upstream = Upstream { names: numbered("a/x", 3000), sorting: Sorting::Folders, most: 1000, eager: false };
    let wanted: Vec<String> = (0..100).map(|number| format!("a/x{:04}", number * 7)).collect();
    let ranges = spans(&wanted.iter().map(String::as_str).collect::<Vec<_>>());
    let (kept, asked) = walked(&ranges, None, |last| upstream.page(last));
    assert_eq!(kept, wanted);
    assert_eq!(asked, 1);
}

#[test]
fn a_repository_listed_after_what_is_beneath_it_ends_no_page() {
    let names = ["a/0", "a/1", "a", "a/b", "b"].map(str::to_owned).to_vec();
    let upstream = Upstream { names, sorting: Sorting::Folders, most: 3, eager: true };
    let (kept, _) = walked(&Ranges::everything(), None, |last| upstream.page(last));
    assert_eq!(kept, ["a/0", "a/1", "a", "a/b", "b"]);
}

#[test]
fn orders_are_told_from_disorder() {
    for (names, ordered) in [
        (&["a", "a-b", "a/b"][..], true),
        (&["a", "a/b", "a-b"], true),
        (&["a/0", "a/0/x", "a", "a/b", "a-b"], true),
        (&["b", "a"], false),
        (&["a", "a/b", "a-b", "a.b", "a/c"], false),
        (&[], true),
    ] {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(in_some_order(&names), ordered, "{names:?}");
    }
}
