//! containerd, by its own command line.

use std::{fs, process::Command};

use tempfile::TempDir;

use super::{Client, story};
use crate::support::{Daemon, Done, Image, Login, Portcullis, Skopeo, assert_installed, run};

#[test]
fn containerd_agrees() {
    story::<Containerd>(204);
}

/// A containerd that knows where the gate is and whom to trust there.
pub(super) struct Service {
    _daemon: Daemon,
    dir: TempDir,
}

impl Service {
    pub(super) fn start(gate: &Portcullis) -> Self {
        assert_installed("ctr");
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let host = gate.host();
        fs::create_dir_all(path("certs.d").join(&host)).unwrap();
        // A host that answers 404 is asked once more, as the server.
        let trust = format!("ca = {:?}\n", gate.pki().ca_file());
        let hosts = format!(
            r#"server = "https://{host}"
{trust}[host."https://{host}"]
capabilities = ["pull", "resolve", "push"]
{trust}"#
        );
        fs::write(path("certs.d").join(&host).join("hosts.toml"), hosts).unwrap();
        fs::write(path("config.toml"), configuration(&dir)).unwrap();
        let config = path("config.toml").display().to_string();
        let daemon = Daemon::start(dir.path(), &[], &["containerd", "--config", &config], || {
            run(ctr(&dir).arg("version"), "").success
        });
        Self { _daemon: daemon, dir }
    }

    /// Where its services listen.
    pub(super) fn socket(&self) -> std::path::PathBuf {
        self.dir.path().join("containerd.sock")
    }
}

fn configuration(dir: &TempDir) -> String {
    let path = |name: &str| dir.path().join(name);
    let (root, state, socket, hosts) = (path("root"), path("state"), path("containerd.sock"), path("certs.d"));
    // Quoted as JSON is, which TOML reads. Without what needs kernel modules or writes to /opt.
    format!(
        r#"version = 2
root = {root:?}
state = {state:?}
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
address = {socket:?}
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = {hosts:?}
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
"#
    )
}

fn ctr(dir: &TempDir) -> Command {
    let mut command = Command::new("ctr");
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path))).env("HOME", dir.path());
    command.arg("--address").arg(dir.path().join("containerd.sock"));
    command
}

struct Containerd {
    service: Service,
    host: String,
    login: Option<Login>,
    /// What was taken or pulled last.
    source: String,
}

impl Client for Containerd {
    const WRONG_PASSWORD: &'static [&'static str] = &["401 unauthorized"];
    const PUSH_DENIED: &'static [&'static str] = &["403 forbidden"];
    const ALL_DENIED: &'static [&'static str] = &["403 forbidden"];
    const LOGIN_TO_PULL: &'static [&'static str] = &["insufficient_scope: authorization failed"];
    const LOGIN_TO_PUSH: &'static [&'static str] = &["insufficient_scope: authorization failed"];

    fn new(gate: &Portcullis) -> Self {
        Self { service: Service::start(gate), host: gate.host(), login: None, source: String::new() }
    }

    fn take(&mut self, image: &Image) {
        let archive = self.service.dir.path().join("image.tar");
        let _ = fs::remove_file(&archive);
        Skopeo::local().convert(&image.reference(), &format!("oci-archive:{}:v1", archive.display())).succeeded();
        let mut command = ctr(&self.service.dir);
        command.args(["images", "import", "--snapshotter", "native", "--base-name", "taken.test/image"]);
        run(command.arg(&archive), "").succeeded();
        self.source = "taken.test/image:v1".to_owned();
    }

    /// It keeps no login. Whether a password is right shows where its user may pull and nothing is.
    fn login(&mut self, login: Login) -> Done {
        self.login = Some(login);
        let mut done = self.remote("pull", &self.name(&format!("home/{}/nothing", login.name)));
        done.success |= done.stderr.contains("not found");
        done
    }

    fn push(&mut self, repository: &str) -> Done {
        let name = self.name(repository);
        run(ctr(&self.service.dir).args(["images", "tag", "--force", &self.source, &name]), "").succeeded();
        self.remote("push", &name)
    }

    fn pull(&mut self, repository: &str) -> Done {
        let held = run(ctr(&self.service.dir).args(["images", "list", "--quiet"]), "").succeeded().stdout;
        for name in held.lines() {
            run(ctr(&self.service.dir).args(["images", "remove", "--sync", name]), "").succeeded();
        }
        assert_eq!(run(ctr(&self.service.dir).args(["content", "list", "--quiet"]), "").succeeded().stdout, "");
        self.source = self.name(repository);
        self.remote("pull", &self.source)
    }

    fn assert_holds(&self, image: &Image, _repository: &str) {
        for digest in image.blobs().keys() {
            let digest = format!("sha256:{digest}");
            let done = run(ctr(&self.service.dir).args(["content", "get", &digest]), "").succeeded();
            let held = fs::read(image.blob(&digest)).unwrap();
            assert_eq!(done.stdout, String::from_utf8_lossy(&held), "{digest}");
        }
    }
}

impl Containerd {
    fn name(&self, repository: &str) -> String {
        format!("{}/{repository}:v1", self.host)
    }

    /// `pull` or `push`.
    fn remote(&self, verb: &str, name: &str) -> Done {
        let mut command = ctr(&self.service.dir);
        command.args(["images", verb, "--hosts-dir"]).arg(self.service.dir.path().join("certs.d"));
        if verb == "pull" {
            command.args(["--snapshotter", "native"]);
        }
        if let Some(login) = self.login {
            command.args(["--user", &format!("{}:{}", login.name, login.password)]);
        }
        run(command.arg(name), "")
    }
}
