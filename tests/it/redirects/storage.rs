//! Object storage: nginx with TLS and ranges over the folder that a registry writes to.

use std::{fs, net::TcpStream, path::Path, process::Command, sync::Arc};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Pki, Process, Registry, eventually, free_port};

/// What its signed addresses end in.
pub(super) const SIGNATURE: &str = "X-Signature=5f1d7e84a0c3";

/// A running nginx. Its first port serves files by their path; its second redirects to a signed address of the first.
pub(super) struct Storage {
    process: Process,
    dir: TempDir,
    port: u16,
    signing: u16,
    secure: bool,
}

impl Storage {
    /// With TLS and a certificate for `localhost` and 127.0.0.1.
    pub(super) fn start(pki: &Pki, folder: &Path) -> Self {
        Self::try_often(Some(pki), folder, "")
    }

    /// Without TLS.
    pub(super) fn start_plain(folder: &Path) -> Self {
        Self::try_often(None, folder, "")
    }

    /// Without TLS, and a mebibyte takes it a second.
    pub(super) fn start_slow(folder: &Path) -> Self {
        Self::try_often(None, folder, "limit_rate 1m;")
    }

    fn try_often(pki: Option<&Pki>, folder: &Path, settings: &str) -> Self {
        let started = (0..5).find_map(|_| Self::attempt(pki, folder, settings));
        started.expect("nginx found no free port five times")
    }

    /// None where a port was taken in the meantime.
    fn attempt(pki: Option<&Pki>, folder: &Path, settings: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let [port, signing] = [free_port(), free_port()];
        let text = configuration(dir.path(), folder, pki, [port, signing], settings);
        fs::write(dir.path().join("nginx.conf"), text).unwrap();
        let process = serve(dir.path());
        let mut storage = Self { process, dir, port, signing, secure: pki.is_some() };
        let listens = storage.await_ports();
        assert!(listens || storage.process.log().contains("in use"), "nginx ended:\n{}", storage.process.log());
        listens.then_some(storage)
    }

    fn await_ports(&mut self) -> bool {
        let mut ended = false;
        eventually("nginx listens", || {
            ended = self.process.ended().is_some();
            ended || [self.port, self.signing].iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok())
        });
        !ended
    }

    pub(super) fn stop(&mut self) {
        self.process.stop();
    }

    pub(super) fn start_again(&mut self) {
        self.process.stop();
        self.process = serve(self.dir.path());
        assert!(self.await_ports(), "nginx ended:\n{}", self.process.log());
    }

    /// The origin that serves files, by this name for it.
    pub(super) fn origin(&self, host: &str) -> String {
        format!("{}://{host}:{}", if self.secure { "https" } else { "http" }, self.port)
    }

    /// The origin that redirects to signed addresses.
    pub(super) fn signing_origin(&self, host: &str) -> String {
        format!("{}://{host}:{}", if self.secure { "https" } else { "http" }, self.signing)
    }

    /// What it was asked so far, in the order of the ends of its answers.
    pub(super) fn heard(&self) -> Vec<Value> {
        let log = fs::read_to_string(self.dir.path().join("access.log")).unwrap_or_default();
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The first `count` requests; it writes a line only after its answer has ended.
    #[track_caller]
    pub(super) fn heard_all(&self, count: usize) -> Vec<Value> {
        eventually("nginx writes its log", || self.heard().len() >= count);
        let heard = self.heard();
        assert_eq!(heard.len(), count, "{heard:#?}");
        heard
    }
}

/// A registry that sends whoever wants a blob to this origin.
pub(super) fn redirecting(folder: &Arc<TempDir>, origin: String) -> Registry {
    Registry::setup()
        .storage(Arc::clone(folder))
        .with(move |config| {
            config["storage"]["redirect"]["disable"] = json!(false);
            config["middleware"]["storage"] = json!([{ "name": "redirect", "options": { "baseurl": origin } }]);
        })
        .start()
}

fn serve(dir: &Path) -> Process {
    let mut command = Command::new("nginx");
    command.arg("-e").arg(dir.join("error.log")).arg("-c").arg(dir.join("nginx.conf"));
    Process::start("nginx", &mut command, &dir.join("nginx.log"))
}

/// One process, so that nothing outlives it.
fn configuration(dir: &Path, folder: &Path, pki: Option<&Pki>, [port, signing]: [u16; 2], settings: &str) -> String {
    let (dir, folder) = (dir.display(), folder.display());
    let ssl = if pki.is_some() { " ssl" } else { "" };
    let scheme = if pki.is_some() { "https" } else { "http" };
    let certificate = pki.map_or_else(String::new, |pki| {
        let leaf = pki.issue(&["localhost", "127.0.0.1"]);
        format!("ssl_certificate {}; ssl_certificate_key {};", leaf.certificate.display(), leaf.key.display())
    });
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {dir}/{kind};\n"))
        .concat();
    let fields = ["request", "http_host", "http_authorization", "http_cookie", "http_range", "connection", "status"]
        .map(|name| format!("\"{name}\":\"${name}\""))
        .join(",");
    format!(
        r#"
daemon off;
master_process off;
pid {dir}/pid;
error_log {dir}/nginx.log warn;
events {{ worker_connections 256; }}
http {{
  {temporary}
  {certificate}
  log_format fields escape=json '{{{fields}}}';
  access_log {dir}/access.log fields;
  default_type text/html;
  {settings}
  server {{
    listen 127.0.0.1:{port}{ssl};
    location /docker/ {{ root {folder}; }}
    location /signed/ {{
      if ($args != "{SIGNATURE}") {{ return 403; }}
      alias {folder}/;
    }}
  }}
  server {{
    listen 127.0.0.1:{signing}{ssl};
    location / {{ return 307 {scheme}://$host:{port}/signed$uri?{SIGNATURE}; }}
  }}
}}
"#
    )
}
