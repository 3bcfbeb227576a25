use proptest::prelude::*;

use super::*;

fn parse(bytes: impl AsRef<[u8]>) -> Content {
    Content::parse(Path::new("htpasswd"), bytes.as_ref())
}

fn hash(version: bcrypt::Version) -> String {
    bcrypt::hash_with_result("secret", 4).expect("hashes").format_for_version(version)
}

fn good() -> String {
    hash(bcrypt::Version::TwoY)
}

/// Line and message of each problem.
fn problems(content: &Content) -> Vec<(usize, String)> {
    content.problems.iter().map(|problem| (problem.line, problem.message.clone())).collect()
}

fn is_usable(content: &Content, user: &str) -> bool {
    content.usable(user).is_some()
}

/// H1
#[test]
fn the_three_sound_prefixes_are_accepted() {
    for version in [bcrypt::Version::TwoA, bcrypt::Version::TwoB, bcrypt::Version::TwoY] {
        let content = parse(format!("alice:{}", hash(version.clone())));
        assert!(is_usable(&content, "alice"), "{version}");
        assert_eq!(content.problems, []);
    }
}

/// H1, H2
#[test]
fn other_kinds_never_match_and_are_named() {
    for (hash, kind) in [
        ("{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=".to_owned(), "SHA-1"),
        ("$apr1$Fb1xPwTL$LVsnqOkuYDO1xO2R2eSHH1".to_owned(), "Apache's MD5"),
        ("$5$abc$def".to_owned(), "SHA-256 crypt"),
        ("$6$abc$def".to_owned(), "SHA-512 crypt"),
        ("$argon2id$v=19$m=1,t=1,p=1$YQ$YQ".to_owned(), "Argon2"),
        (hash(bcrypt::Version::TwoX), "the flawed bcrypt"),
        ("$2$04$abcdefghijklmnopqrstuuJ6nmJ6nmJ6nmJ6nmJ6nmJ6nmJ6nmJ6nm".to_owned(), "the first bcrypt"),
        ("rl.3StKT.4T8M".to_owned(), "this kind of hash (or plain text)"),
        ("hunter2".to_owned(), "this kind of hash (or plain text)"),
    ] {
        let content = parse(format!("alice:{hash}\nbob:{}\n", good()));
        assert!(!is_usable(&content, "alice") && is_usable(&content, "bob"), "{hash}");
        let [(line, message)] = &problems(&content)[..] else { panic!("one problem") };
        assert_eq!(*line, 1);
        assert!(message.starts_with(kind), "{message}");
        assert!(!message.contains(&hash), "the line is not repeated");
    }
}

/// H3
#[test]
fn line_ends_blanks_and_comments_mean_nothing() {
    let hash = good();
    let content =
        parse(format!("\u{feff}# users\r\n\r\n  alice:{hash} \t\r\n\t # indented: comment\r\n   \r\nbob:{hash}"));
    assert!(is_usable(&content, "alice") && is_usable(&content, "bob"));
    assert_eq!(content.problems, []);
    assert_eq!(content.users.len(), 2);
}

/// H5
#[test]
fn a_blank_before_the_colon_belongs_to_the_name() {
    let content = parse(format!("u :{}", good()));
    assert!(is_usable(&content, "u ") && content.find("u").is_none());
}

/// H16
#[test]
fn names_are_compared_byte_by_byte() {
    let content = parse(format!("Zo\u{eb}:{}", good()));
    assert!(is_usable(&content, "Zo\u{eb}"));
    for other in ["Zoe\u{308}", "zo\u{eb}", "ZO\u{cb}"] {
        assert!(content.find(other).is_none(), "{other}");
    }
}

/// H6
#[test]
fn the_last_line_of_a_user_is_in_force() {
    let (first, last) = (good(), good());
    let content = parse(format!("alice:{first}\nbob:{first}\nalice:{last}"));
    assert_eq!(content.usable("alice").map(|line| &*line.hash), Some(last.as_str()));
    assert_eq!(problems(&content), [(3, Fault::Twice.to_string())]);

    let locked = parse(format!("alice:{first}\nalice:!\n"));
    assert!(!is_usable(&locked, "alice"), "an earlier line does not come back");
    assert_eq!(locked.problems.len(), 2);
}

/// H7, H8, H9
#[test]
fn a_line_without_user_or_hash_admits_nobody() {
    let content = parse(format!(":{}\nalice:\n:\nno colon here\nbob:{}", good(), good()));
    assert!(content.find("").is_none());
    assert!(matches!(content.find("alice"), Some(Entry::Unusable(_))));
    assert!(is_usable(&content, "bob"));
    assert_eq!(problems(&content).iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 2, 3, 4]);
}

/// H11, H12
#[test]
fn a_damaged_hash_never_matches() {
    let good = good();
    let cut = |length| good.chars().take(length).collect::<String>();
    for (hash, fault) in [
        (cut(59), Fault::Length),
        (format!("{good}:extra"), Fault::Length),
        (format!("{good}x"), Fault::Length),
        ("$2y$".to_owned(), Fault::Length),
        (good.replacen("$04$", "$03$", 1), Fault::Cost),
        (good.replacen("$04$", "$00$", 1), Fault::Cost),
        (good.replacen("$04$", "$18$", 1), Fault::Cost),
        (good.replacen("$04$", "$20$", 1), Fault::Cost),
        (good.replacen("$04$", "$31$", 1), Fault::Cost),
        (good.replacen("$04$", "$99$", 1), Fault::Cost),
        (good.replacen("$04$", "$+4$", 1), Fault::Damaged),
        (good.replacen("$04$", "$4$x", 1), Fault::Damaged),
        (format!("{}!", cut(59)), Fault::Damaged),
        (format!("{}é", cut(58)), Fault::Damaged),
        (format!("é{}", cut(58)), Fault::Kind(kind(""))),
    ] {
        let content = parse(format!("alice:{hash}"));
        assert!(matches!(content.find("alice"), Some(Entry::Unusable(_))), "{hash}");
        assert_eq!(problems(&content), [(1, fault.to_string())], "{hash}");
        assert_eq!(content.problems[0].column, 7);
    }
    assert!(is_usable(&parse(format!("alice:{}", good.replacen("$04$", "$17$", 1))), "alice"));
}

/// H12
#[test]
fn a_cost_out_of_bounds_does_not_raise_the_work_of_others() {
    let good = good();
    let content = parse(format!("alice:{}\nbob:{good}", good.replacen("$04$", "$31$", 1)));
    assert_eq!(content.highest, 4);
    assert_eq!(parse(format!("alice:{}\nbob:{good}", good.replacen("$04$", "$11$", 1))).highest, 11);
    assert_eq!(parse("").highest, COST_OF_NOBODY);
}

/// H9, H13
#[test]
fn unreadable_lines_are_reported_and_the_others_go_on() {
    let good = good();
    let mut bytes = format!("{}:{good}\n", "x".repeat(70_000)).into_bytes();
    bytes.extend_from_slice(b"caf\xe9:");
    bytes.extend_from_slice(good.as_bytes());
    bytes.extend_from_slice(format!("\nal\tice:{good}\nal\0ice:{good}\nbo\rb:{good}\nbob:{good}\n").as_bytes());
    let content = parse(bytes);
    assert!(is_usable(&content, "bob"));
    assert_eq!(content.users.len(), 1);
    assert_eq!(
        problems(&content),
        [
            (1, Fault::Long.to_string()),
            (2, Fault::NotUtf8.to_string()),
            (3, Fault::Control.to_string()),
            (4, Fault::Control.to_string()),
            (5, Fault::Control.to_string()),
        ]
    );
    assert!(content.problems.iter().all(|problem| problem.severity == Severity::Warning));
}

#[test]
fn a_file_of_rubbish_does_not_flood_the_log() {
    let content = parse("rubbish\n".repeat(10_000));
    assert_eq!(content.problems.len(), MAX_PROBLEMS + 1);
    assert_eq!(
        content.problems.last().map(|problem| problem.message.as_str()),
        Some("9900 more problems in this file")
    );
}

#[test]
fn the_proof_changes_with_user_and_hash() {
    let (one, other) = (good(), good());
    let content = parse(format!("alice:{one}\nbob:{one}\ncarol:{other}"));
    let proof = |user: &str| content.usable(user).map(|line| line.proof.as_str().to_owned()).expect("usable");
    assert_eq!(proof("alice").len(), 22);
    assert_ne!(proof("alice"), proof("bob"));
    assert_ne!(proof("bob"), proof("carol"));
    assert_eq!(
        parse(format!("# moved\nalice:{one}")).usable("alice").map(|line| line.proof.as_str().to_owned()),
        Some(proof("alice"))
    );
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        parse(bytes);
    }

    #[test]
    fn any_line_of_nearly_the_right_shape_is_survived(line in "[a-z #:é]{0,4}:?\\$2[abxy]?\\$[0-9+]{1,3}\\$[./A-Za-z0-9é]{50,56}") {
        for entry in parse(line).users.values() {
            prop_assert!(entry.line().is_none_or(|line| COSTS.contains(&line.cost)));
        }
    }
}
