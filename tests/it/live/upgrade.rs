//! The binary is exchanged under load: nobody is refused, and nothing breaks.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{
    acts::STEADY,
    crowd::Crowd,
    held::Held,
    scene::{Heard, Scene},
    variant::Variant,
};
use crate::support::{AtEnd, BINARY, Dice, dial, dialled, eventually};

#[test]
fn an_upgrade_breaks_nothing() {
    let clients = dialled("LIVE_CLIENTS", 64);
    let upgrades = dialled("LIVE_UPGRADES", 2);
    let pause = Duration::from_millis(dial("LIVE_UPGRADE_PAUSE_MS", 500));
    let think = dial("LIVE_THINK_MS", 60);
    let seed = dial("SEED", u64::from(std::process::id()));
    let (mut scene, mut dice) = (Scene::new(), Dice::new(seed));
    let before = Held::by(&scene);
    let crowd = Crowd::new();
    let (begin, mut took) = (Instant::now(), Vec::new());
    thread::scope(|scope| {
        let _over = AtEnd(&crowd.over);
        crowd.gather(scope, &scene, &STEADY, (clients, think), &mut dice);
        thread::sleep(pause.max(Duration::from_secs(1)));
        crowd.figures.changes_begin();
        for _ in 0..upgrades {
            scene.gate.write_binary(Path::new(BINARY));
            let begin = Instant::now();
            scene.gate.upgrade();
            took.push(begin.elapsed());
            thread::sleep(pause);
        }
        no_upgrade(&scene);
        thread::sleep(pause);
    });
    took.sort();
    eprintln!(
        "{upgrades} upgrades in {:.1?}, each serving after {took:.1?}; {}  {}; seed {seed}",
        begin.elapsed(),
        crowd.figures,
        crowd.events.told()
    );
    assert_eq!(crowd.figures.failures(), Vec::<String>::new(), "seed {seed}");

    let now = scene.gate.pid();
    eventually("the former processes have ended", || scene.gate.running() == [now]);
    let after = Held::by(&scene);
    eprintln!("{before:?} at first, {after:?} at last");
    assert_eq!(after.listening, before.listening);
    scene.abandoned();
    assert!(Held::by(&scene).beside_upstreams() <= before.beside_upstreams() + 1, "{before:?}, {after:?}");
    scene.gate.process().stop().expect("ends on SIGTERM");
    let log = scene.gate.log();
    let ends: Vec<&str> = log.lines().filter(|line| line.contains(r#""message":"stopped""#)).collect();
    assert_eq!(ends.len(), upgrades + 1, "{ends:?}");
    assert!(ends.iter().all(|line| line.contains(r#""cut":0"#)), "{ends:?}");
}

/// What does not start changes nothing.
fn no_upgrade(scene: &Scene) {
    let now = scene.gate.pid();
    let stays = |why: &str| {
        scene.gate.until_it_says("this process serves on", || scene.gate.signal("USR2"));
        assert_eq!(scene.gate.status()["pid"], now, "{why}");
    };
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    for (why, text) in [("ends at once", "#!/bin/sh\nexit 1\n"), ("no program", "neither script nor binary")] {
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        scene.gate.write_binary(&script);
        stays(why);
    }
    scene.gate.write_binary(Path::new(BINARY));

    scene.gate.write_configuration("acess: {}");
    stays("cannot use its configuration");
    scene.taken(&Variant::FIRST.configuration(&scene.parts).to_string(), Heard::BySignal);
}
