//! Which parts of two configurations differ.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use super::yaml::{Node, Value};

/// The top-level keys, each with a hash of its value. Places, comments and the order of keys do not count.
#[derive(Clone, Debug, Default)]
pub(super) struct Sections(BTreeMap<String, u64>);

impl Sections {
    pub(super) fn of(root: &Node) -> Self {
        let Value::Map(entries) = &root.value else { return Self::default() };
        Self(entries.iter().map(|entry| (entry.key.clone(), hash(&entry.node.value))).collect())
    }

    /// The keys that are not the same in both, in the alphabet's order.
    pub(super) fn differences(&self, other: &Self) -> Vec<String> {
        let mut keys: Vec<&String> = self.0.keys().chain(other.0.keys()).collect();
        keys.sort();
        keys.dedup();
        keys.into_iter().filter(|key| self.0.get(*key) != other.0.get(*key)).cloned().collect()
    }
}

fn hash(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    std::mem::discriminant(value).hash(&mut hasher);
    match value {
        Value::Null => {}
        Value::Bool(value) => value.hash(&mut hasher),
        Value::Integer(value) => value.hash(&mut hasher),
        Value::Number(value) => value.to_bits().hash(&mut hasher),
        Value::Text(text) => text.hash(&mut hasher),
        Value::List(nodes) => nodes.iter().for_each(|node| hash(&node.value).hash(&mut hasher)),
        Value::Map(entries) => {
            let mut hashes: Vec<_> = entries.iter().map(|entry| (&entry.key, hash(&entry.node.value))).collect();
            hashes.sort();
            hashes.hash(&mut hasher);
        }
    }
    hasher.finish()
}
