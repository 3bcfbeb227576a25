//! The border to the YAML parser: text in, a tree with places out. No other module knows the parser.
//!
//! The tree keeps every value as YAML 1.2 reads it, so that each key can be judged on its own and all problems be told
//! at once; reading straight into structs would stop at the first. Merge keys, application tags and further documents
//! are refused: what you read is what runs.

use std::{collections::HashMap, fmt};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Location, MergeKeyPolicy, NonFiniteFloatPolicy, Options, Spanned};

use super::problem::{Place, Report};

/// Deeper than any configuration; keeps the stack small.
const MAX_DEPTH: usize = 24;

/// A value and where it starts.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(u64),
    /// A number that is not a whole, positive one.
    Number(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) node: Node,
}

impl Value {
    /// The value in words, for messages; never the content of a text, which could be a secret.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Null => "nothing".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Integer(value) => format!("the number {value}"),
            Self::Number(value) => format!("the number {value}"),
            Self::Text(_) => "text".to_owned(),
            Self::List(_) => "a list".to_owned(),
            Self::Map(_) => "a mapping".to_owned(),
        }
    }
}

/// Parses one document. Syntax errors end in `None`; a key given twice is reported and the tree still returned.
pub(super) fn parse(text: &str, report: &Report<'_>) -> Option<Node> {
    match serde_saphyr::from_str_with_options::<Node>(text, options()) {
        Ok(root) => {
            report_duplicate_keys(&root, report);
            Some(root)
        }
        Err(error) => {
            let place = error.location().map_or_else(Place::default, Place::from);
            report.error(place, explain(&error, text, place));
            None
        }
    }
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH },
        emit_comments: false,
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

fn report_duplicate_keys(node: &Node, report: &Report<'_>) {
    match &node.value {
        Value::List(nodes) => nodes.iter().for_each(|node| report_duplicate_keys(node, report)),
        Value::Map(entries) => {
            let mut seen = HashMap::new();
            for entry in entries {
                if let Some(first) = seen.insert(&entry.key, entry.place) {
                    report.error(
                        entry.place,
                        format_args!("the key {:?} is given twice, first in line {}", entry.key, first.line),
                    );
                }
                report_duplicate_keys(&entry.node, report);
            }
        }
        Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Number(_) | Value::Text(_) => {}
    }
}

/// The parser's error in an operator's words.
fn explain(error: &serde_saphyr::Error, text: &str, place: Place) -> String {
    use serde_saphyr::{Error, MessageFormatter as _, UserMessageFormatter};
    let starred = text.lines().nth(place.line.saturating_sub(1)).is_some_and(has_bare_star);
    #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum of some sixty errors")]
    match error.without_snippet() {
        Error::UnknownAnchor { .. } | Error::ExternalMessage { .. } if starred => {
            "an unquoted * starts a YAML alias: write the pattern in quotes, like \"*/app\" or \"**\"".to_owned()
        }
        Error::UnknownAnchor { .. } => "a YAML alias (*name) without its anchor (&name)".to_owned(),
        Error::MultipleDocuments { .. } => {
            "a second YAML document (after ---): the configuration is one document".to_owned()
        }
        Error::MergeKeyNotAllowed { .. } => "YAML merge keys (<<) are not supported: write the keys out".to_owned(),
        Error::UnsupportedTag { tag, .. } => {
            format!("YAML tags ({tag:?}) are not supported: put text that starts with ! in quotes")
        }
        Error::ExternalMessage { msg, .. } if msg.contains("tab") => {
            "not valid YAML: indent with blanks, not with tabs".to_owned()
        }
        Error::ExternalMessage { msg, .. } => format!("not valid YAML: {}", one_line(msg)),
        Error::Budget { .. } => format!(
            "too large or too deep for a configuration: {}",
            one_line(&UserMessageFormatter.format_message(error))
        ),
        other => format!("not valid YAML: {}", one_line(&UserMessageFormatter.format_message(other))),
    }
}

/// What the parser says may hold bytes of the file; a problem is one line.
fn one_line(message: &str) -> String {
    message.replace(char::is_control, " ")
}

/// True where a value of the line starts with an unquoted `*`.
fn has_bare_star(line: &str) -> bool {
    let mut before = ':';
    for character in line.chars() {
        if character == '*' && matches!(before, '-' | ':' | '[' | ',' | '{') {
            return true;
        }
        if character == '#' {
            return false;
        }
        if !character.is_whitespace() {
            before = character;
        }
    }
    false
}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Self { line: number(location.line()), column: number(location.column()) }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { place: spanned.referenced.into(), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(u64::try_from(value).map_or(Value::Number(value as f64), Value::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = items.next_element()? {
            nodes.push(node);
        }
        Ok(Value::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = items.next_key::<Spanned<String>>()? {
            entries.push(Entry { key: key.value, place: key.referenced.into(), node: items.next_value()? });
        }
        Ok(Value::Map(entries))
    }
}
