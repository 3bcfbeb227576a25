//! Collecting garbage with a live gate: what is counted as open, and that nobody loses a blob.

mod status;
mod storm;

use std::{
    fs,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use self::storm::{KINDS, Pushed, Pusher, Tally};
use crate::support::{AtEnd, Dice, Image, Portcullis, Registry, dial, digest};

/// How long the registry takes writes between two collections.
const LULL: Duration = Duration::from_secs(3);
/// An upload that nobody goes on with counts for a minute.
const PATIENCE: Duration = Duration::from_secs(90);

/// Images are pushed and deleted all the time; in the middle of it garbage is collected as the manual says. Whatever was
/// pushed with success, and not deleted since, is whole after each collection and in the end.
///
/// `PORTCULLIS_TEST_COLLECT_SECONDS`: how long.
#[test]
fn no_image_loses_a_blob_to_a_collection() {
    let length = Duration::from_secs(dial("COLLECT_SECONDS", 8));
    let mut registry = Registry::start();
    others_images(registry.storage().path(), 800);
    let gate = Portcullis::before(&registry).with(|config| config["log"] = json!({ "access": false })).start();
    let images: Vec<Image> = (0..12).map(|seed| Image::new(430 + seed, &[60_000, 20_000])).collect();
    let mut dice = Dice::new(dial("SEED", 7));
    let (stop, refused, kept) = (AtomicBool::new(false), AtomicUsize::new(0), Mutex::new(Vec::new()));

    let begun = Instant::now();
    let (mut collected, mut checked, mut missing) = (Vec::new(), 0, Vec::new());
    let tally = thread::scope(|scope| {
        let _at_end = AtEnd(&stop);
        let pushers: Vec<_> = KINDS
            .into_iter()
            .enumerate()
            .map(|(number, kind)| {
                let pusher = Pusher::new(&gate, &images, format!("team-a/p{number}"), kind, &kept, dice.split());
                let (stop, refused) = (&stop, &refused);
                scope.spawn(move || pusher.run(stop, refused))
            })
            .collect();
        while begun.elapsed() < length || collected.is_empty() {
            thread::sleep(LULL);
            // Where they may finish, uploads that their clients left are waited for, a minute long.
            let uploads = if length > PATIENCE && collected.len() % 2 == 1 { "finish" } else { "refuse" };
            freeze(&gate, uploads);
            collected.push(eligible(&registry.collect()));
            // It remembers blobs that are no more.
            registry.start_again();
            checked += check(&registry, &images, &kept, &mut missing);
            gate.reload_under_way(|config| config["registries"][0]["read_only"] = json!(false));
        }
        thread::sleep(LULL);
        stop.store(true, Ordering::SeqCst);
        pushers.into_iter().map(|pusher| pusher.join().unwrap()).fold(Tally::default(), Tally::with)
    });
    registry.stop();
    let fresh = Registry::setup().storage(registry.storage()).start();
    checked += check(&fresh, &images, &kept, &mut missing);

    let refused = refused.load(Ordering::SeqCst);
    eprintln!(
        "{} s: {} pushes and {} deletions went well, {refused} pushes were told that it is read-only, {} failed otherwise; \
         {} collections took {collected:?} blobs; {checked} blobs and manifests were looked at",
        begun.elapsed().as_secs(),
        tally.pushes,
        tally.deletions,
        tally.failures.len(),
        collected.len(),
    );
    assert!(missing.is_empty(), "{} of {checked} are missing: {missing:#?}", missing.len());
    assert!(tally.pushes > 2 && checked > 0 && refused > 0, "nothing was at stake: {:?}", tally.failures);
    assert!(collected.iter().any(|count| *count > 0), "there was no garbage");
}

/// Images of others, which a collection looks at after those of the test and which make it take its time.
fn others_images(storage: &Path, count: usize) {
    let root = storage.join("docker/registry/v2");
    // What makes a folder a repository.
    fs::create_dir_all(root.join("repositories/zz/others/_layers")).unwrap();
    let config = json!({ "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(b"{}"), "size": 2 });
    for number in 0..count {
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": [],
            "annotations": { "number": number.to_string() },
        });
        let manifest = manifest.to_string();
        let digest = digest(manifest.as_bytes());
        let hex = digest.trim_start_matches("sha256:");
        for (folder, name, content) in [
            (format!("blobs/sha256/{}/{hex}", &hex[..2]), "data", &manifest),
            (format!("repositories/zz/others/_manifests/revisions/sha256/{hex}"), "link", &digest),
        ] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(name), content).unwrap();
        }
    }
}

/// The first half of what the manual says: nothing is written any more.
fn freeze(gate: &Portcullis, uploads: &str) {
    gate.reload_under_way(|config| {
        config["registries"][0]["read_only"] = json!(true);
        config["registries"][0]["read_only_uploads"] = json!(uploads);
    });
    let end = Instant::now() + PATIENCE;
    while !is_quiet(&gate.admin("/status").json()) {
        assert!(Instant::now() < end, "{}", gate.admin("/status").text());
        thread::sleep(Duration::from_millis(20));
    }
}

fn is_quiet(status: &Value) -> bool {
    let registry = &status["registries"][0];
    registry["read_only"] == true && registry["open_writes"] == 0
}

/// `… 5 blobs marked, 3 blobs and 0 manifests eligible for deletion`
fn eligible(said: &str) -> usize {
    let count = said.lines().find_map(|line| line.split(" blobs marked, ").nth(1)?.split(' ').next()?.parse().ok());
    count.unwrap_or_else(|| panic!("{said}"))
}

/// Asks the registry itself for every manifest and blob that must be there; how many.
fn check(registry: &Registry, images: &[Image], kept: &Mutex<Vec<Pushed>>, missing: &mut Vec<String>) -> usize {
    let expected = kept.lock().unwrap().clone();
    let paths: Vec<_> = expected.iter().flat_map(|pushed| pushed.paths(images)).collect();
    for (path, wanted) in &paths {
        let answer = registry.get(path).expect("the registry answers");
        if answer.status != 200 || digest(&answer.body) != *wanted {
            missing.push(format!("{path}: {}", answer.status));
        }
    }
    paths.len()
}
