//! Debian's Notary server and its client.

use std::{env, fs, path::PathBuf, process::Command};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Done, Login, Pki, Process, http_get, ports::free_port, run};

/// A running server that lets everybody do everything.
pub(crate) struct NotaryServer {
    process: Process,
    /// What `notary` says for it.
    pub(crate) url: String,
    _dir: TempDir,
}

impl NotaryServer {
    pub(crate) fn start() -> Self {
        for _ in 0..5 {
            let dir = tempfile::tempdir().unwrap();
            let port = free_port();
            let config = json!({
                "server": { "http_addr": format!("127.0.0.1:{port}") },
                "trust_service": { "type": "local" },
                "logging": { "level": "info" },
                "storage": { "backend": "memory" },
            });
            let file = dir.path().join("server.json");
            fs::write(&file, config.to_string()).unwrap();
            let mut command = Command::new("notary-server");
            command.env_clear().envs(env::var_os("PATH").map(|path| ("PATH", path))).arg("-config").arg(&file);
            let mut process = Process::start("notary-server", &mut command, &dir.path().join("server.log"));
            let mut ended = false;
            super::eventually("notary-server answers", || {
                ended = process.ended().is_some();
                ended || http_get(port, "/_notary_server/health").is_some()
            });
            if !ended {
                return Self { process, url: format!("http://127.0.0.1:{port}"), _dir: dir };
            }
            assert!(process.log().contains("address already in use"), "notary-server ended:\n{}", process.log());
        }
        panic!("notary-server found no free port five times");
    }

    /// What it acted on so far, probes left out, as `METHOD target`.
    pub(crate) fn acted(&self) -> Vec<String> {
        let line = |line: &str| -> Option<String> {
            let line: Value = serde_json::from_str(line).ok()?;
            let said = |key: &str| line[key].as_str().map(str::to_owned);
            let (method, target) = (said("http.request.method")?, said("http.request.uri")?);
            let probe = line["http.request.useragent"] == "portcullis-health";
            (line["msg"] == "response completed" && !probe).then(|| format!("{method} {target}"))
        };
        self.process.log().lines().filter_map(line).collect()
    }
}

/// The `notary` command with a folder of keys and of what it trusts.
pub(crate) struct Notary {
    dir: TempDir,
    server: String,
    ca: PathBuf,
    login: Option<Login>,
}

impl Notary {
    pub(crate) fn new(server: &str, pki: &Pki, login: Option<Login>) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), server: server.to_owned(), ca: pki.ca_file(), login }
    }

    /// The same keys and the same memory in the hands of another.
    pub(crate) fn in_the_hands_of(mut self, login: Option<Login>) -> Self {
        self.login = login;
        self
    }

    pub(crate) fn file(&self, content: &str) -> PathBuf {
        let file = self.dir.path().join("payload");
        fs::write(&file, content).unwrap();
        file
    }

    pub(crate) fn ask(&self, arguments: &[&str]) -> Done {
        let mut command = Command::new("notary");
        // SSL_CERT_* would bring other roots in.
        command.env_clear().envs(env::var_os("PATH").map(|path| ("PATH", path))).env("HOME", self.dir.path());
        for role in ["ROOT", "TARGETS", "SNAPSHOT", "DELEGATION"] {
            command.env(format!("NOTARY_{role}_PASSPHRASE"), "a passphrase of a test");
        }
        if let Some(login) = self.login {
            command.env("NOTARY_AUTH", STANDARD.encode(format!("{}:{}", login.name, login.password)));
        }
        command.arg("-s").arg(&self.server).arg("-d").arg(self.dir.path().join("trust"));
        let done = run(command.arg("--tlscacert").arg(&self.ca).args(arguments), "\n\n");
        // It says on standard output what went wrong.
        Done { stderr: format!("{}{}", done.stderr, done.stdout), ..done }
    }

    /// Makes a collection with one signed file `v1` and publishes it.
    pub(crate) fn sign(&self, gun: &str, content: &str) -> Done {
        let file = self.file(content);
        for stage in [&["init", gun][..], &["add", gun, "v1", file.to_str().unwrap()]] {
            let done = self.ask(stage);
            if !done.success {
                return done;
            }
        }
        self.ask(&["publish", gun])
    }

    /// Whether this content is what was signed as `v1`.
    pub(crate) fn verify(&self, gun: &str, content: &str) -> Done {
        let file = self.file(content);
        self.ask(&["verify", gun, "v1", "-i", file.to_str().unwrap(), "-q"])
    }
}
