//! Real ones: HAProxy in front, and curl, which can speak the protocol itself.

use serde_json::json;

use super::{BALANCER, Scene, listing};
use crate::support::{ALICE, Curl, Haproxy, Image, Portcullis, Registry, Skopeo, eventually};

/// A balancer that takes connections at two ports and passes them on from its address, with this option of the server line.
fn in_front(gate: &Portcullis, option: &str) -> Haproxy {
    let (https, http) = (gate.port(), gate.http_port());
    let sections = format!(
        "
defaults
  mode tcp
  log global
  option tcplog
  timeout connect 5s
  timeout client 30s
  timeout server 30s
listen https
  bind 127.0.0.1:PORT0
  option httpchk
  http-check send meth GET uri /v2/ ver HTTP/1.1 hdr Host localhost
  http-check expect status 401
  server gate 127.0.0.1:{https} source {BALANCER} {option} check check-send-proxy check-ssl verify none check-sni localhost inter 200ms
listen http
  bind 127.0.0.1:PORT1
  server gate 127.0.0.1:{http} source {BALANCER} {option} check check-send-proxy inter 200ms
"
    );
    Haproxy::start(&sections, 2)
}

const OPTIONS: [&str; 4] = [
    "send-proxy",
    "send-proxy-v2",
    "send-proxy-v2 proxy-v2-options crc32c",
    "send-proxy-v2-ssl-cn proxy-v2-options crc32c,unique-id,authority,ssl,cert-cn",
];

#[test]
fn haproxy_passes_clients_on() {
    let scene = Scene::with(|setup| {
        setup.with(|config| {
            config["access"]["grants"][0]["from"] = json!(["127.0.0.77"]);
            config["log"] = json!({ "level": "debug" });
        })
    });
    for option in OPTIONS {
        let haproxy = in_front(&scene.gate, option);
        let url = format!("https://localhost:{}/v2/inside/app/tags/list", haproxy.port(0));
        let ask = |source: &str, version: &str| {
            let request = Curl::new(url.clone()).trusting(scene.gate.pki().ca_file());
            request.argument("--interface").argument(source).argument(version).send()
        };
        for (version, name) in [("--http2", "HTTP/2"), ("--http1.1", "HTTP/1.1")] {
            let answers = ["127.0.0.77", "127.0.0.78"].map(|source| ask(source, version));
            assert_eq!(answers.each_ref().map(|answer| answer.status), [200, 401], "{option} {name}");
            assert!(answers.iter().all(|answer| answer.version == name), "{option}: {:?}", answers[0].version);
        }
        let plain = Curl::new(format!("http://localhost:{}/v2/", haproxy.port(1))).send();
        assert_eq!(plain.status, 308, "{option}");
        // Its own checks come as LOCAL, or as UNKNOWN.
        let checked = |source: &str| scene.gate.log().contains(&format!("\"client\":\"{source}\""));
        eventually("it checks its servers", || checked(BALANCER));
        let log = haproxy.log();
        assert!(!log.contains("DOWN"), "{option}: {log}");
    }
    assert_eq!(
        scene.refused("proxy_protocol") + scene.refused("proxy_protocol_unexpected"),
        0.0,
        "{}",
        scene.gate.log()
    );
}

#[test]
fn images_go_through_haproxy() {
    let registry = Registry::start();
    let gate = Portcullis::before(&registry)
        .with(|config| {
            let grants = config["access"]["grants"].clone();
            listing(config);
            config["access"]["grants"] = grants;
        })
        .start();
    let haproxy = in_front(&gate, OPTIONS[2]);
    gate_answers(&gate, &haproxy);
    let host = format!("localhost:{}", haproxy.port(0));
    let image = Image::new(70, &[3 << 20]);
    let skopeo = Skopeo::logged_in(gate.pki(), &host, ALICE);
    let there = format!("docker://{host}/team-a/app:v1");
    skopeo.copy(&image.reference(), &there).succeeded();
    let dir = tempfile::tempdir().unwrap();
    skopeo.copy(&there, &format!("dir:{}", dir.path().join("image").display())).succeeded();
}

/// The realm is where the client dialled only if that is configured; else it is the gate's own port, which a balancer's
/// port does not lead to.
fn gate_answers(gate: &Portcullis, haproxy: &Haproxy) {
    gate.change_configuration(|config| config["listen"]["public_port"] = json!(haproxy.port(0)));
    let challenge = || {
        let url = format!("https://localhost:{}/v2/", haproxy.port(0));
        Curl::new(url).trusting(gate.pki().ca_file()).send().challenge().to_owned()
    };
    eventually("the configuration is in force", || challenge().contains(&format!("localhost:{}", haproxy.port(0))));
}

#[test]
fn haproxy_that_is_not_listed_gets_nothing_through() {
    let scene = Scene::with(|setup| setup.with(|config| config["listen"]["proxy_protocol_from"] = json!([])));
    for option in &OPTIONS[..2] {
        let haproxy = in_front(&scene.gate, option);
        let asked =
            Curl::new(format!("https://localhost:{}/v2/", haproxy.port(0))).trusting(scene.gate.pki().ca_file());
        assert!(asked.attempt().is_err(), "{option}");
    }
    assert!(scene.refused("proxy_protocol_unexpected") >= 2.0);
    assert_eq!(scene.ear.connections(), 0);
}

#[test]
fn curl_speaks_it_too() {
    let scene = Scene::with(|setup| setup.with(|config| config["access"]["grants"][0]["from"] = json!([BALANCER])));
    let ask = |source: &str, announces: bool| {
        let request = scene.gate.curl("/v2/inside/app/tags/list").argument("--interface").argument(source);
        let request = if announces { request.argument("--haproxy-protocol") } else { request };
        request.attempt().map(|answer| answer.status).ok()
    };
    assert_eq!(ask(BALANCER, true), Some(200));
    assert_eq!(ask(BALANCER, false), None);
    assert_eq!(ask("127.0.0.3", true), None);
    assert_eq!(ask("127.0.0.3", false), Some(401));
}
