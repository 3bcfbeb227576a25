//! SIGTERM under load: whoever was let in is served to the end, and then nobody is.

use std::{
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use super::{acts::STEADY, crowd::Crowd, scene::Scene};
use crate::support::{Dice, dial, dialled};

#[test]
fn a_stop_breaks_nothing() {
    let clients = dialled("LIVE_CLIENTS", 64);
    let time = Duration::from_secs(dial("LIVE_STOP_SECONDS", 2));
    let think = dial("LIVE_THINK_MS", 60);
    let seed = dial("SEED", u64::from(std::process::id()));
    let (mut scene, mut dice) = (Scene::new(), Dice::new(seed));
    let crowd = Crowd::new();
    let begin = Instant::now();
    let took = thread::scope(|scope| {
        crowd.gather(scope, &scene, &STEADY, (clients, think), &mut dice);
        thread::sleep(time);
        crowd.stopping.store(true, Ordering::SeqCst);
        crowd.figures.changes_begin();
        let begin = Instant::now();
        scene.gate.until_it_says(r#""stopped""#, || scene.gate.signal("TERM"));
        // Each client ends with the first refusal.
        begin.elapsed()
    });
    eprintln!(
        "a stop within {took:.1?} after {:.1?}; {}  {}; seed {seed}",
        begin.elapsed(),
        crowd.figures,
        crowd.events.told()
    );
    assert_eq!(crowd.figures.failures(), Vec::<String>::new(), "seed {seed}");
    assert!(scene.gate.process().stop().expect("it has ended").success());
    let log = scene.gate.log();
    let last = log.lines().rfind(|line| line.contains(r#""stopped""#)).unwrap();
    assert!(last.contains(r#""cut":0"#), "{last}");
}
