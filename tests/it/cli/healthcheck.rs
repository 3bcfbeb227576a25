//! What a container's health check asks, and what it says where something is wrong.

use std::{fs, net::TcpListener, path::Path};

use serde_json::{Value, json};

use super::{all, run};
use crate::support::{Portcullis, Registry, eventually, free_port};

fn healthcheck(file: &Path, more: &[&str]) -> (Option<i32>, String) {
    let words = [&["healthcheck", "-c", file.to_str().unwrap()], more].concat();
    let output = run(&words);
    (output.status.code(), all(&output))
}

fn admin_port(config: &Value) -> String {
    config["listen"]["admin"].as_str().unwrap().rsplit_once(':').unwrap().1.to_owned()
}

#[test]
fn a_running_gate_is_healthy_wherever_its_admin_address_is() {
    let registry = Registry::start();
    for bound in ["127.0.0.1", "0.0.0.0", "[::]"] {
        let bind = move |config: &mut Value| {
            let port = admin_port(config);
            config["listen"]["admin"] = json!(format!("{bound}:{port}"));
        };
        let gate = Portcullis::before(&registry).with(bind).start();
        assert_eq!(healthcheck(&gate.configuration(), &[]), (Some(0), "ready\n".to_owned()), "{bound}");
        assert_eq!(healthcheck(&gate.configuration(), &["--live"]), (Some(0), "ok\n".to_owned()), "{bound}");
    }
}

#[test]
fn a_file_that_is_spoilt_while_the_gate_runs_does_not_make_it_ill() {
    let gate = Portcullis::start(&Registry::start());
    let text = fs::read_to_string(gate.configuration()).unwrap();
    fs::write(gate.configuration(), text.replacen("\"version\": 1", "\"version\": 2", 1)).unwrap();
    eventually("it says so", || {
        let (code, said) = healthcheck(&gate.configuration(), &[]);
        assert!(code == Some(0) && said.starts_with("ready\n"), "{said}");
        said.contains("the configuration that was read last is not in force")
    });

    let url = format!("http://127.0.0.1:{}", admin_port(&serde_json::from_str(&text).unwrap()));
    let missing = gate.dir().join("no-such-file.yml");
    assert_eq!(healthcheck(&missing, &["--url", &url]), (Some(0), "ready\n".to_owned()));
}

#[test]
fn a_gate_that_is_about_to_end_is_alive_and_not_ready() {
    let registry = Registry::start();
    let mut gate = Portcullis::before(&registry)
        .with(|config| config["shutdown"] = json!({ "delay": "1m", "drain": "1s" }))
        .start();
    gate.process().signal("TERM");
    eventually("it says that it is not ready", || {
        let (code, said) = healthcheck(&gate.configuration(), &[]);
        code == Some(1) && said.contains("/readyz") && said.contains("(503)")
    });
    assert_eq!(healthcheck(&gate.configuration(), &["--live"]).0, Some(0));
}

#[test]
fn what_is_wrong_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("portcullis.yml");
    let with_admin = |admin: &str| fs::write(&file, format!("listen: {{ admin: {admin} }}\n")).unwrap();

    with_admin("off");
    let (code, said) = healthcheck(&file, &[]);
    assert!(code == Some(1) && said.contains("listen.admin switched off"), "{said}");

    with_admin("\"127.0.0.1:0\"");
    let (code, said) = healthcheck(&file, &[]);
    assert!(code == Some(1) && said.contains("no fixed port") && said.contains("--url"), "{said}");

    let port = free_port();
    with_admin(&format!("\"127.0.0.1:{port}\""));
    let (code, said) = healthcheck(&file, &[]);
    assert!(code == Some(1) && said.contains(&format!("http://127.0.0.1:{port}/readyz")), "{said}");
    assert!(said.contains("cannot connect"), "{said}");

    // It accepts, since the kernel does, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    with_admin(&format!("\"{}\"", silent.local_addr().unwrap()));
    let (code, said) = healthcheck(&file, &["--timeout", "250ms"]);
    assert!(code == Some(1) && said.contains("no answer within 250ms"), "{said}");

    let registry = Registry::start();
    let (code, said) = healthcheck(&file, &["--url", &registry.url]);
    assert!(code == Some(1) && said.contains("/readyz") && said.contains("404"), "another server: {said}");
}
