//! A primary and two replicas that are late: nobody notices, however often a tag moves.

mod late;

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use self::late::Late;
use crate::support::{
    ALICE, Asked, AtEnd, Dice, Http2, Image, Portcullis, Registry, Response, Skopeo, TokenKeys, dial, dialled, digest,
};

const REPOSITORY: &str = "/v2/team-a/app";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

struct Scene {
    primary: Registry,
    replicas: [Registry; 2],
    gates: [Portcullis; 2],
    _keys: TokenKeys,
}

/// What one push brought.
#[derive(Clone)]
struct Pushed {
    when: Instant,
    manifest: String,
    blobs: Vec<(String, Vec<u8>)>,
}

impl Scene {
    fn new() -> Self {
        let primary = Registry::start();
        let replicas = [Registry::start(), Registry::start()];
        let keys = TokenKeys::new(&["P-256"]);
        let servers = json!([
            { "url": replicas[0].url, "role": "replica" },
            { "url": primary.url },
            { "url": replicas[1].url, "role": "replica" },
        ]);
        let gates = [(); 2].map(|()| {
            let (servers, keys) = (servers.clone(), keys.configured());
            let setup = Portcullis::before(&primary).with_upstream(|upstream| upstream["servers"] = servers);
            setup.with(move |config| config["tokens"]["keys"] = keys.clone()).start()
        });
        Self { primary, replicas, gates, _keys: keys }
    }

    fn late(&self, lag: Duration) -> Late {
        let to: Vec<_> = self.replicas.iter().map(|replica| replica.storage().path().to_owned()).collect();
        Late::start(self.primary.storage().path(), &to, lag)
    }
}

/// A connection to a gate.
struct Client(Http2);

impl Client {
    fn new(gate: &Portcullis) -> Self {
        Self(Http2::connect(gate))
    }

    fn ask(&self, method: &'static str, path: &str, content_type: &str, body: Option<&[u8]>) -> Response {
        let basic = STANDARD.encode(format!("{}:{}", ALICE.name, ALICE.password));
        let headers = vec![
            ("authorization", format!("Basic {basic}")),
            ("accept", MANIFEST.to_owned()),
            ("content-type", content_type.to_owned()),
        ];
        let asked = Asked { method, path: path.to_owned(), headers, body };
        self.0.ask(&asked).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    fn get(&self, path: &str) -> Response {
        self.ask("GET", path, "", None)
    }

    /// Pushes an image of its own as `latest`, and as a tag that stays.
    fn push(&self, number: usize, dice: &mut Dice) -> Pushed {
        let layer = dice.bytes(2000);
        let config = json!({ "architecture": "amd64", "os": "linux", "number": number }).to_string().into_bytes();
        let describe = |media_type: &str, bytes: &[u8]| {
            let media_type = format!("application/vnd.oci.image.{media_type}");
            json!({ "mediaType": media_type, "digest": digest(bytes), "size": bytes.len() })
        };
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": describe("config.v1+json", &config), "layers": [describe("layer.v1.tar", &layer)],
        });
        let blobs: Vec<_> = [config, layer].map(|bytes| (digest(&bytes), bytes)).into();
        for (digest, bytes) in &blobs {
            let asked = self.ask("HEAD", &format!("{REPOSITORY}/blobs/{digest}"), "", None);
            assert_eq!(asked.status, 404, "{number}: nobody has it");
            let opened = self.ask("POST", &format!("{REPOSITORY}/blobs/uploads/"), "", None);
            assert_eq!(opened.status, 202, "{number}: {}", opened.text());
            let location = opened.header("location").unwrap();
            let path = &location[location.find("/v2/").unwrap()..];
            let taken = self.ask("PUT", &format!("{path}&digest={digest}"), "application/octet-stream", Some(bytes));
            assert_eq!(taken.status, 201, "{number}: {}", taken.text());
            let asked = self.ask("HEAD", &format!("{REPOSITORY}/blobs/{digest}"), "", None);
            assert_eq!(asked.status, 200, "{number}: it was taken");
        }
        let manifest = manifest.to_string().into_bytes();
        for tag in [format!("n{number}"), "latest".to_owned()] {
            let taken = self.ask("PUT", &format!("{REPOSITORY}/manifests/{tag}"), MANIFEST, Some(&manifest));
            assert_eq!(taken.status, 201, "{number}: {}", taken.text());
        }
        Pushed { when: Instant::now(), manifest: digest(&manifest), blobs }
    }

    /// All of an image by digest.
    fn pull(&self, number: usize, pushed: &Pushed) {
        let manifest = self.get(&format!("{REPOSITORY}/manifests/{}", pushed.manifest));
        assert_eq!((manifest.status, digest(&manifest.body)), (200, pushed.manifest.clone()), "{number}");
        for (digest, bytes) in &pushed.blobs {
            let path = format!("{REPOSITORY}/blobs/{digest}");
            assert_eq!(self.ask("HEAD", &path, "", None).status, 200, "{number}: {digest}");
            let blob = self.get(&path);
            assert!(blob.status == 200 && blob.body == *bytes, "{number}: {digest}: {}", blob.status);
        }
    }

    /// What the tag names.
    fn latest(&self) -> String {
        let manifest = self.get(&format!("{REPOSITORY}/manifests/latest"));
        assert_eq!(manifest.status, 200, "{}", manifest.text());
        assert_eq!(manifest.header("docker-content-digest"), Some(digest(&manifest.body).as_str()));
        digest(&manifest.body)
    }
}

#[test]
fn a_tag_is_never_unknown_and_never_old() {
    let pushes = dialled("REPLICA_PUSHES", 15);
    let lag = Duration::from_secs(dial("REPLICA_LAG", 1));
    let seed = dial("SEED", u64::from(std::process::id()));
    let scene = Scene::new();
    let late = scene.late(lag);
    let clients = scene.gates.each_ref().map(Client::new);
    let mut dice = Dice::new(seed);

    // The number of each digest, and of the last push that was answered.
    let (numbers, answered) = (Mutex::new(HashMap::new()), AtomicUsize::new(0));
    let (over, looks) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut all: Vec<Pushed> = Vec::new();
    let begin = Instant::now();
    thread::scope(|scope| {
        for gate in &scene.gates {
            scope.spawn(|| {
                let client = Client::new(gate);
                while answered.load(Ordering::SeqCst) == 0 && !over.load(Ordering::SeqCst) {
                    thread::sleep(Duration::from_millis(10));
                }
                while !over.load(Ordering::SeqCst) {
                    let before = answered.load(Ordering::SeqCst);
                    let found = client.latest();
                    // One that is not answered yet is newer than all that were.
                    let number = numbers.lock().unwrap().get(&found).copied();
                    assert!(number.is_none_or(|number| number >= before), "{number:?} after {before}");
                    looks.fetch_add(1, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(5));
                }
            });
        }
        let _ended = AtEnd(&over);
        for number in 1..=pushes {
            let pushed = clients[number % 2].push(number, &mut dice);
            numbers.lock().unwrap().insert(pushed.manifest.clone(), number);
            answered.store(number, Ordering::SeqCst);
            for client in &clients {
                assert_eq!(client.latest(), pushed.manifest, "{number}");
                client.pull(number, &pushed);
                let tags = client.get(&format!("{REPOSITORY}/tags/list")).json();
                assert!(tags["tags"].as_array().unwrap().contains(&json!(format!("n{number}"))), "{tags}");
            }
            // What the replicas have by now, and have alone to serve for the primary's sake.
            if let Some(old) = all.iter().rev().find(|old| old.when.elapsed() > lag * 2) {
                clients.iter().for_each(|client| client.pull(number, old));
            }
            all.push(pushed);
            if pushes < 100 {
                thread::sleep(lag / 5);
            }
        }
    });
    let by_skopeo = pull_by_skopeo(&scene);
    let replicas: Vec<_> = scene.replicas.iter().flat_map(Registry::acted).collect();
    let of_status = |status: u16| replicas.iter().filter(|acted| acted.status == status).count();
    eprintln!(
        "{pushes} pushes in {:.1?}, {lag:?} late ({} passes), {} looks at the tag beside; the replicas had {} and had not \
         {} of what was asked, the primary was asked {} times; seed {seed}",
        begin.elapsed(),
        late.passes(),
        looks.load(Ordering::SeqCst),
        of_status(200),
        of_status(404),
        scene.primary.acted().len(),
    );
    assert!(by_skopeo, "skopeo");
    assert!(of_status(200) > 0 && of_status(404) > 0, "the replicas were asked, before and after they had it");
    for acted in &replicas {
        assert!(matches!(acted.method.as_str(), "GET" | "HEAD") && acted.target.contains("/sha256:"), "{acted:?}");
    }
}

/// Pushed through one gate, pulled through the other at once.
fn pull_by_skopeo(scene: &Scene) -> bool {
    let [first, second] = &scene.gates;
    let image = Image::new(170, &[100_000, 2000]);
    let skopeo = Skopeo::logged_in(first.pki(), &first.host(), ALICE);
    skopeo.copy(&image.reference(), &first.image("team-a/skopeo")).succeeded();
    let dir = tempfile::tempdir().unwrap();
    let layout = dir.path().join("pulled");
    let skopeo = Skopeo::logged_in(second.pki(), &second.host(), ALICE);
    let done = skopeo.copy(&second.image("team-a/skopeo"), &format!("oci:{}:v1", layout.display()));
    done.success && {
        image.assert_same(&layout);
        true
    }
}

#[test]
fn writes_lists_and_tags_are_the_primarys() {
    let scene = Scene::new();
    let client = Client::new(&scene.gates[0]);
    let pushed = client.push(1, &mut Dice::new(171));
    let referrers = client.get(&format!("{REPOSITORY}/referrers/{}", pushed.manifest));
    assert!(matches!(referrers.status, 200 | 404), "{}", referrers.text());
    let catalog: Value = client.get("/v2/_catalog").json();
    assert_eq!(catalog["repositories"], json!(["team-a/app"]), "the replicas know nothing of it");
    assert_eq!(client.get(&format!("{REPOSITORY}/tags/list")).status, 200);
    client.pull(1, &pushed);
    // The replicas are gone: what they do not serve goes on, and what they would have served as well.
    let Scene { primary, replicas, gates, _keys } = scene;
    drop(replicas);
    let client = Client::new(&gates[0]);
    let pushed = client.push(2, &mut Dice::new(172));
    client.pull(2, &pushed);
    assert_eq!(client.latest(), pushed.manifest);
    // The primary is gone: what replicas have is all there is, and nothing says "unknown".
    drop(primary);
    let answer = client.get(&format!("{REPOSITORY}/manifests/latest"));
    assert!(matches!(answer.status, 502 | 503), "{} {}", answer.status, answer.text());
    let answer = client.get(&format!("{REPOSITORY}/blobs/{}", pushed.blobs[0].0));
    assert!(matches!(answer.status, 502 | 503), "{} {}", answer.status, answer.text());
}
