//! Uploads that go on in another repository, or with another state.

use super::Scene;
use crate::support::{ADMIN, Tls};

#[test]
fn a38_an_upload_session_belongs_to_its_repository() {
    let scene = Scene::new();
    let path = scene.open_upload("team-a/app");
    let elsewhere = path.replacen("team-a/app", "home/alice/x", 1);
    assert_ne!(path, elsewhere);
    let opened = scene.gate.curl("/v2/secret/app/blobs/uploads/").user(ADMIN).method("POST").send();
    let secret = opened.header("location").unwrap().replacen(&scene.gate.url(""), "", 1);
    let secret_elsewhere = secret.replacen("secret/app", "team-a/app", 1);
    assert_ne!(secret, secret_elsewhere);
    let kind = "application/octet-stream";
    for (method, body) in [("GET", ""), ("PATCH", "bytes"), ("PUT", "bytes"), ("DELETE", "")] {
        for path in [&elsewhere, &secret_elsewhere] {
            let digest = if method == "PUT" { format!("&digest={}", scene.secret.layer) } else { String::new() };
            let answer = scene.submit(method, &format!("{path}{digest}"), kind, body);
            assert_eq!(answer.status, 404, "A38 §8.12 {method} {path}: {}", answer.text());
        }
        assert_eq!(
            scene.submit(method, &format!("{secret}&digest={}", scene.secret.layer), kind, body).status,
            403,
            "A38"
        );
    }
    assert_eq!(scene.ask("GET", &path, "").status, 204);
    let still = scene.gate.curl(&secret).user(ADMIN).send();
    assert_eq!(still.status, 204, "A38: the session of the other repository is as it was");
}

#[test]
fn a39_a_state_that_was_touched_is_none() {
    let scene = Scene::new();
    let path = scene.open_upload("team-a/app");
    let other = scene.open_upload("team-a/app");
    let (session, state) = path.split_once("?_state=").unwrap();
    let mut touched = state.to_owned();
    let replacement = if touched.starts_with('A') { "B" } else { "A" };
    touched.replace_range(..1, replacement);
    for state in [
        String::new(),
        "?_state=".to_owned(),
        format!("?_state={touched}"),
        format!("?{}", other.split_once('?').unwrap().1),
        format!("?_state={state}&_state={state}"),
    ] {
        let answer = scene.submit("PATCH", &format!("{session}{state}"), "application/octet-stream", "bytes");
        assert!((400..500).contains(&answer.status), "A39 {state}: {}", answer.status);
    }
    let answer = scene.submit("PATCH", &path, "application/octet-stream", "bytes");
    assert_eq!(answer.status, 202, "A39: the right one goes on");
}

#[test]
fn s21_a_body_sent_with_its_expectation_arrives_once() {
    let scene = Scene::new();
    let path = scene.open_upload("team-a/app");
    let mut connection = Tls::connect(scene.gate.pki(), scene.gate.port(), "localhost");
    let head = scene.head(crate::support::ALICE);
    connection.send(format!(
        "PATCH {path} HTTP/1.1\r\n{head}Expect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\nbytes"
    ));
    let answer = connection.answer(false).unwrap();
    assert_eq!((answer.status, answer.header("range")), (202, Some("0-4")), "S21");
}
