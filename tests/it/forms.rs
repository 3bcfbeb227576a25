//! The form of `POST /token`: how it may come, and what is no form.

use std::fs;

use serde_json::json;

use crate::support::{ALICE, Curl, Portcullis, Registry, Response, Tls};

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
    for (fault, form) in [
        ("twice", format!("{FORM}&username=bob")),
        ("twice", format!("{FORM}&password=x")),
        ("twice", format!("{FORM}&service=localhost")),
        ("twice", format!("{FORM}&grant_type=refresh_token")),
        ("twice", format!("{FORM}&scope=repository:team-a/y:pull")),
        ("escapes", format!("{FORM}&x=%zz")),
        ("controls", format!("{FORM}&x=%00")),
        ("semicolons", FORM.replace("&service", ";service")),
        ("no user", FORM.replace("username", "user")),
        ("no password", FORM.replace("&password=", "&pass=")),
        ("not even a name", "grant_type=password".to_owned()),
    ] {
        assert_eq!(refusal(&post(&gate, &form).send()), invalid, "{fault}: {form}");
    }
    let both = post(&gate, FORM).user(ALICE).send();
    assert_eq!(refusal(&both), invalid, "two pairs of credentials");
    for grant in ["authorization_code", "client_credentials", "", "PASSWORD"] {
        let form = FORM.replace("grant_type=password", &format!("grant_type={grant}"));
        assert_eq!(refusal(&post(&gate, &form).send()), (400, "unsupported_grant_type".to_owned()), "{grant}");
    }
    // The query is no part of a form.
    let answer = gate.curl(&format!("/token?{FORM}")).method("POST").argument("--data").argument("x=1").send();
    assert_eq!(refusal(&answer), (400, "unsupported_grant_type".to_owned()));
    assert_eq!(registry.acted(), []);
}

#[test]
fn a_form_is_small_and_comes_soon() {
    let registry = Registry::start();
    let gate = Portcullis::before(&registry).with(|config| config["limits"] = json!({ "body_idle": "600ms" })).start();
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
