//! What podman and buildah have in common: commands, storage, files.

use std::{fs, os::unix::fs::symlink, path::PathBuf, process::Command};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Done, Image, Login, Portcullis, private, run};

pub(super) struct Containers {
    host: String,
    program: &'static str,
    dir: TempDir,
    cert_dir: PathBuf,
    /// Of the image it took or pulled last.
    id: String,
}

impl Containers {
    pub(super) fn new(gate: &Portcullis, program: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("lib")).unwrap();
        fs::create_dir(dir.path().join("libpod")).unwrap();
        fs::write(dir.path().join("auth.json"), r#"{"auths":{}}"#).unwrap();
        let (run, graph) = (dir.path().join("run"), dir.path().join("graph"));
        // Quoted as JSON is, which TOML reads.
        let storage = format!("[storage]\ndriver = \"vfs\"\nrunroot = {run:?}\ngraphroot = {graph:?}\n");
        fs::write(dir.path().join("storage.conf"), storage).unwrap();
        Self { host: gate.host(), program, dir, cert_dir: gate.pki().cert_dir(), id: String::new() }
    }

    pub(super) fn take(&mut self, image: &Image) {
        // The path becomes a name in its storage, which has to be in lower case.
        let link = self.dir.path().join("taken");
        let _ = fs::remove_file(&link);
        symlink(image.layout(), &link).unwrap();
        let done = run(self.command().args(["pull", "--quiet", "oci:taken:v1"]), "").succeeded();
        self.id = done.stdout.trim().to_owned();
    }

    pub(super) fn login(&self, login: Login) -> Done {
        let mut command = self.command();
        command.arg("login").arg("--cert-dir").arg(&self.cert_dir);
        run(command.args(["--username", login.name, "--password-stdin", &self.host]), login.password)
    }

    pub(super) fn push(&self, repository: &str) -> Done {
        let mut command = self.command();
        command.args(["push", "--quiet", "--cert-dir"]).arg(&self.cert_dir);
        run(command.args([self.id.as_str(), &self.name(repository)]), "")
    }

    pub(super) fn pull(&mut self, repository: &str) -> Done {
        run(self.command().args(["rmi", "--all", "--force"]), "").succeeded();
        let mut command = self.command();
        command.args(["pull", "--quiet", "--cert-dir"]).arg(&self.cert_dir);
        let done = run(command.arg(self.name(repository)), "");
        self.id = done.stdout.trim().to_owned();
        done
    }

    /// What it says of the image it holds.
    pub(super) fn inspect(&self, arguments: &[&str]) -> Value {
        let done = run(self.command().args(arguments).arg(&self.id), "").succeeded();
        serde_json::from_str(&done.stdout).unwrap()
    }

    fn name(&self, repository: &str) -> String {
        format!("docker://{}/{repository}:v1", self.host)
    }

    fn command(&self) -> Command {
        let dir = self.dir.path();
        // Where a user other than root has all this below the home: which blobs are where, and locks.
        let mut command =
            private(&[(dir.join("lib"), "/var/lib/containers"), (dir.join("libpod"), "/run/libpod")], self.program);
        command.current_dir(dir).env("HOME", dir).env("TMPDIR", dir).env("XDG_RUNTIME_DIR", dir);
        command.env("CONTAINERS_STORAGE_CONF", dir.join("storage.conf")).env("BUILDAH_ISOLATION", "chroot");
        command.env("REGISTRY_AUTH_FILE", dir.join("auth.json"));
        command
    }
}
