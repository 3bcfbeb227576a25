//! Pulls: none fails as long as one server is alive.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{
    fleet::{Fleet, gate},
    puller::{KINDS, KINDS_ELSEWHERE, Puller, Wanted},
    tally::Tally,
};
use crate::support::{AtEnd, Dice, Image, Place, dial, dialled};

/// How often the gate went on with a body at another server.
const RESUMES: &str = "portcullis_upstream_resumes_total";

/// Faults go on beyond the time for as long until enough deaths were met.
const LONGER: Duration = Duration::from_secs(60);

#[test]
fn no_pull_fails_while_servers_die() {
    let time = Duration::from_secs(dial("CHAOS_SECONDS", 6));
    let clients = dialled("CHAOS_CLIENTS", 8);
    let size = dialled("CHAOS_IMAGE", 64 << 20);
    let rate = dial("CHAOS_RATE", 10 << 20);
    let deaths = dial("CHAOS_DEATHS", 3);
    let seed = dial("SEED", u64::from(std::process::id()));
    let (servers_at, clients_at) =
        (Place::named_by("PORTCULLIS_TEST_SERVERS_AT"), Place::named_by("PORTCULLIS_TEST_CLIENTS_AT"));

    let mut fleet = Fleet::of_three(&servers_at);
    let image = Image::new(160, &[size / 2, size / 4, size / 4]);
    fleet.hold(&image, "team-a/app");
    let gate = gate(&fleet, !servers_at.is_here(), &clients_at, dial("CHAOS_VERIFY", 0) > 0);
    let wanted = Wanted::of(&image, "team-a/app");
    let kinds = if clients_at.is_here() { &KINDS[..] } else { &KINDS_ELSEWHERE };

    let (over, tally, mut dice) = (AtomicBool::new(false), Tally::default(), Dice::new(seed));
    let begin = Instant::now();
    let met = || gate.counted(RESUMES, "");
    thread::scope(|scope| {
        for client in 0..clients {
            let kind = kinds[client % kinds.len()];
            let (gate, place, wanted, dice) = (&gate, &clients_at, &wanted, dice.split());
            let mut puller = Puller { gate, place, wanted, kind, rate, dice };
            let (over, tally) = (&over, &tally);
            scope.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    let begin = Instant::now();
                    let outcome = puller.pull();
                    let failed = outcome.is_err();
                    tally.count(&format!("{kind:?}"), begin.elapsed(), outcome);
                    if failed {
                        thread::sleep(Duration::from_secs(1));
                    }
                }
            });
        }
        let _ended = AtEnd(&over);
        #[allow(clippy::cast_precision_loss)]
        let enough = |passed: Duration| passed >= time && (met() >= deaths as f64 || passed >= time + LONGER);
        fleet.suffer(&mut dice, || enough(begin.elapsed()));
    });

    let failures = tally.failures();
    eprintln!(
        "{} pulls ({} MiB, the longest {:.1?}) by {clients} clients in {:.1?}, {} failed; {}; {} deaths met in \
         mid-body ({} broken, {} silent); seed {seed}",
        tally.done(),
        tally.mebibytes(),
        tally.longest(),
        begin.elapsed(),
        failures.len(),
        fleet.faults,
        met(),
        gate.counted(RESUMES, "broken"),
        gate.counted(RESUMES, "silent"),
    );
    assert_eq!(failures, Vec::<String>::new(), "seed {seed}");
    assert!(tally.done() >= clients, "{} pulls", tally.done());
    #[allow(clippy::cast_precision_loss)]
    let enough = met() >= deaths as f64;
    assert!(enough, "{} deaths met, of {deaths}", met());
}
