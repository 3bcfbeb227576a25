//! Servers that leave and come back.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    scene::{Scene, ask, ask_in_turn, digests},
    within,
};
use crate::support::{Portcullis, dial};

/// Generous: what is asserted is that it comes about, and in which order.
const BOUND: Duration = Duration::from_secs(60);

const FAILOVERS: &str = "portcullis_upstream_failovers_total";

impl Scene {
    /// 1 while the server has its turn.
    fn is_up(&self, gate: &Portcullis, server: usize) -> bool {
        gate.counted("portcullis_upstream_up", &format!("{:?}", self.registries[server].url)) > 0.5
    }

    /// The part of the requests that a server has of some.
    #[allow(clippy::cast_precision_loss)]
    fn part(&self, gate: &Portcullis, server: usize) -> f64 {
        let asked = self.asked_by(|| ask_in_turn(gate, &digests(196, 90)));
        asked[server] as f64 / asked.iter().sum::<usize>() as f64
    }
}

/// By probes alone: nobody asks for anything meanwhile.
#[test]
fn a_dead_server_loses_its_turn_and_a_living_one_gets_it_back() {
    let interval = Duration::from_millis(dial("HEALTH_INTERVAL_MS", 200));
    let mut scene = Scene::new(3);
    let gate = scene.gate_with("round_robin", &[1, 1, 1], |upstream| {
        let interval = format!("{}ms", interval.as_millis());
        upstream["health"] = json!({ "interval": interval, "timeout": "2s", "unhealthy_after": 3, "healthy_after": 3 });
    });
    assert!((0..3).all(|server| scene.is_up(&gate, server)));
    for (fault, stopped) in [("killed", false), ("stopped", true)] {
        if stopped {
            scene.registries[0].pause();
        } else {
            scene.registries[0].kill();
        }
        let out = within(BOUND, "it loses its turn", || !scene.is_up(&gate, 0));
        assert!(scene.is_up(&gate, 1) && scene.is_up(&gate, 2), "the others keep theirs");
        let before = gate.counted(FAILOVERS, "");
        ask(&gate, &digests(197, 60));
        assert!(gate.counted(FAILOVERS, "") - before < 0.5, "nobody is sent to a server without its turn");
        if stopped {
            scene.registries[0].go_on();
        } else {
            scene.registries[0].start_again();
        }
        let begin = Instant::now();
        let back = within(BOUND, "it gets its turn back", || scene.is_up(&gate, 0));
        let looked = Instant::now();
        let first = scene.part(&gate, 0);
        let looked = looked.elapsed();
        within(BOUND, "its share is whole again", || scene.part(&gate, 0) > 0.3);
        let whole = begin.elapsed();
        // It grows over six intervals, and on a busy machine it has while one looks.
        assert!(first < 0.3 || looked > interval * 3, "the share begins small: {first}");
        eprintln!(
            "{fault}, probed every {interval:?}: out after {out:.1?}, back {back:.1?} after it lived again with {:.0} % \
             of all requests, whole after {whole:.1?}",
            first * 100.0
        );
    }
}

/// By what requests meet: no probe comes that could tell.
#[test]
fn failing_requests_end_a_servers_turn() {
    let mut scene = Scene::new(3);
    let gate = scene.gate_with("round_robin", &[1, 1, 1], |upstream| {
        upstream["health"] = json!({ "interval": "1h" });
        upstream["timeouts"] = json!({ "connect": "1s" });
    });
    // The first probe is over.
    ask(&gate, &digests(198, 30));
    scene.registries[2].kill();
    ask_in_turn(&gate, &digests(199, 90));
    assert!(!scene.is_up(&gate, 2));
    assert!((gate.counted(FAILOVERS, "") - 2.0).abs() < 0.5, "{} instead of 2", gate.counted(FAILOVERS, ""));
    // It lives again, and no probe says so; but where nobody else is left it is asked.
    scene.registries[2].start_again();
    assert_eq!(scene.asked_by(|| ask_in_turn(&gate, &digests(200, 30)))[2], 0);
    scene.registries[0].kill();
    scene.registries[1].kill();
    sleep(Duration::from_millis(100));
    ask_in_turn(&gate, &digests(201, 30));
}

/// Nobody forgets it because a configuration is read again.
#[test]
fn a_server_without_its_turn_has_none_after_a_reload() {
    let mut scene = Scene::new(2);
    let mut gate = scene.gate_with("round_robin", &[1, 1], |upstream| {
        upstream["health"] = json!({ "interval": "1h" });
        upstream["timeouts"] = json!({ "connect": "1s" });
    });
    scene.registries[1].kill();
    ask_in_turn(&gate, &digests(202, 20));
    assert!(scene.is_up(&gate, 0) && !scene.is_up(&gate, 1));
    gate.reload_with(|config| config["identity"]["realm"] = json!("Another"));
    assert!(scene.is_up(&gate, 0) && !scene.is_up(&gate, 1));
    let before = gate.counted(FAILOVERS, "");
    ask_in_turn(&gate, &digests(203, 20));
    assert!(gate.counted(FAILOVERS, "") - before < 0.5, "nobody is sent to it");
    // What cannot be used says nothing of servers.
    gate.reload_with(|config| {
        let upstream = json!({ "servers": [{ "url": "https://localhost:1" }], "tls": { "ca_file": "htpasswd" } });
        let other = json!({ "hosts": ["other.test"], "upstream": upstream });
        config["registries"].as_array_mut().unwrap().push(other);
    });
    assert!(scene.is_up(&gate, 0) && !scene.is_up(&gate, 1));
}

/// Whoever relapses soon after its return waits longer for the next one.
#[test]
fn pauses_grow() {
    let mut scene = Scene::new(2);
    let gate = scene.gate_with("round_robin", &[1, 1], |upstream| {
        upstream["health"] = json!({ "interval": "300ms", "timeout": "2s", "unhealthy_after": 1, "healthy_after": 1 });
    });
    let mut pauses = Vec::new();
    for _ in 0..4 {
        scene.registries[0].kill();
        within(BOUND, "it loses its turn", || !scene.is_up(&gate, 0));
        let begin = Instant::now();
        scene.registries[0].start_again();
        within(BOUND, "it gets its turn back", || scene.is_up(&gate, 0));
        pauses.push(begin.elapsed());
    }
    eprintln!("out of turn, relapse after relapse: {pauses:.1?}");
    assert!(pauses[3] > pauses[0] * 2, "{pauses:?}");
}
