//! Pushes: what was taken is there bit for bit, what failed said so, and the next attempt succeeds.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    fleet::{Fleet, gate},
    pusher::{Failure, KINDS, Pushed, Pusher, is, sorted},
    tally::Tally,
};
use crate::support::{AtEnd, Dice, Place, Registry, dial, dialled};

#[test]
fn no_push_is_corrupted_while_servers_die() {
    let time = Duration::from_secs(dial("CHAOS_SECONDS", 6));
    let clients = dialled("CHAOS_CLIENTS", 5);
    let size = dialled("CHAOS_LAYER", 6 << 20);
    let rate = dial("CHAOS_RATE", 8 << 20);
    let seed = dial("SEED", u64::from(std::process::id()));
    let (servers_at, clients_at) =
        (Place::named_by("PORTCULLIS_TEST_SERVERS_AT"), Place::named_by("PORTCULLIS_TEST_CLIENTS_AT"));

    let mut fleet = Fleet::of_three(&servers_at);
    let gate = gate(&fleet, !servers_at.is_here(), &clients_at, false);
    let (over, tally, mut dice) = (AtomicBool::new(false), Tally::default(), Dice::new(seed));
    let (taken, failures) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let begin = Instant::now();
    thread::scope(|scope| {
        for client in 0..clients {
            let kind = KINDS[client % KINDS.len()];
            let repository = format!("team-a/pushed-{client}");
            let (gate, place, dice) = (&gate, &clients_at, dice.split());
            let mut pusher = Pusher { gate, place, repository: repository.clone(), kind, size, rate, dice };
            let (over, tally, taken, failures) = (&over, &tally, &taken, &failures);
            scope.spawn(move || {
                for number in 0.. {
                    if over.load(Ordering::SeqCst) {
                        break;
                    }
                    let begin = Instant::now();
                    let (outcome, failed) = pusher.push(number);
                    failures.lock().unwrap().extend(failed);
                    let outcome = outcome.map(|pushed| taken.lock().unwrap().push((repository.clone(), pushed)));
                    tally.count(&format!("{kind:?}"), begin.elapsed(), outcome.map(|()| size as u64));
                    // skopeo cannot be held to a rate, and a disk is not without end.
                    thread::sleep(Duration::from_secs(size as u64 / rate).saturating_sub(begin.elapsed()));
                }
            });
        }
        let _ended = AtEnd(&over);
        fleet.suffer(&mut dice, || begin.elapsed() >= time);
    });

    let (taken, failures): (_, Vec<Failure>) = (taken.into_inner().unwrap(), failures.into_inner().unwrap());
    let (clear, unclear) = sorted(&failures);
    eprintln!(
        "{} pushes ({} MiB, the longest with its attempts {:.1?}) by {clients} clients in {:.1?}; {}; {} attempts failed, \
         {} of them unclear: {clear:?}; seed {seed}",
        tally.done(),
        tally.mebibytes(),
        tally.longest(),
        begin.elapsed(),
        fleet.faults,
        failures.len(),
        unclear.len(),
    );
    assert_eq!(tally.failures(), Vec::<String>::new(), "seed {seed}");
    assert_eq!(unclear, Vec::<&str>::new(), "seed {seed}");
    assert!(tally.done() >= clients, "{} pushes", tally.done());
    // One that has nothing in its memory.
    let fresh = Registry::setup().storage(fleet.servers[0].storage()).start();
    let missing: Vec<String> =
        taken.iter().flat_map(|(repository, pushed)| missing(&fresh, repository, pushed)).collect();
    assert_eq!(missing, Vec::<String>::new(), "of {} pushes, seed {seed}", taken.len());
}

/// What of a push is not in the registry as it was sent.
fn missing(registry: &Registry, repository: &str, pushed: &Pushed) -> Vec<String> {
    let manifests = [&pushed.tag, &pushed.manifest]
        .map(|reference| (format!("/v2/{repository}/manifests/{reference}"), &pushed.manifest));
    let blobs = pushed.blobs.iter().map(|digest| (format!("/v2/{repository}/blobs/{digest}"), digest));
    let wrong = manifests.into_iter().chain(blobs).filter(|(path, digest)| {
        !registry.get(path).is_some_and(|answer| answer.status == 200 && is(&answer.body, digest))
    });
    wrong.map(|(path, _)| path).collect()
}
