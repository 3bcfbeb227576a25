//! The product: its real binary with a configuration of the default shape and the test's changes.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock},
};

use portcullis::{
    config::Config,
    registry::Route,
    token::{self, Keys, Sealed, Seals},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Change, Curl, Pki, Process, Registry, Response, eventually, http_get, ports::free_port};

/// Name and password of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Login {
    pub(crate) name: &'static str,
    pub(crate) password: &'static str,
}

impl Login {
    pub(crate) const fn new(name: &'static str, password: &'static str) -> Self {
        Self { name, password }
    }
}

/// In the group `team-a`.
pub(crate) const ALICE: Login = Login::new("alice", "alice's password");
/// In the group `team-b`.
pub(crate) const BOB: Login = Login::new("bob", "bob: with a colon");
/// In no group.
pub(crate) const CI: Login = Login::new("ci", "ci pässwörd");
/// May do everything.
pub(crate) const ADMIN: Login = Login::new("admin", "admin-password");

/// The product.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_portcullis");

const READY: &str = "/readyz";

fn own_binary(dir: &Path) -> PathBuf {
    dir.join("portcullis")
}

/// A command with the product's binary and nothing of the environment but PATH.
pub(crate) fn portcullis() -> Command {
    program(Path::new(BINARY))
}

fn program(path: &Path) -> Command {
    let mut command = Command::new(path);
    command.env_clear().envs(env::var_os("PATH").map(|path| ("PATH", path)));
    command
}

/// A line with bcrypt at a low cost.
pub(crate) fn htpasswd_line(login: Login) -> String {
    format!("{}:{}\n", login.name, bcrypt::hash(login.password, 5).unwrap())
}

/// The users of the default configuration.
pub(crate) fn default_htpasswd() -> &'static str {
    static LINES: OnceLock<String> = OnceLock::new();
    LINES.get_or_init(|| [ALICE, BOB, CI, ADMIN].map(htpasswd_line).concat())
}

/// A gate before it starts.
pub(crate) struct Setup {
    pki: Pki,
    upstream: Value,
    hosts: Vec<String>,
    changes: Vec<Change>,
    environment: Vec<(String, String)>,
    own_binary: bool,
    /// For https and http.
    ports: Option<[u16; 2]>,
    /// What says that it has started.
    sign: &'static str,
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
        Setup {
            pki: Pki::new(),
            upstream,
            hosts: ["localhost", "127.0.0.1", "registry.test"].map(String::from).to_vec(),
            changes: Vec::new(),
            environment: Vec::new(),
            own_binary: false,
            ports: None,
            sign: READY,
        }
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

    pub(crate) fn log(&self) -> String {
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

impl Setup {
    /// Changes the configuration; see `configuration` for what it starts from.
    pub(crate) fn with(mut self, change: impl Fn(&mut Value) + 'static) -> Self {
        self.changes.push(Box::new(change));
        self
    }

    /// Sets a variable of its environment, which is otherwise empty.
    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Changes the only registry's `upstream`.
    pub(crate) fn with_upstream(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.upstream);
        self
    }

    /// The CA that will sign its certificates.
    pub(crate) fn pki(&self) -> &Pki {
        &self.pki
    }

    /// A registry hears only what clients ask.
    pub(crate) fn without_probes(self) -> Self {
        self.with_upstream(|upstream| upstream["health"] = json!({ "interval": "1d" }))
    }

    /// The names it serves instead of the default ones; the first is the one that tests dial.
    pub(crate) fn hosts(mut self, hosts: &[&str]) -> Self {
        self.hosts = hosts.iter().copied().map(String::from).collect();
        self
    }

    /// Serves another registry beside the first, with a certificate of its own.
    pub(crate) fn with_second(self, host: &str, registry: &Registry) -> Self {
        let second = json!({ "hosts": [host], "upstream": { "servers": [{ "url": registry.url }] } });
        let leaf = self.pki().issue(&[host]);
        let entry = json!({ "certificate_file": leaf.certificate, "key_file": leaf.key });
        self.with(move |config| {
            config["registries"].as_array_mut().unwrap().push(second.clone());
            config["tls"]["certificates"].as_array_mut().unwrap().push(entry.clone());
        })
    }

    /// Runs a copy of the binary that lies in its folder and can be replaced.
    pub(crate) fn with_own_binary(self) -> Self {
        Self { own_binary: true, ..self }
    }

    /// Listens there, for https and http.
    pub(crate) fn ports(self, ports: [u16; 2]) -> Self {
        Self { ports: Some(ports), ..self }
    }

    /// Counts as started while there is something that keeps it from being ready.
    pub(crate) fn before_it_is_ready(self) -> Self {
        Self { sign: "/healthz", ..self }
    }

    pub(crate) fn start(self) -> Portcullis {
        let Self { pki, upstream, hosts, changes, environment, own_binary: own, ports, sign } = self;
        for _ in 0..5 {
            let dir = tempfile::tempdir().unwrap();
            let [port, http] = ports.unwrap_or_else(|| [free_port(), free_port()]);
            let admin = free_port();
            let mut config = configuration(&pki, &upstream, &hosts, [port, http, admin]);
            changes.iter().for_each(|change| change(&mut config));
            fs::write(dir.path().join("htpasswd"), default_htpasswd()).unwrap();
            let file = dir.path().join("portcullis.yml");
            fs::write(&file, serde_json::to_string_pretty(&config).unwrap()).unwrap();

            if own {
                copy_binary(Path::new(BINARY), &own_binary(dir.path()));
            }
            let mut process = serve(dir.path(), &environment);
            if await_sign(&mut process, admin, sign) {
                return Portcullis { process, dir, pki, host: hosts[0].clone(), port, http, admin, sign };
            }
            assert!(process.log().to_lowercase().contains("in use"), "portcullis ended:\n{}", process.log());
        }
        panic!("portcullis found no free port five times");
    }
}

/// By a process of its own: a child that another test starts meanwhile must not hold the file open for writing, since then
/// nobody can run it.
fn copy_binary(from: &Path, to: &Path) {
    assert!(Command::new("cp").args([from, to]).status().unwrap().success());
}

fn serve(dir: &Path, environment: &[(String, String)]) -> Process {
    let own = own_binary(dir);
    let mut command = if own.exists() { program(&own) } else { portcullis() };
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command.arg("serve").arg("-c").arg(dir.join("portcullis.yml"));
    Process::start("portcullis", &mut command, &dir.join("portcullis.log"))
}

/// False where the process ended instead.
fn await_sign(process: &mut Process, admin: u16, sign: &str) -> bool {
    let mut ended = false;
    eventually("portcullis has started", || {
        ended = process.ended().is_some();
        ended || http_get(admin, sign).is_some_and(|answer| answer.status == 200)
    });
    !ended
}

/// JSON, which is YAML.
fn configuration(pki: &Pki, upstream: &Value, hosts: &[String], [https, http, admin]: [u16; 3]) -> Value {
    let names: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let leaf = pki.issue(&names);
    json!({
        "version": 1,
        "listen": {
            "https": [format!("127.0.0.1:{https}")],
            "http": [format!("127.0.0.1:{http}")],
            "admin": format!("127.0.0.1:{admin}"),
        },
        "tls": { "certificates": [{ "certificate_file": leaf.certificate, "key_file": leaf.key, "default": true }] },
        "registries": [{ "hosts": hosts, "upstream": upstream }],
        "identity": {
            "groups": { "team-a": [ALICE.name], "team-b": [BOB.name] },
            "providers": [{ "htpasswd": { "file": "htpasswd" } }],
        },
        "tokens": { "keys": ["token.key"] },
        // Tests ask with wrong passwords more often than people do.
        "limits": { "failed_logins": { "count": 1000, "per": "5m" } },
        "access": { "grants": [
            { "name": "public images", "repositories": ["library/**"], "actions": ["pull"], "to": ["anyone"] },
            { "name": "team-a works in its namespace", "repositories": ["team-a/**"], "actions": ["pull", "push"], "to": ["group:team-a"] },
            { "name": "everybody has a home", "repositories": ["home/$user/**"], "actions": ["pull", "push", "delete"], "to": ["authenticated"] },
            { "name": "admin", "repositories": ["**"], "actions": ["pull", "push", "delete"], "to": ["user:admin"] },
        ] },
        "reload": { "watch": true, "interval": "200ms" },
        "shutdown": { "drain": "5s" },
    })
}
