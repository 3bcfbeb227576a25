//! The product: its real binary with a configuration of the default shape and the test's changes.

mod setup;

pub(crate) use setup::Setup;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    thread,
    time::Duration,
};

use portcullis::{
    config::Config,
    registry::Route,
    token::{self, Keys, Sealed, Seals},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use self::setup::{await_sign, copy_binary, own_binary, serve};
use super::{Curl, Login, Pki, Process, Registry, Response, eventually, http_get};

/// The product.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_portcullis");

/// A command with the product's binary and nothing of the environment but PATH.
pub(crate) fn portcullis() -> Command {
    program(Path::new(BINARY))
}

fn program(path: &Path) -> Command {
    let mut command = Command::new(path);
    command.env_clear().envs(env::var_os("PATH").map(|path| ("PATH", path)));
    command
}

/// A running gate.
pub(crate) struct Portcullis {
    process: Process,
    dir: TempDir,
    pki: Pki,
    host: String,
    port: u16,
    http: u16,
    admin: u16,
    sign: &'static str,
}

impl Portcullis {
    /// In front of a registry, with the default configuration.
    pub(crate) fn start(registry: &Registry) -> Self {
        Self::before(registry).start()
    }

    pub(crate) fn before(registry: &Registry) -> Setup {
        Self::before_upstream(json!({ "servers": [{ "url": registry.url }] }))
    }

    /// In front of something that is no registry and hears what tests count: no probe comes in between.
    pub(crate) fn before_url(url: &str) -> Setup {
        Self::before_upstream(json!({ "servers": [{ "url": url }], "health": { "interval": "1d" } }))
    }

    /// In front of an upstream as the configuration has it.
    pub(crate) fn before_upstream(upstream: Value) -> Setup {
        Setup::before(upstream)
    }

    /// `localhost:PORT`, as image names begin.
    pub(crate) fn host(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The plain port.
    pub(crate) fn http_port(&self) -> u16 {
        self.http
    }

    pub(crate) fn admin_port(&self) -> u16 {
        self.admin
    }

    pub(crate) fn url(&self, path: &str) -> String {
        self.url_of(&self.host, path)
    }

    /// The same gate by another of its names.
    pub(crate) fn url_of(&self, host: &str, path: &str) -> String {
        format!("https://{host}:{}{path}", self.port)
    }

    /// How skopeo names a repository's tag.
    pub(crate) fn image(&self, repository: &str) -> String {
        format!("docker://{}/{repository}:v1", self.host())
    }

    pub(crate) fn pki(&self) -> &Pki {
        &self.pki
    }

    /// The folder of its configuration.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn htpasswd(&self) -> PathBuf {
        self.dir.path().join("htpasswd")
    }

    pub(crate) fn configuration(&self) -> PathBuf {
        self.dir.path().join("portcullis.yml")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Sends a signal by its short name.
    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Puts another configuration in the place of the one that is there, whole at any moment; nothing reads it yet.
    pub(crate) fn write_configuration(&self, text: &str) {
        let written = self.dir.path().join("portcullis.yml.new");
        fs::write(&written, text).unwrap();
        fs::rename(written, self.configuration()).unwrap();
    }

    /// Its processes that run: more than one while one takes the place of the other.
    pub(crate) fn running(&mut self) -> Vec<u32> {
        self.process.running()
    }

    /// A new binary in the place of the one that it was started from; it was started from one of its own.
    pub(crate) fn write_binary(&self, from: &Path) {
        let written = self.binary().with_extension("new");
        copy_binary(from, &written);
        fs::rename(written, self.binary()).unwrap();
    }

    /// Where `Setup::with_own_binary` puts it.
    fn binary(&self) -> PathBuf {
        own_binary(self.dir.path())
    }

    /// Has a new process of the binary at its path take its place, and returns once that serves.
    pub(crate) fn upgrade(&self) {
        let before = self.pid();
        self.signal("USR2");
        let mut now = before;
        eventually("another process serves", || {
            let status = http_get(self.admin, "/status").expect("the admin address answers all the time").json();
            now = u32::try_from(status["pid"].as_u64().expect("the number of the process")).unwrap();
            now != before
        });
        self.process.follow(now);
    }

    /// What /status says.
    pub(crate) fn status(&self) -> Value {
        self.admin("/status").json()
    }

    /// Changes its configuration in place; nothing reads it yet but who looks at its content.
    pub(crate) fn change_configuration(&self, change: impl FnOnce(&mut Value)) {
        let mut config: Value = serde_json::from_slice(&fs::read(self.configuration()).unwrap()).unwrap();
        change(&mut config);
        fs::write(self.configuration(), serde_json::to_string_pretty(&config).unwrap()).unwrap();
    }

    /// Changes its configuration and has it read again; returns once that is done, whatever came of it.
    pub(crate) fn reload_with(&mut self, change: impl FnOnce(&mut Value)) {
        self.reload_under_way(change);
    }

    /// The same while others use it.
    pub(crate) fn reload_under_way(&self, change: impl FnOnce(&mut Value)) {
        let ends = |log: &str| {
            log.lines()
                .filter(|line| line.contains(r#""because":"SIGHUP""#) || line.contains("because=\"SIGHUP\""))
                .count()
        };
        let before = ends(&self.log());
        self.change_configuration(change);
        self.process.signal("HUP");
        eventually("the configuration is read again", || ends(&self.log()) > before);
    }

    /// Ends it, changes its configuration, and starts it again at the same addresses.
    pub(crate) fn restart_with(&mut self, change: impl FnOnce(&mut Value)) {
        assert!(self.process.stop().expect("ends on SIGTERM").success());
        self.change_configuration(change);
        self.process = serve(self.dir.path(), &[]);
        assert!(await_sign(&mut self.process, self.admin, self.sign), "portcullis ended:\n{}", self.process.log());
    }

    /// After it ended, at the same addresses with the same configuration.
    pub(crate) fn start_again(&mut self) {
        self.process = serve(self.dir.path(), &[]);
        assert!(await_sign(&mut self.process, self.admin, self.sign), "portcullis ended:\n{}", self.process.log());
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it logged so far, and until a moment after: a thread of its own writes it.
    pub(crate) fn log(&self) -> String {
        thread::sleep(Duration::from_millis(50));
        self.process.log()
    }

    /// What it says from now on until the end, waiting for a line that holds `text`.
    pub(crate) fn until_it_says(&self, text: &str, act: impl FnOnce()) -> String {
        let before = self.process.log_size();
        act();
        let mut said = String::new();
        eventually(text, || {
            said = self.process.log_after(before);
            said.contains(text)
        });
        said
    }

    /// A request that trusts the gate's CA alone.
    pub(crate) fn curl(&self, path: &str) -> Curl {
        Curl::new(self.url(path)).trusting(self.pki.ca_file())
    }

    /// A token for this scope, as a client that was challenged asks for it.
    pub(crate) fn token(&self, login: Option<Login>, scope: &str) -> String {
        let request = self.curl(&format!("/token?service=localhost&scope={scope}"));
        let answer = login.map_or_else(|| request.clone(), |login| request.clone().user(login)).send();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["token"].as_str().expect("a token").to_owned()
    }

    /// The address of an upload session as the gate would have given it to `subject`, opened just now.
    pub(crate) fn sealed(&self, subject: Login, path: &str) -> String {
        self.sealed_at(subject, path, token::now())
    }

    /// The same, opened at this second since 1970.
    pub(crate) fn sealed_at(&self, subject: Login, path: &str, opened: u64) -> String {
        let route = Route::parse(&http::Method::PATCH, path.split('?').next().unwrap(), None, "/token").unwrap();
        let (repository, session) = route.upload_session().unwrap();
        let keys = Keys::load_or_create(&[self.dir().join("token.key")]).unwrap();
        let sealed = Sealed { service: &self.host, repository, id: &session.id, subject: subject.name };
        let config = Config::load(&self.configuration()).expect("the configuration is valid");
        let server = &config.registries[0].upstream.servers[0].url;
        let seal = Seals::new(Arc::new(keys)).seal(sealed, &server.to_string(), opened);
        format!("{path}{}_seal={}", if path.contains('?') { '&' } else { '?' }, seal.unwrap().as_str())
    }

    /// An answer of the admin address.
    pub(crate) fn admin(&self, path: &str) -> Response {
        http_get(self.admin, path).expect("the admin address answers")
    }

    /// What a metric counts, all its lines that hold `label` together.
    pub(crate) fn counted(&self, metric: &str, label: &str) -> f64 {
        let text = self.admin("/metrics").text();
        let of_metric = |line: &&str| line.strip_prefix(metric).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let lines = text.lines().filter(of_metric).filter(|line| line.contains(label));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    /// The most memory it ever had resident, in KiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}
