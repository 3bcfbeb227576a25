//! What does not fit into the table.

use std::rc::Rc;

use serde_json::json;

use super::{
    events::{Fate, WORKS},
    providers::{Provider as _, TwoFiles},
    scene::Scene,
};
use crate::support::{ALICE, Login, htpasswd_line};

const ALL_DEAD: [Fate; 6] = [Fate::Dead; 6];

/// A name is whose the first file that holds it says it is: who proved it by a later one has it no more.
#[test]
fn a_file_before_takes_a_name_over() {
    let files = Rc::new(TwoFiles::new(1));
    let scene = Scene::new(files.clone());
    scene.check("at first", [WORKS, WORKS]);
    for line in [htpasswd_line(Login::new(ALICE.name, "somebody else's")), "alice:!\n".to_owned()] {
        scene.seen(|| files.claim(&line));
        scene.check("another alice comes first", [ALL_DEAD, WORKS]);
        scene.seen(|| files.restore());
        scene.check("she is gone again", [WORKS, WORKS]);
    }
}

/// A file after the one that knows the name has nothing to say of it.
#[test]
fn a_file_behind_takes_no_name_over() {
    let files = Rc::new(TwoFiles::new(0));
    let scene = Scene::new(files.clone());
    scene.seen(|| files.claim(&htpasswd_line(Login::new(ALICE.name, "somebody else's"))));
    scene.check("another alice comes last", [WORKS, WORKS]);
}

/// Whatever was proven by a file ends with it, and what a file is called in tokens is no one else's afterwards.
#[test]
fn a_file_that_is_no_longer_asked() {
    let mut scene = Scene::new(Rc::new(TwoFiles::new(0)));
    scene.gate.reload_with(|config| drop(config["identity"]["providers"].as_array_mut().unwrap().remove(0)));
    // Bob's file is the first now; his tokens say that the second proved his name.
    let tokens = [Fate::Dead, Fate::Dead, Fate::Dead, Fate::Dead, Fate::Dead, Fate::Works];
    scene.check("alice's file is gone", [ALL_DEAD, tokens]);
}

/// A host that is ours no more is nobody's, with whatever credentials.
#[test]
fn a_host_that_is_given_up() {
    let mut scene = Scene::new(Rc::new(TwoFiles::new(0)));
    scene.check("at first", [WORKS, WORKS]);
    scene.gate.reload_with(|config| config["registries"][0]["hosts"] = json!(["registry.test"]));
    for path in ["/v2/", "/token", "/v2/team-a/app/tags/list"] {
        assert_eq!(scene.gate.curl(path).user(ALICE).send().status, 421, "{path}");
    }
}
