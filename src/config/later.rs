//! Keys that are read and checked, and that nothing follows yet, in one place: a later version removes lines from here.

use super::reader::Field;

const WITHOUT_EFFECT: &[&str] = &["log.audit"];

/// Reports a key whose value asks for something that this version does not do.
pub(super) fn check(field: &Field<'_>) {
    if WITHOUT_EFFECT.contains(&field.path()) {
        field.warning_at_key("has no effect in this version");
    }
}
