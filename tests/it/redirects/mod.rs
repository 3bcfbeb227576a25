//! Registries that send whoever wants a blob to object storage.

mod hostile;
mod storage;

use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use self::storage::{SIGNATURE, Storage, redirecting};
use crate::support::{ALICE, Image, Login, Pki, Portcullis, Registry, Response, Skopeo, eventually};

/// A registry, its storage, and an image in `team-a/app`.
struct Scene {
    pki: Pki,
    registry: Registry,
    storage: Storage,
    image: Image,
}

impl Scene {
    fn new(seed: u64) -> Self {
        Self::with(seed, |storage| storage.origin("localhost"))
    }

    /// The registry redirects to what `target` says.
    fn with(seed: u64, target: impl FnOnce(&Storage) -> String) -> Self {
        let (pki, folder) = (Pki::new(), Arc::new(TempDir::new().unwrap()));
        let storage = Storage::start(&pki, folder.path());
        let registry = redirecting(&folder, target(&storage));
        let image = Image::new(seed, &[300_000, 5000]);
        let target = format!("docker://127.0.0.1:{}/team-a/app:v1", registry.port());
        Skopeo::local().copy_in_plain(&image.reference(), &target).succeeded();
        Self { pki, registry, storage, image }
    }

    /// A gate that follows to `hosts`.
    fn gate(&self, hosts: Value) -> Portcullis {
        self.gate_with(|upstream| upstream["redirect_hosts"] = hosts)
    }

    fn gate_with(&self, change: impl FnOnce(&mut Value)) -> Portcullis {
        let ca = self.pki.ca_file();
        Portcullis::before(&self.registry)
            .with_upstream(|upstream| {
                upstream["tls"]["ca_file"] = json!(ca);
                change(upstream);
            })
            .with(|config| config["log"] = json!({ "level": "trace" }))
            .start()
    }

    /// By its name, which leads to a loopback address.
    fn listed(&self) -> Value {
        json!([{ "origin": self.storage.origin("localhost"), "addresses": ["127.0.0.0/8"] }])
    }

    fn layer(&self) -> String {
        format!("/v2/team-a/app/blobs/{}", self.image.layer)
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.image.blob(&self.image.layer)).unwrap()
    }

    /// Where the layer lies in the storage.
    fn place(&self) -> String {
        let hex = self.image.layer.trim_start_matches("sha256:");
        format!("/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2])
    }
}

fn get(gate: &Portcullis, path: &str) -> Response {
    gate.curl(path).user(ALICE).send()
}

/// 502 that tells the client nothing, and this in the log.
#[track_caller]
fn fails(gate: &Portcullis, path: &str, words: &str) {
    let answer = get(gate, path);
    assert_eq!((answer.status, answer.code().as_str()), (502, "UNAVAILABLE"), "{}", answer.text());
    assert_eq!(answer.header("location"), None);
    for inner in ["localhost", "127.0.0.1", "storage", "redirect"] {
        assert!(!answer.text().contains(inner), "{inner}: {}", answer.text());
    }
    eventually(words, || errors(gate).last().is_some_and(|error| error.contains(words)));
}

/// What the log says of upstreams that failed.
fn errors(gate: &Portcullis) -> Vec<String> {
    let lines = gate.log();
    let lines = lines.lines().filter(|line| line.contains("upstream failed"));
    lines.map(|line| serde_json::from_str::<Value>(line).unwrap()["error"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_image_comes_from_storage() {
    let scene = Scene::new(410);
    let gate = scene.gate(scene.listed());
    let pushed = Image::new(411, &[200_000]);
    let skopeo = Skopeo::logged_in(gate.pki(), &gate.host(), ALICE);
    skopeo.copy(&pushed.reference(), &gate.image("team-a/pushed")).succeeded();
    for (image, repository) in [(&scene.image, "team-a/app"), (&pushed, "team-a/pushed")] {
        let dir = tempfile::tempdir().unwrap();
        skopeo.copy(&gate.image(repository), &format!("oci:{}:v1", dir.path().display())).succeeded();
        image.assert_same(dir.path());
    }
    let heard = scene.storage.heard();
    let asked = |word: &str| heard.iter().any(|line| line["request"].as_str().unwrap().contains(word));
    assert!(asked(&format!("GET {} ", scene.place())), "{heard:#?}");
    assert!(heard.iter().all(|line| line["http_authorization"] == "" && line["http_cookie"] == ""), "{heard:#?}");
}

#[test]
fn what_a_client_gets_is_what_a_registry_would_say() {
    let scene = Scene::new(412);
    let gate = scene.gate(scene.listed());
    let (path, bytes) = (scene.layer(), scene.bytes());
    let ask = |range: Option<&str>, method: &str, version: &str| {
        let curl = gate.curl(&path).user(ALICE).method(method).argument(version).header("Cookie: a=b");
        range.map_or_else(|| curl.clone(), |range| curl.clone().header(&format!("Range: bytes={range}"))).send()
    };
    let mut count = 0;
    for version in ["--http1.1", "--http2"] {
        for (range, status, expected) in [
            (None, 200, &bytes[..]),
            (Some("0-99"), 206, &bytes[..100]),
            (Some("1000-"), 206, &bytes[1000..]),
            (Some("-7"), 206, &bytes[bytes.len() - 7..]),
            (Some("99999999-"), 416, &[]),
        ] {
            count += 2;
            let answer = ask(range, "GET", version);
            assert_eq!((answer.status, answer.body.as_slice() == expected), (status, true), "{range:?} {answer:?}");
            let head = ask(range, "HEAD", version);
            let about = ["content-type", "docker-content-digest", "accept-ranges", "content-range", "etag"];
            for name in about {
                assert_eq!(head.header(name), answer.header(name), "{range:?} {name}");
            }
            if status == 416 {
                assert_eq!(answer.header("content-range"), Some(format!("bytes */{}", bytes.len()).as_str()));
                continue;
            }
            assert_eq!(head.header("content-length"), Some(expected.len().to_string().as_str()), "{range:?}");
            assert_eq!(answer.header("docker-content-digest"), Some(scene.image.layer.as_str()), "{range:?}");
            assert_eq!(answer.header("content-type"), Some("application/octet-stream"), "{range:?}");
            assert!(answer.header("etag").is_some(), "{range:?}");
        }
    }
    let several = ask(Some("0-1,10-11"), "GET", "--http2");
    let kind = several.header("content-type").unwrap_or_default();
    assert!(several.status == 206 && kind.starts_with("multipart/byteranges; boundary="), "{several:?}");

    let heard = scene.storage.heard_all(count + 1);
    assert!(heard.iter().all(|line| line["http_authorization"] == "" && line["http_cookie"] == ""), "{heard:#?}");
    // One after the other, they all went over one connection.
    assert!(heard.iter().all(|line| line["connection"] == heard[0]["connection"]), "{heard:#?}");
}

#[test]
fn what_the_registry_is_shown_is_not_shown_to_storage() {
    let folder = Arc::new(TempDir::new().unwrap());
    let storage = Storage::start_plain(folder.path());
    let inner = Login::new("gate", "between the two");
    let target = storage.origin("127.0.0.1");
    let registry = Registry::setup()
        .storage(folder)
        .with_login(inner)
        .with({
            let target = target.clone();
            move |config| {
                config["storage"]["redirect"]["disable"] = json!(false);
                config["middleware"]["storage"] = json!([{ "name": "redirect", "options": { "baseurl": target } }]);
            }
        })
        .start();
    let secret = tempfile::tempdir().unwrap();
    let file = secret.path().join("password");
    std::fs::write(&file, inner.password).unwrap();
    let gate = Portcullis::before(&registry)
        .with_upstream(|upstream| {
            upstream["credentials"] = json!({ "username": inner.name, "password_file": file });
            upstream["redirect_hosts"] = json!([target]);
        })
        .start();
    let image = Image::new(413, &[1000]);
    Skopeo::logged_in(gate.pki(), &gate.host(), ALICE).copy(&image.reference(), &gate.image("team-a/app")).succeeded();
    assert_eq!(get(&gate, &format!("/v2/team-a/app/blobs/{}", image.layer)).status, 200);
    let heard = storage.heard();
    assert!(!heard.is_empty() && heard.iter().all(|line| line["http_authorization"] == ""), "{heard:#?}");
    // That it is not encrypted was said at the start.
    assert!(gate.log().contains(&format!("{target} is asked without TLS")), "{}", gate.log());
}

#[test]
fn a_signed_address_works_and_is_in_no_log() {
    let scene = Scene::with(414, |storage| storage.signing_origin("localhost"));
    let both = |last: Value| json!([{ "origin": scene.storage.signing_origin("localhost"), "addresses": ["127.0.0.1"] }, last]);
    let gate = scene.gate(both(json!({ "origin": scene.storage.origin("localhost"), "addresses": ["127.0.0.1"] })));
    let ranged = gate.curl(&scene.layer()).user(ALICE).header("Range: bytes=10-19").send();
    assert_eq!((ranged.status, ranged.body.as_slice()), (206, &scene.bytes()[10..20]));
    let heard = scene.storage.heard_all(2);
    assert!(heard[1]["request"].as_str().unwrap().contains(SIGNATURE), "{heard:#?}");
    assert!(heard.iter().all(|line| line["http_range"] == "bytes=10-19"), "{heard:#?}");

    // Each step is judged by itself: the second leads to where nothing is listed, or to an address that is not.
    let elsewhere = scene.gate(both(json!("https://bucket.example.com")));
    fails(&elsewhere, &scene.layer(), &format!("a redirect to {}, which", scene.storage.origin("localhost")));
    let private = scene.gate(both(json!(scene.storage.origin("localhost"))));
    fails(&private, &scene.layer(), "may be at public addresses alone");
    for log in [gate.log(), elsewhere.log(), private.log()] {
        assert!(!log.contains("X-Signature") && !log.contains("/signed/") && !log.contains("sha256/"), "{log}");
    }
}

#[test]
fn nothing_is_followed_to_elsewhere() {
    let scene = Scene::new(415);
    let origin = scene.storage.origin("localhost");
    let other_port = scene.storage.signing_origin("localhost");
    for hosts in [
        json!([]),
        json!(["https://bucket.example.com"]),
        json!(["https://localhost"]),
        json!([scene.storage.origin("127.0.0.1"), origin.replace("https", "http"), other_port]),
        json!([{ "origin": other_port, "addresses": ["127.0.0.0/8"] }]),
    ] {
        let gate = scene.gate(hosts);
        fails(&gate, &scene.layer(), &format!("a redirect to {origin}, which upstream.redirect_hosts does not list"));
        assert_eq!(gate.curl(&scene.layer()).user(ALICE).method("HEAD").send().status, 502);
        assert_eq!(gate.counted("portcullis_upstream_errors_total", "kind=\"redirect\""), 2.0);
    }
    assert_eq!(scene.storage.heard(), Vec::<Value>::new());
}

#[test]
fn an_address_that_is_not_public_must_be_listed() {
    let scene = Scene::new(416);
    let origin = scene.storage.origin("localhost");
    fails(
        &scene.gate(json!([origin])),
        &scene.layer(),
        &format!("a redirect to {origin}, which is at 127.0.0.1 and may be at public addresses alone"),
    );
    for networks in [json!(["10.0.0.0/8", "127.0.0.2"]), json!(["0.0.0.0/1", "128.0.0.0/1"])] {
        let gate = scene.gate(json!([{ "origin": origin, "addresses": networks }]));
        if networks[0] == "0.0.0.0/1" {
            assert_eq!(get(&gate, &scene.layer()).status, 200, "{networks}");
        } else {
            assert_eq!(scene.storage.heard(), Vec::<Value>::new());
            fails(&gate, &scene.layer(), "may be at the listed addresses alone");
        }
    }
    scene.storage.heard_all(1);

    // An address in the place of a name is listed as itself.
    let scene = Scene::with(417, |storage| storage.origin("127.0.0.1"));
    let gate = scene.gate(json!([scene.storage.origin("127.0.0.1")]));
    assert_eq!(get(&gate, &scene.layer()).body, scene.bytes());
}

#[test]
fn storage_that_fails_is_a_bad_gateway_and_may_come_back() {
    let mut scene = Scene::new(418);
    let gate = scene.gate(scene.listed());
    assert_eq!(get(&gate, &scene.layer()).status, 200);
    scene.storage.stop();
    // Over the connection of before, and over none.
    for _ in 0..2 {
        fails(&gate, &scene.layer(), &format!("object storage {}: 127.0.0.1: ", scene.storage.origin("localhost")));
    }
    scene.storage.start_again();
    assert_eq!(get(&gate, &scene.layer()).status, 200);
    let file = scene.registry.storage().path().join(&scene.place()[1..]);
    std::fs::rename(&file, file.with_extension("away")).unwrap();
    // The registry goes by its cache.
    fails(&gate, &scene.layer(), "answered 404 Not Found");
    assert_eq!(gate.counted("portcullis_refused_total", "upstream_failed"), 3.0);
    // Each was tried for a while.
    assert!(gate.counted("portcullis_upstream_errors_total", "kind=\"storage\"") > 3.0);

    let stranger = Pki::new();
    let listed = scene.listed();
    let gate = scene.gate_with(|upstream| {
        upstream["redirect_hosts"] = listed;
        upstream["tls"]["ca_file"] = json!(stranger.ca_file());
    });
    fails(&gate, &scene.layer(), "invalid peer certificate");
}

/// Storage that dies in the middle of a blob and comes back: the registry is asked again, and signs for the rest.
#[test]
fn a_blob_goes_on_where_storage_broke_off() {
    let folder = Arc::new(TempDir::new().unwrap());
    let mut storage = Storage::start_slow(folder.path());
    let origins = [storage.origin("127.0.0.1"), storage.signing_origin("127.0.0.1")];
    let registry = redirecting(&folder, origins[1].clone());
    let image = Image::new(420, &[3 << 20]);
    let target = format!("docker://127.0.0.1:{}/team-a/app:v1", registry.port());
    Skopeo::local().copy_in_plain(&image.reference(), &target).succeeded();
    let gate =
        Portcullis::before(&registry).with_upstream(|upstream| upstream["redirect_hosts"] = json!(origins)).start();
    let path = format!("/v2/team-a/app/blobs/{}", image.layer);
    let bytes = std::fs::read(image.blob(&image.layer)).unwrap();
    for (version, range) in [("--http1.1", None), ("--http2", Some(100_000_usize))] {
        let curl = gate.curl(&path).user(ALICE).argument(version);
        let curl = range.map_or(curl.clone(), |first| curl.header(&format!("Range: bytes={first}-")));
        let answer = std::thread::scope(|scope| {
            let pull = scope.spawn(|| curl.attempt());
            std::thread::sleep(std::time::Duration::from_secs(1));
            assert!(!pull.is_finished(), "the storage is slow");
            storage.start_again();
            pull.join().unwrap().unwrap()
        });
        assert!(answer.body == bytes[range.unwrap_or(0)..], "{version}: {} bytes", answer.body.len());
        let rest = storage.heard().iter().filter(|line| line["status"] == "206").count();
        assert!(rest > 0, "{:#?}", storage.heard());
    }
    let metrics = gate.admin("/metrics").text();
    let resumed = metrics.lines().filter(|line| line.contains("resumed") && line.ends_with(" 2")).count();
    assert!(resumed > 0, "{metrics}");
    // The registry did its part each time.
    assert!(!gate.log().contains("loses its turn"), "{}", gate.log());
}

#[test]
fn clients_get_the_redirect_where_that_is_configured() {
    let scene = Scene::new(419);
    let listed = scene.listed();
    let gate = scene.gate_with(|upstream| {
        upstream["redirects"] = json!("pass");
        upstream["redirect_hosts"] = listed;
    });
    for method in ["GET", "HEAD"] {
        let passed = gate.curl(&scene.layer()).user(ALICE).method(method).send();
        let target = format!("{}{}", scene.storage.origin("localhost"), scene.place());
        assert_eq!((passed.status, passed.header("location")), (307, Some(target.as_str())), "{method}");
    }
    assert_eq!(scene.storage.heard(), Vec::<Value>::new());
    assert!(gate.log().contains("has no effect with redirects: pass"), "{}", gate.log());
}
