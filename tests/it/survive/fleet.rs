//! Three registries on one storage, and what befalls them.

use std::{
    fmt,
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{Dice, Image, Place, Portcullis, Registry, Skopeo};

/// How long a server is away, in milliseconds.
const GONE: (u64, u64) = (100, 2000);
/// How long one is stopped: some of it longer than the gate waits for the next byte.
const STOPPED: (u64, u64) = (300, 6000);
/// Between one fault and the next.
const CALM: (u64, u64) = (100, 800);

/// The servers of one upstream.
pub(super) struct Fleet {
    pub(super) servers: Vec<Registry>,
    pub(super) faults: Faults,
}

/// What befell them so far.
#[derive(Default)]
pub(super) struct Faults {
    kills: usize,
    stops: usize,
    restarts: usize,
}

impl fmt::Display for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} kills, {} stops, {} restarts", self.kills, self.stops, self.restarts)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// SIGKILL.
    Kill,
    /// SIGSTOP, later SIGCONT.
    Stop,
    /// SIGTERM.
    Restart,
}

impl Fleet {
    pub(super) fn of_three(place: &Place) -> Self {
        let first = Registry::setup().at(place).start();
        let second = Registry::setup().at(place).storage(first.storage()).start();
        let third = Registry::setup().at(place).storage(first.storage()).start();
        Self { servers: vec![first, second, third], faults: Faults::default() }
    }

    /// Puts an image into the storage they share, past any gate and link.
    pub(super) fn hold(&self, image: &Image, repository: &str) {
        let near = Registry::setup().storage(self.servers[0].storage()).start();
        let to = format!("docker://{}/{repository}:v1", near.url.trim_start_matches("http://"));
        Skopeo::local().copy_in_plain(&image.reference(), &to).succeeded();
    }

    /// `upstream.servers`.
    pub(super) fn configured(&self) -> Value {
        self.servers.iter().map(|server| json!({ "url": server.url })).collect()
    }

    /// Faults at random, one after the other, until `over` says yes.
    pub(super) fn suffer(&mut self, dice: &mut Dice, mut over: impl FnMut() -> bool) {
        while !over() {
            self.strike(dice);
            sleep(Duration::from_millis(dice.between(CALM.0, CALM.1)));
        }
    }

    /// Lets one server fail, sometimes two of the three, and waits until all answer again.
    fn strike(&mut self, dice: &mut Dice) {
        let first = usize::try_from(dice.between(0, 3)).unwrap();
        let second = dice.one_of(&[None, None, Some((first + 1) % 3), Some((first + 2) % 3)]);
        let mut struck = Vec::new();
        for victim in [Some(first), second].into_iter().flatten() {
            let fault = dice.one_of(&[Fault::Kill, Fault::Stop, Fault::Restart]);
            self.begin(victim, fault);
            let (least, most) = if fault == Fault::Stop { STOPPED } else { GONE };
            struck.push((Instant::now() + Duration::from_millis(dice.between(least, most)), victim, fault));
        }
        struck.sort_by_key(|(until, ..)| *until);
        for (until, victim, fault) in struck {
            sleep(until.saturating_duration_since(Instant::now()));
            self.end(victim, fault);
        }
    }

    fn begin(&mut self, victim: usize, fault: Fault) {
        let server = &mut self.servers[victim];
        match fault {
            Fault::Kill => {
                self.faults.kills += 1;
                server.kill();
            }
            Fault::Stop => {
                self.faults.stops += 1;
                server.pause();
            }
            Fault::Restart => {
                self.faults.restarts += 1;
                server.stop();
            }
        }
    }

    fn end(&mut self, victim: usize, fault: Fault) {
        let server = &mut self.servers[victim];
        match fault {
            Fault::Kill | Fault::Restart => server.start_again(),
            Fault::Stop => {
                server.go_on();
                server.await_answer();
            }
        }
    }
}

/// A gate in front of them that takes silence for death after two seconds; more where the way to them is long.
pub(super) fn gate(fleet: &Fleet, far: bool, clients: &Place, verify: bool) -> Portcullis {
    let timeouts = if far {
        json!({ "connect": "5s", "first_byte": "30s", "idle": "6s", "commit": "60s" })
    } else {
        json!({ "connect": "1s", "first_byte": "20s", "idle": "2s", "commit": "10s" })
    };
    let patience = if far { "4s" } else { "1s" };
    let setup = Portcullis::before(&fleet.servers[0]).with_upstream(|upstream| {
        upstream["servers"] = fleet.configured();
        upstream["health"] = json!({ "interval": "1s", "timeout": patience });
        upstream["timeouts"] = timeouts;
        upstream["verify"] = json!(verify);
    });
    if clients.is_here() {
        return setup.start();
    }
    let listen = |config: &mut Value| {
        let https = config["listen"]["https"][0].as_str().unwrap().replace("127.0.0.1", "0.0.0.0");
        config["listen"]["https"] = json!([https]);
    };
    setup.with(listen).hosts(&["localhost", "127.0.0.1", &clients.address]).start()
}
