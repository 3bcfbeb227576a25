//! Certificates that look after themselves: a real authority, the real gate, and everything that goes wrong between them.
//!
//! The authority is Debian's pebble, or the one that `PORTCULLIS_TEST_PEBBLE` names; where that knows of renewal windows and
//! profiles, they are used.

mod away;
mod changed;
mod crash;
mod issue;
mod scene;
mod shared;
mod window;

pub(crate) use scene::slot;
