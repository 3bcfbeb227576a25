//! A gate whose users' passwords cost what is wanted, and a crowd that pulls.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread::{self, Scope},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::support::{
    ALICE, Image, Login, Portcullis, Registry, Response, Skopeo, Tls, default_htpasswd, dial, dialled,
};

pub(super) const PASSWORD: &str = "the password of all";
const PULLS: usize = 8;
/// A login may have to wait for all others.
const PATIENCE: Duration = Duration::from_secs(900);

pub(super) struct Scene {
    pub(super) gate: Portcullis,
    _registry: Registry,
    image: Image,
    token: String,
}

impl Scene {
    /// With so many users beside the usual ones.
    pub(super) fn new(users: usize) -> Self {
        let registry = Registry::start();
        let gate = Portcullis::before(&registry)
            .with(|config| {
                config["limits"] = json!({ "connections_per_client": 4000 });
                config["tokens"]["lifetime"] = json!("12h");
            })
            .start();
        let image = Image::new(70, &[dialled("STORM_BLOB", 1 << 20)]);
        let skopeo = Skopeo::logged_in(gate.pki(), &gate.host(), ALICE);
        skopeo.copy(&image.reference(), &gate.image("team-a/app")).succeeded();
        let token = gate.token(Some(ALICE), "repository:team-a/app:pull");
        let hash = bcrypt::hash(PASSWORD, u32::try_from(dial("STORM_COST", 5)).unwrap()).unwrap();
        let lines: String = (0..users).map(|number| format!("{}:{hash}\n", user(number))).collect();
        gate.until_it_says("the password file changed", || {
            fs::write(gate.dir().join("users"), default_htpasswd().to_owned() + &lines).unwrap();
            fs::rename(gate.dir().join("users"), gate.htpasswd()).unwrap();
        });
        Self { gate, _registry: registry, image, token }
    }

    /// A connection from 127.0.0.N.
    pub(super) fn connect(&self, last: u8) -> Client {
        let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
        let mut tls = Tls::connect_from(source, self.gate.pki(), self.gate.port(), "localhost");
        tls.patience(PATIENCE);
        Client { tls, host: self.gate.host() }
    }

    /// Bytes that all pulls together had in a second while something else goes on.
    pub(super) fn pulled_beside<T>(&self, act: impl FnOnce() -> T) -> (f64, T) {
        let (over, bytes) = (AtomicBool::new(false), AtomicU64::new(0));
        let begun = Instant::now();
        thread::scope(|scope| {
            let _over = crate::support::AtEnd(&over);
            (0..PULLS).for_each(|_| self.pull(scope, &over, &bytes));
            let done = act();
            #[allow(clippy::cast_precision_loss)]
            let rate = bytes.load(Ordering::SeqCst) as f64 / begun.elapsed().as_secs_f64();
            (rate, done)
        })
    }

    fn pull<'a>(&'a self, scope: &'a Scope<'a, '_>, over: &'a AtomicBool, bytes: &'a AtomicU64) {
        scope.spawn(|| {
            let mut client = self.connect(9);
            let path = format!("/v2/team-a/app/blobs/{}", self.image.layer);
            let size = fs::metadata(self.image.blob(&self.image.layer)).unwrap().len();
            while !over.load(Ordering::SeqCst) {
                let answer = client.ask(&path, &format!("Bearer {}", self.token));
                assert_eq!((answer.status, answer.body.len() as u64), (200, size));
                bytes.fetch_add(size, Ordering::SeqCst);
            }
        });
    }

    /// Passwords that were verified, with that outcome.
    pub(super) fn verified(&self, outcome: &str) -> u64 {
        let counted = self.gate.counted("portcullis_authentications_total", &format!("outcome=\"{outcome}\""));
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let counted = counted as u64;
        counted
    }

    /// KiB.
    pub(super) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.gate.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

pub(super) fn user(number: usize) -> String {
    format!("user-{number}")
}

/// One connection, kept.
pub(super) struct Client {
    tls: Tls,
    host: String,
}

impl Client {
    pub(super) fn log_in(&mut self, name: &str, password: &str) -> Response {
        self.ask("/token?service=localhost", &basic(name, password))
    }

    fn ask(&mut self, path: &str, authorization: &str) -> Response {
        let host = &self.host;
        self.tls.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {authorization}\r\n\r\n"));
        self.tls.answer(false).expect("an answer")
    }
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

/// MB/s.
pub(super) fn shown(rate: f64) -> String {
    format!("{:.1} MB/s", rate / 1e6)
}

/// The usual user of tests.
pub(super) const RIGHT: Login = ALICE;
