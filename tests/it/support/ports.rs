//! Free ports.

use std::{
    collections::HashSet,
    net::TcpListener,
    sync::{Mutex, OnceLock, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

/// A port that is free now and that no other test of this process was given. Below the ephemeral range, so that no
/// outgoing connection takes it meanwhile.
pub(crate) fn free_port() -> u16 {
    static GIVEN: OnceLock<Mutex<HashSet<u16>>> = OnceLock::new();
    let mut given = GIVEN.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
    let start = (clock / 1000) ^ std::process::id().wrapping_mul(2_654_435_761);
    (0..u32::from(u16::MAX))
        .map(|step| 15_000 + u16::try_from(start.wrapping_add(step) % 17_000).unwrap())
        .find(|port| !given.contains(port) && TcpListener::bind(("127.0.0.1", *port)).is_ok() && given.insert(*port))
        .expect("no free port")
}
