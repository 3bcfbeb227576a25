//! Headers that name another method, path, host or user.

use serde_json::json;

use super::{Scene, basic};
use crate::support::{ADMIN, ALICE, Ear, Portcullis, Registry, Tls, eventually};

#[test]
fn no_header_changes_method_path_or_user() {
    let scene = Scene::new();
    let before = scene.touched();
    for (id, header) in [
        ("A17 §8.14", "X-HTTP-Method-Override: DELETE\r\n"),
        ("A17 §8.14", "X-Method-Override: DELETE\r\n"),
        ("A18", "X-Original-URL: /v2/secret/app/manifests/v1\r\n"),
        ("A18", "X-Rewrite-URL: /v2/secret/app/manifests/v1\r\n"),
        ("A49", "X-Forwarded-User: admin\r\nX-Remote-User: admin\r\nRemote-User: admin\r\nX_Forwarded_User: admin\r\n"),
        ("A45", "Upgrade: websocket\r\nConnection: Upgrade\r\n"),
        ("A45", "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nConnection: Upgrade, HTTP2-Settings\r\n"),
    ] {
        let answer = scene.ask("GET", "/v2/team-a/app/tags/list?_method=DELETE", header);
        assert!(answer.status == 200 || answer.status == 400, "{id} {header}: {}", answer.status);
        let secret = scene.ask("GET", "/v2/secret/app/tags/list", header);
        assert!(matches!(secret.status, 400 | 403), "{id} {header}: {}", secret.status);
        let host = scene.gate.host();
        let mut nobody = Tls::connect(scene.gate.pki(), scene.gate.port(), "localhost");
        nobody.send(format!("GET /v2/ HTTP/1.1\r\nHost: {host}\r\n{header}\r\n"));
        let status = nobody.answer(false).unwrap().status;
        assert!(matches!(status, 400 | 401), "{id} {header}: {status}");
    }
    assert_eq!(scene.touched(), before);
    assert!(scene.registry.acted().iter().all(|acted| acted.method != "DELETE"));
}

#[test]
fn what_names_somebody_or_somewhere_else_stays_behind() {
    let ear = Ear::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}");
    let (registry, url) = (Registry::start(), ear.url());
    let gate =
        Portcullis::before(&registry).with_upstream(|upstream| upstream["servers"] = json!([{ "url": url }])).start();
    let token = gate.token(Some(ALICE), "repository:team-a/app:pull");
    let bearer = format!("Authorization: Bearer {token}\r\n");
    for login in [basic(ALICE), bearer] {
        let mut connection = Tls::connect(gate.pki(), gate.port(), "localhost");
        connection.send(format!(
            "GET /v2/team-a/app/tags/list?ns=evil.test&_method=DELETE HTTP/1.1\r\nHost: {}\r\n{login}\
             Connection: close, Host, X-Request-Id\r\nUpgrade: websocket\r\nCookie: a=b\r\nProxy-Authorization: Basic YTpi\r\n\
             X-Forwarded-For: 9.9.9.9\r\nX-Real-IP: 9.9.9.9\r\nForwarded: for=9.9.9.9;host=evil.test;proto=ftp\r\n\
             X-Forwarded-Host: evil.test\r\nX-Forwarded-Proto: gopher\r\nX-Forwarded-User: admin\r\n\
             X_Forwarded_User: admin\r\nRemote-User: admin\r\nX-Original-URL: /v2/secret/app/tags/list\r\n\
             X-HTTP-Method-Override: DELETE\r\n\r\n",
            gate.host()
        ));
        assert_eq!(connection.answer(false).unwrap().status, 200);
    }
    let heard = ear.heard();
    assert_eq!(heard.len(), 2);
    for (id, word) in [
        ("A50", "authorization"),
        ("A50", "bearer"),
        ("A45", "upgrade"),
        ("A45", "websocket"),
        ("A47 A48 §8.10", "9.9.9.9"),
        ("A47 §8.10", "evil.test"),
        ("A47 §8.10", "gopher"),
        ("A49", "admin"),
        ("A49", "x_forwarded"),
        ("A18", "secret"),
        ("A17 §8.14", "delete"),
        ("§8.11", "ns="),
        ("A50", "cookie"),
    ] {
        assert!(heard.iter().all(|head| !head.to_lowercase().contains(word)), "{id}: {word} is in {heard:?}");
    }
    let host = format!("host: {}", gate.host());
    assert!(heard.iter().all(|head| head.to_lowercase().contains(&host)), "A47: {heard:?}");
}

#[test]
fn a48_an_address_that_a_client_claims_is_not_believed() {
    let scene = Scene::new();
    scene.ask(
        "GET",
        "/v2/team-a/app/tags/list",
        "User-Agent: claims\r\nX-Forwarded-For: 9.9.9.9\r\nX-Real-IP: 9.9.9.9\r\n",
    );
    let mut line = None;
    eventually("the request is logged", || {
        line = scene.gate.log().lines().find(|line| line.contains("\"claims\"")).map(str::to_owned);
        line.is_some()
    });
    let line = line.unwrap();
    assert!(line.contains("\"client\":\"127.0.0.1\"") && !line.contains("9.9.9.9"), "A48: {line}");
}

#[test]
fn a47_forwarding_headers_of_a_client_build_no_location() {
    let scene = Scene::with(Registry::setup().with_absolute_urls().start());
    let headers = "Content-Length: 0\r\nX-Forwarded-Host: evil.test\r\nX-Forwarded-Proto: gopher\r\nForwarded: for=1.2.3.4;host=evil.test;proto=gopher\r\n";
    let answer = scene.ask("POST", "/v2/team-a/app/blobs/uploads/", headers);
    assert_eq!(answer.status, 202);
    let said = format!("{:?}", answer.headers);
    assert!(!said.contains("evil") && !said.contains("gopher"), "A47 §8.10: {said}");
}

#[test]
fn a51_a53_a_host_is_one_of_ours() {
    let scene = Scene::new();
    let port = scene.gate.port();
    let before = scene.registry.acted().len();
    for (id, host, expected) in [
        ("A51 §8.15", "evil.test".to_owned(), 421),
        ("A51 §8.15", format!("evil.test:{port}"), 421),
        ("A51 §8.15", format!("localhost.evil.test:{port}"), 421),
        ("A53", "[::1%25lo]".to_owned(), 400),
        ("A53", "[::1%lo]".to_owned(), 400),
        ("A53", "[::ffff:9.9.9.9]".to_owned(), 421),
        ("A53", "[::1".to_owned(), 400),
        ("S15", format!("localhost:{port}@evil.test"), 400),
        ("S15", format!("localhost:{port}/"), 400),
        ("S15", "localhost:99999".to_owned(), 400),
    ] {
        let login = basic(ADMIN);
        let request =
            format!("GET /v2/secret/app/tags/list HTTP/1.1\r\nHost: {host}\r\n{login}Connection: close\r\n\r\n");
        let answer = scene.send(request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{id} {host}: {answer}");
        assert!(!answer.contains("evil.test"), "{id} {host}: {answer}");
    }
    assert_eq!(scene.registry.acted().len(), before);
    for host in [format!("localhost.:{port}"), format!("LOCALHOST:{port}"), format!("[::ffff:127.0.0.1]:{port}")] {
        let login = basic(ALICE);
        let request =
            format!("GET /v2/team-a/app/tags/list HTTP/1.1\r\nHost: {host}\r\n{login}Connection: close\r\n\r\n");
        assert!(scene.send(request).starts_with("HTTP/1.1 200"), "A53 {host}");
    }
}
