//! What the YAML parser refuses, in an operator's words.

use super::{LEAST, read, tells, told, with_line, with_more};

#[test]
fn the_least_configuration_is_accepted_without_a_word() {
    assert_eq!(told(LEAST), Vec::<String>::new());
}

#[test]
fn empty_files() {
    for text in ["", "\n", "# only a comment\n", "---\n", "~"] {
        tells(text, "error: the file is empty", "");
    }
}

#[test]
fn not_a_mapping() {
    tells("- version: 1\n", "1:1: error: expected keys and values", "found a list");
    tells("version\n", "1:1: error: expected keys and values", "found text");
    tells("7\n", "1:1: error: expected keys and values", "found the number 7");
}

#[test]
fn broken_yaml() {
    tells("version: [1\nlisten: {}\n", "2:7: error: not valid YAML: ", "':'");
    tells("version: \"1\nlisten", "2:1: error: not valid YAML: ", "");
    tells("a:\n\tb: 1\n", "2:2: error: not valid YAML: ", "blanks");
    tells(&with_more("limits: !big {}\n"), "8:", "YAML tags (\"!big\") are not supported");
}

#[test]
fn a_second_document() {
    tells(&with_more("---\nversion: 1\n"), "9:1: error: a second YAML document", "one document");
}

#[test]
fn merge_keys_and_lost_aliases() {
    tells(&with_more("<<: { log: {} }\n"), "8:1: error: YAML merge keys (<<) are not supported", "");
    tells(&with_more("log: &a {}\nlimits:\n  idle: x\n  handshake: # *\n   *none\n"), "12:4: error: an unquoted *", "");
}

#[test]
fn an_unquoted_star_is_explained() {
    for pattern in ["*", "**", "*/app", "**/app", "*app"] {
        let list = with_more(&format!("access:\n  grants:\n    - repositories:\n        - {pattern}\n"));
        tells(&list, "11:11: error: an unquoted * starts a YAML alias: write the pattern in quotes", "\"**\"");
        let flow = with_more(&format!("access:\n  grants:\n    - repositories: [a, {pattern}]\n"));
        tells(&flow, "10:25: error: an unquoted * starts a YAML alias: write the pattern in quotes", "\"**\"");
    }
}

#[test]
fn an_alias_with_its_anchor_is_plain_yaml() {
    let text = with_more("limits: { idle: &time 5s, handshake: *time }\n");
    assert_eq!(read(&text).unwrap().limits.handshake.as_secs(), 5);
    tells(
        &with_more("limits: { idle: &time 5s, manifest: *time }\n"),
        "8:37: error: limits.manifest: \"5s\" is not a size",
        "4MiB",
    );
}

#[test]
fn keys_given_twice_are_all_told() {
    let text = with_more("log: { level: info, level: debug }\nlog: {}\nversion: 1\n");
    assert_eq!(
        told(&text),
        [
            "8:21: error: the key \"level\" is given twice, first in line 8",
            "9:1: error: the key \"log\" is given twice, first in line 8",
            "10:1: error: the key \"version\" is given twice, first in line 1",
        ]
    );
}

#[test]
fn depth_is_bounded() {
    let deep = with_more(&format!("log: {}{}\n", "[".repeat(40), "]".repeat(40)));
    tells(&deep, "8:", "too large or too deep for a configuration");
    let block: String = (0..40).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    tells(&block, "", "too large or too deep for a configuration");
}

#[test]
fn alias_bombs_are_bounded() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        text += &format!("a{level}: &a{level} [{}]\n", vec![alias; 10].join(", "));
    }
    assert_eq!(told(&text).len(), 1, "stops at the budget");
}

#[test]
fn many_comments_are_no_problem() {
    let comments = "# one more line\n".repeat(500);
    let grant = "    - name: x\n      repositories: [a]\n      actions: [pull]\n      to: [anyone]\n";
    let text = with_more(&format!("access:\n{comments}  grants:\n{comments}{grant}{comments}"));
    assert_eq!(told(&text), Vec::<String>::new());
    assert_eq!(read(&text).unwrap().access.grants[0].line, 1010);
}

#[test]
fn words_that_other_yaml_readers_take_for_booleans_are_not() {
    for word in ["yes", "no", "on", "off", "y", "n"] {
        tells(
            &with_more(&format!("log: {{ access: {word} }}\n")),
            "8:16: error: log.access: expected true or false, found text",
            "",
        );
    }
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_are_accepted() {
    assert!(read(&LEAST.replace('\n', "\r\n")).is_ok());
    assert!(read(&format!("\u{feff}{LEAST}")).is_ok());
    tells(&with_line(1, "version: 2").replace('\n', "\r\n"), "1:10: error: version: ", "");
}
