//! What the header of a listed balancer says, holds.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{BALANCER, INSIDE, OUTSIDE, STRANGER, Scene, address, binary, local, text};
use crate::support::{ALICE, Portcullis, eventually, plain_from};

#[test]
fn grants_and_logs_go_by_the_client_that_a_header_names() {
    let scene = Scene::new();
    let clients = [
        (INSIDE, INSIDE, true),
        (OUTSIDE, OUTSIDE, false),
        ("::ffff:192.0.2.8", "192.0.2.8", true),
        ("::ffff:198.51.100.8", "198.51.100.8", false),
        ("2001:db8:1::7", "2001:db8:1::7", true),
        ("2001:db8:2::7", "2001:db8:2::7", false),
        (BALANCER, BALANCER, false),
    ];
    for (version, header) in [(1, text as fn(&str) -> Vec<u8>), (2, binary)] {
        for (client, _, inside) in clients {
            let status = scene.proxied(&header(client), "inside", "");
            assert_eq!(status, Some(if inside { 200 } else { 401 }), "v{version} {client}");
        }
    }
    for (_, seen, inside) in clients {
        let said = format!("\"client\":\"{seen}\"");
        let is_of = |line: &&str| line.contains("\"log\":\"access\"") && line.contains(&said);
        eventually(&said, || scene.gate.log().lines().filter(is_of).count() == 2);
        let passed = scene.ear.heard().iter().filter(|head| head.contains(&format!(": {seen}\r\n"))).count();
        assert_eq!(passed, if inside { 2 } else { 0 }, "the registry is told: {seen}");
    }
}

/// A token does not carry the network along, in either direction.
#[test]
fn a_token_is_good_where_its_bearer_is() {
    let scene =
        Scene::with(|setup| setup.with(|config| config["access"]["grants"][0]["to"] = json!(["authenticated"])));
    let login = format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{}:{}", ALICE.name, ALICE.password)));
    let tokens = [INSIDE, OUTSIDE].map(|client| {
        let target = "/token?service=localhost&scope=repository:inside/app:pull";
        let answer = scene.ask(BALANCER, &binary(client), target, &login).unwrap();
        format!("Authorization: Bearer {}\r\n", answer.json()["token"].as_str().unwrap())
    });
    let [inside, outside] = [INSIDE, OUTSIDE]
        .map(|client| [&login, &tokens[0], &tokens[1]].map(|sent| scene.proxied(&text(client), "inside", sent)));
    assert_eq!(inside, [Some(200), Some(200), Some(401)], "a token from outside has no scope");
    assert_eq!(outside, [Some(403); 3]);
}

#[test]
fn a_balancer_that_names_nobody_is_itself() {
    let scene = Scene::new();
    let unspecified = [&local()[..12], &[0x21, 0, 0, 0]].concat();
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), b"PROXY UNKNOWN 192.0.2.7 x\r\n".to_vec(), local(), unspecified] {
        assert_eq!(scene.proxied(&header, "balancers", ""), Some(200), "{header:?}");
        assert_eq!(scene.proxied(&header, "inside", ""), Some(401), "{header:?}");
    }
}

#[test]
fn shares_are_the_clients_and_not_the_balancers() {
    let scene = Scene::with(|setup| setup.with(|config| config["limits"] = json!({ "connections_per_client": 2 })));
    let connect = |header: &[u8]| scene.connect(BALANCER, header).ok();
    let held = [text(INSIDE), binary(INSIDE), text(OUTSIDE), binary(OUTSIDE)].map(|header| connect(&header));
    assert!(held.iter().all(Option::is_some));
    let own: Vec<_> = (0..4).map(|_| connect(&local())).collect();
    assert!(own.iter().all(Option::is_some), "the balancer has no share");
    for full in [text(INSIDE), binary("::ffff:198.51.100.7")] {
        assert!(connect(&full).is_none());
    }
    assert!(connect(&text("192.0.2.8")).is_some());
    assert_eq!(scene.refused("per_client"), 2.0);
    drop(held);
    eventually("the share comes back", || connect(&text(INSIDE)).is_some());
}

#[test]
fn all_together_behind_a_balancer_are_bounded() {
    let scene = Scene::with(|setup| setup.with(|config| config["limits"] = json!({ "connections": 3 })));
    let [a, b, c] =
        ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|client| scene.connect(BALANCER, &text(client)).unwrap());
    std::thread::scope(|scope| {
        let fourth = scope.spawn(|| scene.proxied(&text(INSIDE), "inside", ""));
        std::thread::sleep(Duration::from_millis(300));
        assert!(!fourth.is_finished(), "it waits");
        drop((a, b, c));
        assert_eq!(fourth.join().unwrap(), Some(200));
    });
    assert!(scene.gate.log().contains("limits.connections is reached"));
}

#[test]
fn balancers_come_and_go_while_the_gate_runs() {
    let mut scene = Scene::new();
    let path = "GET /v2/inside/app/tags/list HTTP/1.1";
    let mut standing = scene.connect(BALANCER, &text(INSIDE)).unwrap();
    let list = |scene: &mut Scene, balancers: Value| {
        scene.gate.reload_with(|config| config["listen"]["proxy_protocol_from"] = balancers);
    };
    let seen = |scene: &Scene| {
        let from = |source: &str| scene.status(source, &text(INSIDE), "inside", "");
        (from(BALANCER), from(STRANGER), scene.status(STRANGER, b"", "strangers", ""))
    };
    assert_eq!(seen(&scene), (Some(200), None, Some(200)));
    list(&mut scene, json!([STRANGER]));
    assert_eq!(seen(&scene), (None, Some(200), None));
    list(&mut scene, json!([]));
    assert_eq!(seen(&scene), (None, None, Some(200)));
    list(&mut scene, json!(["::ffff:127.0.0.2/127"]));
    assert_eq!(seen(&scene), (Some(200), Some(200), None));
    standing.send(format!("{path}\r\nHost: {}\r\n\r\n", scene.gate.host()));
    assert_eq!(standing.answer(false).unwrap().status, 200, "a connection stays whose it was");
}

#[test]
fn check_knows_the_lists() {
    let scene = Scene::new();
    let check = |change: &dyn Fn(&mut Value)| {
        scene.gate.change_configuration(change);
        let mut command = crate::support::portcullis();
        let output = command.arg("check").arg("-c").arg(scene.gate.configuration()).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (good, said) = check(&|config| config["listen"]["proxy_protocol_from"] = json!([BALANCER]));
    assert!(good && said.contains("(0 warnings)"), "{said}");
    let (good, said) = check(&|config| config["listen"]["proxy_protocol_from"] = json!(["203.0.113.0/25"]));
    assert!(good && said.contains("could claim another"), "{said}");
    let (good, said) = check(&|config| config["listen"]["proxy_protocol_from"] = json!(["balancer"]));
    assert!(!good && said.contains("is not a network"), "{said}");
}

/// Plain HTTP behind a balancer gets what it gets without one.
#[test]
fn the_plain_port_has_balancers_too() {
    let scene = Scene::new();
    let ask = |gate: &Portcullis, source: &str, preface: &[u8]| {
        use std::io::{Read as _, Write as _};
        let mut socket = plain_from(address(source), gate.http_port());
        socket.write_all(&[preface, b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n"].concat()).unwrap();
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
    };
    for header in [text(INSIDE), binary("2001:db8::7"), local()] {
        assert_eq!(ask(&scene.gate, BALANCER, &header), "HTTP/1.1 308 Permanent Redirect");
        assert!(!ask(&scene.gate, STRANGER, &header).contains("308"), "{header:?}");
    }
    assert_eq!(ask(&scene.gate, BALANCER, b""), "");
    assert_eq!(ask(&scene.gate, STRANGER, b""), "HTTP/1.1 308 Permanent Redirect");
    // The admin address is for the machine's own: nobody's header is read there.
    let answer = crate::support::exchange(
        scene.gate.admin_port(),
        [text(INSIDE), b"GET /healthz HTTP/1.1\r\n\r\n".to_vec()].concat(),
    );
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
}
