//! Random requests to a registry directly and through the gate: whatever the gate lets pass acts on the repository that
//! was judged, and within what the caller may.
//!
//! `PORTCULLIS_TEST_SEED` and `PORTCULLIS_TEST_CASES` choose other requests than the ones of every run.

mod acts;
mod generate;

use std::{
    collections::{BTreeMap, HashMap},
    env, fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::ClientConfig;
use serde_json::{Value, json};

use self::{
    acts::{Act, acts},
    generate::{Case, Class, Generator},
};
use crate::support::{ALICE, Portcullis, Registry, Tls, client_config, digest, eventually};

/// In the secret blob and the secret manifests, and nowhere else.
const MARK: &str = "MARK-7f3a";
const SECRET_BLOB: &str = "MARK-7f3a: the blob of what is secret";
const PUBLIC_BLOB: &str = "a blob of what is public";

const SEEDED: [&str; 13] = [
    "secret/app",
    "secret",
    "secret/blobs/uploads",
    "secret/manifests/v1",
    "pubx/app",
    "pub-secret/app",
    "a/blobs/uploads",
    "manifests/manifests",
    "tags/list",
    "pub/app",
    "pub/manifests",
    "pub/blobs/uploads",
    "pub/a/b/c",
];

/// What reaches the secret repositories when nothing stands in its way; else the test would prove nothing.
const DANGEROUS: [Class; 8] = [
    Class::Spelling,
    Class::Mutation,
    Class::Words,
    Class::Mount,
    Class::Form,
    Class::Multipart,
    Class::Absolute,
    Class::Framing,
];

/// Alice may do everything there and nothing elsewhere.
fn allowed(repository: &str) -> bool {
    repository == "pub" || repository.starts_with("pub/")
}

fn digest_of(text: &str) -> String {
    digest(text.as_bytes())
}

fn manifest(blob: &str) -> String {
    let config = json!({
        "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(blob), "size": blob.len(),
    });
    let mark = if blob == SECRET_BLOB { MARK } else { "none" };
    json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": [],
        "annotations": { "mark": mark },
    })
    .to_string()
}

#[test]
fn what_passes_acts_on_what_was_judged() {
    let number = |name, default| env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let seed = number("PORTCULLIS_TEST_SEED", 7);
    let mut generator = Generator::new(seed);
    let cases: Vec<Case> = (0..number("PORTCULLIS_TEST_CASES", 1500)).map(|_| generator.case()).collect();

    let (direct, behind) = (Side::start(), Side::start());
    let gate = Portcullis::before(&behind.registry)
        .with(|config| {
            config["access"]["grants"] = json!([{
                "name": "public", "repositories": ["pub/**"], "actions": ["pull", "push", "delete"], "to": ["user:alice"],
            }]);
        })
        .start();
    let outside = behind.files(|repository| !allowed(repository));
    let statuses = send_all(&cases, &direct, &behind, &gate);

    let reached = reached(&cases, &direct);
    for class in DANGEROUS {
        assert!(reached.contains_key(&class), "seed {seed}: nothing secret was reached by {class:?}: {reached:?}");
    }
    let passed = faults_of(&behind, &gate, &cases);
    assert!(passed > cases.len() / 20, "seed {seed}: only {passed} requests passed: {statuses:?}");

    assert!(outside == behind.files(|repository| !allowed(repository)), "seed {seed}: something outside was changed");
    let secrets = [SECRET_BLOB.to_owned(), manifest(SECRET_BLOB)].map(|text| digest_of(&text).replace("sha256:", ""));
    for file in behind.files(allowed).keys() {
        let linked = secrets.iter().any(|secret| file.to_string_lossy().contains(secret.as_str()));
        assert!(!linked, "seed {seed}: {} is linked", file.display());
    }
}

/// A registry with everything in it, and a session of an upload to `secret/app`.
struct Side {
    registry: Registry,
    session: String,
}

impl Side {
    fn start() -> Self {
        let registry = Registry::setup()
            .with(|config| {
                config["log"] = json!({ "level": "debug", "formatter": "json", "accesslog": { "disabled": false } });
                config["storage"].as_object_mut().unwrap().remove("cache");
            })
            .start();
        let mut side = Self { registry, session: String::new() };
        for repository in SEEDED {
            side.seed(repository, if allowed(repository) { PUBLIC_BLOB } else { SECRET_BLOB });
        }
        side.session = side.open("secret/app").rsplit_once('/').unwrap().1.to_owned();
        side
    }

    fn seed(&self, repository: &str, blob: &str) {
        let finish = format!("{}&digest={}", self.open(repository), digest_of(blob));
        assert!(self.ask("PUT", &finish, "application/octet-stream", blob).starts_with("HTTP/1.1 201"));
        for tag in ["v1", "list", "uploads"] {
            let target = format!("/v2/{repository}/manifests/{tag}");
            let kind = "application/vnd.oci.image.manifest.v1+json";
            let answer = self.ask("PUT", &target, kind, &manifest(blob));
            assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        }
    }

    /// Where an upload goes on.
    fn open(&self, repository: &str) -> String {
        let answer = self.ask("POST", &format!("/v2/{repository}/blobs/uploads/"), "text/plain", "");
        let location = answer.lines().find_map(|line| line.strip_prefix("Location: "));
        location.unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    fn ask(&self, method: &str, target: &str, kind: &str, body: &str) -> String {
        let length = body.len();
        let head =
            format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: seed\r\nConnection: close\r\n");
        let request = format!("{head}Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}");
        self.send(request.as_bytes(), PATIENCE)
    }

    fn send(&self, request: &[u8], patience: Duration) -> String {
        let mut socket = TcpStream::connect(("127.0.0.1", self.registry.port())).unwrap();
        socket.set_read_timeout(Some(patience)).unwrap();
        let _ = socket.write_all(request);
        all(&mut socket)
    }

    /// The files of the repositories that `which` chooses.
    fn files(&self, which: impl Fn(&str) -> bool) -> BTreeMap<PathBuf, Vec<u8>> {
        let storage = self.registry.storage();
        let root = storage.path().join("docker/registry/v2/repositories");
        let mut files = BTreeMap::new();
        collect(&root, &mut files);
        files.retain(|file, _| {
            let path = file.strip_prefix(&root).unwrap().to_str().unwrap();
            which(path.split("/_").next().unwrap_or_default())
        });
        files
    }
}

fn collect(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), files);
        } else {
            files.insert(entry.path(), fs::read(entry.path()).unwrap());
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(3);
/// For requests after which a second answer may come.
const SHORT_PATIENCE: Duration = Duration::from_millis(200);

/// What comes until the other end closes or says nothing more.
fn all(stream: &mut impl Read) -> String {
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut piece) {
        all.extend_from_slice(&piece[..count]);
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// How often the gate answered with which status. Each answer is looked at on its own.
fn send_all(cases: &[Case], direct: &Side, behind: &Side, gate: &Portcullis) -> BTreeMap<u16, usize> {
    let config = client_config(gate.pki(), &["http/1.1"]);
    let login = STANDARD.encode(format!("{}:{}", ALICE.name, ALICE.password));
    let login = format!("Authorization: Basic {login}\r\n");
    let lanes = 4;
    let send_lane = |lane: usize| {
        let mut statuses = Vec::new();
        for (number, case) in cases.iter().enumerate().skip(lane).step_by(lanes) {
            let patience = if case.class == Class::Framing { SHORT_PATIENCE } else { PATIENCE };
            let (agent, host) = (agent(number), format!("127.0.0.1:{}", direct.registry.port()));
            let plain = direct.send(&case.bytes(&host, &direct.session, "", &agent), patience);
            let bytes = case.bytes(&gate.host(), &behind.session, &login, &agent);
            let answer = send_tls(&config, gate.port(), &bytes, patience);
            check_answer(case, &plain, &answer);
            statuses.push(status(&answer));
        }
        statuses
    };
    let mut counts = BTreeMap::new();
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes).map(|lane| scope.spawn(move || send_lane(lane))).collect();
        for status in lanes.into_iter().flat_map(|lane| lane.join().unwrap()) {
            *counts.entry(status).or_default() += 1;
        }
    });
    counts
}

fn agent(number: usize) -> String {
    format!("case-{number}")
}

/// The number of the case that an agent names, itself or with the request smuggled in it.
fn number(agent: &str) -> Option<usize> {
    agent.strip_prefix("case-")?.split('-').next()?.parse().ok()
}

fn send_tls(config: &Arc<ClientConfig>, port: u16, bytes: &[u8], patience: Duration) -> String {
    let mut connection = Tls::configured(Arc::clone(config), port, "localhost").unwrap();
    connection.patience(patience);
    let _ = connection.try_send(bytes);
    all(&mut connection)
}

/// 0 for no answer.
fn status(answer: &str) -> u16 {
    answer.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn check_answer(case: &Case, direct: &str, answer: &str) {
    let told = || format!("{case:?}\ndirectly: {direct}\nthrough the gate: {answer}");
    assert!(!answer.contains(MARK), "a secret is told: {}", told());
    let status = status(answer);
    // A registry fails by itself where two lanes write the same link; the gate has no reason to.
    assert!(!matches!(status, 101 | 502..=504), "the gate fails: {}", told());
    assert!(!(200..300).contains(&status) || !answer.contains("\"secret"), "a name is told: {}", told());
}

/// How many requests of each class reached what is secret where nothing stood in their way.
fn reached(cases: &[Case], direct: &Side) -> BTreeMap<Class, usize> {
    let mut reached = BTreeMap::new();
    for act in acts(&direct.registry.log()).iter().filter(|act| act.repository.starts_with("secret")) {
        if let Some(number) = number(&act.agent) {
            *reached.entry(cases[number].class).or_default() += 1;
        }
    }
    reached
}

/// Panics where the registry acted on anything but what was judged; the number of requests that passed else.
fn faults_of(behind: &Side, gate: &Portcullis, cases: &[Case]) -> usize {
    // The gate walks the catalog's pages by itself and leaves out of the answer what the caller may not pull.
    let own = |act: &Act| act.agent.is_empty() && act.uri.split('?').next() == Some("/v2/_catalog");
    let all = acts(&behind.registry.log()).into_iter();
    let acts: Vec<Act> = all.filter(|act| act.agent != "seed" && !own(act)).collect();
    let stray = acts.iter().find(|act| number(&act.agent).is_none());
    assert!(stray.is_none(), "nobody asked for it: {stray:?}");
    let mut judged = HashMap::new();
    eventually("the gate has logged all", || {
        judged = judgements(&gate.log());
        acts.iter().all(|act| judged.contains_key(&act.agent))
    });
    for act in &acts {
        let case = number(&act.agent).map(|number| &cases[number]);
        let judgement = judged[&act.agent].as_deref();
        assert!(is_just(act, judgement), "{act:?} was judged as {judgement:?}: {case:?}");
    }
    let mut passed: Vec<&str> = acts.iter().map(|act| act.agent.as_str()).collect();
    passed.sort_unstable();
    passed.dedup();
    passed.len()
}

fn is_just(act: &Act, judged: Option<&str>) -> bool {
    let (path, query) = act.uri.split_once('?').unwrap_or((&act.uri, ""));
    let source = query.split('&').find_map(|pair| pair.strip_prefix("from=")).map(|from| from.replace("%2F", "/"));
    let canonical = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/:._=+-".contains(&byte));
    let is_judged = judged == Some(act.repository.as_str());
    canonical
        && !path.contains("//")
        && allowed(&act.repository)
        && (is_judged || source.as_deref() == Some(act.repository.as_str()))
}

/// The repository of each access line, by user agent.
fn judgements(log: &str) -> HashMap<String, Option<String>> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let text = |line: &Value, key: &str| line[key].as_str().map(str::to_owned);
    lines.filter_map(|line| Some((text(&line, "user_agent")?, text(&line, "repository")))).collect()
}
