//! A real web server (nginx) with a few static files, in the place of a web UI.

use std::{fs, os::unix::net::UnixStream, path::Path, process::Command};

use tempfile::TempDir;

use super::{Process, http_get, ports::free_port};

/// What a UI must not bring to a browser goes out with every answer.
const CONFIGURATION: &str = r#"
daemon off;
user root;
worker_processes 1;
pid DIR/nginx.pid;
error_log stderr warn;
events { worker_connections 256; }
http {
  client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/fastcgi;
  uwsgi_temp_path DIR/uwsgi; scgi_temp_path DIR/scgi;
  types { text/html html; text/javascript js; }
  gzip on; gzip_vary on; gzip_min_length 1; gzip_types text/javascript;
  map $http_user_agent $counted { default 1; portcullis-health 0; }
  log_format asked '$request|$http_authorization|$http_cookie';
  access_log DIR/access.log asked if=$counted;
  server {
    listen LISTEN;
    root DIR/files;
    add_header Set-Cookie "session=1" always;
    add_header Access-Control-Allow-Origin "*" always;
    add_header Content-Security-Policy "default-src 'self'" always;
    location = /private.html { return 401; }
    location = /elsewhere { return 302 /v2/secret/app/manifests/v1; }
  }
}
"#;

pub(crate) const INDEX: &str = "<!doctype html><title>a UI</title><script src=\"app.js\"></script>\n";

/// A running web server.
pub(crate) struct Site {
    process: Process,
    /// What `ui` says for it.
    pub(crate) url: String,
    dir: TempDir,
}

impl Site {
    pub(crate) fn start() -> Self {
        for _ in 0..5 {
            let port = free_port();
            let listen = format!("127.0.0.1:{port}");
            let url = format!("http://{listen}");
            if let Some(site) = Self::listening(files(), &listen, url, || http_get(port, "/ready").is_some()) {
                return site;
            }
        }
        panic!("nginx found no free port five times");
    }

    pub(crate) fn on_unix_socket() -> Self {
        let dir = files();
        let socket = dir.path().join("ui.sock");
        let url = format!("unix:{}", socket.display());
        let listens = || UnixStream::connect(&socket).is_ok();
        Self::listening(dir, &url, url.clone(), listens).expect("nginx listens on a socket")
    }

    /// None where it ended instead.
    fn listening(dir: TempDir, listen: &str, url: String, answers: impl Fn() -> bool) -> Option<Self> {
        let configuration = CONFIGURATION.replace("DIR", &dir.path().display().to_string()).replace("LISTEN", listen);
        fs::write(dir.path().join("nginx.conf"), configuration).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-p").arg(dir.path()).arg("-c").arg(dir.path().join("nginx.conf"));
        let mut process = Process::start("nginx", &mut command, &dir.path().join("nginx.log"));
        let mut ended = false;
        super::eventually("nginx answers", || {
            ended = process.ended().is_some();
            ended || answers()
        });
        if ended {
            let log = process.log();
            assert!(log.to_lowercase().contains("address already in use"), "nginx ended:\n{log}");
            return None;
        }
        Some(Self { process, url, dir })
    }

    pub(crate) fn stop(&mut self) {
        self.process.stop();
    }

    /// What it was asked so far: request lines, and behind each what came as `Authorization` and `Cookie`.
    pub(crate) fn asked(&self) -> Vec<String> {
        let log = fs::read_to_string(self.dir.path().join("access.log")).unwrap();
        log.lines().filter(|line| !line.starts_with("GET /ready ")).map(str::to_owned).collect()
    }
}

fn files() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join("files").join(name);
        fs::create_dir_all(path.parent().unwrap_or_else(|| Path::new("/"))).unwrap();
        fs::write(path, text).unwrap();
    };
    write("index.html", INDEX);
    write("app.js", &"// a script\n".repeat(100));
    write("docs/index.html", "<!doctype html><title>docs</title>\n");
    dir
}
