//! The same as docker-registry's own notifications of the same acts, field by field; and who told it.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::telling;
use crate::support::{ADMIN, Image, Login, Portcullis, Receiver, Registry, Skopeo, eventually, run};

const KEY: &str = "a key that signs";

/// What the two say of the same act in another way, each for a reason.
fn comparable(mut event: Value) -> Value {
    for key in ["id", "timestamp", "source"] {
        assert!(event[key].is_string() || key == "source", "{event}");
        event[key] = Value::Null;
    }
    // The registry makes ids of its own.
    assert!(event["request"]["id"].as_str().is_some_and(|id| !id.is_empty()), "{event}");
    event["request"]["id"] = Value::Null;
    // It knows nobody.
    event["actor"] = Value::Null;
    if event["action"] == "mount" {
        // Nobody tells the gate how large the blob is.
        for key in ["size", "length"] {
            event["target"].as_object_mut().unwrap().remove(key);
        }
    }
    event
}

/// The registry also tells that a HEAD is a pull, and which tags go with a manifest.
fn is_told_by_both(event: &Value) -> bool {
    let is_tag_alone = event["action"] == "delete" && event["target"]["digest"].is_null();
    event["request"]["method"] != "HEAD" && !is_tag_alone
}

fn sorted(events: Vec<Value>) -> Vec<String> {
    let mut texts: Vec<String> = events.into_iter().map(|event| comparable(event).to_string()).collect();
    texts.sort();
    texts
}

fn acts(gate: &Portcullis) -> Image {
    let image = Image::new(80, &[30_000, 2_000]);
    let admin = Skopeo::logged_in(gate.pki(), &gate.host(), ADMIN);
    admin.copy(&image.reference(), &gate.image("library/app")).succeeded();
    let dir = tempfile::tempdir().unwrap();
    Skopeo::new(gate.pki()).copy(&gate.image("library/app"), &format!("oci:{}:v1", dir.path().display())).succeeded();
    let mount = format!("/v2/other/app/blobs/uploads/?mount={}&from=library/app", image.layer);
    assert_eq!(gate.curl(&mount).user(ADMIN).method("POST").send().status, 201);
    let by_digest = format!("/v2/library/app/manifests/{}", image.digest);
    let accept = "Accept: application/vnd.oci.image.manifest.v1+json";
    assert_eq!(gate.curl(&by_digest).user(ADMIN).header(accept).send().status, 200);
    assert_eq!(gate.curl(&format!("/v2/other/app/blobs/{}", image.layer)).user(ADMIN).send().status, 200);
    let delete = |path: &str| gate.curl(path).user(ADMIN).method("DELETE").send().status;
    assert_eq!(delete(&format!("/v2/other/app/blobs/{}", image.layer)), 202);
    assert_eq!(delete(&by_digest), 202);
    image
}

#[test]
fn the_same_events_as_the_registrys_own_and_who_did_it() {
    let theirs = Receiver::start();
    let url = theirs.url();
    let registry = Registry::setup().with_absolute_urls().with(move |config| {
        config["notifications"] = json!({
            "events": { "includereferences": true },
            "endpoints": [{ "name": "own", "url": url, "timeout": "1s", "threshold": 3, "backoff": "1s" }],
        });
    });
    let registry = registry.start();

    let pki = crate::support::Pki::new();
    let ours = Receiver::with_tls(&pki.issue(&["localhost"]));
    let secrets = tempfile::tempdir().unwrap();
    let (key, login) = (secrets.path().join("key"), secrets.path().join("login"));
    fs::write(&key, format!("{KEY}\n")).unwrap();
    fs::write(&login, "Bearer receiver's own\n").unwrap();
    let ca = pki.ca_file();
    let gate = telling(&registry, &ours.url(), move |endpoint| {
        endpoint["references"] = true.into();
        endpoint["ca_file"] = json!(ca);
        endpoint["hmac_key_file"] = json!(key);
        endpoint["authorization_file"] = json!(login);
    });
    let gate = gate.start();
    let image = acts(&gate);

    let of_both = || theirs.events().into_iter().filter(is_told_by_both).collect::<Vec<_>>();
    eventually("both have told all", || {
        let last = |events: &[Value]| events.iter().filter(|event| event["action"] == "delete").count() == 2;
        last(&of_both()) && last(&ours.events()) && of_both().len() == ours.events().len()
    });
    assert_eq!(sorted(ours.events()), sorted(of_both()));

    let of = |action: &str| {
        let mut events = ours.events().into_iter().filter(|event| event["action"] == action).collect::<Vec<_>>();
        events.sort_by_key(|event| event["target"]["tag"].is_null());
        events
    };
    let names = |action: &str| of(action).iter().map(|event| event["actor"].clone()).collect::<Vec<_>>();
    let admin = json!({ "name": ADMIN.name });
    assert!(names("push").iter().all(|actor| *actor == admin), "{:?}", names("push"));
    assert_eq!(names("push").len(), 4, "two layers, the configuration, the manifest");
    assert_eq!((names("mount"), names("delete")), (vec![admin.clone()], vec![admin.clone(), admin.clone()]));
    let [pulled, anonymous] =
        [&admin, &json!({})].map(|actor| names("pull").iter().filter(|name| *name == actor).count());
    assert_eq!((pulled, anonymous), (2, 4), "{:?}", of("pull"));
    assert!(!of("mount")[0]["target"].as_object().unwrap().contains_key("size"), "{}", of("mount")[0]);
    let push = &of("push")[0];
    assert_eq!(push["target"]["url"], format!("{}/v2/library/app/manifests/{}", gate.url(""), image.digest));
    assert_eq!(push["target"]["references"].as_array().unwrap().len(), 3, "{push}");
    assert_eq!(push["source"]["addr"].as_str().unwrap().rsplit_once(':').unwrap().1, gate.port().to_string());
    assert_eq!(push["source"]["instanceID"].as_str().unwrap().len(), 36);
    assert!(gate.log().contains(push["request"]["id"].as_str().unwrap()), "the id of the access line");

    for told in ours.taken() {
        assert_eq!(told.target, "/hook?from=gate");
        assert_eq!(told.header("content-type"), Some("application/vnd.docker.distribution.events.v1+json"));
        assert_eq!(told.header("authorization"), Some("Bearer receiver's own"));
        let stamped = told.header("x-portcullis-timestamp").unwrap();
        assert_eq!(verify(KEY, stamped, told.header("x-portcullis-signature").unwrap(), &told.body), "");
    }
    let (one, body) = (&ours.taken()[0], br#"{"events":[]}"#);
    let (stamp, signature) =
        (one.header("x-portcullis-timestamp").unwrap(), one.header("x-portcullis-signature").unwrap());
    let forged = "refused\n";
    assert_eq!(verify(KEY, stamp, signature, body), forged, "another body");
    assert_eq!(verify(KEY, "1700000000", signature, &one.body), forged, "another time");
    assert_eq!(verify("another key", stamp, signature, &one.body), forged);
    assert_eq!(ours.connections(), 1, "the connection is kept");
    assert!(!gate.log().contains("receiver's own") && !gate.log().contains(KEY) && !gate.log().contains("hook?from"));
}

/// By the script that operators are given; what it says.
fn verify(key: &str, timestamp: &str, signature: &str, body: &[u8]) -> String {
    let guide = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/guide/events.md")).unwrap();
    let script =
        guide.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a script in the guide");
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("body"), body).unwrap();
    let mut command = std::process::Command::new("sh");
    command.arg("-c").arg(script).current_dir(dir.path());
    command.env("KEY", key).env("TIMESTAMP", timestamp).env("SIGNATURE", signature);
    run(&mut command, "").stdout
}

#[test]
fn an_endpoint_is_told_of_what_it_wants_alone() {
    let registry = Registry::start();
    let receiver = Receiver::start();
    let gate = telling(&registry, &receiver.url(), |endpoint| {
        endpoint["actions"] = json!(["push"]);
        endpoint["repositories"] = json!(["team-a/**"]);
        endpoint["registries"] = json!(["localhost"]);
        endpoint["media_type"] = "application/vnd.docker.distribution.events.v2+json".into();
    });
    let gate = gate.start();
    let image = Image::new(82, &[1_000]);
    let push = |login: Login, repository: &str| {
        let skopeo = Skopeo::logged_in(gate.pki(), &gate.host(), login);
        skopeo.copy(&image.reference(), &gate.image(repository)).succeeded();
    };
    push(ADMIN, "library/app");
    push(ADMIN, "team-a/app");
    let events = || receiver.events();
    eventually("all is told", || events().iter().any(|event| event["target"]["tag"] == "v1"));
    assert!(events().iter().all(|event| event["action"] == "push" && event["target"]["repository"] == "team-a/app"));
    assert!(events().iter().all(|event| event["target"].get("references").is_none()), "nobody asked for them");
    let media_type = receiver.taken()[0].header("content-type").map(str::to_owned);
    assert_eq!(media_type.as_deref(), Some("application/vnd.docker.distribution.events.v2+json"));
}
