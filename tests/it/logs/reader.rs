//! Who reads the log is slow, or not there.

use std::{
    io::Read as _,
    process::{Child, Command, Stdio},
    thread,
};

use super::lines;
use crate::support::{Portcullis, Registry, Tls, eventually, http_get, portcullis};

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// More lines than a pipe holds: all are served, and none is lost where they are read in the end.
#[test]
fn a_reader_that_is_stuck_stops_no_request_and_a_stop_loses_no_line() {
    const REQUESTS: usize = 300;
    let registry = Registry::start();
    let mut gate = Portcullis::start(&registry);
    assert!(gate.process().stop().unwrap().success());
    let mut command = portcullis();
    command.arg("serve").arg("-c").arg(gate.configuration()).stdin(Stdio::null()).stdout(Stdio::null());
    let mut second = Killed(command.stderr(Stdio::piped()).spawn().unwrap());
    eventually("it serves", || http_get(gate.admin_port(), "/readyz").is_some_and(|answer| answer.status == 200));
    let mut tls = Tls::connect(gate.pki(), gate.port(), "localhost");
    let agent = "x".repeat(250);
    for number in 0..REQUESTS {
        tls.send(format!(
            "GET /v2/library/{number}/tags/list HTTP/1.1\r\nHost: localhost\r\nUser-Agent: {agent}\r\n\r\n"
        ));
        assert_eq!(tls.answer(false).unwrap().status, 404);
    }
    drop(tls);
    let pid = second.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let mut stderr = second.0.stderr.take().unwrap();
    let reader = thread::spawn(move || {
        let mut log = String::new();
        stderr.read_to_string(&mut log).unwrap();
        log
    });
    assert!(second.0.wait().unwrap().success());
    let lines = lines(&reader.join().unwrap());
    let asked: Vec<String> = lines
        .iter()
        .filter(|line| line["log"] == "access")
        .map(|line| line["repository"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(asked, (0..REQUESTS).map(|number| format!("library/{number}")).collect::<Vec<_>>());
    assert_eq!(lines.last().unwrap()["message"], "stopped");
}
