//! A real Prometheus that scrapes a gate and nothing else.

use std::{collections::BTreeMap, fs, process::Command};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Process, eventually, http_get, ports::free_port};

/// A running Prometheus.
pub(crate) struct Prometheus {
    process: Process,
    port: u16,
    dir: TempDir,
}

/// A series as it was scraped last.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Series {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

impl Series {
    pub(crate) fn name(&self) -> &str {
        &self.labels["__name__"]
    }
}

impl Prometheus {
    /// Scrapes this admin address five times a second.
    pub(crate) fn scraping(admin: u16) -> Self {
        for _ in 0..5 {
            let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
            let targets = [format!("127.0.0.1:{admin}")];
            let config = json!({
                "global": { "scrape_interval": "200ms", "scrape_timeout": "200ms" },
                "scrape_configs": [{ "job_name": "portcullis", "static_configs": [{ "targets": targets }] }],
            });
            // JSON is YAML.
            fs::write(dir.path().join("prometheus.yml"), config.to_string()).unwrap();
            let mut command = Command::new("prometheus");
            command.arg(format!("--config.file={}", dir.path().join("prometheus.yml").display()));
            command.arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()));
            command.arg(format!("--web.listen-address=127.0.0.1:{port}")).arg("--log.level=warn");
            let mut process = Process::start("prometheus", &mut command, &dir.path().join("prometheus.log"));
            let mut ended = false;
            eventually("prometheus is ready", || {
                ended = process.ended().is_some();
                ended || http_get(port, "/-/ready").is_some_and(|answer| answer.status == 200)
            });
            if !ended {
                return Self { process, port, dir };
            }
            assert!(process.log().contains("address already in use"), "prometheus ended:\n{}", process.log());
        }
        panic!("prometheus found no free port five times");
    }

    /// What a query says at this moment.
    pub(crate) fn query(&self, query: &str) -> Vec<Series> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = http_get(self.port, &format!("/api/v1/query?query={encoded}")).expect("prometheus answers").json();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer["data"]["result"].as_array().unwrap().iter().map(series).collect()
    }

    /// All series of the gate, once a scrape has been made from now on.
    pub(crate) fn next_scrape(&self) -> Vec<Series> {
        let stamp = || self.query("timestamp(up == 1)").first().map(|series| series.value);
        let before = stamp();
        // Whatever is under way was begun before.
        eventually("prometheus scrapes", || stamp() > before.map(|before| before + 0.3));
        self.query(r#"{job="portcullis"}"#)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Its data goes with the folder, and is nobody's.
        self.process.kill();
        assert!(self.dir.path().exists());
    }
}

fn series(result: &Value) -> Series {
    let labels = serde_json::from_value(result["metric"].clone()).unwrap();
    Series { labels, value: result["value"][1].as_str().unwrap().parse().unwrap() }
}
