//! A real load balancer (HAProxy).

use std::{fs, process::Command};

use tempfile::TempDir;

use super::{Process, http_get, ports::free_port};

const GENERAL: &str = "
global
  log stdout format raw local0
defaults
  log global
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend status
  mode http
  bind 127.0.0.1:STATUS
  monitor-uri /alive
";

/// A running balancer.
pub(crate) struct Haproxy {
    process: Process,
    ports: Vec<u16>,
    _dir: TempDir,
}

impl Haproxy {
    /// With these sections, in which `PORT0`, `PORT1` and so on stand for free ports.
    pub(crate) fn start(sections: &str, ports: usize) -> Self {
        for _ in 0..5 {
            let dir = tempfile::tempdir().unwrap();
            let ports: Vec<u16> = (0..ports).map(|_| free_port()).collect();
            let status = free_port();
            let mut text = GENERAL.replace("STATUS", &status.to_string()) + sections;
            for (index, port) in ports.iter().enumerate() {
                text = text.replace(&format!("PORT{index}"), &port.to_string());
            }
            let file = dir.path().join("haproxy.cfg");
            fs::write(&file, text).unwrap();
            let mut command = Command::new("haproxy");
            command.arg("-db").arg("-f").arg(&file);
            let mut process = Process::start("haproxy", &mut command, &dir.path().join("haproxy.log"));
            let mut ended = false;
            super::eventually("haproxy answers", || {
                ended = process.ended().is_some();
                ended || http_get(status, "/alive").is_some()
            });
            if !ended {
                return Self { process, ports, _dir: dir };
            }
            let log = process.log();
            assert!(log.to_lowercase().contains("already in use"), "haproxy ended:\n{log}");
        }
        panic!("haproxy found no free port five times");
    }

    pub(crate) fn port(&self, index: usize) -> u16 {
        self.ports[index]
    }

    pub(crate) fn log(&self) -> String {
        self.process.log()
    }
}
