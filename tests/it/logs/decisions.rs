//! The audit log: who did what, by which right.

use std::time::Duration;

use serde_json::json;

use super::{of, said};
use crate::support::{
    ALICE, BOB, Curl, Image, Portcullis, Registry, Skopeo, SlowRelay, Tls, claims, eventually, exchange,
};

const ACCEPT: &str = "Accept: application/vnd.oci.image.manifest.v1+json";

#[test]
fn a_push_a_pull_and_what_is_refused() {
    let registry = Registry::start();
    let mut gate = Portcullis::start(&registry);
    gate.reload_with(|config| {
        let inside = json!({
            "name": "inside", "repositories": ["inside/**"], "actions": ["pull"], "to": ["authenticated"], "from": ["10.0.0.0/8"],
        });
        config["access"]["grants"].as_array_mut().unwrap().push(inside);
    });
    let image = Image::new(900, &[1000]);
    let skopeo = Skopeo::logged_in(gate.pki(), &gate.host(), ALICE);
    skopeo.copy(&image.reference(), &gate.image("team-a/app")).succeeded();
    skopeo.copy(&gate.image("team-a/app"), &gate.image("home/alice/app")).succeeded();
    let path = format!("/v2/home/alice/app/manifests/{}", image.digest);
    assert_eq!(gate.curl(&path).user(ALICE).method("DELETE").send().status, 202);
    assert_eq!(gate.curl("/v2/team-a/app/manifests/v1").user(ALICE).header(ACCEPT).send().status, 200);
    assert_eq!(gate.curl("/v2/team-a/app/manifests/none").user(ALICE).send().status, 404);
    assert_eq!(gate.curl("/v2/team-a/app/manifests/v1").user(BOB).send().status, 403);
    let denied = gate.curl("/v2/inside/app/tags/list").user(BOB).send();
    assert!(denied.status == 403 && !denied.text().contains("network"), "{}", denied.text());
    assert_eq!(gate.curl("/v2/_catalog").user(BOB).send().status, 200);
    eventually("the last one has its line", || of(&gate, "audit").iter().any(|line| line["event"] == "catalog"));
    let lines = of(&gate, "audit");
    let tells = |expected: &[(&str, &str)]| {
        let fits = |line: &&super::Line| expected.iter().all(|(field, value)| said(line, [field])[0] == *value);
        let found = lines.iter().find(fits);
        found.unwrap_or_else(|| panic!("{expected:?} in\n{:#?}", lines)).clone()
    };
    let token = tells(&[("event", "token"), ("outcome", "allowed"), ("user", "alice"), ("provider", "htpasswd")]);
    assert!(said(&token, ["granted"])[0].contains("repository:team-a/app:pull,push"), "{token:?}");
    let push = tells(&[("event", "push"), ("reference", "v1"), ("repository", "team-a/app"), ("outcome", "allowed")]);
    let expected =
        ["alice", "token", "group:team-a", "team-a works in its namespace", "push", image.digest.as_str(), "201"];
    assert_eq!(said(&push, ["user", "presented", "subject", "grant", "action", "digest", "status"]), expected);
    let [id, upstream, client] = said(&push, ["access_token", "upstream", "client"]);
    assert!(lines.iter().any(|line| line["event"] == "token" && said(line, ["access_token"])[0] == id), "{id}");
    assert_eq!((upstream.as_str(), client.as_str()), (registry.url.as_str(), "127.0.0.1"));
    tells(&[("event", "push"), ("reference", &image.layer), ("outcome", "allowed")]);
    tells(&[("event", "mount"), ("from", "team-a/app"), ("repository", "home/alice/app"), ("outcome", "allowed")]);
    tells(&[("event", "delete"), ("subject", "authenticated"), ("reference", &image.digest), ("outcome", "allowed")]);
    tells(&[("event", "pull"), ("reference", "v1"), ("digest", &image.digest), ("presented", "password")]);
    tells(&[("event", "pull"), ("reference", "none"), ("outcome", "failed"), ("status", "404")]);
    let denied = tells(&[("event", "pull"), ("outcome", "denied"), ("user", "bob"), ("status", "403")]);
    assert!(!denied.contains_key("near") && !denied.contains_key("grant"), "{denied:?}");
    tells(&[("event", "list"), ("outcome", "denied"), ("near", "inside"), ("user", "bob")]);
    assert!(lines.iter().all(|line| line["event"] != "upload"), "the steps of a good upload are no decision");
    assert!(lines.iter().all(|line| said(line, ["refused"])[0] != "login_needed"), "nor is the first challenge");
}

#[test]
fn logins_and_tokens_that_are_refused() {
    let registry = Registry::start();
    let mut gate = Portcullis::start(&registry);
    gate.reload_with(|config| config["tokens"]["refresh"] = json!({ "enabled": true }));
    let deploy = gate.deploy_token("alice", &["team-a/app:pull"]);
    let refresh = gate.refresh_token(ALICE);
    let id = claims(&refresh)["jti"].as_str().unwrap().to_owned();
    assert_eq!(gate.curl("/v2/team-a/app/tags/list").user(deploy.login).send().status, 404);
    gate.reload_with(|config| config["tokens"]["revoked"] = json!([deploy.id, id]));
    assert_eq!(gate.curl("/v2/team-a/app/tags/list").user(deploy.login).send().status, 401);
    let exchange = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str()), ("service", "localhost")];
    assert_eq!(gate.curl("/token").form(&exchange).send().status, 401);
    assert_eq!(gate.curl("/v2/").argument("--user").argument("nobody:wrong").send().status, 401);
    assert_eq!(gate.curl("/v2/").user(ALICE).send().status, 200);
    assert_eq!(gate.curl("/v2/").send().status, 401);
    assert_eq!(gate.curl("/v2/").bearer("x.y.z").send().status, 401);
    let fields = ["event", "outcome", "user", "claimed", "presented", "token", "refused"];
    let expected: [[&str; 7]; 7] = [
        ["login", "allowed", "alice", "", "password", &id, ""],
        ["list", "failed", "alice", "", "password", &deploy.id, ""],
        ["login", "rejected", "", "alice", "password", &deploy.id, "token_revoked"],
        ["token", "rejected", "", "alice", "token", &id, "token_revoked"],
        ["login", "rejected", "", "nobody", "password", "", "wrong_credentials"],
        ["login", "allowed", "alice", "", "password", "", ""],
        ["login", "rejected", "", "", "token", "", "invalid_token"],
    ];
    let told = || of(&gate, "audit").iter().map(|line| said(line, fields)).collect::<Vec<_>>();
    eventually("the last one has its line", || told().len() >= expected.len());
    assert_eq!(told(), expected.map(|line| line.map(str::to_owned)));
    let exchanged = of(&gate, "audit").into_iter().find(|line| line["event"] == "token").unwrap();
    assert!(exchanged["bytes_in"].as_u64().unwrap() > 100, "a form is a body: {exchanged:?}");
    let last = of(&gate, "audit").pop().unwrap();
    assert!(last["client"] == "127.0.0.1" && !last.contains_key("peer"));
}

#[test]
fn a_client_that_does_not_trust_the_certificate_is_told_of() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    for _ in 0..3 {
        assert!(Curl::new(gate.url("/v2/")).attempt().is_err());
    }
    let told = || {
        let lines = of(&gate, "portcullis");
        lines.into_iter().filter(|line| said(line, ["message"])[0] == "a TLS handshake failed").collect::<Vec<_>>()
    };
    eventually("it is told", || !told().is_empty());
    let line = told().remove(0);
    assert!(said(&line, ["client", "advice"])[1].contains("does not trust"), "{line:?}");
    assert_eq!((told().len(), &line["client"]), (1, &"127.0.0.1".into()), "once in a while");
}

/// A client that leaves in time must not make it look as if nothing had been deleted.
#[test]
fn a_delete_whose_answer_its_client_did_not_await_is_told_as_what_it_is() {
    let registry = Registry::start();
    let relay = SlowRelay::to(registry.port(), Duration::from_millis(300));
    let gate = Portcullis::before_url(&format!("http://127.0.0.1:{}", relay.port())).start();
    let image = Image::new(901, &[1000]);
    let direct = Portcullis::start(&registry);
    let skopeo = Skopeo::logged_in(direct.pki(), &direct.host(), ALICE);
    skopeo.copy(&image.reference(), &direct.image("home/alice/app")).succeeded();
    let path = format!("/v2/home/alice/app/manifests/{}", image.digest);
    let token = gate.token(Some(ALICE), "repository:home/alice/app:delete");
    let mut tls = Tls::connect(gate.pki(), gate.port(), "localhost");
    tls.send(format!("DELETE {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"));
    eventually("it is passed on", || gate.status()["registries"][0]["servers"][0]["under_way"] == 1);
    drop(tls);
    let deletes = || of(&gate, "audit").into_iter().filter(|line| line["event"] == "delete").collect::<Vec<_>>();
    eventually("it is told", || !deletes().is_empty());
    eventually("it was done", || direct.curl(&path).user(ALICE).header(ACCEPT).send().status == 404);
    let told = said(&deletes()[0], ["outcome", "aborted", "user", "reference", "status"]);
    assert_eq!(told, ["allowed", "client_gone", "alice", image.digest.as_str(), "202"]);
}

/// docker-registry takes no blob in a POST: it begins an upload, which is then given up.
#[test]
fn a_push_that_became_an_upload_and_an_upload_that_is_given_up() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let digest = format!("sha256:{}", "0".repeat(64));
    let post = gate.curl(&format!("/v2/home/alice/app/blobs/uploads/?digest={digest}")).user(ALICE);
    let begun = post.method("POST").send();
    assert_eq!(begun.status, 202);
    let location = begun.header("location").unwrap().to_owned();
    let (_, path) = location.split_once(&gate.host()).unwrap();
    assert_eq!(gate.curl(path).user(ALICE).method("DELETE").send().status, 204);
    let told = || of(&gate, "audit").iter().map(|line| said(line, ["event", "outcome", "user"])).collect::<Vec<_>>();
    eventually("both are told", || told().len() == 2);
    assert_eq!(told(), [["push", "failed", "alice"], ["cancel", "allowed", "alice"]]);
    let id = path.split(['/', '?']).nth(7).unwrap();
    assert!(id.len() > 30 && !gate.log().contains(id), "{id}");
}

#[test]
fn credentials_in_clear_are_told_of_once_in_a_while() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    for _ in 0..20 {
        let answer =
            exchange(gate.http_port(), "GET /v2/ HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic x\r\n\r\n");
        assert!(answer.starts_with(b"HTTP/1.1 400"));
    }
    let told = || of(&gate, "portcullis").iter().filter(|line| line.contains_key("peer")).count();
    eventually("it is told", || told() > 0);
    assert_eq!(told(), 1);
}
