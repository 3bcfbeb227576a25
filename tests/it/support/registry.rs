//! The real registry (docker-registry, or what `PORTCULLIS_TEST_REGISTRY` names).

use std::{
    env, fs,
    net::TcpStream,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Change, Login, Pki, Place, Process, Response, TokenKeys, htpasswd_line, ports::free_port, raw, run};

/// How a registry listens and whom it lets in. The default: plain HTTP on 127.0.0.1, for everybody.
#[derive(Default)]
pub(crate) struct Setup {
    storage: Option<Arc<TempDir>>,
    unix: bool,
    absolute_urls: bool,
    login: Option<Login>,
    tls: Option<(PathBuf, PathBuf)>,
    changes: Vec<Change>,
    place: Place,
}

/// A running registry.
pub(crate) struct Registry {
    process: Process,
    storage: Arc<TempDir>,
    /// What `upstream.servers[].url` says for it.
    pub(crate) url: String,
    address: Address,
    dir: TempDir,
    place: Place,
}

/// One line of the access log: what the registry acted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acted {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) status: u16,
}

impl Registry {
    pub(crate) fn start() -> Self {
        Self::setup().start()
    }

    pub(crate) fn setup() -> Setup {
        Setup::default()
    }

    /// For a second registry on the same storage.
    pub(crate) fn storage(&self) -> Arc<TempDir> {
        Arc::clone(&self.storage)
    }

    /// Its port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.url.rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// All that it wrote so far.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    pub(crate) fn stop(&mut self) {
        self.process.stop();
    }

    /// With the same address and storage.
    pub(crate) fn start_again(&mut self) {
        self.process.stop();
        self.process = serve(self.dir.path(), &self.place);
        assert!(self.address.await_answer(&mut self.process), "the registry ended:\n{}", self.process.log());
    }

    /// Collects garbage by its own command, beside whatever it does; what that said.
    pub(crate) fn collect(&self) -> String {
        let mut command = command(self.dir.path(), &self.place);
        run(command.arg("garbage-collect").arg(self.dir.path().join("registry.yml")), "").succeeded().stdout
    }

    /// SIGKILL, in the middle of whatever it does.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGSTOP: it takes connections and says nothing.
    pub(crate) fn pause(&self) {
        self.process.signal("STOP");
    }

    /// SIGCONT.
    pub(crate) fn go_on(&self) {
        self.process.signal("CONT");
    }

    /// Waits until it answers again.
    pub(crate) fn await_answer(&mut self) {
        assert!(self.address.await_answer(&mut self.process), "the registry ended:\n{}", self.process.log());
    }

    /// An answer of its own, past any gate.
    pub(crate) fn get(&self, path: &str) -> Option<Response> {
        raw::http_get_at(self.url.strip_prefix("http://")?, path)
    }

    /// All requests so far, health probes of `/v2/` left out.
    pub(crate) fn acted(&self) -> Vec<Acted> {
        self.process.log().lines().filter_map(parse_access_line).filter(|acted| acted.target != "/v2/").collect()
    }

    /// How many requests of any kind reached it so far, its own start included and probes of its health not.
    pub(crate) fn requests(&self) -> usize {
        let log = self.process.log();
        log.lines().filter(|line| !line.contains("portcullis-health")).filter_map(parse_access_line).count()
    }

    /// What it holds of an upload under way, in bytes.
    pub(crate) fn held_of_uploads(&self, repository: &str) -> u64 {
        let uploads = self.storage.path().join("docker/registry/v2/repositories").join(repository).join("_uploads");
        let sessions = fs::read_dir(uploads).into_iter().flatten().flatten();
        sessions.filter_map(|session| fs::metadata(session.path().join("data")).ok()).map(|data| data.len()).sum()
    }

    /// Makes repositories as folders, which is all that one needs to be in the catalog.
    pub(crate) fn hold(&self, repositories: &[String]) {
        for repository in repositories {
            let folder = self.storage.path().join("docker/registry/v2/repositories").join(repository);
            fs::create_dir_all(folder.join("_layers")).unwrap();
            fs::create_dir_all(folder.join("_manifests/tags")).unwrap();
        }
    }

    /// The requests on one repository.
    pub(crate) fn acted_on(&self, repository: &str) -> Vec<Acted> {
        let prefix = format!("/v2/{repository}/");
        self.acted().into_iter().filter(|acted| acted.target.starts_with(&prefix)).collect()
    }
}

impl Setup {
    pub(crate) fn storage(mut self, storage: Arc<TempDir>) -> Self {
        self.storage = Some(storage);
        self
    }

    pub(crate) fn on_unix_socket(mut self) -> Self {
        self.unix = true;
        self
    }

    /// Locations with scheme and host, built from the request, instead of relative ones.
    pub(crate) fn with_absolute_urls(mut self) -> Self {
        self.absolute_urls = true;
        self
    }

    /// The registry's own htpasswd authentication.
    pub(crate) fn with_login(mut self, login: Login) -> Self {
        self.login = Some(login);
        self
    }

    /// Runs there, and listens at its address.
    pub(crate) fn at(mut self, place: &Place) -> Self {
        self.place = place.clone();
        self
    }

    /// TLS with a certificate for `names`.
    pub(crate) fn with_tls(mut self, pki: &Pki, names: &[&str]) -> Self {
        let leaf = pki.issue(names);
        self.tls = Some((leaf.certificate, leaf.key));
        self
    }

    /// The registry's own token authentication: it takes what these keys signed.
    pub(crate) fn with_tokens(self, service: &'static str, issuer: &'static str, keys: &TokenKeys) -> Self {
        let [bundle, jwks] = ["certificates", "jwks"].map(|format| keys.published(format));
        self.with(move |config| {
            config["auth"]["token"] = json!({
                "realm": "https://registry.test/token",
                "service": service,
                "issuer": issuer,
                "rootcertbundle": bundle,
                // What another release (`PORTCULLIS_TEST_REGISTRY`) reads besides.
                "jwks": jwks,
                "signingalgorithms": ["ES256", "RS256"],
            });
        })
    }

    /// Any other change of its configuration.
    pub(crate) fn with(mut self, change: impl Fn(&mut Value) + 'static) -> Self {
        self.changes.push(Box::new(change));
        self
    }

    pub(crate) fn start(self) -> Registry {
        for _ in 0..5 {
            if let Some(registry) = self.attempt() {
                return registry;
            }
        }
        panic!("the registry found no free port five times");
    }

    /// None where the port was taken in the meantime.
    fn attempt(&self) -> Option<Registry> {
        let dir = tempfile::tempdir().unwrap();
        let storage = self.storage.clone().unwrap_or_else(|| Arc::new(tempfile::tempdir().unwrap()));
        let port = free_port();
        let address = match (self.unix, self.tls.is_some()) {
            (true, _) => Address::Unix(dir.path().join("registry.sock")),
            (false, true) => Address::Https(port),
            (false, false) => Address::Http(self.place.address.clone(), port),
        };
        self.write_configuration(dir.path(), storage.path(), &address);
        let mut process = serve(dir.path(), &self.place);
        if !address.await_answer(&mut process) {
            assert!(process.log().contains("address already in use"), "the registry ended:\n{}", process.log());
            return None;
        }
        Some(Registry { process, storage, url: address.url(), address, dir, place: self.place.clone() })
    }

    fn write_configuration(&self, dir: &Path, storage: &Path, address: &Address) {
        let mut config = json!({
            "version": 0.1,
            "log": { "level": "warn", "formatter": "text", "accesslog": { "disabled": false } },
            "storage": {
                "cache": { "blobdescriptor": "inmemory" },
                "filesystem": { "rootdirectory": storage },
                "delete": { "enabled": true },
                "redirect": { "disable": true },
                "maintenance": { "uploadpurging": { "enabled": false } },
            },
            "http": {
                "addr": address.listen(),
                "net": if self.unix { "unix" } else { "tcp" },
                "secret": "0123456789abcdef0123456789abcdef",
                "relativeurls": !self.absolute_urls,
                "headers": { "X-Content-Type-Options": ["nosniff"] },
            },
        });
        if let Some((certificate, key)) = &self.tls {
            config["http"]["tls"] = json!({ "certificate": certificate, "key": key });
        }
        if let Some(login) = self.login {
            let file = dir.join("htpasswd");
            fs::write(&file, htpasswd_line(login)).unwrap();
            config["auth"] = json!({ "htpasswd": { "realm": "upstream", "path": file } });
        }
        for change in &self.changes {
            change(&mut config);
        }
        fs::write(dir.join("registry.yml"), config.to_string()).unwrap();
    }
}

#[derive(Debug)]
enum Address {
    Http(String, u16),
    Https(u16),
    Unix(PathBuf),
}

impl Address {
    fn url(&self) -> String {
        match self {
            Self::Http(host, port) => format!("http://{host}:{port}"),
            Self::Https(port) => format!("https://localhost:{port}"),
            Self::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    fn listen(&self) -> String {
        match self {
            Self::Http(host, port) => format!("{host}:{port}"),
            Self::Https(port) => format!("127.0.0.1:{port}"),
            Self::Unix(path) => path.display().to_string(),
        }
    }

    /// False where the process ended instead.
    fn await_answer(&self, process: &mut Process) -> bool {
        let mut ended = false;
        super::eventually("the registry answers", || {
            ended = process.ended().is_some();
            ended
                || match self {
                    Self::Http(host, port) => raw::http_get_at(&format!("{host}:{port}"), "/v2/").is_some(),
                    // It listens when it is ready.
                    Self::Https(port) => TcpStream::connect(("127.0.0.1", *port)).is_ok(),
                    Self::Unix(path) => {
                        UnixStream::connect(path).is_ok_and(|stream| raw::status(stream, "/v2/").is_some())
                    }
                }
        });
        !ended
    }
}

fn serve(dir: &Path, place: &Place) -> Process {
    let mut command = command(dir, place);
    command.arg("serve").arg(dir.join("registry.yml"));
    Process::start("the registry", &mut command, &dir.join("registry.log"))
}

fn command(dir: &Path, place: &Place) -> Command {
    let program = env::var("PORTCULLIS_TEST_REGISTRY").unwrap_or_else(|_| "docker-registry".into());
    // REGISTRY_* overrides its configuration, and REGISTRY_AUTH_FILE belongs to skopeo.
    let mut command = place.command(&program);
    command.env("HOME", dir).env("OTEL_TRACES_EXPORTER", "none");
    command
}

/// `127.0.0.1 - - [01/Jan/2026:00:00:00 +0000] "GET /v2/a/b/tags/list HTTP/1.1" 200 12 "" "agent"`
fn parse_access_line(line: &str) -> Option<Acted> {
    let (_, rest) = line.split_once("] \"")?;
    let (request, rest) = rest.split_once("\" ")?;
    let mut words = request.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    words.next().filter(|version| version.starts_with("HTTP/"))?;
    let status = rest.split(' ').next()?.parse().ok()?;
    Some(Acted { method: method.to_owned(), target: target.to_owned(), status })
}
