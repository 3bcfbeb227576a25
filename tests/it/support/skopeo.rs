//! skopeo with an authentication file, a CA folder and an environment of its own.

use std::{env, fs, path::PathBuf, process::Command};

use tempfile::TempDir;

use super::{Done, Image, Login, Pki, run};

pub(crate) struct Skopeo {
    dir: TempDir,
    cert_dir: PathBuf,
}

impl Skopeo {
    /// Nobody is logged in.
    pub(crate) fn new(pki: &Pki) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("auth.json"), r#"{"auths":{}}"#).unwrap();
        Self { dir, cert_dir: pki.cert_dir() }
    }

    /// For what is no registry.
    pub(crate) fn local() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), cert_dir: PathBuf::new() }
    }

    /// Copies between folders and archives.
    pub(crate) fn convert(&self, from: &str, to: &str) -> Done {
        run(self.command().args(["--insecure-policy", "copy", "--quiet", from, to]), "")
    }

    /// Pushes an image to a registry without TLS, past the gate.
    pub(crate) fn push(&self, image: &Image, to: &str) -> Done {
        let mut command = self.command();
        command.args([
            "--insecure-policy",
            "copy",
            "--quiet",
            "--all",
            "--preserve-digests",
            "--dest-tls-verify=false",
        ]);
        run(command.arg(image.reference()).arg(format!("docker://{to}")), "")
    }

    /// Logged in, and so for every later command.
    pub(crate) fn logged_in(pki: &Pki, host: &str, login: Login) -> Self {
        let skopeo = Self::new(pki);
        skopeo.login(host, login).succeeded();
        skopeo
    }

    pub(crate) fn login(&self, host: &str, login: Login) -> Done {
        let mut command = self.command();
        command.arg("login").arg("--cert-dir").arg(&self.cert_dir);
        run(command.args(["--username", login.name, "--password-stdin", host]), login.password)
    }

    /// Copies every platform, without changing a byte.
    pub(crate) fn copy(&self, from: &str, to: &str) -> Done {
        let mut command = self.command();
        command.args(["--insecure-policy", "copy", "--quiet", "--all", "--preserve-digests"]);
        command.arg("--src-cert-dir").arg(&self.cert_dir).arg("--dest-cert-dir").arg(&self.cert_dir);
        run(command.arg(from).arg(to), "")
    }

    /// Any subcommand that takes `--cert-dir`: `inspect`, `list-tags`, `delete`.
    pub(crate) fn ask(&self, subcommand: &str, arguments: &[&str]) -> Done {
        let mut command = self.command();
        command.args(["--insecure-policy", subcommand, "--cert-dir"]).arg(&self.cert_dir);
        run(command.args(arguments), "")
    }

    fn command(&self) -> Command {
        let mut command = Command::new("skopeo");
        // SSL_CERT_* would bring other roots in.
        command.env_clear().envs(env::var_os("PATH").map(|path| ("PATH", path)));
        command.env("HOME", self.dir.path()).env("TMPDIR", self.dir.path()).env("XDG_RUNTIME_DIR", self.dir.path());
        command.env("REGISTRY_AUTH_FILE", self.dir.path().join("auth.json"));
        command
    }
}
