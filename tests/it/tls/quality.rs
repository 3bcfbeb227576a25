//! What a scanner (testssl.sh) finds.

use std::{env, fs, process::Command, time::Duration};

use serde_json::Value;

use crate::support::{Portcullis, Registry, run_within};

/// What a private authority lacks, and a name that no public name service knows.
const PRIVATE: [&str; 2] = ["cert_revocation", "DNS_CAArecord"];

/// Everything takes a minute and more: with every run protocols, cipher suites, their order, the certificate,
/// renegotiation and compression are looked at, and with `PORTCULLIS_TEST_TESTSSL=all` all that the scanner knows.
#[test]
fn a_scanner_finds_nothing() {
    let everything = env::var("PORTCULLIS_TEST_TESTSSL").is_ok_and(|what| what == "all");
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let report = gate.dir().join("testssl.json");
    let mut command = Command::new("testssl");
    command.args(["--quiet", "--color", "0", "--warnings", "off", "--ip", "127.0.0.1"]);
    if !everything {
        command.args(["--protocols", "--std", "--server-preference", "--server-defaults"]);
        command.args(["--renegotiation", "--crime"]);
    }
    command.arg("--add-ca").arg(gate.pki().ca_file()).arg("--jsonfile").arg(&report).arg(gate.host());
    let said = run_within(Duration::from_secs(400), &mut command, "");
    let found: Vec<Value> = serde_json::from_slice(&fs::read(&report).unwrap_or_default())
        .unwrap_or_else(|error| panic!("no report ({error}): {}{}", said.stdout, said.stderr));

    let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    for one in &found {
        let excused = match text(one, "severity").as_str() {
            "OK" | "INFO" | "LOW" => true,
            // It could not look: in TLS 1.3 a ticket comes after the handshake, when the scanner may have left already.
            "WARN" => one["id"] == "sessionresumption_ticket",
            _ => PRIVATE.contains(&text(one, "id").as_str()),
        };
        assert!(excused, "{one}");
    }
    let finding = |id: &str| {
        let one = found.iter().find(|one| one["id"] == id).unwrap_or_else(|| panic!("nothing was said of {id}"));
        text(one, "finding")
    };
    for (id, expected) in [
        ("SSLv2", "not offered"),
        ("SSLv3", "not offered"),
        ("TLS1", "not offered"),
        ("TLS1_1", "not offered"),
        ("TLS1_2", "offered"),
        ("TLS1_3", "offered with final"),
        ("ALPN_HTTP2", "h2"),
        ("cipherlist_NULL", "not offered"),
        ("cipherlist_aNULL", "not offered"),
        ("cipherlist_EXPORT", "not offered"),
        ("cipherlist_LOW", "not offered"),
        ("cipherlist_3DES_IDEA", "not offered"),
        ("cipherlist_AVERAGE", "not offered"),
        ("cipherlist_STRONG", "offered"),
        ("cert_chain_of_trust", "passed."),
        ("secure_renego", "supported"),
        ("secure_client_renego", "not vulnerable"),
        ("CRIME_TLS", "not vulnerable"),
    ] {
        assert_eq!(finding(id), expected, "{id}");
    }
}
