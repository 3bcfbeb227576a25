//! What clients send when they push and pull, request by request, as captured from docker, podman, skopeo, crane,
//! regctl, oras, containerd and BuildKit.

mod corners;
mod sessions;

use std::{fs, path::Path};

use serde_json::json;

use crate::support::{
    ADMIN, ALICE, Asked, BOB, Curl, Ear, Http2, Image, Login, Portcullis, Registry, Response, Skopeo, Tls, eventually,
};

const MIB: usize = 1 << 20;
const UPLOADS: &str = "/v2/team-a/app/blobs/uploads/";

/// A registry, a gate, an image that is not there yet, and alice's token.
struct Scene {
    registry: Registry,
    gate: Portcullis,
    image: Image,
    token: String,
}

impl Scene {
    fn new(seed: u64, size: usize) -> Self {
        Self::with(Registry::start(), seed, size)
    }

    fn with(registry: Registry, seed: u64, size: usize) -> Self {
        let gate = Portcullis::start(&registry);
        let token = gate.token(Some(ALICE), "repository:team-a/app:pull,push");
        Self { registry, gate, image: Image::new(seed, &[size]), token }
    }

    fn curl(&self, method: &str, path: &str) -> Curl {
        self.gate.curl(path).method(method).bearer(&self.token)
    }

    fn layer(&self) -> Vec<u8> {
        fs::read(self.image.blob(&self.image.layer)).unwrap()
    }

    /// Opens a session; its path and query.
    fn open(&self) -> String {
        self.next(&self.curl("POST", UPLOADS).send(), 202)
    }

    /// Where an answer sends the client. What comes back must be this gate's own address.
    #[track_caller]
    fn next(&self, answer: &Response, status: u16) -> String {
        assert_eq!(answer.status, status, "{}", answer.text());
        let location = answer.header("location").expect("a Location");
        let path = location.strip_prefix(&self.gate.url("")).unwrap_or(location);
        assert!(path.starts_with("/v2/"), "not of this gate: {location}");
        path.to_owned()
    }

    fn blob_path(&self) -> String {
        format!("/v2/team-a/app/blobs/{}", self.image.layer)
    }

    #[track_caller]
    fn is_there(&self) {
        let answer = self.curl("GET", &self.blob_path()).send();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.body == self.layer(), "other bytes came back");
    }

    /// The configuration too, so that a manifest can be put.
    fn put_blob(&self, digest: &str) {
        let end = finish(&self.open(), digest);
        let answer = self.curl("PUT", &end).body_file(&self.image.blob(digest)).send();
        assert_eq!(answer.status, 201, "{}", answer.text());
    }

    fn put_manifest(&self, reference: &str) -> Response {
        self.curl("PUT", &format!("/v2/team-a/app/manifests/{reference}"))
            .header("Content-Type: application/vnd.oci.image.manifest.v1+json")
            .argument("--data-binary")
            .argument(format!("@{}", self.image.manifest().display()))
            .send()
    }

    fn push(&self, login: Login, repository: &str) {
        let skopeo = Skopeo::logged_in(self.gate.pki(), &self.gate.host(), login);
        skopeo.copy(&self.image.reference(), &self.gate.image(repository)).succeeded();
    }
}

fn finish(path: &str, digest: &str) -> String {
    format!("{path}{}digest={digest}", if path.contains('?') { '&' } else { '?' })
}

/// The part of an address that only the registry reads.
fn state(path: &str) -> &str {
    path.split_once("_state=").unwrap().1
}

/// P1: docker. The upload is streamed: the registry has bytes before the client has sent them all.
#[test]
fn docker_pushes() {
    for registry in [Registry::start(), Registry::setup().with_absolute_urls().start()] {
        let scene = Scene::with(registry, 100, 2 * MIB);
        assert_eq!(scene.gate.curl("/v2/").send().status, 401, "P1 the ping");
        assert_eq!(scene.curl("HEAD", &scene.blob_path()).send().status, 404, "P1 not there yet");
        let path = scene.open();

        let layer = scene.layer();
        let mut patch = Tls::connect(scene.gate.pki(), scene.gate.port(), "localhost");
        patch.send(format!(
            "PATCH {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
            scene.gate.host(),
            scene.token
        ));
        let mut chunk = |bytes: &[u8]| {
            patch.send(format!("{:x}\r\n", bytes.len()));
            patch.send(bytes);
            patch.send("\r\n");
        };
        let (first, rest) = layer.split_at(MIB);
        chunk(first);
        let half = u64::try_from(MIB / 2).unwrap();
        eventually("P1 the registry has the first half", || scene.registry.held_of_uploads("team-a/app") >= half);
        chunk(rest);
        patch.send("0\r\n\r\n");
        let answer = patch.answer(false).unwrap();
        assert_eq!(answer.header("range"), Some(format!("0-{}", layer.len() - 1).as_str()), "P1");
        let path = scene.next(&answer, 202);

        let put = scene.curl("PUT", &finish(&path, &scene.image.layer)).header("Content-Length: 0").send();
        let blob = scene.next(&put, 201);
        assert_eq!(blob, scene.blob_path(), "P1");
        assert_eq!(scene.curl("HEAD", &blob).send().status, 200, "P1");
        scene.put_blob(&scene.image.config());
        let manifest = scene.put_manifest("v1");
        assert_eq!(manifest.header("docker-content-digest"), Some(scene.image.digest.as_str()), "P1 {manifest:?}");
        scene.next(&manifest, 201);
        scene.is_there();
    }
}

/// P1: `_state` is signed by the registry, and comes back to it byte by byte.
#[test]
fn the_state_of_an_upload_is_untouched() {
    let scene = Scene::new(101, 1000);
    let shown = scene.open();
    assert_eq!(scene.curl("GET", &shown).send().status, 204);
    let seen = scene.registry.acted_on("team-a/app");
    assert_eq!(
        Some(state(&seen.last().unwrap().target)),
        state(&shown).split_once("&_seal=").map(|(state, _)| state),
        "P1"
    );
    for broken in [shown.replacen("_state=", "_state=A", 1), shown.split_once('?').unwrap().0.to_owned()] {
        let answer = scene.curl("PATCH", &broken).body_file(&scene.image.blob(&scene.image.layer)).send();
        assert!((400..500).contains(&answer.status), "P1 A39 {broken}: {}", answer.status);
    }
}

/// P2–P7: what each client does in its own way ends with the same blob.
#[test]
fn every_client_pushes_in_its_own_way() {
    let octets = |curl: Curl| curl.header("Docker-Distribution-Api-Version: registry/2.0");
    let json = |curl: Curl| curl.header("Content-Type: application/json").header("Content-Length: 0");
    let layer = |scene: &Scene| scene.image.blob(&scene.image.layer);

    let podman = Scene::new(102, MIB);
    let opened = podman.next(&octets(podman.curl("POST", UPLOADS)).send(), 202);
    let sent = podman.next(&octets(podman.curl("PATCH", &opened)).body_file(&layer(&podman)).send(), 202);
    let put = octets(podman.curl("PUT", &finish(&sent, &podman.image.layer))).send();
    assert_eq!(put.status, 201, "P2 {}", put.text());
    podman.is_there();

    let crane = Scene::new(103, MIB);
    let opened = crane.next(&json(crane.curl("POST", UPLOADS)).send(), 202);
    let sent = crane.next(&crane.curl("PATCH", &opened).chunked_file(&layer(&crane)).method("PATCH").send(), 202);
    let put = json(crane.curl("PUT", &finish(&sent, &crane.image.layer))).send();
    assert_eq!(put.status, 201, "P3 {}", put.text());
    crane.put_blob(&crane.image.config());
    std::thread::scope(|scope| {
        let tags = ["a", "b", "c"].map(|tag| {
            let crane = &crane;
            scope.spawn(move || crane.put_manifest(tag).status)
        });
        assert_eq!(tags.map(|tag| tag.join().unwrap()), [201; 3], "P3 manifests in parallel");
    });
    crane.is_there();

    let regctl = Scene::new(104, 1000);
    let length = regctl.layer().len();
    let opened = regctl.open();
    let range = format!("0-{}", length - 1);
    let patch =
        regctl.curl("PATCH", &opened).header(&format!("Content-Range: {range}")).body_file(&layer(&regctl)).send();
    assert_eq!(patch.header("range"), Some(range.as_str()), "P4");
    let sent = regctl.next(&patch, 202);
    assert_eq!(regctl.curl("PUT", &finish(&sent, &regctl.image.layer)).send().status, 201, "P4");
    regctl.is_there();

    let oras = Scene::new(105, MIB);
    oras.put_blob(&oras.image.layer);
    assert_eq!(oras.registry.acted().iter().filter(|acted| acted.method == "PATCH").count(), 0, "P5");
    oras.is_there();
}

/// P6, P7, P10: mounts as clients write them.
#[test]
fn mounts_in_every_spelling() {
    let scene = Scene::new(106, 1000);
    scene.push(ADMIN, "library/base");
    scene.push(ADMIN, "secret/base");
    let token = scene.gate.token(
        Some(ALICE),
        "repository:team-a/app:pull,push&scope=repository:library/base:pull&scope=repository:team-a/base:pull",
    );
    let digest = &scene.image.layer;
    let escaped = digest.replace(':', "%3A");
    for (id, query, status) in [
        ("P6 containerd", format!("mount={digest}&from=library/base"), 201),
        ("P7 crane", format!("from=library%2Fbase&mount={escaped}&origin=localhost%3A16610"), 201),
        ("P6 BuildKit", format!("mount={digest}"), 202),
        ("a source that is not there", format!("mount={digest}&from=team-a/base"), 202),
        ("a source that is forbidden", format!("mount={digest}&from=secret/base"), 202),
    ] {
        let answer = scene.gate.curl(&format!("{UPLOADS}?{query}")).method("POST").bearer(&token).send();
        assert_eq!(answer.status, status, "{id}: {}", answer.text());
        let path = scene.next(&answer, status);
        assert_eq!(path.contains("/uploads/"), status == 202, "{id} {path}");
    }

    // P10: the token lacks the source, so that the mount is a 401; without it the upload goes on.
    let narrow = scene.gate.token(Some(ALICE), "repository:team-a/app:pull,push");
    let mount = format!("{UPLOADS}?mount={digest}&from=library/base");
    let refused = scene.gate.curl(&mount).method("POST").bearer(&narrow).send();
    let scope = r#"scope="repository:team-a/app:pull,push repository:library/base:pull""#;
    assert!(refused.challenge().contains(scope), "P10 C6 {refused:?}");
    assert_eq!(scene.gate.curl(UPLOADS).method("POST").bearer(&narrow).send().status, 202, "P10");
    // Any client may send what a challenge names back as one parameter.
    let both = scope.split('"').nth(1).unwrap().replace(' ', "+");
    let widened = scene.gate.token(Some(ALICE), &both);
    assert_eq!(scene.gate.curl(&mount).method("POST").bearer(&widened).send().status, 201, "C6");
}

/// P8, P11, P12, P16, P20 and P21 as the registry behind sees and answers them.
#[test]
fn what_a_pull_asks_reaches_the_registry() {
    const ACCEPT: [&str; 3] = [
        "application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json;q=0.9, application/vnd.docker.distribution.manifest.v1+prettyjws;q=0.8, application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json;q=0.7, application/json;q=0.5, */*;q=0.1, application/vnd.example.a-very-long-media-type+json",
        "application/vnd.oci.image.index.v1+json",
        "*/*",
    ];
    let ear = Ear::answering(
        "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.example+json; charset=utf-8\r\nOCI-Subject: sha256:ab\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
    );
    let gate = before(&ear);
    let mut request = gate.curl("/v2/team-a/app/manifests/v1?ns=docker.io").user(ALICE);
    for accept in ACCEPT {
        request = request.header(&format!("Accept: {accept}"));
    }
    let agent = r"docker/20.10.24 go/go1.19 UpstreamClient(Docker-Client/28.2.2 \(linux\))";
    let answer = request.header(&format!("User-Agent: {agent}")).send();
    assert_eq!(answer.header("content-type"), Some("application/vnd.example+json; charset=utf-8"), "P12");
    assert_eq!(answer.header("oci-subject"), Some("sha256:ab"), "P20");
    let (line, headers) = ear.only_request();
    assert_eq!(line, "GET /v2/team-a/app/manifests/v1 HTTP/1.1", "P8");
    let accepts: Vec<_> = headers.headers.iter().filter(|(name, _)| name == "accept").map(|(_, value)| value).collect();
    assert_eq!(accepts, ACCEPT.iter().collect::<Vec<_>>(), "P12");
    assert_eq!(headers.header("user-agent"), Some(agent), "P17");
    let logged = gate.log();
    let logged = logged.lines().rev().find(|line| line.contains("team-a/app")).unwrap();
    let logged: serde_json::Value = serde_json::from_str(logged).expect("P17 the line is JSON");
    assert_eq!(logged["user_agent"], agent, "P17");
}

/// In front of something that answers what it is told to.
fn before(ear: &Ear) -> Portcullis {
    let url = ear.url();
    Portcullis::before(&Registry::start())
        .with_upstream(|upstream| upstream["servers"] = json!([{ "url": url }]))
        .start()
}
