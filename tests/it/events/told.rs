//! What is told, and what is not: only what came about.

use std::{collections::BTreeSet, fs};

use super::{published, pull, telling};
use crate::support::{ADMIN, Receiver, Registry, Tls, eventually};

#[test]
fn what_came_to_nothing_is_not_told() {
    let registry = Registry::start();
    let receiver = Receiver::start();
    let gate = telling(&registry, &receiver.url(), |_| {}).start();
    let image = published(&gate, Some(&receiver));
    let before = receiver.events().len();

    let ask = |method: &str, path: &str| gate.curl(path).user(ADMIN).method(method);
    let accept = "Accept: application/vnd.oci.image.manifest.v1+json";
    let head = |path: &str| gate.curl(path).user(ADMIN).header(accept).argument("--head").send().status;
    assert_eq!(head("/v2/library/app/manifests/v1"), 200);
    assert_eq!(head(&format!("/v2/library/app/blobs/{}", image.layer)), 200);
    assert_eq!(ask("GET", "/v2/library/app/manifests/none").send().status, 404);
    assert_eq!(ask("GET", "/v2/library/app/tags/list").send().status, 200);
    assert_eq!(gate.curl("/v2/team-a/app/manifests/v1").send().status, 401, "refused by the gate");
    let unchanged = ask("GET", "/v2/library/app/manifests/v1").header(accept);
    assert_eq!(unchanged.header(&format!("If-None-Match: \"{}\"", image.digest)).send().status, 304);
    let other = format!("/v2/other/app/blobs/uploads/?mount=sha256:{}&from=library/app", "0".repeat(64));
    assert_eq!(ask("POST", &other).send().status, 202, "a mount that becomes an upload");
    let broken = gate.dir().join("broken");
    fs::write(&broken, "{}").unwrap();
    let manifest = ask("PUT", "/v2/library/app/manifests/v2").body_file(&broken);
    assert!(manifest.send().status >= 400);
    assert_eq!(ask("DELETE", &format!("/v2/library/app/manifests/sha256:{}", "0".repeat(64))).send().status, 404);
    let piece = |range: &str| {
        let blob = ask("GET", &format!("/v2/library/app/blobs/{}", image.layer));
        assert_eq!(blob.header(&format!("Range: bytes={range}")).send().status, 206);
    };
    piece("0-99");
    pull(&gate, "m1");
    eventually("the pull is told", || receiver.marks().iter().any(|mark| mark == "m1"));
    assert_eq!(receiver.events().len(), before + 1, "{:#?}", receiver.events());

    piece("100-");
    eventually("with the last piece it is pulled", || receiver.events().len() == before + 2);
    let size = fs::metadata(image.blob(&image.layer)).unwrap().len();
    assert_eq!(receiver.events()[before + 1]["target"]["size"], size);
}

#[test]
fn a_pull_that_breaks_off_is_not_told() {
    let registry = Registry::start();
    let receiver = Receiver::start();
    let gate = telling(&registry, &receiver.url(), |_| {}).start();
    let big = crate::support::Image::new(83, &[20_000_000]);
    let skopeo = crate::support::Skopeo::logged_in(gate.pki(), &gate.host(), ADMIN);
    skopeo.copy(&big.reference(), &gate.image("library/big")).succeeded();
    published(&gate, Some(&receiver));
    let before = receiver.events().len();
    let mut client = Tls::connect(gate.pki(), gate.port(), "localhost");
    client.send(format!("GET /v2/library/big/blobs/{} HTTP/1.1\r\nHost: {}\r\n\r\n", big.layer, gate.host()));
    let head = client.answer(true).expect("the head of an answer");
    assert_eq!(head.status, 200);
    drop(client);
    eventually("it broke off", || gate.log().contains("\"aborted\":\"client_gone\""));
    pull(&gate, "m1");
    eventually("the next pull is told", || receiver.marks().iter().any(|mark| mark == "m1"));
    assert_eq!(receiver.events().len(), before + 1, "{:#?}", receiver.events());
}

/// A registry does what it was asked whether or not somebody waits for its answer, and so it is told.
#[test]
fn who_leaves_before_the_answer_is_told_of_all_the_same() {
    const PUSHES: usize = 8;
    let registry = Registry::start();
    let receiver = Receiver::start();
    let gate = telling(&registry, &receiver.url(), |_| {}).start();
    let image = published(&gate, Some(&receiver));
    let manifest = fs::read_to_string(image.manifest()).unwrap();
    let token = gate.token(Some(ADMIN), "repository:library/app:pull,push,delete");
    let leave = |request: &str, body: &str| {
        let mut client = Tls::connect(gate.pki(), gate.port(), "localhost");
        let head = format!("Host: {}\r\nAuthorization: Bearer {token}\r\nContent-Length: {}", gate.host(), body.len());
        client.send(format!(
            "{request} HTTP/1.1\r\n{head}\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\n\r\n{body}"
        ));
    };
    let expected: BTreeSet<String> = (1..=PUSHES).map(|number| format!("left{number}")).collect();
    for tag in &expected {
        leave(&format!("PUT /v2/library/app/manifests/{tag}"), &manifest);
    }
    let stored = || {
        let tags = gate.curl("/v2/library/app/tags/list").send().json()["tags"].clone();
        tags.as_array().unwrap().iter().filter(|tag| expected.contains(tag.as_str().unwrap())).count()
    };
    eventually("the registry has them", || stored() == PUSHES);
    let told = |action: &str, key: &str| -> BTreeSet<String> {
        let events = receiver.events().into_iter().filter(|event| event["action"] == action);
        events.filter_map(|event| event["target"][key].as_str().map(str::to_owned)).collect()
    };
    eventually("all pushes are told", || told("push", "tag").is_superset(&expected));
    leave(&format!("DELETE /v2/library/app/manifests/{}", image.digest), "");
    eventually("the deletion is told", || told("delete", "digest").contains(&image.digest));
}
