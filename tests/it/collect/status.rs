//! What `/status` shows of writes.

use std::{fs, thread::sleep, time::Duration};

use serde_json::{Value, json};

use crate::support::{ALICE, BOB, Ear, Image, Login, Portcullis, Registry, Response, Signal, Tls, digest, eventually};

/// `open_writes` of the only registry, which is the sum of all.
#[track_caller]
fn open(gate: &Portcullis) -> u64 {
    let status = gate.admin("/status").json();
    assert_eq!(status["open_writes"], status["registries"][0]["open_writes"], "{status}");
    status["open_writes"].as_u64().unwrap()
}

fn freeze(gate: &mut Portcullis, what: Value, uploads: &str) {
    let uploads = json!(uploads);
    gate.reload_with(|config| {
        config["registries"][0]["read_only"] = what;
        config["registries"][0]["read_only_uploads"] = uploads;
    });
}

fn post(gate: &Portcullis, query: &str) -> Response {
    gate.curl(&format!("/v2/team-a/app/blobs/uploads/{query}")).user(ALICE).method("POST").send()
}

/// Opens an upload session.
fn session(gate: &Portcullis) -> String {
    let opened = post(gate, "");
    assert_eq!(opened.status, 202, "{}", opened.text());
    path(gate, &opened)
}

fn path(gate: &Portcullis, answer: &Response) -> String {
    answer.header("location").unwrap().replace(&gate.url(""), "")
}

/// Sends the layer to a session and says that this was all; the digest is wrong where that is asked for.
fn finish(gate: &Portcullis, session: &str, image: &Image) {
    let sent = gate.curl(session).user(ALICE).method("PATCH").body_file(&image.blob(&image.layer)).send();
    assert_eq!((sent.status, open(gate)), (202, 1), "{}", sent.text());
    let end = format!("{}&digest={}", path(gate, &sent), image.layer);
    let made = gate.curl(&end).user(ALICE).method("PUT").header("Content-Length: 0").send();
    assert_eq!(made.status, 201, "{}", made.text());
}

#[test]
fn the_status_says_what_is_open() {
    let registry = Registry::start();
    let mut gate = Portcullis::start(&registry);
    let image = Image::new(450, &[1000]);
    let status = gate.admin("/status");
    assert_eq!(status.header("content-type"), Some("application/json"));
    let mut shown = status.json();
    let configuration = shown["configuration"].take();
    let certificates = shown["certificates"].take();
    // They are of the moment, and have tests of their own.
    for moving in ["started", "uptime_seconds", "now", "traffic", "logins", "memory"] {
        assert!(shown.as_object_mut().unwrap().remove(moving).is_some(), "{moving}");
    }
    let latency = shown["registries"][0]["servers"][0]["latency_ms"].take();
    assert!(latency.is_null() || latency.is_number(), "{latency}");
    assert_eq!(
        (&certificates[0]["source"], certificates.as_array().unwrap().len()),
        (&json!("files"), 1),
        "{certificates}"
    );
    let file = gate.configuration().display().to_string();
    assert_eq!((&configuration["file"], &configuration["generation"]), (&json!(file), &json!(1)), "{configuration}");
    assert_eq!((&configuration["error"], &configuration["failed_at"]), (&json!(null), &json!(null)), "{configuration}");
    let hash = configuration["fingerprint"].as_str().unwrap();
    let content = digest(&fs::read(gate.configuration()).unwrap());
    assert!(hash.len() == 12 && content.starts_with(&format!("sha256:{hash}")), "{content}: {hash}");
    assert!(configuration["in_force_since"].as_str().unwrap().ends_with('Z'), "{configuration}");
    assert_eq!(
        shown,
        json!({
            "version": 1,
            "pid": gate.pid(),
            "portcullis": env!("CARGO_PKG_VERSION"),
            "ready": true,
            "health": "ok",
            "problems": [],
            "configuration": null,
            "certificates": null,
            "acme": [],
            "directories": [],
            "events": [],
            "open_writes": 0,
            "registries": [
                {
                    "name": "localhost", "read_only": false, "read_only_uploads": "finish", "open_writes": 0,
                    "servers": [{
                        "url": registry.url, "for": "registry", "upstream": 0, "role": "primary", "up": true, "under_way": 0,
                        "latency_ms": null, "failures": 0,
                    }],
                },
            ],
        })
    );
    let first = session(&gate);
    assert_eq!(open(&gate), 1);
    let line = "portcullis_open_writes{registry=\"localhost\"} 1";
    assert!(gate.admin("/metrics").text().contains(line), "{}", gate.admin("/metrics").text());

    // A reload forgets nothing.
    freeze(&mut gate, json!(["team-b/**"]), "finish");
    assert_eq!(gate.admin("/status").json()["registries"][0]["read_only"], json!(["team-b/**"]));
    finish(&gate, &first, &image);
    assert_eq!(open(&gate), 0);

    let mounted = post(&gate, &format!("?mount={}&from=team-a/app", image.layer));
    assert_eq!((mounted.status, open(&gate)), (201, 0));
    let guessed = post(&gate, &format!("?mount=sha256:{}&from=team-a/app", "0".repeat(64)));
    assert_eq!((guessed.status, open(&gate)), (202, 1));
    assert_eq!(gate.curl(&path(&gate, &guessed)).user(ALICE).method("DELETE").send().status, 204);
    assert_eq!(open(&gate), 0);

    for (who, status) in [(Some(BOB), 403), (None, 401)] {
        let curl = gate.curl("/v2/team-a/app/blobs/uploads/").method("POST");
        let answer = who.map_or_else(|| curl.clone(), |who| curl.clone().user(who)).send();
        assert_eq!((answer.status, open(&gate)), (status, 0));
    }
    assert_eq!(gate.curl("/v2/team-a/app/blobs/uploads/none").user(ALICE).method("PATCH").send().status, 404);
    assert_eq!(open(&gate), 0);
}

#[test]
fn an_upload_that_is_refused_is_not_waited_for() {
    let registry = Registry::start();
    let mut gate = Portcullis::start(&registry);
    let (image, first) = (Image::new(451, &[1000]), session(&gate));
    freeze(&mut gate, json!(true), "finish");
    assert_eq!(open(&gate), 1);
    finish(&gate, &first, &image);
    assert_eq!(open(&gate), 0);

    freeze(&mut gate, json!(false), "finish");
    session(&gate);
    assert_eq!(open(&gate), 1);
    freeze(&mut gate, json!(true), "refuse");
    assert_eq!(open(&gate), 0);
    // Of a part of the registry it is not known whose they are.
    freeze(&mut gate, json!(["team-b/**"]), "refuse");
    assert_eq!(open(&gate), 1);
}

/// A manifest that is on its way when the registry becomes read-only is what a collection must wait for.
#[test]
fn a_request_is_open_until_the_registry_has_answered() {
    let (heard, answer) = (Signal::default(), Signal::default());
    let ear = Ear::following({
        let (heard, answer) = (heard.clone(), answer.clone());
        move |caller| {
            while let Some(request) = caller.request() {
                caller.body(&request);
                if request.method == "PUT" {
                    heard.raise();
                    answer.wait();
                }
                caller.say("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
            }
        }
    });
    let mut gate = Portcullis::before_url(&ear.url()).start();
    let token = gate.token(Some(ALICE), "repository:team-a/app:pull,push");
    let head = format!("Host: {}\r\nAuthorization: Bearer {token}", gate.host());
    let put = format!("PUT /v2/team-a/app/manifests/v1 HTTP/1.1\r\n{head}\r\nContent-Length: 2\r\n\r\n{{}}");
    let mut client = Tls::connect(gate.pki(), gate.port(), "localhost");
    client.send(&put);
    assert!(heard.wait());
    freeze(&mut gate, json!(true), "refuse");
    assert_eq!(open(&gate), 1);
    answer.raise();
    assert_eq!(client.answer(false).map(|answer| answer.status), Some(201));
    assert_eq!(open(&gate), 0);
    client.send(&put);
    assert_eq!((client.answer(false).map(|answer| answer.status), open(&gate)), (Some(403), 0));
}

/// The registry may still be at it.
#[test]
fn a_write_that_nobody_waits_for_any_more_stays_open_for_a_while() {
    let heard = Signal::default();
    let ear = Ear::following({
        let heard = heard.clone();
        move |caller| {
            while let Some(request) = caller.request() {
                if request.method != "PUT" {
                    caller.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                    continue;
                }
                heard.raise();
                caller.until_closed();
            }
        }
    });
    let setup = Portcullis::before_url(&ear.url());
    let mut gate =
        setup.with(|config| config["registries"][0]["upstream"]["timeouts"] = json!({ "commit": "1s" })).start();
    let token = gate.token(Some(ALICE), "repository:team-a/app:pull,push");
    let head = format!("Host: {}\r\nAuthorization: Bearer {token}", gate.host());
    let mut client = Tls::connect(gate.pki(), gate.port(), "localhost");
    client.send(format!("PUT /v2/team-a/app/manifests/v1 HTTP/1.1\r\n{head}\r\nContent-Length: 2\r\n\r\n{{}}"));
    assert!(heard.wait());
    drop(client);
    eventually("the gate gives it up", || gate.log().contains("client_gone"));
    freeze(&mut gate, json!(true), "refuse");
    assert_eq!(open(&gate), 1);
}

/// A login takes its time: what was allowed by the configuration of its beginning is asked again before it counts.
#[test]
fn a_write_that_began_before_is_refused_where_it_is_not_counted() {
    let slow = Login::new("slow", "takes a long time");
    let registry = Registry::start();
    let mut gate = Portcullis::start(&registry);
    let line = format!("{}:{}\n", slow.name, bcrypt::hash(slow.password, 12).unwrap());
    fs::write(gate.htpasswd(), line).unwrap();
    gate.reload_with(|_| {});
    let curl = gate.curl("/v2/home/slow/app/blobs/uploads/").user(slow).method("POST");
    let (answer, count) = std::thread::scope(|scope| {
        let asked = scope.spawn(|| curl.send());
        sleep(Duration::from_millis(300));
        freeze(&mut gate, json!(true), "refuse");
        let count = open(&gate);
        (asked.join().unwrap(), count)
    });
    assert_eq!((answer.status, answer.code().as_str(), count), (403, "DENIED", 0), "{}", answer.text());
}

/// An upload goes on under another name, or beside another registry on the same storage.
#[test]
fn what_is_open_counts_wherever_its_host_goes() {
    let registry = Registry::start();
    let hosts = |config: &mut Value, hosts: &[&[&str]]| {
        let one = config["registries"][0].clone();
        let named = hosts.iter().map(|hosts| {
            let mut one = one.clone();
            one["hosts"] = json!(hosts);
            one
        });
        config["registries"] = named.collect();
    };
    let setup = Portcullis::before(&registry).with(move |config| hosts(config, &[&["localhost"], &["127.0.0.1"]]));
    let mut gate = setup.start();
    session(&gate);
    assert_eq!(gate.status()["open_writes"], json!(1));
    assert!(gate.admin("/metrics").text().contains("portcullis_open_writes{registry=\"localhost\"} 1\n"));
    gate.reload_with(|config| hosts(config, &[&["127.0.0.1", "localhost"]]));
    assert_eq!(gate.status()["open_writes"], json!(1), "it goes on at another registry");
    let metrics = gate.admin("/metrics").text();
    assert!(metrics.contains("portcullis_open_writes{registry=\"localhost\"} NaN\n"), "{metrics}");
    assert!(metrics.contains("portcullis_open_writes{registry=\"127.0.0.1\"} 1\n"), "{metrics}");
    gate.reload_with(|config| hosts(config, &[&["other.test"]]));
    assert_eq!(gate.status()["open_writes"], json!(1), "the registry may still be at it");
    gate.reload_with(|_| {});
    assert_eq!(gate.status()["open_writes"], json!(1));
}
