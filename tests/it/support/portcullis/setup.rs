//! What a gate is started with.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use super::{BINARY, Portcullis, portcullis, program};
use crate::support::{
    ALICE, BOB, Change, Pki, Process, Registry, default_htpasswd, eventually, http_get, ports::free_port,
};

const READY: &str = "/readyz";

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

impl Setup {
    /// In front of an upstream as the configuration has it.
    pub(super) fn before(upstream: Value) -> Self {
        Self {
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
pub(super) fn copy_binary(from: &Path, to: &Path) {
    assert!(Command::new("cp").args([from, to]).status().unwrap().success());
}

pub(super) fn serve(dir: &Path, environment: &[(String, String)]) -> Process {
    let own = own_binary(dir);
    let mut command = if own.exists() { program(&own) } else { portcullis() };
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command.arg("serve").arg("-c").arg(dir.join("portcullis.yml"));
    Process::start("portcullis", &mut command, &dir.join("portcullis.log"))
}

/// False where the process ended instead.
pub(super) fn await_sign(process: &mut Process, admin: u16, sign: &str) -> bool {
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

pub(super) fn own_binary(dir: &Path) -> PathBuf {
    dir.join("portcullis")
}
