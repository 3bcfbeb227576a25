//! Keys that sign tokens, made by openssl before any gate starts, and what the product publishes of them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{portcullis, process::missing};

/// Key files in the order of `tokens.keys`; they live as long as it does.
pub(crate) struct TokenKeys {
    dir: TempDir,
    pub(crate) files: Vec<PathBuf>,
}

impl TokenKeys {
    /// Of these kinds: `P-256`, `RSA`, `ED25519`.
    pub(crate) fn new(kinds: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = |number: usize| dir.path().join(format!("token-{number}.key"));
        let files = kinds.iter().enumerate().map(|(number, kind)| generate(kind, file(number))).collect();
        Self { dir, files }
    }

    /// `tokens.keys`.
    pub(crate) fn configured(&self) -> Value {
        json!(self.files)
    }

    /// What `portcullis token keys --format …` does with a configuration of these keys.
    pub(crate) fn publish(&self, format: &str) -> Output {
        let configuration = self.dir.path().join("portcullis.yml");
        let config = json!({
            "version": 1,
            "listen": {},
            "tls": { "certificates": [{ "certificate_file": "not.crt", "key_file": "used.key" }] },
            "registries": [{ "hosts": ["localhost"], "upstream": { "servers": [{ "url": "http://127.0.0.1:5000" }] } }],
            "identity": { "providers": [{ "htpasswd": { "file": "htpasswd" } }] },
            "tokens": { "keys": self.files },
        });
        fs::write(&configuration, config.to_string()).unwrap();
        let mut command = portcullis();
        command.args(["token", "keys", "--format", format, "-c"]).arg(&configuration).stdin(Stdio::null());
        command.output().unwrap()
    }

    /// A file with what is published, as an operator hands it to a registry.
    pub(crate) fn published(&self, format: &str) -> PathBuf {
        let output = self.publish(format);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let file = self.dir.path().join(format);
        fs::write(&file, output.stdout).unwrap();
        file
    }
}

fn generate(kind: &str, file: PathBuf) -> PathBuf {
    let arguments: &[&str] = match kind {
        "P-256" => &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        "RSA" => &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
        other => &["-algorithm", other],
    };
    openssl(&[&["genpkey"], arguments].concat(), None, Some(&file));
    file
}

/// The output of openssl, which must succeed.
pub(crate) fn openssl(arguments: &[&str], input: Option<&Path>, output: Option<&Path>) -> String {
    let mut command = Command::new("openssl");
    command.args(arguments).stdin(Stdio::null());
    for (option, file) in [("-in", input), ("-out", output)] {
        if let Some(file) = file {
            command.arg(option).arg(file);
        }
    }
    let done = command.output().unwrap_or_else(|error| missing(&command, &error));
    assert!(done.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}
