//! Keys of the contract whose capability is not in this version, in one place: a later version removes lines from here.
//!
//! Such a key is known, and its neutral value is accepted. Any other value is an error rather than silence: a gate must
//! not look as if it did what it does not do.

use super::{reader::Field, yaml::Value};

/// Path of a key, and the words that are neutral besides `null`, `false`, `[]` and `{}`.
const UNAVAILABLE: &[(&str, &[&str])] = &[("events.endpoints", &[])];

/// Reports a key whose value asks for something that this version cannot do.
pub(super) fn check(field: &Field<'_>) {
    let found = general(field.path());
    if let Some((_, neutral)) = UNAVAILABLE.iter().find(|(path, _)| *path == found)
        && !is_neutral(field.value(), neutral)
    {
        field.error_at_key("is not available in this version");
    }
}

/// The keys under a section that this file knows.
pub(super) fn keys_of(section: &str) -> impl Iterator<Item = &'static str> {
    let section = general(section);
    UNAVAILABLE.iter().filter_map(move |(path, _)| {
        let (parent, key) = path.rsplit_once('.')?;
        (parent == section).then_some(key)
    })
}

/// A path without the numbers of elements: `registries[].upstream`.
fn general(path: &str) -> String {
    let mut parts = path.split('[');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |general, part| general + "[]" + part.split_once(']').map_or("", |(_, rest)| rest))
}

fn is_neutral(value: &Value, neutral: &[&str]) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Integer(value) => neutral.contains(&value.to_string().as_str()),
        Value::Number(_) => false,
        Value::Text(text) => neutral.contains(&text.as_str()),
        Value::List(nodes) => nodes.is_empty(),
        Value::Map(entries) => entries.is_empty(),
    }
}
