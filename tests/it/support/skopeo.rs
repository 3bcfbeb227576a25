//! skopeo with an authentication file, a CA folder and an environment of its own.

use std::{fs, path::PathBuf, process::Command};

use tempfile::TempDir;

use super::{Done, Login, Pki, Place, run};

pub(crate) struct Skopeo {
    dir: TempDir,
    cert_dir: PathBuf,
    place: Place,
}

impl Skopeo {
    /// Nobody is logged in.
    pub(crate) fn new(pki: &Pki) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("auth.json"), r#"{"auths":{}}"#).unwrap();
        Self { dir, cert_dir: pki.cert_dir(), place: Place::here() }
    }

    /// For what is no registry.
    pub(crate) fn local() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), cert_dir: PathBuf::new(), place: Place::here() }
    }

    /// Copies between folders and archives.
    pub(crate) fn convert(&self, from: &str, to: &str) -> Done {
        run(self.command().args(["--insecure-policy", "copy", "--quiet", from, to]), "")
    }

    /// Logged in, and so for every later command.
    pub(crate) fn logged_in(pki: &Pki, host: &str, login: Login) -> Self {
        let skopeo = Self::new(pki);
        skopeo.login(host, login).succeeded();
        skopeo
    }

    /// Runs there from now on.
    pub(crate) fn at(mut self, place: &Place) -> Self {
        self.place = place.clone();
        self
    }

    pub(crate) fn login(&self, host: &str, login: Login) -> Done {
        let mut command = self.command();
        command.arg("login").arg("--cert-dir").arg(&self.cert_dir);
        run(command.args(["--username", login.name, "--password-stdin", host]), login.password)
    }

    /// Copies every platform, without changing a byte.
    pub(crate) fn copy(&self, from: &str, to: &str) -> Done {
        run(&mut self.copying(from, to), "")
    }

    /// The command that does the same.
    pub(crate) fn copying(&self, from: &str, to: &str) -> Command {
        let mut command = self.command();
        command.args(["--insecure-policy", "copy", "--quiet", "--all", "--preserve-digests"]);
        command.arg("--src-cert-dir").arg(&self.cert_dir).arg("--dest-cert-dir").arg(&self.cert_dir);
        command.arg(from).arg(to);
        command
    }

    /// Copies to a registry itself, past any gate.
    pub(crate) fn copy_in_plain(&self, from: &str, to: &str) -> Done {
        let mut command = self.command();
        command.args(["--insecure-policy", "copy", "--quiet", "--all", "--preserve-digests"]);
        run(command.args(["--dest-tls-verify=false", from, to]), "")
    }

    /// Any subcommand that takes `--cert-dir`: `inspect`, `list-tags`, `delete`.
    pub(crate) fn ask(&self, subcommand: &str, arguments: &[&str]) -> Done {
        let mut command = self.command();
        command.args(["--insecure-policy", subcommand, "--cert-dir"]).arg(&self.cert_dir);
        run(command.args(arguments), "")
    }

    fn command(&self) -> Command {
        // SSL_CERT_* would bring other roots in.
        let mut command = self.place.command("skopeo");
        command.env("HOME", self.dir.path()).env("TMPDIR", self.dir.path()).env("XDG_RUNTIME_DIR", self.dir.path());
        command.env("REGISTRY_AUTH_FILE", self.dir.path().join("auth.json"));
        command
    }
}
