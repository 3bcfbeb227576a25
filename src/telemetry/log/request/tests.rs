use std::cell::RefCell;

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::{super::quote::is_harmful, *};
use crate::config::LogFormat;

/// Every field has a value; one that is added must be added here.
fn full(text: &str) -> RequestLine<'_> {
    RequestLine {
        request_id: text,
        trace: Some(text),
        client: Some("192.0.2.1".parse().unwrap()),
        peer: Some("2001:db8::1".parse().unwrap()),
        user: Some(text),
        claimed: Some(text),
        presented: Some("password"),
        provider: Some(text),
        token: Some(text),
        access_token: Some(text),
        registry: text,
        method: Some(text),
        route: "blob",
        repository: Some(text),
        reference: Some(text),
        digest: Some(text),
        from: Some(text),
        host: Some(text),
        asked: Some(text),
        granted: Some(text),
        action: Some("pull"),
        grant: Some(text),
        subject: Some(text),
        near: Some(text),
        refused: Some("denied"),
        failure: Some("connect"),
        aborted: Some("client_gone"),
        status: 200,
        bytes_in: u64::MAX,
        bytes_out: 2,
        duration: Duration::from_millis(3),
        upstream: Some(text),
        resumed: Some(4),
        user_agent: Some(text),
        protocol: Some("HTTP/2"),
    }
}

const DECISION: Decision = Decision { event: "pull", outcome: "allowed" };

/// The audit line and the access line.
fn written(line: &RequestLine<'_>, format: LogFormat) -> [String; 2] {
    let lines = RefCell::default();
    at_desk(|desk, _| {
        desk.share(format, |fields| line.shared(fields));
        desk.shared_line(format, &OF_AUDIT, |fields| DECISION.fields(fields), |_| {});
        desk.shared_line(format, &OF_ACCESS, |_| {}, |fields| line.of_access(fields));
        *lines.borrow_mut() = String::from_utf8(desk.lines().to_vec()).unwrap();
    });
    let lines: Vec<String> = lines.into_inner().split_inclusive('\n').map(str::to_owned).collect();
    lines.try_into().expect("two lines")
}

fn parsed(line: &str) -> Map<String, Value> {
    let map: Map<String, Value> = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let quoted = map.keys().filter(|key| line.matches(&format!("{{\"{key}\":")).count() == 1);
    let keys = quoted.count() + map.keys().filter(|key| line.matches(&format!(",\"{key}\":")).count() == 1).count();
    assert_eq!(keys, map.len(), "a key comes twice: {line}");
    map
}

/// The fields of a line of text: what a reader with a simple rule takes it for.
fn fields(line: &str) -> Vec<(String, String)> {
    let (head, mut rest) = line.split_once(": ").unwrap();
    let mut fields = vec![("head".to_owned(), head.split_whitespace().skip(1).collect::<Vec<_>>().join(" "))];
    while !rest.is_empty() {
        let (key, value) = rest.split_once('=').unwrap_or_else(|| panic!("no field: {rest}"));
        let mut values = serde_json::Deserializer::from_str(value).into_iter::<Value>();
        let read = values.next().unwrap().unwrap_or_else(|error| panic!("{error}: {value}"));
        let end = values.byte_offset();
        fields.push((key.to_owned(), read.as_str().map_or_else(|| read.to_string(), str::to_owned)));
        let behind = value.get(end..).unwrap();
        rest = behind.strip_prefix(' ').unwrap_or(behind);
    }
    fields
}

#[test]
fn the_guide_has_a_row_for_each_field_and_no_other() {
    let guide = include_str!("../../../../conf/guide/logs.md");
    let rows = guide.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
        let key = cells.next()?.trim_end_matches('`').to_owned();
        let mark = |cell: Option<&str>| cell.is_some_and(|cell| cell == "•");
        Some((key, mark(cells.next()), mark(cells.next())))
    });
    let mut rows: Vec<_> = rows.collect();
    rows.sort();
    let [audit, access] = written(&full("x"), LogFormat::Json).map(|line| parsed(&line));
    let mut keys: Vec<_> = audit.keys().chain(access.keys()).collect();
    keys.sort();
    keys.dedup();
    let expected: Vec<_> =
        keys.iter().map(|key| ((*key).clone(), access.contains_key(*key), audit.contains_key(*key))).collect();
    assert_eq!(rows, expected);
}

#[test]
fn a_line_says_which_log_it_is_of_and_when() {
    let [audit, access] = written(&full("x"), LogFormat::Json).map(|line| parsed(&line));
    assert_eq!(
        (&audit["log"], &audit["event"], &audit["outcome"]),
        (&"audit".into(), &"pull".into(), &"allowed".into())
    );
    assert_eq!(
        (&access["log"], &access["bytes_in"], &access["peer"]),
        (&"access".into(), &u64::MAX.into(), &"2001:db8::1".into())
    );
    let stamp = access["timestamp"].as_str().unwrap();
    let format = &time::format_description::well_known::Rfc3339;
    let age = time::OffsetDateTime::now_utc() - time::OffsetDateTime::parse(stamp, format).unwrap();
    assert!(stamp.len() == 27 && age >= time::Duration::ZERO && age < time::Duration::minutes(1), "{stamp}");
    let bare = RequestLine { request_id: "1", registry: "none", protocol: Some("HTTP/1.1"), ..RequestLine::default() };
    let [audit, _] = written(&bare, LogFormat::Json).map(|line| parsed(&line));
    assert!(!audit.contains_key("user") && audit["status"] == 0, "what is not known is not there");
}

proptest! {
    #[test]
    fn whatever_it_holds_a_line_is_json_and_one_line(text in texts()) {
        for line in written(&full(&text), LogFormat::Json) {
            let line = line.strip_suffix('\n').unwrap();
            prop_assert!(!line.chars().any(is_harmful), "{line:?}");
            let map = parsed(line);
            for key in ["request_id", "user", "claimed", "repository", "reference", "user_agent", "method", "registry"] {
                prop_assert_eq!(map[key].as_str().unwrap(), &text);
            }
        }
    }

    #[test]
    fn whatever_it_holds_the_fields_of_a_line_of_text_can_be_told_apart(text in texts()) {
        let [json, _] = written(&full(&text), LogFormat::Json).map(|line| parsed(&line));
        for (line, head) in written(&full(&text), LogFormat::Text).iter().zip(["INFO audit", "INFO access"]) {
            let line = line.strip_suffix('\n').unwrap();
            prop_assert!(!line.chars().any(is_harmful), "{line:?}");
            let fields = fields(line);
            prop_assert_eq!(&fields[0].1, head);
            let told = fields.iter().filter(|(key, _)| key == "user_agent" || key == "claimed");
            prop_assert!(told.clone().count() == 2 && told.clone().all(|(_, value)| *value == text));
            let keys = fields.iter().filter(|(key, _)| json.contains_key(key)).count();
            let own = if head == "INFO audit" { 0 } else { 2 };
            prop_assert_eq!(keys, json.len() - 3 - own, "no more and no less: {}", line);
        }
    }
}

/// Texts that mean to forge.
fn texts() -> impl Strategy<Value = String> {
    const PIECES: [&str; 16] = [
        "\n",
        "\r",
        "\"",
        "\\",
        "{",
        "}",
        "\",\"user\":\"root",
        " user=\"root\"",
        "\u{1b}[2J",
        "\0",
        "\u{85}",
        "\u{2028}",
        "\u{202e}",
        "\u{feff}",
        "\"}\n{\"log\":\"audit\"}",
        "é",
    ];
    let piece = prop_oneof![
        proptest::sample::select(PIECES.as_slice()).prop_map(str::to_owned),
        any::<char>().prop_map(String::from),
        any::<String>(),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}
