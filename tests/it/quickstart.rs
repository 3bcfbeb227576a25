//! `portcullis quickstart`, then `serve`: what it makes is what works.

use std::{fs, process::Stdio};

use crate::support::{Curl, Login, Process, Registry, eventually, portcullis};

#[test]
fn what_quickstart_makes_serves() {
    let registry = Registry::start();
    let dir = tempfile::tempdir().unwrap();
    let [https, admin] = [crate::support::free_port(), crate::support::free_port()].map(|port| port.to_string());
    let make = || {
        let mut command = portcullis();
        command.arg("quickstart").arg(dir.path());
        command.args(["--https-port", &https, "--admin-port", &admin, "--upstream", &registry.url, "--user", "olga"]);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let said = make();
    let password = fs::read_to_string(dir.path().join("password")).unwrap().trim_end().to_owned();
    assert!(said.contains(&password) && said.contains(&format!("docker login -u olga localhost:{https}")), "{said}");

    let mut command = portcullis();
    command.arg("serve").arg("-c").arg(dir.path().join("portcullis.yml"));
    let mut gate = Process::start("portcullis", &mut command, &dir.path().join("log"));
    let olga = Login::new("olga", password.clone().leak());
    let ask =
        |path: &str| Curl::new(format!("https://localhost:{https}{path}")).trusting(dir.path().join("tls/ca.crt"));
    eventually("the gate answers", || ask("/v2/").attempt().is_ok());

    assert_eq!(ask("/v2/").send().status, 401);
    assert_eq!(ask("/v2/").user(olga).send().status, 200);
    assert_eq!(ask("/v2/any/thing/blobs/uploads/").user(olga).method("POST").send().status, 202);
    for name in ["127.0.0.1", "[::1]"] {
        let answer = Curl::new(format!("https://{name}:{https}/v2/")).trusting(dir.path().join("tls/ca.crt")).send();
        assert_eq!(answer.status, 401, "{name}");
    }

    let again = make();
    assert!(!again.contains(&password) && again.contains("kept"), "{again}");
    assert_eq!(ask("/v2/").user(olga).send().status, 200);
    assert!(gate.stop().expect("ends on SIGTERM").success());
}
