//! What a challenge names, and when in a request it comes. The form of challenges is in `login`, who gets which in
//! `answers`.

use std::{collections::HashMap, fs};

use serde_json::json;

use crate::support::{ALICE, BOB, CI, Curl, Login, Portcullis, Registry, Response, Tls};

/// The parameters of a challenge, read as the strictest of the clients reads them: names in lower case, values quoted
/// and not empty, nothing escaped, no blank between.
fn parameters(challenge: &str) -> HashMap<String, String> {
    let (scheme, rest) = challenge.split_once(' ').unwrap();
    assert!(matches!(scheme, "Bearer" | "Basic"), "{challenge}");
    let mut parameters = HashMap::new();
    for part in rest.split("\",") {
        let (name, value) = part.split_once("=\"").unwrap_or_else(|| panic!("C13 not quoted: {challenge}"));
        let value = value.strip_suffix('"').unwrap_or(value);
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase()), "C14 {challenge}");
        assert!(!value.is_empty(), "C11 {challenge}");
        assert!(!value.contains(['\\', '"']), "C12 {challenge}");
        let lower = value.to_lowercase();
        assert!(!lower.contains("basic") && !lower.contains("bearer"), "C16 C17 {challenge}");
        assert!(parameters.insert(name.to_owned(), value.to_owned()).is_none(), "{name} twice: {challenge}");
    }
    parameters
}

/// C11–C16, C18–C20 on every challenge there is.
#[test]
fn every_client_reads_every_challenge() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let narrow = gate.token(Some(ALICE), "repository:team-a/x:pull");
    let digest = format!("sha256:{}", "0".repeat(64));
    let mount = format!("/v2/team-a/x/blobs/uploads/?mount={digest}&from=team-a/y");
    for (curl, names) in [
        (gate.curl("/v2/"), &["realm", "service"][..]),
        (gate.curl("/v2/_catalog"), &["realm", "scope", "service"]),
        (gate.curl(&mount).method("POST"), &["realm", "scope", "service"]),
        (gate.curl(&mount).method("POST").bearer(&narrow), &["error", "realm", "scope", "service"]),
        (gate.curl("/v2/team-a/x/tags/list").bearer("x"), &["error", "realm", "scope", "service"]),
        (gate.curl("/v2/").user(Login::new("a", "b")), &["realm", "service"]),
        (gate.curl("/v2/").header("Sec-Fetch-Mode: navigate"), &["realm"]),
        (gate.curl("/token").user(Login::new("a", "b")), &["realm"]),
    ] {
        let answer = curl.send();
        // Of two challenges, in one line or in two, each client takes another: C15 and C16.
        let challenge = answer.challenge();
        let parameters = parameters(challenge);
        let mut present: Vec<_> = parameters.keys().map(String::as_str).collect();
        present.sort_unstable();
        assert_eq!(present, names, "{challenge}");
        if let Some(rest) = challenge.strip_prefix("Bearer ") {
            assert!(rest.starts_with("realm="), "{challenge}");
            assert_eq!(parameters["realm"], gate.url("/token"), "C18 C19 https and no query");
        }
    }
}

/// C20, C21: what was dialled where it is ours; never what a header claims.
#[test]
fn the_realm_is_where_the_client_is() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let realm = |answer: &Response| parameters(answer.challenge())["realm"].clone();
    for host in ["localhost", "registry.test", "127.0.0.1"] {
        let answer = Curl::new(gate.url_of(host, "/v2/")).trusting(gate.pki().ca_file()).send();
        assert_eq!(realm(&answer), gate.url_of(host, "/token"), "C20");
    }
    for header in [
        "X-Forwarded-Host: evil.test",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Port: 80",
        "Forwarded: host=evil.test;proto=http",
        "X-Original-Host: evil.test",
        "Origin: https://evil.test",
    ] {
        assert_eq!(realm(&gate.curl("/v2/").header(header).send()), gate.url("/token"), "C21 {header}");
    }
    // A name of ours at a port that nobody can dial is not repeated.
    let port = gate.curl("/v2/").header("Host: localhost:1").send();
    assert_eq!(realm(&port), gate.url("/token"), "C21");
    let foreign = gate.curl("/v2/").header("Host: evil.test").send();
    assert_eq!((foreign.status, foreign.header("www-authenticate")), (421, None), "C21");
    assert!(!foreign.text().contains("evil"), "C21 {}", foreign.text());
}

#[test]
fn a_host_that_would_break_out_of_the_realm_is_refused() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    for host in [
        "localhost\"",
        "localhost\",realm=\"https://evil.test",
        "localhost\\",
        "localhost evil",
        "local\thost",
        "localhost\u{0}",
        "localhost\rX: y",
        "localhost:80:443",
        "localhost:",
        "alice@localhost",
        "localhost/evil",
        "localhost,evil.test",
        "lo%63alhost",
        "",
    ] {
        let mut connection = Tls::connect(gate.pki(), gate.port(), "localhost");
        connection.send(format!("GET /v2/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
        let said = String::from_utf8_lossy(&connection.rest()).into_owned();
        assert!(said.starts_with("HTTP/1.1 400 "), "C22 {host:?}: {said}");
        assert!(!said.to_lowercase().contains("www-authenticate") && !said.contains("evil"), "C22 {host:?}: {said}");
    }
    assert_eq!(registry.acted(), []);
}

/// C17, C18: what no client would read is told at the check, not at the first login.
#[test]
fn the_check_warns_of_names_that_clients_misread() {
    let registry = Registry::start();
    let mut gate = Portcullis::start(&registry);
    gate.process().stop();
    let file = gate.dir().join("portcullis.yml");
    let good: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let check = |change: fn(&mut serde_json::Value)| {
        let mut config = good.clone();
        change(&mut config);
        fs::write(&file, config.to_string()).unwrap();
        let output = crate::support::portcullis().arg("check").arg("-c").arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.code(), said)
    };
    assert!(!check(|_| {}).1.contains("another scheme"), "the control");
    for change in [
        (|config| config["tokens"]["service"] = "my-basic-service".into()) as fn(&mut serde_json::Value),
        |config| config["tokens"]["path"] = "/Bearer/token".into(),
        |config| config["identity"]["realm"] = "Forbearers".into(),
        |config| config["registries"][0]["hosts"] = json!(["basic.test"]),
    ] {
        let (code, said) = check(change);
        assert!(code == Some(0) && said.contains("warning") && said.contains("another scheme"), "C17 {said}");
    }
    for change in [
        (|config| config["tokens"]["path"] = "/token?tenant=a".into()) as fn(&mut serde_json::Value),
        |config| config["tokens"]["path"] = "https://elsewhere.test/token".into(),
        |config| config["tokens"]["service"] = "a\"b".into(),
        |config| config["identity"]["realm"] = "a\\b".into(),
    ] {
        let (code, said) = check(change);
        assert_eq!(code, Some(78), "C12 C18 {said}");
    }
}

#[test]
fn passwords_of_every_kind_pass_in_basic() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    for login in [ALICE, BOB, CI] {
        assert_eq!(gate.curl("/v2/").user(login).send().status, 200, "C24 {login:?}");
        let other = Login::new(login.name, login.password.split([':', ' ']).next().unwrap());
        assert_eq!(gate.curl("/v2/").user(other).send().status, 401, "C23 C24 not cut at a colon: {other:?}");
    }
}

/// C25: the 401 comes before the body, and the client sees it.
#[test]
fn who_may_not_send_is_told_before_the_body() {
    const SIZE: usize = 1 << 30;
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let before = registry.requests();
    let head = |method: &str, path: &str, more: &str| {
        format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n{more}\r\n", gate.host())
    };
    let session = "/v2/team-a/x/blobs/uploads/11111111-2222-4333-8444-555555555555";
    for (method, path) in [("PUT", "/v2/team-a/x/manifests/v1"), ("PATCH", session)] {
        for framing in [format!("Content-Length: {SIZE}\r\n"), "Transfer-Encoding: chunked\r\n".to_owned()] {
            // It waits for leave: the answer is final, and no 100 comes before it.
            let mut patient = Tls::connect(gate.pki(), gate.port(), "localhost");
            patient.send(head(method, path, &format!("{framing}Expect: 100-continue\r\n")));
            let said = patient.answer_with_interim().unwrap();
            assert_eq!(said.status, 401, "C25 {method} {framing:?} with Expect: {said:?}");
            said.challenge();

            // It has begun to send, and goes on with it before it reads.
            let mut eager = Tls::connect(gate.pki(), gate.port(), "localhost");
            eager.send(head(method, path, &framing));
            let piece = vec![b'x'; 256 * 1024];
            for _ in 0..4 {
                if framing.starts_with('T') {
                    eager.send(format!("{:x}\r\n", piece.len()));
                    eager.send(&piece);
                    eager.send("\r\n");
                } else {
                    eager.send(&piece);
                }
            }
            let said = eager.answer(false).unwrap_or_else(|| panic!("C25 reset: {method} {framing:?}"));
            assert_eq!(said.status, 401, "C25 {method} {framing:?} without Expect");
            said.challenge();
        }
    }
    assert_eq!(registry.requests(), before);
}
