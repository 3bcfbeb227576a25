//! The form of `POST /token`: how it may come, and what is no form.

use std::fs;

use serde_json::json;

use crate::support::{Curl, Portcullis, Registry, Response, Tls};

const FORM: &str =
    "grant_type=password&username=alice&password=alice%27s%20password&service=localhost&scope=repository:team-a/x:pull";

fn post(gate: &Portcullis, form: &str) -> Curl {
    gate.curl("/token").argument("--data").argument(form)
}

/// The OAuth2 error code of a refusal, which also has the registry's form (RFC 6749 §5.2).
fn refusal(answer: &Response) -> (u16, String) {
    let body = answer.json();
    assert!(body["access_token"].is_null() && body["token"].is_null(), "{body}");
    assert!(body["errors"][0]["message"].is_string(), "{body}");
    (answer.status, body["error"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_form_comes_in_any_framing() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let file = gate.dir().join("form");
    fs::write(&file, FORM).unwrap();
    for version in ["--http1.1", "--http2"] {
        for (framing, request) in [
            ("length", post(&gate, FORM)),
            ("chunks", gate.curl("/token").method("POST").chunked_file(&file)),
            ("expect", post(&gate, FORM).header("Expect: 100-continue")),
        ] {
            let kind = "Content-Type: application/X-www-form-urlencoded;charset=UTF-8";
            let answer = request.header(kind).argument(version).send();
            assert_eq!(answer.status, 200, "{version} {framing}: {}", answer.text());
            let body = answer.json();
            assert_eq!(body["access_token"], body["token"], "{framing}");
            assert_eq!(body["scope"], "repository:team-a/x:pull", "{framing}");
            assert_eq!((&body["expires_in"], &body["token_type"]), (&json!(900), &json!("Bearer")), "{framing}");
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{framing}");
        }
    }
}

#[test]
fn what_is_no_form_is_refused() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let invalid = (400, "invalid_request".to_owned());
    for kind in ["application/json", "multipart/form-data; boundary=x", "text/plain", ""] {
        let answer = post(&gate, FORM).header(&format!("Content-Type: {kind}")).send();
        assert_eq!(refusal(&answer), invalid, "{kind}");
    }
    // The query is no part of a form.
    let answer = gate.curl(&format!("/token?{FORM}")).method("POST").argument("--data").argument("x=1").send();
    assert_eq!(refusal(&answer), (400, "unsupported_grant_type".to_owned()));
    assert_eq!(registry.acted(), []);
}

#[test]
fn a_form_is_small_and_comes_soon() {
    let registry = Registry::start();
    let gate =
        Portcullis::before(&registry).with(|config| config["limits"] = json!({ "request_head": "600ms" })).start();
    let large = format!("{FORM}&x={}", "x".repeat(64 * 1024));
    let file = gate.dir().join("form");
    fs::write(&file, &large).unwrap();
    let kind = "Content-Type: application/x-www-form-urlencoded";
    let whole = gate.curl("/token").argument("--data-binary").argument(format!("@{}", file.display()));
    for request in [whole, gate.curl("/token").method("POST").chunked_file(&file)] {
        let answer = request.header(kind).send();
        assert_eq!((answer.status, answer.code().as_str()), (413, "SIZE_INVALID"), "{}", answer.text());
    }
    let mut slow = Tls::connect(gate.pki(), gate.port(), "localhost");
    slow.send(format!("POST /token HTTP/1.1\r\nHost: {}\r\n{kind}\r\nContent-Length: 100\r\n\r\ngrant_", gate.host()));
    let answer = slow.answer(false).expect("an answer");
    assert_eq!(answer.status, 408, "{}", answer.text());
    // Half a form is none.
    let mut gone = Tls::connect(gate.pki(), gate.port(), "localhost");
    gone.send(format!("POST /token HTTP/1.1\r\nHost: {}\r\n{kind}\r\nContent-Length: 900\r\n\r\n{FORM}", gate.host()));
    drop(gone);
    assert_eq!(post(&gate, FORM).send().status, 200, "others are served");
}

#[test]
fn many_forms_at_once_and_in_a_row() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let mut client = Tls::connect(gate.pki(), gate.port(), "localhost");
    for _ in 0..3 {
        let head = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length";
        client.send(format!("POST /token HTTP/1.1\r\nHost: {}\r\n{head}: {}\r\n\r\n{FORM}", gate.host(), FORM.len()));
        assert_eq!(client.answer(false).expect("the connection goes on").status, 200);
    }
    std::thread::scope(|scope| {
        let answers: Vec<_> = (0..16).map(|_| scope.spawn(|| post(&gate, FORM).send().status)).collect();
        assert!(answers.into_iter().all(|answer| answer.join().unwrap() == 200));
    });
}

/// A password that can never be right is a wrong one: to any other answer than 401 some clients do not fall back.
#[test]
fn a_form_is_read_as_clients_write_one() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    for (fault, password) in [("a line end", "x%0A"), ("a NUL", "%00"), ("a semicolon", "a;b"), ("a blank", "a b")] {
        let form = FORM.replace("alice%27s%20password", password);
        let answer = post(&gate, &form).send();
        assert_eq!((answer.status, answer.code().as_str()), (401, "UNAUTHORIZED"), "{fault}: {}", answer.text());
    }
    for same in [FORM.replace("%20", " ").replace("%27", "'"), format!("{FORM}\n"), format!("&{FORM}&&x=a;b")] {
        let file = gate.dir().join("form");
        fs::write(&file, &same).unwrap();
        let answer = gate.curl("/token").argument("--data-binary").argument(format!("@{}", file.display())).send();
        assert_eq!(answer.status, 200, "{same}: {}", answer.text());
        assert_eq!(answer.json()["scope"], "repository:team-a/x:pull");
    }
}

/// Nobody needs a login to send a form, so all forms together may hold little.
#[test]
fn large_forms_share_a_budget() {
    const EACH: usize = 60 * 1024;
    let registry = Registry::start();
    let gate = Portcullis::before(&registry).with(|config| config["limits"] = json!({ "request_head": "4s" })).start();
    let before = gate.peak_memory();
    let mut clients = Vec::new();
    let mut refused = 0;
    for _ in 0..200 {
        let mut client = Tls::connect(gate.pki(), gate.port(), "localhost");
        let kind = "Content-Type: application/x-www-form-urlencoded";
        client
            .send(format!("POST /token HTTP/1.1\r\nHost: {}\r\n{kind}\r\nContent-Length: 65000\r\n\r\n", gate.host()));
        client.send(format!("{FORM}&x={}", "y".repeat(EACH)));
        clients.push(client);
    }
    for client in clients.iter_mut().skip(100) {
        let answer = client.answer(false).expect("an answer");
        refused += usize::from(answer.status == 503 && answer.header("retry-after").is_some());
    }
    assert!((20..60).contains(&refused), "157 fit into the budget: {refused}");
    assert_eq!(post(&gate, FORM).send().status, 200, "an ordinary one is not touched");
    assert!(gate.peak_memory() - before < 80 * 1024, "{} KiB", gate.peak_memory() - before);
}
