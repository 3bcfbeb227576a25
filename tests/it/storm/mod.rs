//! Logins in masses, beside pulls. The numbers are dials: see `tests/README.md`.

mod at_once;
mod flood;
mod scene;
