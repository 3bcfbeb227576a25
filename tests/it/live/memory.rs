//! What reloads leave behind: nothing.

use std::{thread, time::Duration};

use super::{
    acts::ALL,
    crowd::Crowd,
    held::Held,
    scene::{Heard, Scene},
    variant::{DEFECTS, Variant},
};
use crate::support::{AtEnd, Dice, dial, dialled};

/// Reloads and load before the beginning's figures are taken: pools of memory, threads and connections that a process
/// keeps for good are there then.
const WARM: usize = 30;

#[test]
fn reloads_leave_nothing_behind() {
    let reloads = dialled("LIVE_MEMORY_RELOADS", 50);
    // In percent; 0: not judged, since a few reloads of a debug build say nothing.
    let growth = dial("LIVE_MEMORY_GROWTH", 0);
    let quiet = Duration::from_millis(dial("LIVE_MEMORY_QUIET_MS", 1000));
    let seed = dial("SEED", u64::from(std::process::id()));
    let (scene, mut dice) = (Scene::new(), Dice::new(seed));

    load_and_change(&scene, WARM, &mut dice);
    change(&scene, &Crowd::new(), WARM, &mut dice);
    settled(&scene, quiet);
    let before = Held::by(&scene);
    change(&scene, &Crowd::new(), reloads, &mut dice);
    settled(&scene, quiet);
    let after_reloads = Held::by(&scene);
    load_and_change(&scene, WARM, &mut dice);
    settled(&scene, quiet);
    let after_load = Held::by(&scene);
    eprintln!("{reloads} reloads: {before:?}, then {after_reloads:?}, and after some load {after_load:?}; seed {seed}");
    for after in [after_reloads, after_load] {
        assert_eq!(after.beside_upstreams(), before.beside_upstreams(), "{after:?} after {before:?}");
        let most = before.resident * (100 + growth) / 100;
        assert!(growth == 0 || after.resident <= most, "{after:?} after {before:?}");
        assert!(growth == 0 || after.threads <= before.threads + 1, "{after:?} after {before:?}");
    }
}

/// A crowd for as long as so many reloads take.
fn load_and_change(scene: &Scene, reloads: usize, dice: &mut Dice) {
    let crowd = Crowd::new();
    thread::scope(|scope| {
        let _over = AtEnd(&crowd.over);
        crowd.gather(scope, scene, &ALL, (16, 10), dice);
        change(scene, &crowd, reloads, dice);
    });
    assert_eq!(crowd.figures.failures(), Vec::<String>::new());
}

/// Ends with the configuration that it began with.
fn change(scene: &Scene, crowd: &Crowd, reloads: usize, dice: &mut Dice) {
    let mut variant = Variant::FIRST;
    for number in 1..=reloads {
        // Mostly by signal: that is faster.
        let heard = if dice.between(0, 5) == 0 { Heard::ByContent } else { Heard::BySignal };
        let next = if number == reloads { Variant::FIRST } else { variant.after(dice) };
        if number < reloads && number % 5 == 0 {
            scene.refused(&next.broken(&scene.parts, dice.one_of(&DEFECTS)), heard);
        } else {
            crowd.changes(scene, next, heard);
            variant = next;
        }
    }
}

/// Nothing is asked of it and no client is connected, for a while.
fn settled(scene: &Scene, quiet: Duration) {
    scene.abandoned();
    thread::sleep(quiet);
}
