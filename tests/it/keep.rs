//! What did not change goes on when the configuration is read again: connections, what is known of servers, and whatever
//! is under way.

use std::{collections::BTreeSet, fs, io::Read as _, thread::sleep, time::Duration};

use serde_json::{Value, json};

use crate::support::{ALICE, Ear, Image, Login, Pki, Portcullis, Registry, Skopeo, Tls, eventually, htpasswd_line};

/// The ports that connections to the registry come from, of whoever has one.
fn connections(registry: &Registry) -> BTreeSet<String> {
    const ESTABLISHED: &str = "01";
    let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!("{:04X}", registry.port());
    let of_line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, remote, state, ..] = fields[..] else { return None };
        (remote.ends_with(&format!(":{port}")) && state == ESTABLISHED).then(|| local.to_owned())
    };
    sockets.lines().filter_map(of_line).collect()
}

fn status(gate: &Portcullis) -> u16 {
    gate.curl("/v2/team-a/app/tags/list").user(ALICE).send().status
}

/// The connections of the gate once it has asked, none of which is a probe's.
fn asked(gate: &Portcullis, registry: &Registry) -> BTreeSet<String> {
    assert_eq!(status(gate), 404);
    let made = connections(registry);
    assert_eq!(made.len(), 1, "{made:?}");
    made
}

#[test]
fn connections_to_a_registry_outlast_changes_of_all_else() {
    let [registry, added, mut second] = [(); 3].map(|()| Registry::start());
    let mut gate = Portcullis::before(&registry).without_probes().with_second("second.test", &second).start();
    let before = asked(&gate, &registry);
    let add = |config: &mut Value| {
        let server = json!({ "url": added.url, "role": "replica" });
        config["registries"][0]["upstream"]["servers"].as_array_mut().unwrap().push(server);
    };
    let changes: [&dyn Fn(&mut Value); 7] = [
        &|_| {},
        &|config| config["identity"]["disabled_users"] = json!(["bob"]),
        &|config| config["registries"][1]["upstream"]["verify"] = json!(true),
        &|config| config["registries"][0]["upstream"]["timeouts"] = json!({ "idle": "30s" }),
        &|config| config["registries"][0]["upstream"]["servers"][0]["weight"] = json!(3),
        &add,
        &|config| drop(config["registries"].as_array_mut().unwrap().pop()),
    ];
    for change in changes {
        gate.reload_with(change);
        assert_eq!(asked(&gate, &registry), before);
    }
    second.stop();
    let broken = |config: &mut Value| config["registries"][0]["upstream"]["tls"] = json!({ "ca": "typo" });
    gate.reload_with(broken);
    assert_eq!(asked(&gate, &registry), before, "a configuration that cannot be used");
}

#[test]
fn another_content_of_a_file_makes_other_connections() {
    let pki = Pki::new();
    let registry = Registry::setup().with_tls(&pki, &["localhost"]).start();
    let roots = fs::read_to_string(pki.ca_file()).unwrap();
    let mut gate = Portcullis::before(&registry)
        .without_probes()
        .with_upstream(|upstream| upstream["tls"] = json!({ "ca_file": pki.ca_file() }))
        .start();
    let first = asked(&gate, &registry);
    fs::write(pki.ca_file(), &roots).unwrap();
    gate.reload_with(|_| {});
    assert_eq!(asked(&gate, &registry), first, "the same content");
    let more = fs::read_to_string(Pki::new().ca_file()).unwrap();
    fs::write(pki.ca_file(), roots + &more).unwrap();
    gate.reload_with(|_| {});
    eventually("the old connection is closed", || connections(&registry).is_disjoint(&first));
    assert_ne!(asked(&gate, &registry), first);
}

#[test]
fn a_changed_password_is_shown_at_once() {
    const OLD: Login = Login::new("gate", "old");
    const NEW: Login = Login::new("gate", "new");
    let registry = Registry::setup().with_login(OLD).start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, OLD.password).unwrap();
    let mut gate = Portcullis::before(&registry)
        .without_probes()
        .with_upstream(|upstream| upstream["credentials"] = json!({ "username": OLD.name, "password_file": file }))
        .start();
    let first = asked(&gate, &registry);
    fs::write(&file, format!("{}\n", OLD.password)).unwrap();
    gate.reload_with(|_| {});
    assert_eq!(asked(&gate, &registry), first, "a line break at its end is none of it");
    assert_ne!(htpasswd_line(OLD), htpasswd_line(NEW));
    fs::write(&file, NEW.password).unwrap();
    gate.reload_with(|_| {});
    assert_eq!(status(&gate), 502, "the registry knows the old one");
    assert!(connections(&registry).is_disjoint(&first));
}

#[test]
fn a_dead_server_stays_so_and_comes_back_once() {
    let mut registry = Registry::start();
    let other = Registry::setup().storage(registry.storage()).start();
    let health = json!({ "interval": "200ms", "timeout": "2s" });
    let mut gate = Portcullis::before(&registry)
        .with_upstream(|upstream| {
            upstream["servers"].as_array_mut().unwrap().push(json!({ "url": other.url }));
            upstream["health"] = health;
        })
        .start();
    let of_dead = format!("server=\"{}\"", registry.url);
    let shown = |gate: &Portcullis, metric: &str| gate.counted(metric, &of_dead);
    registry.kill();
    eventually("the server loses its turn", || shown(&gate, "portcullis_upstream_ejections_total") > 0.0);
    for weight in 2..5 {
        gate.reload_with(|config| config["registries"][0]["upstream"]["servers"][1]["weight"] = json!(weight));
        assert!(gate.log().matches("a server is back").count() == 0);
        assert!(shown(&gate, "portcullis_upstream_up").abs() < f64::EPSILON);
        assert_eq!(status(&gate), 404, "the other one serves");
    }
    assert!((shown(&gate, "portcullis_upstream_ejections_total") - 1.0).abs() < f64::EPSILON);
    registry.start_again();
    eventually("it is back", || (shown(&gate, "portcullis_upstream_up") - 1.0).abs() < f64::EPSILON);
    assert_eq!(gate.log().matches("a server is back").count(), 1);
}

#[test]
fn a_server_is_probed_once_however_often_the_configuration_is_read() {
    // A probe that gets no answer keeps whoever asks from the next one, so that connections count those who ask.
    let ear = Ear::following(|caller| drop(caller.until_closed()));
    let upstream = json!({ "servers": [{ "url": ear.url() }], "health": { "interval": "100ms", "timeout": "1h" } });
    let mut gate = Portcullis::before_upstream(upstream).start();
    eventually("the first probe", || ear.open() == 1);
    for weight in 2..6 {
        gate.reload_with(|config| config["registries"][0]["upstream"]["servers"][0]["weight"] = json!(weight));
    }
    gate.reload_with(|config| config["registries"][0]["upstream"]["tls"] = json!({ "ca_file": "missing" }));
    gate.reload_with(|config| config["acess"] = json!({}));
    sleep(Duration::from_millis(600));
    assert_eq!(ear.connections(), 1);
}

/// Who waits for the next request of a client holds nothing of how the configuration was when the waiting began.
#[test]
fn an_idle_client_keeps_nothing_that_is_gone_from_the_configuration() {
    let registry = Registry::start();
    let ear = Ear::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let servers = json!([{ "url": registry.url }, { "url": ear.url(), "role": "replica" }]);
    let mut gate = Portcullis::before_upstream(json!({ "servers": servers, "health": { "interval": "100ms" } }))
        .with(|config| config["limits"] = json!({ "idle": "1h" }))
        .start();
    let mut client = Tls::connect(gate.pki(), gate.port(), "localhost");
    let mut ask = |gate: &Portcullis| {
        client.send(format!("GET /v2/ HTTP/1.1\r\nHost: {}\r\n\r\n", gate.host()));
        assert_eq!(client.answer(false).expect("an answer").status, 401);
    };
    ask(&gate);
    eventually("it is probed", || ear.connections() > 0);
    gate.reload_with(|config| drop(config["registries"][0]["upstream"]["servers"].as_array_mut().unwrap().pop()));
    eventually("it is probed no more", || {
        let before = ear.connections();
        sleep(Duration::from_millis(500));
        ear.connections() == before
    });
    ask(&gate);
}

#[test]
fn a_pull_ends_whole_from_a_server_that_is_gone_from_the_configuration() {
    let [registry, next] = [(); 2].map(|()| Registry::start());
    // More than what sockets hold on the way.
    let image = Image::new(7, &[32 << 20]);
    let mut gate = Portcullis::before(&registry).without_probes().start();
    Skopeo::logged_in(gate.pki(), &gate.host(), ALICE).copy(&image.reference(), &gate.image("team-a/app")).succeeded();
    let token = gate.token(Some(ALICE), "repository:team-a/app:pull");
    let mut client = Tls::connect(gate.pki(), gate.port(), "localhost");
    let blob = fs::read(image.blob(&image.layer)).unwrap();
    let head = format!("Host: {}\r\nAuthorization: Bearer {token}\r\nConnection: close", gate.host());
    client.send(format!("GET /v2/team-a/app/blobs/{} HTTP/1.1\r\n{head}\r\n\r\n", image.layer));
    let answer = client.answer_with_interim().unwrap();
    assert_eq!((answer.status, answer.header("content-length")), (200, Some(&*blob.len().to_string())));

    gate.reload_with(|config| config["registries"][0]["upstream"]["servers"][0]["url"] = json!(next.url));
    assert_eq!(status(&gate), 404, "served by the next one, which has nothing");
    assert_eq!(connections(&next).len(), 1);
    let gone = gate.admin("/metrics").text();
    assert!(gone.contains(&format!("server=\"{}\"}} NaN", registry.url)), "{gone}");
    assert!(!connections(&registry).is_empty(), "still under way");

    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert!(rest == blob);
    eventually("nothing of it is left", || connections(&registry).is_empty());
}
