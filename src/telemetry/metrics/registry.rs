//! What is counted of the requests of one registry.

use std::{
    sync::{LazyLock, OnceLock},
    time::Duration,
};

use metrics::Counter;

use super::{
    catalogue,
    family::Counters,
    fixed,
    words::{ROUTES, STATUSES, STATUSES_FROM_THE_START},
};

/// The counters of one registry. They are shown from the first call of [`RegistryCounts::show`] on, or the first request.
pub struct RegistryCounts {
    name: Box<str>,
    handles: OnceLock<Handles>,
}

struct Handles {
    /// By route, then by status.
    requests: Vec<(&'static str, Vec<OnceLock<Counter>>)>,
    bytes: Counters,
}

/// Requests that were for none of our registries.
pub fn unknown() -> &'static RegistryCounts {
    static UNKNOWN: LazyLock<RegistryCounts> = LazyLock::new(|| RegistryCounts::new("none"));
    &UNKNOWN
}

impl RegistryCounts {
    /// `name` is the registry's first host.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), handles: OnceLock::new() }
    }

    /// The registry's first host.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Shows all that can be told beforehand, at 0.
    pub fn show(&self) {
        self.handles();
    }

    /// A request is through. `status` is 0 where no answer went out.
    pub fn request(&self, route: &'static str, status: u16, time: Duration, bytes_in: u64, bytes_out: u64) {
        let handles = self.handles();
        match handles.place(route, status) {
            Some(place) => place.get_or_init(|| self.requests(route, status)).increment(1),
            // A registry's answer may have any status.
            None => self.requests(route, status).increment(1),
        }
        fixed::duration(route, time);
        for (direction, count) in [("in", bytes_in), ("out", bytes_out)] {
            if count > 0 {
                handles.bytes.add([direction], count);
            }
        }
    }

    fn requests(&self, route: &str, status: u16) -> Counter {
        catalogue::REQUESTS.counter(&[&self.name, route, &status.to_string()])
    }

    fn handles(&self) -> &Handles {
        self.handles.get_or_init(|| {
            let handles = Handles {
                requests: ROUTES
                    .iter()
                    .map(|route| (*route, STATUSES.iter().map(|_| OnceLock::new()).collect()))
                    .collect(),
                bytes: Counters::of(&catalogue::BYTES, &[&self.name]),
            };
            for route in ROUTES {
                for status in STATUSES_FROM_THE_START {
                    handles.place(route, *status).map(|place| place.get_or_init(|| self.requests(route, *status)));
                }
            }
            handles
        })
    }
}

impl Handles {
    fn place(&self, route: &str, status: u16) -> Option<&OnceLock<Counter>> {
        let (_, by_status) = self.requests.iter().find(|(known, _)| std::ptr::eq(*known, route) || *known == route)?;
        by_status.get(STATUSES.binary_search(&status).ok()?)
    }
}
