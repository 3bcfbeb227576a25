//! How fast a revocation bites: provider × event × credential, each with the exact answer before it, after it, and once
//! it is undone.
//!
//! A changed configuration counts from the next request after the reload on, a changed password file from the next
//! request after it was seen (`reload.interval`): the connection that all of it is asked on stays the same, and so do the
//! tokens that the gate has verified and the logins that it remembers.

mod corners;
mod events;
mod providers;
mod scene;

use std::rc::Rc;

use self::{
    events::{EVENTS, Event, Others, WORKS},
    providers::{OneFile, Provider, TwoFiles},
    scene::Scene,
};

#[test]
fn users_of_one_file() {
    walk(Rc::new(OneFile::new()));
}

#[test]
fn users_of_the_first_of_two_files() {
    walk(Rc::new(TwoFiles::new(0)));
}

#[test]
fn users_of_the_second_of_two_files() {
    walk(Rc::new(TwoFiles::new(1)));
}

/// Every event, one after the other, at one gate.
fn walk(provider: Rc<dyn Provider>) {
    let mut scene = Scene::new(provider);
    scene.check("at first", [WORKS, WORKS]);
    for event in EVENTS {
        scene.happen(event);
        scene.check(event.name, [event.alice, bob(event, &scene)]);
        scene.undo(event);
        scene.check(&format!("{}, undone", event.name), [WORKS, WORKS]);
    }
}

/// What becomes of those that the event is not about.
fn bob(event: &Event, scene: &Scene) -> events::Fates {
    match event.others {
        Others::GoOn => WORKS,
        Others::Alike => event.alice,
        Others::AlikeInOneFile if scene.provider.shared() => event.alice,
        Others::AlikeInOneFile => WORKS,
    }
}
