//! Many clients at a time.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, Scope},
    time::Duration,
};

use super::{
    acts::{Act, Actor},
    client::{Broken, Client, Events, Way},
    figures::Figures,
    scene::{Heard, Scene},
    timeline::Timeline,
    variant::Variant,
};
use crate::support::Dice;

const WAYS: [Way; 3] = [Way::Kept, Way::Fresh, Way::Http2];

/// What they share.
pub(super) struct Crowd {
    pub(super) timeline: Timeline,
    pub(super) figures: Figures,
    pub(super) events: Events,
    pub(super) over: AtomicBool,
    /// The gate was told to stop.
    pub(super) stopping: AtomicBool,
}

impl Crowd {
    pub(super) fn new() -> Self {
        Self {
            timeline: Timeline::new(Variant::FIRST),
            figures: Figures::default(),
            events: Events::default(),
            over: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        }
    }

    /// Puts this in force.
    pub(super) fn changes(&self, scene: &Scene, to: Variant, heard: Heard) {
        self.timeline.may_be(to);
        scene.taken(&to.configuration(&scene.parts).to_string(), heard);
        self.timeline.is();
    }

    /// Sends so many clients off, each of which does what it does until it is over, with a pause of up to twice as much
    /// between one act and the next.
    pub(super) fn gather<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        scene: &'scope Scene,
        acts: &'static [Act],
        (clients, pause): (usize, u64),
        dice: &mut Dice,
    ) {
        for number in 0..clients {
            let way = WAYS[number % WAYS.len()];
            let acts: Vec<Act> =
                acts.iter().copied().filter(|act| *act != Act::AskSecond || way == Way::Fresh).collect();
            let client = Client::new(&scene.gate, way, &self.events);
            let (timeline, figures) = (&self.timeline, &self.figures);
            let mut actor =
                Actor { number, client, scene, timeline, figures, dice: dice.split(), kept: [const { None }; 2] };
            scope.spawn(move || {
                while !self.over.load(Ordering::SeqCst) {
                    let act = actor.dice.one_of(&acts);
                    match actor.act(act) {
                        Ok(()) => {}
                        // As it should be once nobody listens any more, and only then.
                        Err(Broken::Refused) if self.stopping.load(Ordering::SeqCst) => break,
                        Err(broken) => {
                            figures.failed(format!("{way:?} client {number}: {act:?}: {broken:?}"));
                            thread::sleep(Duration::from_millis(500));
                        }
                    }
                    thread::sleep(Duration::from_millis(actor.dice.between(0, 2 * pause + 1)));
                }
            });
        }
    }
}
