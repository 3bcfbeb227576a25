//! Many log in at the same moment.

use std::{
    hint,
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::scene::{Client, PASSWORD, Scene, shown, user};
use crate::support::{AtEnd, dial, dialled};

#[test]
fn the_same_user() {
    storm(|_| user(0), 1);
}

#[test]
fn different_users() {
    let clients = clients();
    storm(user, clients);
}

fn clients() -> usize {
    dialled("STORM_CLIENTS", 60)
}

/// Every login succeeds, and so many passwords are verified.
fn storm(name: impl Fn(usize) -> String + Sync, verified: usize) {
    let clients = clients();
    let scene = Scene::new(clients);
    let seconds = Duration::from_millis(dial("STORM_QUIET_MS", 300));
    let before = scene.resident();
    let (alone, ()) = scene.pulled_beside(|| thread::sleep(seconds));
    let (other, ()) = scene.pulled_beside(|| computing(|| thread::sleep(seconds)));
    let accepted = scene.verified("accepted");
    let connected = (0..clients).map(|number| scene.connect(u8::try_from(10 + number % 200).unwrap())).collect();
    let (during, took) = scene.pulled_beside(|| {
        let end = Instant::now() + seconds;
        let took = at_once(connected, &name);
        // Over no shorter a time than it is compared with.
        thread::sleep(end.saturating_duration_since(Instant::now()));
        took
    });
    let rounded = |part: usize| took[(took.len() - 1) * part / 100].as_secs_f64();
    eprintln!(
        "{clients} clients: pulls {}, beside other work {}, beside the logins {} ({:.0} % of that); logins took {:.2} s \
         (half of them), {:.2} s (all); resident {before} KiB, then {} KiB",
        shown(alone),
        shown(other),
        shown(during),
        during / other * 100.0,
        rounded(50),
        rounded(100),
        scene.resident(),
    );
    assert_eq!(scene.verified("accepted") - accepted, verified as u64);
    assert_eq!(scene.verified("rejected"), 0);
    let least = dial("STORM_LEAST_PERCENT", 0);
    #[allow(clippy::cast_precision_loss)]
    let least = least as f64 / 100.0;
    assert!(during >= other * least, "the pulls starved");
}

/// How long each login took, the shortest first.
fn at_once(clients: Vec<Client>, name: &(impl Fn(usize) -> String + Sync)) -> Vec<Duration> {
    let start = Barrier::new(clients.len());
    let mut took: Vec<_> = thread::scope(|scope| {
        let log_in = |(number, mut client): (usize, Client)| {
            let start = &start;
            scope.spawn(move || {
                start.wait();
                let begun = Instant::now();
                let answer = client.log_in(&name(number), PASSWORD);
                assert_eq!(answer.status, 200, "{}", answer.text());
                begun.elapsed()
            })
        };
        let all: Vec<_> = clients.into_iter().enumerate().map(log_in).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    took.sort();
    took
}

/// Keeps as many cores busy as verifying passwords may.
fn computing(act: impl FnOnce()) {
    let cores = thread::available_parallelism().unwrap().get();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = AtEnd(&over);
        for _ in 0..(cores - 1).max(1) {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    hint::spin_loop();
                }
            });
        }
        act();
    });
}
