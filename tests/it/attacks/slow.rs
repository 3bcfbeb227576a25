//! Clients that take their time.

use std::time::Instant;

use serde_json::json;

use super::basic;
use crate::support::{ALICE, Image, Portcullis, Registry, Skopeo, Tls, eventually};

#[test]
fn s23_who_is_slow_is_not_waited_for() {
    let registry = Registry::start();
    let gate = Portcullis::before(&registry)
        .with(|config| config["limits"] = json!({ "request_head": "500ms", "body_idle": "700ms", "idle": "2s" }))
        .start();
    let image = Image::new(60, &[24 << 20]);
    let skopeo = Skopeo::logged_in(gate.pki(), &gate.host(), ALICE);
    skopeo.copy(&image.reference(), &gate.image("team-a/app")).succeeded();
    let head = format!("Host: {}\r\n{}", gate.host(), basic(ALICE));
    let connect = || Tls::connect(gate.pki(), gate.port(), "localhost");
    let begin = Instant::now();

    let mut slow_head = connect();
    slow_head.send("GET /v2/ HTTP/1.1\r\nHost: loc");
    let mut slow_body = connect();
    slow_body.send(format!("PUT /v2/team-a/app/manifests/v2 HTTP/1.1\r\n{head}Content-Length: 500\r\n\r\nonly this"));
    let mut slow_reader = connect();
    slow_reader.send(format!("GET /v2/team-a/app/blobs/{} HTTP/1.1\r\n{head}\r\n", image.layer));
    assert_eq!(gate.curl("/v2/team-a/app/tags/list").user(ALICE).send().status, 200, "S23: others are served");

    slow_head.rest();
    let told = String::from_utf8_lossy(&slow_body.rest()).into_owned();
    assert!(told.is_empty() || told.starts_with("HTTP/1.1 4"), "S23: {told}");
    eventually("S23: the slow reader is given up", || {
        gate.log().lines().any(|line| line.contains("\"route\":\"blob\"") && line.contains("\"aborted\":\""))
    });
    assert!(slow_reader.rest().len() < 24 << 20, "S23: what is left was sent after all");
    assert!(begin.elapsed().as_secs() < 20, "S23: {:?}", begin.elapsed());
    assert!(
        registry
            .acted()
            .iter()
            .all(|acted| acted.method != "PUT" || acted.target != "/v2/team-a/app/manifests/v2" || acted.status >= 400),
        "S23"
    );
}
