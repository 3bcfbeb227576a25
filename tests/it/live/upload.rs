//! A long upload goes through whatever is changed meanwhile.

use std::{
    fs::File,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    client::Way,
    scene::{Heard, Scene},
    uploader::Uploader,
    variant::{DEFECTS, Variant},
};
use crate::support::{ALICE, BINARY, Dice, Hash, Registry, dial, eventually};

const WAYS: [(Way, &str); 2] = [(Way::Kept, "pushed/kept"), (Way::Http2, "pushed/streams")];

/// What happens while an upload is under way.
enum Event {
    Reload,
    Broken,
    /// The only certificate is another one.
    Certificate,
    /// A new process of a new binary takes over.
    Upgrade,
    /// These are `upstream.servers`.
    Servers(Vec<String>),
}

/// What is in force, as it was changed last.
struct State {
    variant: Variant,
    servers: Vec<String>,
    dice: Dice,
}

impl State {
    fn new(scene: &Scene) -> Self {
        let dice = Dice::new(dial("SEED", u64::from(std::process::id())));
        let state = Self { variant: Variant::FIRST, servers: vec![scene.first.url.clone()], dice };
        state.write(scene);
        state
    }

    fn write(&self, scene: &Scene) {
        let mut config = self.variant.configuration(&scene.parts);
        let servers: Value = self.servers.iter().map(|url| json!({ "url": url })).collect();
        config["registries"][0]["upstream"]["servers"] = servers;
        config["shutdown"] = json!({ "drain": "120s" });
        scene.taken(&config.to_string(), Heard::BySignal);
    }

    fn after(&mut self, scene: &Scene, event: Event) {
        match event {
            Event::Reload => {
                let leaf = self.variant.leaf;
                self.variant = Variant { leaf, ..self.variant.after(&mut self.dice) };
            }
            Event::Certificate => self.variant = self.variant.after(&mut self.dice),
            Event::Servers(servers) => self.servers = servers,
            Event::Upgrade => {
                scene.gate.write_binary(Path::new(BINARY));
                return scene.gate.upgrade();
            }
            Event::Broken => {
                let defect = self.dice.one_of(&DEFECTS);
                return scene.refused(&self.variant.broken(&scene.parts, defect), Heard::ByContent);
            }
        }
        self.write(scene);
    }
}

/// An upload in each way, during which all this happens before the last byte is sent. Where each has to go on, and its
/// digest.
fn upload_during(scene: &Scene, state: &mut State, events: Vec<Event>) -> Vec<(String, String)> {
    let (size, rate) = (dial("LIVE_UPLOAD", 32 << 20), dial("LIVE_RATE", 8 << 20));
    let sent = [AtomicU64::new(0), AtomicU64::new(0)];
    let between = Duration::from_millis(size * 1000 / rate) / u32::try_from(events.len() + 2).unwrap();
    let (begin, count) = (Instant::now(), events.len());
    let outcomes: Vec<_> = thread::scope(|scope| {
        let uploads: Vec<_> = WAYS
            .into_iter()
            .zip(&sent)
            .map(|((way, repository), sent)| {
                let uploader = Uploader { gate: &scene.gate, way, size, rate, sent };
                scope.spawn(move || uploader.send(&uploader.open(repository), size ^ way as u64))
            })
            .collect();
        eventually("the uploads are under way", || sent.iter().all(|sent| sent.load(Ordering::SeqCst) > 1 << 20));
        for (number, event) in (1..).zip(events) {
            thread::sleep((between * number).saturating_sub(begin.elapsed()));
            state.after(scene, event);
        }
        let so_far: Vec<u64> = sent.iter().map(|sent| sent.load(Ordering::SeqCst)).collect();
        assert!(so_far.iter().all(|sent| *sent < size), "an upload ended before all had happened: {so_far:?}");
        uploads.into_iter().map(|upload| upload.join().unwrap()).collect()
    });
    let failures: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    eprintln!(
        "2 uploads of {} MiB each at {} MiB/s through {count} changes in {:.1?}: {failures:?}",
        size >> 20,
        rate >> 20,
        begin.elapsed()
    );
    outcomes.into_iter().map(|outcome| outcome.expect("a whole upload")).collect()
}

/// Ends the uploads, and reads from the registry what came of them.
fn finish(scene: &Scene, uploads: &[(String, String)]) {
    let sent = AtomicU64::new(0);
    for ((way, repository), (digest, path)) in WAYS.into_iter().zip(uploads) {
        let uploader = Uploader { gate: &scene.gate, way, size: 0, rate: 0, sent: &sent };
        let done = uploader.finish(path, digest);
        assert_eq!((done.status, done.header("docker-content-digest")), (201, Some(digest.as_str())), "{done:?}");
        assert_eq!(&stored(&scene.first, digest), digest, "{repository}");
    }
}

/// The digest of what a registry has stored under a digest.
fn stored(registry: &Registry, digest: &str) -> String {
    let hex = digest.trim_start_matches("sha256:");
    let storage = registry.storage();
    let folder = storage.path().join("docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex);
    let mut hash = Hash::default();
    hash.add_all(File::open(folder.join("data")).expect("the blob")).unwrap();
    hash.digest()
}

#[test]
fn an_upload_goes_through_all_changes() {
    let scene = Scene::new();
    let mut state = State::new(&scene);
    let (own, other) = (scene.first.url.clone(), scene.replica.url.clone());
    let mut events = vec![Event::Servers(vec![own.clone(), other])];
    events.extend((0..5).map(|_| Event::Reload));
    events.extend([Event::Certificate, Event::Broken, Event::Servers(vec![own]), Event::Upgrade]);
    events.extend((0..5).map(|_| Event::Reload));
    let uploads = upload_during(&scene, &mut state, events);
    finish(&scene, &uploads);
}

/// What is under way ends there, and what follows waits until the server is back.
#[test]
fn an_upload_ends_at_the_server_it_began_at() {
    let scene = Scene::new();
    let mut state = State::new(&scene);
    let (own, other) = (scene.first.url.clone(), scene.replica.url.clone());
    let events = vec![Event::Reload, Event::Servers(vec![other.clone()]), Event::Reload];
    let uploads = upload_during(&scene, &mut state, events);

    let refused = scene.gate.curl(&uploads[0].1).user(ALICE).method("GET").send();
    assert!(refused.status >= 400 && refused.json()["errors"][0]["code"].is_string(), "{refused:?}");
    state.after(&scene, Event::Servers(vec![other, own]));
    finish(&scene, &uploads);
}
