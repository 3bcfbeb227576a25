//! Whatever is changed while it runs, its configuration and its binary: nobody who uses it notices, but for what the
//! change is about.
//!
//! The same code runs for seconds in continuous integration and for as long as wanted by hand: `tests/README.md`.

mod acts;
mod client;
mod corners;
mod crowd;
mod figures;
mod held;
mod http2;
mod memory;
mod reloads;
mod scene;
mod stop;
mod timeline;
mod upgrade;
mod upload;
mod uploader;
mod variant;
