//! `limits.buffers`: what bodies hold is bounded, who comes later waits, and nobody waits for ever.

use std::{
    fs,
    io::{ErrorKind, Read},
    net::{IpAddr, Ipv4Addr},
    sync::atomic::{AtomicU8, Ordering::Relaxed},
    thread::sleep,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::support::{
    ALICE, Asked, Ear, Http2, Portcullis, Registry, Response, Signal, Stream, Tls, digest, eventually,
};

const MIB: usize = 1 << 20;
/// More than what lies between the gate and a client that does not read.
const BLOB: usize = 16 * MIB;
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Longer than anybody waits for memory.
const PATIENCE: Duration = Duration::from_secs(20);

/// A registry with a blob and a manifest, and a gate before it that has little memory.
struct Scene {
    gate: Portcullis,
    _registry: Registry,
    blob: String,
}

impl Scene {
    fn new(buffers: &'static str) -> Self {
        let registry = Registry::start();
        let gate = Portcullis::before(&registry)
            .with(move |config| config["limits"] = json!({ "buffers": buffers, "connections_per_client": 1000 }))
            .start();
        let blob = push(&gate, &vec![7; BLOB]);
        let config = push(&gate, b"{}");
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2 },
            "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": blob, "size": BLOB }],
        });
        let file = gate.dir().join("manifest");
        fs::write(&file, manifest.to_string()).unwrap();
        let put = gate.curl("/v2/team-a/app/manifests/v1").user(ALICE).argument("--upload-file").argument(&file);
        let put = put.header(&format!("Content-Type: {MANIFEST}")).send();
        assert_eq!(put.status, 201, "{}", put.text());
        eventually("nothing is under way", || gauge(&gate, "portcullis_buffer_bytes") == 0);
        Self { gate, _registry: registry, blob: format!("/v2/team-a/app/blobs/{blob}") }
    }

    /// What is small is answered at once.
    fn assert_small_ones_go(&self) {
        let manifest = self.gate.curl("/v2/team-a/app/manifests/v1").user(ALICE).header(&format!("Accept: {MANIFEST}"));
        assert_eq!(manifest.argument("--max-time").argument("4").send().status, 200);
        assert_eq!(self.gate.curl(&self.blob).user(ALICE).method("HEAD").send().status, 200);
        let config = format!("/v2/team-a/app/blobs/{}", digest(b"{}"));
        assert_eq!(self.gate.curl(&config).user(ALICE).argument("--max-time").argument("4").send().text(), "{}");
        assert_eq!(self.gate.curl("/v2/team-a/app/tags/list").user(ALICE).send().status, 200);
        self.gate.token(Some(ALICE), "repository:team-a/app:pull");
    }

    /// Requests that stand still until there is no memory for one more; that one comes last.
    fn fill<'a>(&self, begin: impl Fn() -> Ongoing<'a>) -> (Vec<Ongoing<'a>>, Ongoing<'a>) {
        let mut stalled = Vec::new();
        loop {
            let taken = gauge(&self.gate, "portcullis_buffer_bytes");
            let next = begin();
            let mut waits = false;
            eventually("it has its place, or waits", || {
                waits = self.waiting() == 1;
                waits || gauge(&self.gate, "portcullis_buffer_bytes") > taken
            });
            if waits {
                return (stalled, next);
            }
            stalled.push(next);
            assert!(stalled.len() < 50, "there is no end to it");
        }
    }
    fn waiting(&self) -> u64 {
        gauge(&self.gate, "portcullis_buffer_waiting")
    }

    fn waited(&self, outcome: &str) -> u64 {
        gauge(&self.gate, &format!("portcullis_buffer_waits_total{{outcome=\"{outcome}\"}}"))
    }
}

/// The path of a new upload session.
fn session(gate: &Portcullis) -> String {
    let opened = gate.curl("/v2/team-a/app/blobs/uploads/").user(ALICE).method("POST").send();
    assert_eq!(opened.status, 202, "{}", opened.text());
    opened.header("location").unwrap().replace(&gate.url(""), "")
}

fn push(gate: &Portcullis, content: &[u8]) -> String {
    let (digest, file) = (digest(content), gate.dir().join("content"));
    fs::write(&file, content).unwrap();
    let path = format!("{}&digest={digest}", session(gate));
    let sent = gate.curl(&path).user(ALICE).method("PUT").body_file(&file).send();
    assert_eq!(sent.status, 201, "{}", sent.text());
    digest
}

/// The value behind a metric's name and labels; 0 where it is not there.
fn gauge(gate: &Portcullis, name: &str) -> u64 {
    let metrics = gate.admin("/metrics").text();
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    value.map_or(0, |value| value.parse().unwrap())
}

fn authorization() -> String {
    format!("Basic {}", STANDARD.encode(format!("{}:{}", ALICE.name, ALICE.password)))
}

/// A request that goes no further than the client lets it. The client leaves when it is dropped.
enum Ongoing<'a> {
    Http1(Box<Tls>),
    Http2(Stream<'a>),
}

impl Ongoing<'_> {
    /// The head of the answer, where it comes in this time; the body is left unread.
    fn head_within(&mut self, time: Duration) -> Option<Response> {
        match self {
            Self::Http1(client) => {
                client.patience(time);
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") {
                    match client.read(&mut byte) {
                        Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                        Ok(count) => assert_eq!(count, 1, "closed within a head"),
                        Err(error) if error.kind() == ErrorKind::WouldBlock && head.is_empty() => return None,
                        Err(error) => panic!("{error}"),
                    }
                    head.push(byte[0]);
                }
                Some(Response::parse_head(&String::from_utf8(head).unwrap()))
            }
            Self::Http2(stream) => stream.head_within(time),
        }
    }

    fn head(&mut self) -> Response {
        self.head_within(PATIENCE).expect("an answer")
    }

    fn send(&mut self, bytes: &[u8]) {
        match self {
            Self::Http1(client) => client.send(bytes),
            Self::Http2(stream) => stream.send(bytes),
        }
    }

    /// The status of the answer to a whole request.
    fn finish(self) -> u16 {
        match self {
            Self::Http1(mut client) => client.answer(false).unwrap().status,
            Self::Http2(stream) => stream.finish().unwrap().status,
        }
    }
}

/// Clients of one protocol; over HTTP/2 they share a connection, over HTTP/1.1 each has an address of its own.
struct Clients<'a> {
    scene: &'a Scene,
    http2: Option<Http2>,
    /// Where all of them are.
    address: Option<IpAddr>,
}

impl<'a> Clients<'a> {
    fn http1(scene: &'a Scene) -> Self {
        Self { scene, http2: None, address: None }
    }

    fn http2(scene: &'a Scene) -> Self {
        Self { scene, http2: Some(Http2::with_window(&scene.gate, 64 << 20)), address: None }
    }

    /// All at one address, over a connection each.
    fn at(scene: &'a Scene, address: [u8; 4]) -> Self {
        Self { scene, http2: None, address: Some(address.into()) }
    }

    fn source(&self) -> IpAddr {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        self.address.unwrap_or_else(|| Ipv4Addr::new(127, 0, 1, NEXT.fetch_add(1, Relaxed)).into())
    }

    fn pull(&self) -> Ongoing<'_> {
        match &self.http2 {
            None => self.http1_request("GET", &self.scene.blob, ""),
            Some(http2) => {
                Ongoing::Http2(http2.open_whole("GET", &self.scene.blob, &[("authorization", authorization())]))
            }
        }
    }

    /// An upload of 1 MiB, of which nothing is sent yet.
    fn push(&self, session: &str) -> Ongoing<'_> {
        match &self.http2 {
            None => self.http1_request("PATCH", session, &format!("Content-Length: {MIB}\r\n")),
            Some(http2) => {
                let headers = [("authorization", authorization()), ("content-length", MIB.to_string())];
                Ongoing::Http2(http2.open("PATCH", session, &headers))
            }
        }
    }

    fn http1_request(&self, method: &str, path: &str, more: &str) -> Ongoing<'static> {
        let gate = &self.scene.gate;
        let mut client = Tls::connect_from(self.source(), gate.pki(), gate.port(), "localhost");
        let authorization = authorization();
        client.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {authorization}\r\n{more}\r\n",
            gate.host()
        ));
        Ongoing::Http1(Box::new(client))
    }
}

/// Told to come back later.
fn assert_refused(scene: &Scene, answer: &Response) {
    assert_eq!(answer.status, 503, "{:?}", answer.headers);
    assert_eq!(answer.header("retry-after"), Some("5"));
    eventually("the log says why", || scene.gate.log().contains("\"refused\":\"buffers_full\""));
    assert_eq!(scene.waited("refused"), 1);
    assert_eq!(gauge(&scene.gate, "portcullis_refused_total{reason=\"buffers_full\"}"), 1);
}

fn downloads_take_turns(scene: &Scene, clients: &Clients<'_>) {
    let (mut stalled, mut next) = scene.fill(|| clients.pull());
    assert!(stalled.len() > 5, "{}", stalled.len());
    for served in &mut stalled {
        assert_eq!(served.head().status, 200);
    }
    drop(stalled.pop());
    assert_eq!(next.head().status, 200);
    assert_eq!((scene.waited("served"), scene.waiting()), (1, 0));

    // Nobody leaves now. One that waits and leaves is forgotten.
    let (more, last) = scene.fill(|| clients.pull());
    drop(last);
    eventually("it is forgotten", || scene.waited("left") == 1);
    let mut late = clients.pull();
    scene.assert_small_ones_go();
    assert_refused(scene, &late.head());

    drop((stalled, next, more, late));
    eventually("all memory is given back", || gauge(&scene.gate, "portcullis_buffer_bytes") == 0);
    let whole = scene.gate.curl(&scene.blob).user(ALICE).send();
    assert!(whole.status == 200 && whole.body == vec![7; BLOB]);
}

#[test]
fn downloads_take_turns_http1() {
    let scene = Scene::new("4MiB");
    downloads_take_turns(&scene, &Clients::http1(&scene));
}

/// All of them over one connection.
#[test]
fn downloads_take_turns_http2() {
    let scene = Scene::new("4MiB");
    downloads_take_turns(&scene, &Clients::http2(&scene));
}

fn uploads_take_turns(scene: &Scene, clients: &Clients<'_>) {
    let begin = || {
        let mut upload = clients.push(&session(&scene.gate));
        upload.send(&[7; 1000]);
        upload
    };
    let (mut stalled, mut next) = scene.fill(begin);
    assert!(stalled.len() > 3, "{}", stalled.len());
    drop(stalled.pop());
    eventually("it is the next one's turn", || scene.waited("served") == 1);
    next.send(&vec![7; MIB - 1000]);
    assert_eq!(next.finish(), 202);

    let (more, mut late) = scene.fill(begin);
    scene.assert_small_ones_go();
    assert_refused(scene, &late.head());
    let mut one = stalled.pop().unwrap();
    one.send(&vec![7; MIB - 1000]);
    assert_eq!(one.finish(), 202);
    drop((stalled, more, late));
}

#[test]
fn uploads_take_turns_http1() {
    let scene = Scene::new("4MiB");
    uploads_take_turns(&scene, &Clients::http1(&scene));
    eventually("all memory is given back", || gauge(&scene.gate, "portcullis_buffer_bytes") == 0);
}

#[test]
fn uploads_take_turns_http2() {
    let scene = Scene::new("4MiB");
    let clients = Clients::http2(&scene);
    uploads_take_turns(&scene, &clients);
    // The window is the connection's as long as it lives.
    eventually("only the window is left", || gauge(&scene.gate, "portcullis_buffer_bytes") == 128 * 1024);
    drop(clients);
    eventually("all memory is given back", || gauge(&scene.gate, "portcullis_buffer_bytes") == 0);
}

/// One client takes what it can; another still pulls at once, also while the first one waits for more.
fn others_go_on(greedy: &Clients<'_>) {
    const BUDGET: u64 = 16 << 20;
    /// Nobody waits for longer.
    const WAIT: Duration = Duration::from_secs(5);
    let scene = greedy.scene;
    // On a machine that stands still meanwhile nothing is seen: those who wait are refused first.
    for _ in 0..5 {
        let (stalled, mut next) = scene.fill(|| greedy.pull());
        let begun = Instant::now();
        let used = gauge(&scene.gate, "portcullis_buffer_bytes");
        assert!((BUDGET / 2..BUDGET * 5 / 8).contains(&used), "{used}");
        let mut more: Vec<_> = (0..10).map(|_| greedy.pull()).collect();
        let refused = scene.waited("refused");
        eventually("they wait", || scene.waiting() == 11 || scene.waited("refused") > refused);
        let whole = scene.gate.curl(&scene.blob).user(ALICE).argument("--interface").argument("127.0.0.2").send();
        assert!(whole.status == 200 && whole.body == vec![7; BLOB], "{}", whole.status);
        let waiting = scene.waiting();
        let seen = begun.elapsed() < WAIT;
        if seen {
            assert_eq!(waiting, 11, "it came while they waited");
        }
        for refused in more.iter_mut().chain([&mut next]) {
            assert_eq!(refused.head().status, 503);
        }
        drop((stalled, next, more));
        eventually("all memory is given back", || gauge(&scene.gate, "portcullis_buffer_bytes") == 0);
        if seen {
            return;
        }
    }
    panic!("too slow to see anything");
}

#[test]
fn one_address_leaves_memory_to_others_http1() {
    let scene = Scene::new("16MiB");
    others_go_on(&Clients::at(&scene, [127, 0, 0, 1]));
}

#[test]
fn one_address_leaves_memory_to_others_http2() {
    let scene = Scene::new("16MiB");
    others_go_on(&Clients::http2(&scene));
}

#[test]
fn a_changed_limit_is_in_force_for_those_who_wait() {
    let mut scene = Scene::new("4MiB");
    let limit = |scene: &Scene| gauge(&scene.gate, "portcullis_buffer_limit_bytes");
    assert_eq!(limit(&scene), 4 << 20);
    let pull = |scene: &Scene| Clients::http1(scene).http1_request("GET", &scene.blob, "");
    let (stalled, mut next) = scene.fill(|| pull(&scene));
    scene.gate.reload_with(|config| config["limits"]["buffers"] = json!("8MiB"));
    assert_eq!(next.head().status, 200);
    assert_eq!(limit(&scene), 8 << 20);

    // Less than is in use: nobody is cut, and nothing more is given.
    scene.gate.reload_with(|config| config["limits"]["buffers"] = json!("4MiB"));
    let mut late = pull(&scene);
    assert_eq!(late.head().status, 503);
    drop((stalled, next));
    eventually("all memory is given back", || gauge(&scene.gate, "portcullis_buffer_bytes") == 0);
    assert_eq!(pull(&scene).head().status, 200);

    // What cannot be used changes nothing.
    scene.gate.reload_with(|config| config["limits"]["buffers"] = json!("1MiB"));
    assert_eq!(limit(&scene), 4 << 20);
    assert!(scene.gate.log().contains("too little to serve a few transfers at a time: at least 4MiB"));
}

/// Four times as many clients that do not read make the gate hold no more.
fn memory_is_bounded(scene: &Scene, clients: &Clients<'_>) {
    const SOME: usize = 16;
    // In KiB: the budget, and generously what a connection costs without a body.
    const BUDGET: u64 = 4 << 10;
    const EACH: u64 = 150;
    let begun = scene.gate.peak_memory();
    let mut pulls = Vec::new();
    for count in [SOME, 4 * SOME] {
        let mut more: Vec<_> = (pulls.len()..count).map(|_| clients.pull()).collect();
        let refused = more.iter_mut().map(Ongoing::head).filter(|head| head.status == 503).count();
        assert!(refused >= count - SOME && refused < count - 5, "{refused} of {count}");
        pulls.append(&mut more);
        // Its bodies are under way, and stand still.
        sleep(Duration::from_secs(1));
        let grown = scene.gate.peak_memory() - begun;
        assert!(grown < BUDGET + EACH * count as u64, "{grown} KiB with {count} clients");
    }
}

#[test]
fn memory_is_bounded_http1() {
    let scene = Scene::new("4MiB");
    memory_is_bounded(&scene, &Clients::http1(&scene));
}

#[test]
fn memory_is_bounded_http2() {
    let scene = Scene::new("4MiB");
    memory_is_bounded(&scene, &Clients::http2(&scene));
}

/// What clients may send before anybody reads it comes out of the same memory.
#[test]
fn windows_are_bounded() {
    // Heads are taken, bodies are not.
    let stop = Signal::default();
    let ear = Ear::following({
        let stop = stop.clone();
        move |caller| {
            caller.request();
            stop.wait();
        }
    });
    let gate =
        Portcullis::before_url(&ear.url()).with(|config| config["limits"] = json!({ "buffers": "4MiB" })).start();
    let path = "/v2/team-a/app/blobs/uploads/5f4dcc3b-5aa7-45d6-9d83-27deb882cf99?_state=abc";
    let body = vec![7; BLOB];
    let headers = vec![("authorization", authorization())];
    let asked = Asked { method: "PATCH", path: gate.sealed(ALICE, path), headers, body: Some(&body) };
    let connections: Vec<Http2> = (0..3).map(|_| Http2::connect(&gate)).collect();
    let begun = gate.peak_memory();
    let uploads: Vec<_> = connections.iter().flat_map(|client| (0..4).map(|_| client.begin(&asked))).collect();
    eventually("those who wait are told to come back", || {
        let refused = gauge(&gate, "portcullis_refused_total{reason=\"buffers_full\"}");
        refused > 2 && gauge(&gate, "portcullis_requests_in_flight") + refused == 12
    });
    let grown = gate.peak_memory() - begun;
    // 192 MiB want to come. Besides the budget there is what each connection may send of bodies that wait, 64 KiB.
    assert!(grown < 8 << 10, "{grown} KiB");
    assert!(uploads.iter().any(|upload| !upload.is_over()), "nothing is under way");
    stop.raise();
}
