//! docker: its engine, and the command line that talks to it.

use std::{fs, path::PathBuf, process::Command};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Client, story};
use crate::support::{
    ALICE, Daemon, Done, Image, Login, Portcullis, Registry, Skopeo, assert_installed, claims, htpasswd_line, run,
};

/// The engine trusts any certificate of what is at 127.0.0.1; this name is at `::1`.
const HOST: &str = "registry6.test";

#[test]
fn docker_agrees() {
    story::<Docker>(203);
}

/// A login is remembered by a refresh token, which docker exchanges by itself from then on; it ends by its id, and with
/// the password.
#[test]
fn docker_keeps_a_refresh_token_in_place_of_the_password() {
    let registry = Registry::start();
    let mut gate = Docker::gate(&registry);
    gate.reload_with(|config| config["tokens"]["refresh"] = json!({ "enabled": true }));
    let image = Image::new(210, &[1000]);
    let mut client = Docker::new(&gate);
    client.take(&image);
    client.login(ALICE).succeeded();
    let kept = client.kept(&gate);
    assert!(kept["identitytoken"].as_str().is_some_and(|token| token.starts_with("eyJ")), "{kept}");
    assert!(!kept.to_string().contains(&STANDARD.encode(format!("alice:{}", ALICE.password))), "{kept}");

    client.push("team-a/app").succeeded();
    client.pull("team-a/app").succeeded();
    client.assert_holds(&image, "team-a/app");
    client.push("library/other").failed_with(Docker::PUSH_DENIED);
    assert_eq!(client.kept(&gate)["identitytoken"], kept["identitytoken"], "it is never exchanged for another");

    let id = claims(kept["identitytoken"].as_str().unwrap())["jti"].clone();
    let used = |line: &str| line.contains(id.as_str().unwrap()) && line.contains(r#""route":"upload""#);
    assert!(gate.log().lines().any(used), "the log says by which token: {}", gate.log());
    gate.reload_with(|config| config["tokens"]["revoked"] = json!([id]));
    client.push("team-a/more").failed_with(&["unauthorized"]);
    gate.reload_with(|config| config["tokens"]["revoked"] = json!([]));
    client.push("team-a/more").succeeded();
    fs::write(gate.htpasswd(), htpasswd_line(Login::new("alice", "another"))).unwrap();
    gate.reload_with(|_| {});
    client.push("team-a/again").failed_with(&["unauthorized"]);
}

struct Docker {
    _engine: Daemon,
    dir: TempDir,
    host: String,
    /// What was taken or pulled last.
    source: String,
}

impl Client for Docker {
    const WRONG_PASSWORD: &'static [&'static str] = &["unauthorized: wrong user name or password"];
    const PUSH_DENIED: &'static [&'static str] = &["denied: push access to library/other is denied"];
    const ALL_DENIED: &'static [&'static str] = &["denied: push access to team-b/app is denied"];
    const LOGIN_TO_PULL: &'static [&'static str] = &["repository does not exist or may require 'docker login'"];
    const LOGIN_TO_PUSH: &'static [&'static str] = &["requested access to the resource is denied"];

    fn gate(registry: &Registry) -> Portcullis {
        let gate = Portcullis::before(registry).hosts(&[HOST, "localhost"]);
        gate.with(|config| {
            let addresses = config["listen"]["https"].as_array_mut().unwrap();
            let second = addresses[0].as_str().unwrap().replace("127.0.0.1", "[::1]");
            addresses.push(second.into());
        })
        .start()
    }

    fn new(gate: &Portcullis) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = engine(&dir, gate);
        Self { _engine: engine, dir, host: gate.host(), source: String::new() }
    }

    fn take(&mut self, image: &Image) {
        let archive = self.dir.path().join("image.tar");
        let _ = fs::remove_file(&archive);
        let into = format!("docker-archive:{}:taken/image:v1", archive.display());
        Skopeo::local().convert(&image.reference(), &into).succeeded();
        self.docker(&["load", "--quiet", "--input", archive.to_str().unwrap()]).succeeded();
        self.source = "taken/image:v1".to_owned();
    }

    fn login(&mut self, login: Login) -> Done {
        let mut command = command(&self.dir);
        run(command.args(["login", "--username", login.name, "--password-stdin", &self.host]), login.password)
    }

    fn push(&mut self, repository: &str) -> Done {
        let name = self.name(repository);
        self.docker(&["tag", &self.source, &name]).succeeded();
        self.docker(&["push", &name])
    }

    fn pull(&mut self, repository: &str) -> Done {
        self.docker(&["image", "prune", "--all", "--force"]).succeeded();
        self.source = self.name(repository);
        self.docker(&["pull", &self.source])
    }

    fn assert_holds(&self, image: &Image, repository: &str) {
        let told = self.docker(&["image", "inspect", &self.name(repository)]).succeeded().stdout;
        let held: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(held[0]["Id"], image.config());
        assert_eq!(held[0]["RootFS"]["Layers"], image.unpacked());
    }
}

impl Docker {
    fn name(&self, repository: &str) -> String {
        format!("{}/{repository}:v1", self.host)
    }

    /// What its configuration holds for the gate.
    fn kept(&self, gate: &Portcullis) -> Value {
        let config: Value =
            serde_json::from_slice(&fs::read(self.dir.path().join("client/config.json")).unwrap()).unwrap();
        config["auths"][gate.host()].clone()
    }

    fn docker(&self, arguments: &[&str]) -> Done {
        run(command(&self.dir).args(arguments), "")
    }
}

/// An engine without networks, with a certificate folder and a host table of its own.
fn engine(dir: &TempDir, gate: &Portcullis) -> Daemon {
    assert_installed("docker");
    let path = |name: &str| dir.path().join(name);
    let trusted = path("etc/certs.d").join(gate.host());
    fs::create_dir_all(&trusted).unwrap();
    fs::copy(gate.pki().ca_file(), trusted.join("ca.crt")).unwrap();
    fs::write(path("hosts"), format!("127.0.0.1 localhost\n::1 {HOST}\n")).unwrap();
    let settings = json!({
        "hosts": [socket(dir)],
        "data-root": path("data"), "exec-root": path("exec"), "pidfile": path("pid"),
        "storage-driver": "vfs",
        "bridge": "none", "iptables": false, "ip6tables": false, "ip-forward": false, "ip-masq": false,
    });
    fs::write(path("daemon.json"), settings.to_string()).unwrap();
    let mounts: [(PathBuf, &str); 2] = [(path("etc"), "/etc/docker"), (path("hosts"), "/etc/hosts")];
    let start = ["dockerd", "--config-file", path("daemon.json").to_str().unwrap()].map(str::to_owned);
    let start = start.each_ref().map(String::as_str);
    Daemon::start(dir.path(), &mounts, &start, || run(command(dir).arg("version"), "").success)
}

fn socket(dir: &TempDir) -> String {
    format!("unix://{}", dir.path().join("docker.sock").display())
}

fn command(dir: &TempDir) -> Command {
    let mut command = Command::new("docker");
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.env("HOME", dir.path()).env("DOCKER_CONFIG", dir.path().join("client")).env("DOCKER_HOST", socket(dir));
    command
}
