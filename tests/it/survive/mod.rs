//! Pulls and pushes while the registries behind are killed, stopped and restarted.
//!
//! The same code runs for seconds in continuous integration and for as long as wanted by hand: `tests/README.md`.

mod fleet;
mod puller;
mod pulls;
mod pusher;
mod pushes;
mod streams;
mod tally;
mod verify;
