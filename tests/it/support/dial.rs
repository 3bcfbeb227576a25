//! How long, how many, how big: the numbers of a rig that continuous integration runs short. `tests/README.md` has them
//! all.

use std::env;

/// `PORTCULLIS_TEST_` and this name in the environment: a number, or one with `KiB`, `MiB` or `GiB` behind it.
pub(crate) fn dial(name: &str, default: u64) -> u64 {
    let name = format!("PORTCULLIS_TEST_{name}");
    let Ok(value) = env::var(&name) else { return default };
    let digits = value.trim_end_matches(|character: char| !character.is_ascii_digit());
    let unit = match &value[digits.len()..] {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        other => panic!("{name}: no unit: {other}"),
    };
    digits.parse::<u64>().unwrap_or_else(|error| panic!("{name}: {error}")) * unit
}

/// The same as a count.
pub(crate) fn dialled(name: &str, default: usize) -> usize {
    usize::try_from(dial(name, default as u64)).unwrap()
}
