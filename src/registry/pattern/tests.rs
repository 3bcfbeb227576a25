use super::*;
use proptest::prelude::*;

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap()
}

fn name(text: &str) -> RepositoryName {
    RepositoryName::parse(text).unwrap()
}

#[test]
fn a21_stars_are_whole_segments() {
    for (text, hits, misses) in [
        ("pub", &["pub"][..], &["pub/a", "pubx", "a/pub"][..]),
        ("pub/*", &["pub/a"], &["pub", "pubx/app", "pub/a/b", "pub-secret", "x/pub/a"]),
        ("pub/**", &["pub", "pub/a", "pub/a/b"], &["pubx/app", "pub-secret", "x/pub"]),
        ("*", &["pub"], &["pub/a"]),
        ("**", &["pub", "pub/a", "a/b/c/d"], &[]),
        ("*/*", &["a/b"], &["a", "a/b/c"]),
        ("**/app", &["app", "a/app", "a/b/app", "app/app"], &["a/app/b", "myapp", "a/app-x"]),
        ("a/**/z", &["a/z", "a/b/z", "a/z/z", "a/b/c/z"], &["a", "z", "a/z/b", "b/z"]),
        ("a/**/b/*/c", &["a/b/x/c", "a/b/b/x/c", "a/b/x/b/b/c"], &["a/b/c", "a/b/x/y/c"]),
        ("**/**", &["a", "a/b"], &[]),
        ("*/**", &["a", "a/b/c"], &[]),
        ("**/*", &["a", "a/b/c"], &[]),
    ] {
        for hit in hits {
            assert!(pattern(text).matches(&name(hit), None), "A21: {text} matches {hit}");
        }
        for miss in misses {
            assert!(!pattern(text).matches(&name(miss), None), "A21: {text} does not match {miss}");
        }
    }
}

#[test]
fn a22_letters_of_regular_expressions_are_literal() {
    assert!(pattern("a.b/*").matches(&name("a.b/x"), None));
    assert!(!pattern("a.b/*").matches(&name("axb/x"), None));
    for text in [
        "a[bc]", "a?", "a+", "(a|b)", "^a", "a$", "a/.*", "team-*", "*a", "***", "$users", "$User", "${user}",
        "a$user", "!a",
    ] {
        assert!(Pattern::parse(text).is_err(), "A22: {text}");
    }
}

#[test]
fn patterns_that_could_match_nothing_are_refused() {
    assert_eq!(Pattern::parse(""), Err(PatternError::Empty));
    for (text, segment) in
        [("/a", ""), ("a/", ""), ("a//b", ""), ("A/b", "A"), ("a/..", ".."), ("a b", "a b"), ("a%2f", "a%2f")]
    {
        assert_eq!(Pattern::parse(text), Err(PatternError::Segment(segment.to_owned())));
    }
}

#[test]
fn user_is_one_literal_segment() {
    let home = pattern("home/$user/**");
    assert!(home.matches(&name("home/alice/app"), Some("alice")));
    assert!(home.matches(&name("home/alice"), Some("alice")));
    assert!(!home.matches(&name("home/alice/app"), Some("bob")));
    assert!(!home.matches(&name("home/alice/app"), None));
    for user in ["*", "**", "", "alice/app", "Alice", "$user", "alic"] {
        assert!(!home.matches(&name("home/alice/app"), Some(user)), "{user:?}");
    }
}

#[test]
fn covers_tells_contained_patterns() {
    for (wide, narrow) in [
        ("**", "a"),
        ("**", "**"),
        ("a/**", "a/*/b"),
        ("a/**", "a/**"),
        ("a/*", "a/$user"),
        ("**/b", "a/**/b"),
        ("*/b", "$user/b"),
    ] {
        assert!(pattern(wide).covers(&pattern(narrow)), "{wide} covers {narrow}");
    }
    for (wide, narrow) in
        [("a", "**"), ("a/*", "a/**"), ("a/$user", "a/*"), ("a/$user", "a/b"), ("a/**", "**"), ("*", "**")]
    {
        assert!(!pattern(wide).covers(&pattern(narrow)), "{wide} does not cover {narrow}");
    }
}

#[test]
fn many_stars_cost_no_exponential_time() {
    let text = format!("{}/z", vec!["**/a"; 60].join("/"));
    let long = name(&vec!["a"; 128].join("/"));
    assert!(!pattern(&text).matches(&long, None));
}

/// The definition, word for word.
fn slow(pattern: &[Segment], names: &[&str], user: Option<&str>) -> bool {
    match pattern.split_first() {
        None => names.is_empty(),
        Some((Segment::Any, rest)) => (0..=names.len()).any(|taken| slow(rest, &names[taken..], user)),
        Some((segment, rest)) => names.split_first().is_some_and(|(first, names)| {
            let taken = match segment {
                Segment::Literal(literal) => literal == first,
                Segment::User => user == Some(*first),
                Segment::One | Segment::Any => true,
            };
            taken && slow(rest, names, user)
        }),
    }
}

fn any_pattern() -> impl Strategy<Value = Pattern> {
    let segment = prop::sample::select(vec!["a", "b", "*", "**", "$user"]);
    prop::collection::vec(segment, 1..7).prop_map(|segments| pattern(&segments.join("/")))
}

fn any_name() -> impl Strategy<Value = RepositoryName> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..8)
        .prop_map(|segments| name(&segments.join("/")))
}

proptest! {
    #[test]
    fn matches_as_defined(pattern in any_pattern(), name in any_name(), user in prop::option::of(Just("a"))) {
        let names: Vec<_> = name.segments().collect();
        prop_assert_eq!(pattern.matches(&name, user), slow(&pattern.segments, &names, user));
    }

    #[test]
    fn what_is_covered_never_matches_more(wide in any_pattern(), narrow in any_pattern(), name in any_name(), user in prop::option::of(Just("b"))) {
        if wide.covers(&narrow) && narrow.matches(&name, user) {
            prop_assert!(wide.matches(&name, user));
        }
        prop_assert!(wide.covers(&wide));
    }

    #[test]
    fn what_is_apart_never_meets(one in any_pattern(), other in any_pattern(), name in any_name(), user in prop::option::of(Just("b"))) {
        prop_assert!(!(one.is_apart(&other) && one.matches(&name, user) && other.matches(&name, user)));
        prop_assert_eq!(one.is_apart(&other), other.is_apart(&one));
    }

    #[test]
    fn nothing_shorter_is_matched(pattern in any_pattern(), name in any_name(), user in prop::option::of(Just("a"))) {
        prop_assert!(!pattern.matches(&name, user) || name.as_str().len() >= pattern.shortest());
    }

    #[test]
    fn filled_in_it_is_the_same_for_the_user(pattern in any_pattern(), name in any_name(), user in prop::option::of(prop::sample::select(vec!["a", "b", "X"]))) {
        let filled = pattern.filled(user).is_some_and(|filled| filled.matches(&name, None));
        prop_assert_eq!(filled, pattern.matches(&name, user));
    }

    #[test]
    fn never_panics(text in any::<String>()) {
        let _ = Pattern::parse(&text);
    }
}

#[test]
fn patterns_that_are_apart() {
    for (one, other, apart) in [
        ("a/**", "b/**", true),
        ("**/x", "**/y", true),
        ("a/*", "a/*/c", true),
        ("a/b/**", "a/*", false),
        ("a/$user", "a/bob", false),
        ("**", "a", false),
    ] {
        assert_eq!(pattern(one).is_apart(&pattern(other)), apart, "{one} {other}");
    }
}

#[test]
fn spans_follow_the_literal_beginning() {
    let name = |text: &str| Span::Name(text.into());
    let under = |text: &str| Span::Under(text.into());
    for (text, user, expected) in [
        ("a/b", None, vec![name("a/b")]),
        ("a/**", None, vec![name("a"), under("a/")]),
        ("a/**/**", None, vec![name("a"), under("a/")]),
        ("a/*", None, vec![under("a/")]),
        ("a/**/z", None, vec![under("a/")]),
        ("a/*/c/**", None, vec![under("a/")]),
        ("**", None, vec![Span::All]),
        ("*/b", Some("x"), vec![Span::All]),
        ("home/$user", Some("bob"), vec![name("home/bob")]),
        ("home/$user/**", Some("bob"), vec![name("home/bob"), under("home/bob/")]),
        ("$user/*", Some("bob"), vec![under("bob/")]),
        ("home/$user/**", None, vec![]),
        ("*/$user", None, vec![]),
        ("home/$user/**", Some("Bob@example.com"), vec![]),
        ("home/$user/**", Some("a/b"), vec![]),
    ] {
        assert_eq!(pattern(text).spans(user), expected, "{text} {user:?}");
    }
}

proptest! {
    #[test]
    fn whatever_matches_lies_in_a_span(
        segments in prop::collection::vec(prop::sample::select(vec!["a", "b", "*", "**", "$user"]), 1..5),
        names in prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..5),
        user in prop::option::of(prop::sample::select(vec!["a", "c", "X"])),
    ) {
        let (pattern, name) = (pattern(&segments.join("/")), name(&names.join("/")));
        let held = pattern.spans(user).iter().any(|span| span.contains(name.as_str()));
        prop_assert!(held || !pattern.matches(&name, user));
    }
}
