//! Limits, hostile registries, what leaves towards the registry, health, and the end.

use std::{
    io::Read,
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::{ALICE, Ear, Image, Portcullis, Registry, Skopeo, Tls, eventually, http_get};

/// In front of something that answers what it is told to.
fn before(ear: &Ear) -> Portcullis {
    let url = ear.url();
    let registry = Registry::start();
    Portcullis::before(&registry).with_upstream(|upstream| upstream["servers"] = json!([{ "url": url }])).start()
}

const EMPTY: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";

#[test]
fn what_leaves_is_built_not_passed() {
    let ear = Ear::answering(EMPTY);
    let gate = before(&ear);
    let answer = gate
        .curl("/v2/team-a/app/manifests/v1?ns=docker.io")
        .user(ALICE)
        .header("Cookie: session=1")
        .header("X-Forwarded-For: 1.2.3.4")
        .header("X-Real-IP: 1.2.3.4")
        .header("Forwarded: for=1.2.3.4")
        .header("X-Forwarded-Proto: gopher")
        .header("X-Anything: else")
        .header("Accept: application/vnd.oci.image.index.v1+json")
        .header("User-Agent: docker/20.10 UpstreamClient(Docker-Client/28.2.2 \\(linux\\))")
        .send();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let (line, headers) = ear.only_request();
    assert_eq!(line, "GET /v2/team-a/app/manifests/v1 HTTP/1.1");
    for name in ["authorization", "cookie", "x-real-ip", "forwarded", "x-anything"] {
        assert_eq!(headers.header(name), None, "{name}");
    }
    assert_eq!(headers.header("host"), Some(gate.host().as_str()));
    assert_eq!(headers.header("x-forwarded-proto"), Some("https"));
    assert!(headers.header("x-forwarded-for").is_none_or(|address| address == "127.0.0.1"), "{headers:?}");
    assert_eq!(headers.header("accept"), Some("application/vnd.oci.image.index.v1+json"));
}

#[test]
fn a_hostile_registry_does_not_reach_the_client() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nX-Second: yes\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "nothing like HTTP\r\n\r\n",
        "",
    ] {
        let ear = Ear::answering(answer);
        let gate = before(&ear);
        let seen = gate.curl("/v2/team-a/app/tags/list").user(ALICE).send();
        assert!(
            matches!(seen.status, 502 | 503) || seen.status == 200 && seen.header("x-second").is_none(),
            "{answer:?}: {seen:?}"
        );
        assert_eq!(gate.admin("/healthz").status, 200, "{answer:?}");
    }
}

#[test]
fn a_body_that_ends_early_is_not_passed_off_as_whole() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
    ] {
        let ear = Ear::answering(answer);
        let gate = before(&ear);
        for protocol in ["--http1.1", "--http2"] {
            let path = format!("/v2/team-a/app/blobs/sha256:{}", "a".repeat(64));
            let result = gate.curl(&path).user(ALICE).argument(protocol).attempt();
            assert!(
                result.as_ref().is_err() || result.as_ref().is_ok_and(|seen| seen.status >= 500),
                "{protocol} {answer:?}: {result:?}"
            );
        }
    }
}

#[test]
fn a_manifest_and_an_upload_have_limits() {
    let registry = Registry::start();
    let gate = Portcullis::before(&registry)
        .with(|config| config["limits"] = json!({ "manifest": "1KiB", "upload": "1MiB" }))
        .start();
    let image = Image::new(80, &[2 << 20]);
    let file = image.blob(&image.layer);
    let manifest = gate.curl("/v2/team-a/app/manifests/v1").user(ALICE).method("PUT").body_file(&file).send();
    assert_eq!((manifest.status, manifest.code().as_str()), (413, "SIZE_INVALID"));

    let upload = |send: fn(crate::support::Curl, &std::path::Path) -> crate::support::Curl| {
        let opened = gate.curl("/v2/team-a/app/blobs/uploads/").user(ALICE).method("POST").send();
        let location = opened.header("location").unwrap();
        let path = location.strip_prefix(&gate.url("")).unwrap_or(location).to_owned();
        send(gate.curl(&path).user(ALICE).method("PATCH"), &file).attempt()
    };
    let declared = upload(|curl, file| curl.body_file(file)).unwrap();
    assert_eq!((declared.status, declared.code().as_str()), (413, "SIZE_INVALID"));
    let chunked = upload(|curl, file| curl.chunked_file(file));
    assert!(chunked.as_ref().map_or(true, |answer| answer.status == 413), "{chunked:?}");
    assert!(
        registry.acted().iter().all(|acted| acted.method != "PUT" && !(acted.method == "PATCH" && acted.status == 202))
    );
}

#[test]
fn who_says_nothing_is_not_waited_for() {
    let registry = Registry::start();
    let gate = Portcullis::before(&registry)
        .with(|config| config["limits"] = json!({ "handshake": "500ms", "request_head": "500ms" }))
        .start();
    let begin = Instant::now();
    let mut silent = TcpStream::connect(("127.0.0.1", gate.port())).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut bytes = Vec::new();
    let _ = silent.read_to_end(&mut bytes);
    let mut slow = Tls::connect(gate.pki(), gate.port(), "localhost");
    slow.send("GET /v2/ HTTP/1.1\r\nHost: local");
    slow.rest();
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
}

#[test]
fn one_client_does_not_take_all_connections() {
    let registry = Registry::start();
    let gate =
        Portcullis::before(&registry).with(|config| config["limits"] = json!({ "connections_per_client": 4 })).start();
    let mut open: Vec<_> = (0..4).map(|_| Tls::connect(gate.pki(), gate.port(), "localhost")).collect();
    assert!(Tls::offering(gate.pki(), gate.port(), "localhost", &[]).is_err(), "a fifth was let in");
    open.pop();
    eventually("one is free again", || Tls::offering(gate.pki(), gate.port(), "localhost", &[]).is_ok());
}

#[test]
fn health_and_metrics_are_on_their_own_address() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    assert_eq!(gate.admin("/healthz").status, 200);
    assert_eq!(gate.admin("/readyz").status, 200);
    assert_eq!(gate.admin("/v2/").status, 404);
    let metrics = gate.admin("/metrics");
    assert_eq!(metrics.status, 200);
    assert!(metrics.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")));
    assert!(metrics.text().lines().any(|line| line.starts_with("portcullis_")), "{}", metrics.text());
    let expiry =
        metrics.text().lines().find(|line| line.starts_with("portcullis_certificate_expiry")).map(str::to_owned);
    assert!(expiry.is_some(), "{}", metrics.text());
}

#[test]
fn a_transfer_is_finished_before_the_end() {
    let registry = Registry::start();
    let mut gate = Portcullis::start(&registry);
    let image = Image::new(81, &[24 << 20]);
    Skopeo::logged_in(gate.pki(), &gate.host(), ALICE).copy(&image.reference(), &gate.image("team-a/app")).succeeded();
    let download = gate
        .curl(&format!("/v2/team-a/app/blobs/{}", image.layer))
        .user(ALICE)
        .argument("--limit-rate")
        .argument("12M");
    let transfer = thread::spawn(move || download.send());
    thread::sleep(Duration::from_millis(700));
    let port = gate.port();
    gate.process().signal("TERM");
    eventually("it listens no more", || TcpStream::connect(("127.0.0.1", port)).is_err());
    let answer = transfer.join().unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.body == std::fs::read(image.blob(&image.layer)).unwrap());
    assert!(gate.process().stop().expect("it ends by itself").success());
}

#[test]
fn it_ends_at_once_where_nothing_is_under_way() {
    let registry = Registry::start();
    let mut gate = Portcullis::start(&registry);
    // Kept alive and idle: no reason to wait.
    let mut idle = Tls::connect(gate.pki(), gate.port(), "localhost");
    idle.send(format!("GET /v2/ HTTP/1.1\r\nHost: {}\r\n\r\n", gate.host()));
    assert_eq!(idle.answer(false).unwrap().status, 401);
    let begin = Instant::now();
    assert!(gate.process().stop().expect("it ends by itself").success());
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    assert!(http_get(gate.http_port(), "/").is_none());
}

#[test]
fn a_read_only_registry_says_so_itself() {
    let registry = Registry::setup()
        .with(|config| config["storage"]["maintenance"]["readonly"] = json!({ "enabled": true }))
        .start();
    let gate = Portcullis::start(&registry);
    assert_eq!(gate.curl("/v2/team-a/app/blobs/uploads/").user(ALICE).method("POST").send().status, 405);
}
