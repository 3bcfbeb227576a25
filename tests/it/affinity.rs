//! An upload session stays with the server that opened it, whichever gate the next request comes through.

use std::{fs, thread};

use serde_json::json;

use crate::support::{ADMIN, ALICE, Curl, Dice, Login, Portcullis, Registry, Response, TokenKeys, dialled, digest};

const VERSIONS: [&str; 2] = ["--http1.1", "--http2"];
const UPLOADS: &str = "/v2/team-a/app/blobs/uploads/";

struct Scene {
    registries: [Registry; 2],
    gates: [Portcullis; 2],
    _keys: TokenKeys,
}

impl Scene {
    /// Two registries that share storage and cannot go on with each other's sessions, behind two gates that share keys.
    fn new() -> Self {
        let secret =
            |secret: &'static str| Registry::setup().with(move |config| config["http"]["secret"] = json!(secret));
        let first = secret("the first one's own secret").start();
        let second = secret("the second one's own secret").storage(first.storage()).start();
        let keys = TokenKeys::new(&["P-256"]);
        let gates = [(); 2].map(|()| gate(&[&first, &second], &keys));
        Self { registries: [first, second], gates, _keys: keys }
    }
}

fn gate(servers: &[&Registry], keys: &TokenKeys) -> Portcullis {
    let servers: Vec<_> = servers.iter().map(|registry| json!({ "url": registry.url })).collect();
    let keys = keys.configured();
    let setup = Portcullis::before_url("http://127.0.0.1:1").with_upstream(|upstream| {
        upstream["servers"] = json!(servers);
        upstream["balance"] = json!("round_robin");
    });
    setup.with(move |config| config["tokens"]["keys"] = keys.clone()).start()
}

/// The path of an answer's address.
fn path(answer: &Response) -> String {
    let location = answer.header("location").unwrap();
    location[location.find("/v2/").unwrap()..].to_owned()
}

fn open(gate: &Portcullis) -> String {
    let opened = gate.curl(UPLOADS).user(ALICE).method("POST").send();
    assert_eq!(opened.status, 202, "{}", opened.text());
    path(&opened)
}

fn append(gate: &Portcullis, path: &str, login: Login, bytes: &[u8]) -> Response {
    patch(gate, path, login, bytes, |curl, file| curl.body_file(file))
}

fn patch(
    gate: &Portcullis,
    path: &str,
    login: Login,
    bytes: &[u8],
    body: impl FnOnce(Curl, &std::path::Path) -> Curl,
) -> Response {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("part");
    fs::write(&file, bytes).unwrap();
    body(gate.curl(path).user(login).method("PATCH"), &file).send()
}

fn finish(gate: &Portcullis, path: &str, digest: &str) -> Response {
    gate.curl(&format!("{path}&digest={digest}")).user(ALICE).method("PUT").header("Content-Length: 0").send()
}

#[test]
fn uploads_go_on_through_another_gate() {
    let uploads = dialled("AFFINITY_UPLOADS", 20);
    let size = dialled("AFFINITY_BLOB", 1 << 20);
    let scene = Scene::new();
    thread::scope(|scope| {
        for number in 0..uploads {
            let scene = &scene;
            scope.spawn(move || {
                let blob = Dice::new(180 + number as u64).bytes(size + number);
                let gate = |turn: usize| &scene.gates[(number + turn) % 2];
                let mut session = open(gate(0));
                let parts = blob.chunks(blob.len().div_ceil(5)).enumerate();
                for (turn, part) in parts {
                    let sent = patch(gate(turn + 1), &session, ALICE, part, |curl, file| {
                        let curl = curl.argument(VERSIONS[(number + turn) / 2 % 2]);
                        if (number + turn) % 3 == 0 { curl.chunked_file(file) } else { curl.body_file(file) }
                    });
                    assert_eq!(sent.status, 202, "{number}, part {turn}: {}", sent.text());
                    session = path(&sent);
                    let asked = gate(turn).curl(&session).user(ALICE).send();
                    assert_eq!((asked.status, asked.header("range")), (204, sent.header("range")), "{number}");
                }
                let done = finish(gate(6), &session, &digest(&blob));
                assert_eq!(done.status, 201, "{number}: {}", done.text());
                let pulled = gate(7).curl(&path(&done)).user(ALICE).send();
                assert!(pulled.status == 200 && pulled.body == blob, "{number}: {}", pulled.status);
            });
        }
    });
    let opened = scene
        .registries
        .each_ref()
        .map(|registry| registry.acted().iter().filter(|acted| acted.method == "POST" && acted.status == 202).count());
    eprintln!("{uploads} uploads of {size} bytes, {opened:?} at each registry");
    assert_eq!(opened.iter().sum::<usize>(), uploads);
    assert!(opened.iter().all(|count| *count > 0), "both registries had their part: {opened:?}");
}

#[test]
fn a_session_is_for_its_own_user_repository_and_seal() {
    let scene = Scene::new();
    let [first, second] = &scene.gates;
    for _ in 0..2 {
        let session = open(first);
        let (before, seal) = session.split_once("_seal=").unwrap();
        let mut altered = seal.as_bytes().to_vec();
        for position in 0..altered.len() {
            let kept = altered[position];
            altered[position] = if kept == b'A' { b'B' } else { b'A' };
            let forged = format!("{before}_seal={}", String::from_utf8(altered.clone()).unwrap());
            if forged != session && position % 7 == 0 {
                assert_eq!(append(second, &forged, ALICE, b"x").status, 404, "{position} of {seal}");
            }
            altered[position] = kept;
        }
        for foreign in [before.trim_end_matches('&').to_owned(), session.replace("team-a/app", "team-a/other")] {
            assert_eq!(append(second, &foreign, ALICE, b"x").status, 404, "{foreign}");
        }
        assert_eq!(append(second, &session, ADMIN, b"x").status, 404, "somebody else's");
        let sent = append(second, &session, ALICE, b"whole");
        assert_eq!(sent.status, 202, "{}", sent.text());
        assert_eq!(finish(first, &path(&sent), &digest(b"whole")).status, 201);
    }
    let reached: Vec<_> = scene.registries.iter().flat_map(|registry| registry.acted_on("team-a/other")).collect();
    assert_eq!(reached, []);
}

#[test]
fn other_keys_open_no_session() {
    let scene = Scene::new();
    let [first, second] = &scene.registries;
    let stranger = gate(&[first, second], &TokenKeys::new(&["P-256"]));
    assert_eq!(append(&stranger, &open(&scene.gates[0]), ALICE, b"x").status, 404);
}

#[test]
fn a_session_waits_for_its_server() {
    let mut scene = Scene::new();
    let [gate, other] = &scene.gates;
    let session = open(gate);
    let sent = append(other, &session, ALICE, b"one ");
    assert_eq!(sent.status, 202, "{}", sent.text());
    let at = scene.registries.iter().position(|registry| registry.acted().iter().any(|acted| acted.method == "POST"));
    scene.registries[at.unwrap()].stop();
    for gate in &scene.gates {
        let refused = append(gate, &path(&sent), ALICE, b"two");
        assert!(matches!(refused.status, 502 | 503), "{} {}", refused.status, refused.text());
        assert!(!refused.code().is_empty());
    }
    // New ones are opened at the other.
    let fresh = open(&scene.gates[0]);
    assert_eq!(append(&scene.gates[1], &fresh, ALICE, b"x").status, 202);
    scene.registries[at.unwrap()].start_again();
    let more = append(&scene.gates[0], &path(&sent), ALICE, b"two");
    assert_eq!(more.status, 202, "{}", more.text());
    assert_eq!(finish(&scene.gates[1], &path(&more), &digest(b"one two")).status, 201);
}
