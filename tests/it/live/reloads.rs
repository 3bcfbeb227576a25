//! Configurations change under load: every answer is that of one which was in force.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use super::{
    acts::ALL,
    crowd::Crowd,
    scene::{Heard, Scene},
    variant::{DEFECTS, Variant},
};
use crate::support::{AtEnd, Dice, dial, dialled};

/// Of every so many reloads one is of a configuration that cannot be used, in each way in turn.
const BROKEN: usize = 3;

#[test]
fn every_answer_fits_a_configuration_in_force() {
    let clients = dialled("LIVE_CLIENTS", 64);
    let reloads = dialled("LIVE_RELOADS", 20);
    let pause = Duration::from_millis(dial("LIVE_PAUSE_MS", 100));
    let think = dial("LIVE_THINK_MS", 60);
    let seed = dial("SEED", u64::from(std::process::id()));

    let (scene, crowd, mut dice) = (Scene::new(), Crowd::new(), Dice::new(seed));
    let mut outcomes = BTreeMap::<String, usize>::new();
    let mut took = BTreeMap::new();
    let begin = Instant::now();
    thread::scope(|scope| {
        let _over = AtEnd(&crowd.over);
        crowd.gather(scope, &scene, &ALL, (clients, think), &mut dice);
        // For comparison.
        let calm = (pause * u32::try_from(reloads).unwrap() / 4).clamp(Duration::from_secs(1), Duration::from_secs(15));
        thread::sleep(calm);
        crowd.figures.changes_begin();
        let mut variant = Variant::FIRST;
        for number in 0..reloads {
            let begin = Instant::now();
            let next = variant.after(&mut dice);
            let heard = if dice.between(0, 2) == 0 { Heard::BySignal } else { Heard::ByContent };
            if number % BROKEN == BROKEN - 1 {
                let defect = DEFECTS[number / BROKEN % DEFECTS.len()];
                scene.refused(&next.broken(&scene.parts, defect), heard);
                *outcomes.entry(format!("{defect:?}")).or_default() += 1;
            } else {
                crowd.changes(&scene, next, heard);
                variant = next;
                *outcomes.entry("good".to_owned()).or_default() += 1;
            }
            took.entry(format!("{heard:?}")).or_insert_with(Vec::new).push(begin.elapsed());
            thread::sleep(pause.saturating_sub(begin.elapsed()));
        }
    });
    eprintln!(
        "{reloads} reloads {outcomes:?} in {:.1?}; {}  {}; seed {seed}",
        begin.elapsed(),
        crowd.figures,
        crowd.events.told()
    );
    for (heard, mut took) in took {
        took.sort();
        let (half, all) = (took[took.len() / 2], took[took.len() - 1]);
        eprintln!("  {} heard {heard}: known in /status within {half:.1?} (half) or {all:.1?} (all)", took.len());
    }
    assert_eq!(crowd.figures.failures(), Vec::<String>::new(), "seed {seed}");
    assert!(crowd.figures.requests() >= clients * 3, "{} requests", crowd.figures.requests());
}
