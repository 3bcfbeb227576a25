//! What a fault of one server, or of one blob, must not do to anything else.

use std::{thread, time::Duration};

use serde_json::{Value, json};

use crate::support::{ALICE, Caller, Ear, Portcullis};

const WHOLE: usize = 1000;
/// Up to here a blob can be read.
const READABLE: usize = 500;

fn digest(number: usize) -> String {
    format!("sha256:{number:064x}")
}

fn blob(number: usize) -> String {
    format!("/v2/team-a/app/blobs/{}", digest(number))
}

/// In front of these, under settings that no probe disturbs unless they say so.
fn gate(servers: &Value, settings: &Value) -> Portcullis {
    let mut upstream = json!({
        "servers": servers,
        "health": { "interval": "1d" },
        "timeouts": { "connect": "500ms", "idle": "1s" },
    });
    for (key, value) in settings.as_object().unwrap() {
        upstream[key] = value.clone();
    }
    Portcullis::before_upstream(upstream).start()
}

/// A blob's answer, cut short where the medium is damaged.
fn damaged(caller: &mut Caller) {
    let Some(request) = caller.request() else { return };
    let from = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.split('-').next()?.parse().ok());
    let digest = request.target.rsplit('/').next().unwrap_or_default();
    let begin: usize = from.unwrap_or(0);
    let status = match from {
        Some(begin) => format!("206 Partial Content\r\nContent-Range: bytes {begin}-{}/{WHOLE}", WHOLE - 1),
        None => "200 OK".to_owned(),
    };
    let length = WHOLE - begin;
    caller.say(format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nDocker-Content-Digest: {digest}\r\n\r\n"));
    caller.say(vec![b'x'; READABLE.saturating_sub(begin)]);
}

/// Its head would be all that a client waits for.
#[test]
fn a_verified_blob_that_is_empty_and_must_not_be_is_refused() {
    let ear = Ear::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let gate = gate(&json!([{ "url": ear.url() }]), &json!({ "verify": true }));
    for version in ["--http1.1", "--http2"] {
        let answer = gate.curl(&blob(1)).user(ALICE).argument(version).send();
        assert_eq!((answer.status, answer.code().as_str()), (502, "UNAVAILABLE"), "{version}");
    }
    let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for version in ["--http1.1", "--http2"] {
        let answer = gate.curl(&format!("/v2/team-a/app/blobs/{empty}")).user(ALICE).argument(version).send();
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{version}");
    }
}

/// However the servers are balanced: the client's retry need not know of it.
#[test]
fn what_one_server_has_damaged_another_serves_when_it_is_asked_for_again() {
    let damaged = Ear::answering("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nhell");
    let whole = Ear::answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
    let path = "/v2/team-a/app/blobs/sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let servers = json!([{ "url": damaged.url(), "weight": 65_535 }, { "url": whole.url() }]);
    let gate = gate(&servers, &json!({ "verify": true, "balance": "by_digest" }));
    assert_eq!(gate.curl(path).user(ALICE).send().status, 502, "it is the damaged one's turn");
    for _ in 0..3 {
        let answer = gate.curl(path).user(ALICE).send();
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    }
}

#[test]
fn what_one_replica_lacks_another_serves_while_no_primary_answers() {
    let lacking = Ear::answering("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let having = Ear::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    let primary = Ear::answering("").url();
    let servers = json!([
        { "url": primary },
        { "url": lacking.url(), "role": "replica" },
        { "url": having.url(), "role": "replica" },
    ]);
    let gate = gate(&servers, &json!({ "balance": "by_digest" }));
    for number in 0..12 {
        let answer = gate.curl(&blob(number)).user(ALICE).send();
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "{number}");
    }
    assert!(!lacking.heard().is_empty(), "it was asked first for some");
}

#[test]
fn a_blob_of_which_nobody_has_the_rest_costs_no_server_its_turn() {
    let ears = [(); 2].map(|()| Ear::following(damaged));
    let gate = gate(&json!(ears.each_ref().map(|ear| json!({ "url": ear.url() }))), &json!({}));
    let cut = gate.curl(&blob(1)).user(ALICE).attempt();
    assert!(cut.is_err(), "{cut:?}");
    assert!(gate.counted("portcullis_upstream_resumes_total", "") > 2.5, "the rest was asked for again and again");
    let ejections = gate.counted("portcullis_upstream_ejections_total", "");
    assert!(ejections < 0.5, "{ejections} servers lost their turn");
}

#[test]
fn a_commit_goes_on_while_other_requests_fail_and_the_server_answers_probes() {
    let ear = Ear::following(|caller| {
        while let Some(request) = caller.request() {
            let status = match (request.method.as_str(), request.target.as_str()) {
                (_, "/v2/") => "200 OK",
                ("PUT", _) => {
                    caller.body(&request);
                    thread::sleep(Duration::from_secs(5));
                    "201 Created"
                }
                _ => "503 Service Unavailable",
            };
            caller.say(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    let health = json!({ "interval": "4s", "timeout": "2s", "unhealthy_after": 2 });
    let gate = gate(&json!([{ "url": ear.url() }]), &json!({ "health": health }));
    thread::scope(|scope| {
        let put = scope.spawn(|| {
            let put = gate.curl("/v2/team-a/app/manifests/v1").user(ALICE).method("PUT").argument("--data-binary");
            put.argument("{}").header("Content-Type: application/vnd.oci.image.manifest.v1+json").send()
        });
        for number in 0..3 {
            assert!(gate.curl(&blob(number)).user(ALICE).send().status >= 500);
        }
        assert!(gate.counted("portcullis_upstream_ejections_total", "") > 0.5, "it has lost its turn");
        let answer = put.join().unwrap();
        assert_eq!(answer.status, 201, "{}", answer.text());
    });
}
