//! The command line, as a person and a script meet it.

mod acl;
mod certificates;
mod healthcheck;
mod tokens;

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Output, Stdio},
};

use crate::support::{ALICE, Pki, Portcullis, Registry, portcullis};

fn run(arguments: &[&str]) -> Output {
    portcullis().args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn run_with_input(arguments: &[&str], input: &str) -> Output {
    let mut command = portcullis();
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that refuses its arguments does not wait for its input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn all(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A folder with a valid configuration that listens nowhere yet.
fn folder(extra: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let leaf = Pki::new().issue_into(dir.path(), &["localhost"]);
    fs::write(dir.path().join("htpasswd"), crate::support::htpasswd_line(ALICE)).unwrap();
    let yaml = format!(
        r#"version: 1
listen:
  https: ["127.0.0.1:0"]
tls:
  certificates:
    - certificate_file: "{certificate}"
      key_file: "{key}"
registries:
  - hosts: ["localhost"]
    upstream: {{ servers: [{{ url: "http://127.0.0.1:5000" }}] }}
identity:
  groups: {{ team-a: ["alice"] }}
  providers:
    - htpasswd: {{ file: "htpasswd" }}
tokens:
  keys: ["token.key"]
access:
  grants:
    - name: "team-a works in its namespace"
      repositories: ["team-a/**"]
      except: ["team-a/release/**"]
      actions: [pull, push]
      to: ["group:team-a"]
{extra}"#,
        certificate = leaf.certificate.display(),
        key = leaf.key.display(),
    );
    fs::write(dir.path().join("portcullis.yml"), yaml).unwrap();
    dir
}

fn file(dir: &Path) -> String {
    dir.join("portcullis.yml").to_str().unwrap().to_owned()
}

#[test]
fn check_accepts_what_serve_would_take_and_makes_nothing() {
    let dir = folder("");
    let output = run(&["check", "-c", &file(dir.path())]);
    assert_eq!(output.status.code(), Some(0), "{}", all(&output));
    assert!(!dir.path().join("token.key").exists(), "check made a key");
}

#[test]
fn check_reports_every_problem_with_its_place() {
    let dir = folder("limits:\n  conections: 5\n  handshake: \"soon\"\nlog: { format: \"xml\" }\n");
    let yaml = file(dir.path());
    for command in ["check", "serve"] {
        let output = run(&[command, "-c", &yaml]);
        assert_eq!(output.status.code(), Some(78), "{}", all(&output));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let place = |word: &str| {
            let text = fs::read_to_string(&yaml).unwrap();
            let line = text.lines().position(|line| line.contains(word)).unwrap();
            format!("{yaml}:{}:", line + 1)
        };
        assert!(said.contains(&place("conections")), "{said}");
        assert!(said.contains("did you mean") && said.contains("connections"), "{said}");
        assert!(
            said.contains(&place("handshake")) && said.contains(&place("xml")),
            "every problem, not only the first: {said}"
        );
        for line in said.lines().filter(|line| line.starts_with(&yaml)) {
            let mut place = line[yaml.len() + 1..].splitn(3, ':');
            let numbers: Vec<u32> = place.by_ref().take(2).map(|number| number.parse().expect(line)).collect();
            assert!(numbers.len() == 2 && numbers[0] > 0, "{line}");
        }
    }
}

#[test]
fn check_names_files_that_are_not_usable() {
    for (name, content) in [("certificate", "not PEM"), ("certificate", "")] {
        let dir = folder("");
        let certificate = dir.path().join("localhost-0.crt");
        fs::write(&certificate, content).unwrap();
        let output = run(&["check", "-c", &file(dir.path())]);
        assert_eq!(output.status.code(), Some(78), "{}", all(&output));
        assert!(all(&output).contains("localhost-0.crt"), "{name}: {}", all(&output));
    }
    let output = run(&["check", "-c", "/nonexistent/portcullis.yml"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(all(&output).contains("/nonexistent/portcullis.yml"));
}

#[test]
fn usage_errors_are_2() {
    for arguments in [&["no-such-command"][..], &["serve", "--no-such-option"], &["acl", "explain"], &["quickstart"]] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", all(&output));
    }
}

#[test]
fn every_command_explains_itself() {
    for arguments in [
        &[][..],
        &["serve"],
        &["check"],
        &["hash"],
        &["healthcheck"],
        &["acl"],
        &["acl", "explain"],
        &["acl", "list"],
        &["acl", "test"],
        &["login-test"],
        &["cert"],
        &["cert", "status"],
        &["cert", "renew"],
        &["quickstart"],
        &["token"],
        &["token", "issue"],
        &["token", "inspect"],
        &["token", "keys"],
    ] {
        let words: Vec<&str> = arguments.iter().copied().chain(["--help"]).collect();
        let output = run(&words);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("Usage: portcullis"), "{said}");
        if let Some(last) = arguments.last() {
            assert!(said.contains(last), "{said}");
        }
    }
    let version = run(&["--version"]);
    assert_eq!(String::from_utf8_lossy(&version.stdout).trim(), concat!("portcullis ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_hashed_password_logs_in() {
    let output = run_with_input(&["hash", "--cost", "5", "dora"], "dora-password\n");
    assert!(output.status.success(), "{}", all(&output));
    let line = String::from_utf8(output.stdout).unwrap();
    assert_eq!(line.lines().count(), 1, "{line}");
    let hash = line.trim_end().strip_prefix("dora:").expect("user:hash");
    assert!(bcrypt::verify("dora-password", hash).unwrap());
    assert!(hash.starts_with("$2") && hash.contains("$05$"), "{hash}");

    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    fs::write(gate.htpasswd(), line).unwrap();
    let dora = crate::support::Login::new("dora", "dora-password");
    crate::support::eventually("dora is let in", || gate.curl("/v2/").user(dora).send().status == 200);
}

#[test]
fn hash_refuses_what_could_not_log_in() {
    for (user, password) in [("a:b", "x\n"), ("", "x\n"), ("dora", "\n"), ("dora", &*format!("{}\n", "x".repeat(73)))] {
        let output = run_with_input(&["hash", "--cost", "5", user], password);
        assert!(!output.status.success(), "{user:?} {password:?}: {}", all(&output));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn explain_says_which_grant_and_where() {
    let dir = folder("");
    let yaml = file(dir.path());
    let explain = |more: &[&str]| {
        let words: Vec<&str> = ["acl", "explain", "-c", &yaml].into_iter().chain(more.iter().copied()).collect();
        all(&run(&words))
    };
    let allowed = explain(&["--user", "alice", "push", "team-a/app"]);
    let line = fs::read_to_string(&yaml).unwrap().lines().position(|line| line.contains("team-a works")).unwrap() + 1;
    assert!(allowed.contains("ALLOW") && allowed.contains("team-a works in its namespace"), "{allowed}");
    assert!(allowed.contains(&format!("portcullis.yml:{line}")), "{allowed}");

    let excepted = explain(&["--user", "alice", "push", "team-a/release/app"]);
    assert!(excepted.contains("DENY") && !excepted.contains("ALLOW"), "{excepted}");
    assert!(explain(&["--user", "bob", "pull", "team-a/app"]).contains("DENY"));
    assert!(explain(&["--user", "alice", "delete", "team-a/app"]).contains("DENY"));
    assert!(explain(&["--user", "zoe", "--group", "team-a", "pull", "team-a/app"]).contains("ALLOW"));
    assert!(
        explain(&["--user", "alice", "push", "Team-A/app"]).to_lowercase().contains("name"),
        "a name that cannot be"
    );
}
