//! skopeo with an authentication file, a CA folder and an environment of its own.

use std::{
    env, fs,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use super::{Login, Pki, process::missing};

pub(crate) struct Skopeo {
    dir: TempDir,
    cert_dir: PathBuf,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert!(self.success, "skopeo failed: {}", self.stderr);
        self
    }

    /// Failed, and said one of these.
    #[track_caller]
    pub(crate) fn failed_with(self, reasons: &[&str]) -> Self {
        assert!(!self.success, "skopeo succeeded: {}", self.stdout);
        let said = self.stderr.to_lowercase();
        assert!(reasons.iter().any(|reason| said.contains(reason)), "failed for another reason: {}", self.stderr);
        self
    }
}

impl Skopeo {
    /// Nobody is logged in.
    pub(crate) fn new(pki: &Pki) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("auth.json"), r#"{"auths":{}}"#).unwrap();
        Self { dir, cert_dir: pki.cert_dir() }
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
        command.args(["--username", login.name, "--password-stdin", host]).stdin(Stdio::piped());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| missing(&command, &error));
        child.stdin.take().unwrap().write_all(login.password.as_bytes()).unwrap();
        done(&child.wait_with_output().unwrap())
    }

    /// Copies every platform, without changing a byte.
    pub(crate) fn copy(&self, from: &str, to: &str) -> Done {
        let mut command = self.command();
        command.args(["--insecure-policy", "copy", "--quiet", "--all", "--preserve-digests"]);
        command.arg("--src-cert-dir").arg(&self.cert_dir).arg("--dest-cert-dir").arg(&self.cert_dir);
        self.run(command.arg(from).arg(to))
    }

    /// Any subcommand that takes `--cert-dir`: `inspect`, `list-tags`, `delete`.
    pub(crate) fn ask(&self, subcommand: &str, arguments: &[&str]) -> Done {
        let mut command = self.command();
        command.args(["--insecure-policy", subcommand, "--cert-dir"]).arg(&self.cert_dir);
        self.run(command.args(arguments))
    }

    fn run(&self, command: &mut Command) -> Done {
        let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| missing(command, &error));
        done(&output)
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

fn done(output: &std::process::Output) -> Done {
    Done {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
