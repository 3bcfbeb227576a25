//! Somebody guesses one user's password as fast as they can.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::scene::{RIGHT, Scene, shown};
use crate::support::{AtEnd, dial};

const CONNECTIONS: u64 = 20;

#[test]
fn guessing_is_bounded_and_locks_nobody_out() {
    let rate = dial("FLOOD_RATE", 200);
    let time = Duration::from_millis(dial("FLOOD_MS", 1500));
    let scene = Scene::new(1);
    let (alone, ()) = scene.pulled_beside(|| thread::sleep(time));
    let begun = Instant::now();
    let next = AtomicU64::new(0);
    let (during, (sent, slowest)) = scene.pulled_beside(|| {
        let (over, sent) = (AtomicBool::new(false), Mutex::new(BTreeMap::new()));
        let slowest = thread::scope(|scope| {
            let _over = AtEnd(&over);
            let (next, over, sent, scene) = (&next, &over, &sent, &scene);
            for _ in 0..CONNECTIONS {
                scope.spawn(move || guess(scene, rate, next, over, sent));
            }
            right_logins(scene, begun + time)
        });
        (sent.into_inner().unwrap(), slowest)
    });
    let verified = scene.verified("rejected");
    eprintln!(
        "guesses by answer: {sent:?} in {:.1} s, of which {verified} were verified; the right login from elsewhere took at \
         most {} ms; pulls {}, during the flood {} ({:.0} %)",
        begun.elapsed().as_secs_f64(),
        slowest.as_millis(),
        shown(alone),
        shown(during),
        during / alone * 100.0,
    );
    // The default limit: ten at once, then one in 30 seconds.
    assert!(verified <= 11 + begun.elapsed().as_secs() / 30, "{verified}");
    assert!(sent[&401] == verified && sent[&429] > 0 && sent.len() == 2, "{sent:?}");
    #[allow(clippy::cast_precision_loss)]
    let least = dial("FLOOD_LEAST_PERCENT", 0) as f64 / 100.0;
    assert!(during >= alone * least, "the pulls starved");
}

/// A part of the guesses, no two alike.
fn guess(scene: &Scene, rate: u64, next: &AtomicU64, over: &AtomicBool, sent: &Mutex<BTreeMap<u16, u64>>) {
    let mut client = scene.connect(3);
    let pause = Duration::from_nanos(1_000_000_000 * CONNECTIONS / rate);
    let mut due = Instant::now();
    while !over.load(Ordering::SeqCst) {
        let number = next.fetch_add(1, Ordering::SeqCst);
        let answer = client.log_in(RIGHT.name, &format!("guess {number}"));
        *sent.lock().unwrap().entry(answer.status).or_default() += 1;
        due += pause;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

/// Logs in from other addresses, with a new connection each, until the time is over. The longest that it took.
fn right_logins(scene: &Scene, end: Instant) -> Duration {
    let mut slowest = Duration::ZERO;
    let mut last = 100;
    while Instant::now() < end {
        let begun = Instant::now();
        let answer = scene.connect(last).log_in(RIGHT.name, RIGHT.password);
        assert_eq!(answer.status, 200, "{}", answer.text());
        slowest = slowest.max(begun.elapsed());
        last = if last < 200 { last + 1 } else { 100 };
        thread::sleep(Duration::from_millis(100));
    }
    slowest
}
