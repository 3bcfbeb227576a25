//! What operators read of it: the access log, the audit log, and the gate's own lines.

mod decisions;
mod forged;
mod ids;
mod reader;

use serde_json::{Map, Value};

use crate::support::Portcullis;

type Line = Map<String, Value>;

/// All lines so far, each of which is one JSON object.
fn lines(log: &str) -> Vec<Line> {
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
    log.lines().map(line).collect()
}

/// The lines of one of the logs.
fn of(gate: &Portcullis, log: &str) -> Vec<Line> {
    lines(&gate.log()).into_iter().filter(|line| line["log"] == log).collect()
}

/// What a line says in these fields; what it leaves out is empty.
fn said<const N: usize>(line: &Line, fields: [&str; N]) -> [String; N] {
    fields.map(|field| match line.get(field) {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    })
}
