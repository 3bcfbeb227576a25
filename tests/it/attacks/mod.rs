//! Requests that no client sends: whatever they look like, nobody reaches what the policy does not allow, and the
//! registry acts on nothing that was not judged.

mod framing;

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::support::{ADMIN, ALICE, Image, Login, Portcullis, Registry, Response, Skopeo, Tls};

/// A registry with something in `secret/app` and `team-a/app`, and a gate that lets alice into the second alone.
struct Scene {
    registry: Registry,
    gate: Portcullis,
    secret: Image,
}

impl Scene {
    fn new() -> Self {
        Self::with(Registry::start())
    }

    fn with(registry: Registry) -> Self {
        let gate = Portcullis::start(&registry);
        let secret = Image::new(50, &[4000]);
        let skopeo = Skopeo::logged_in(gate.pki(), &gate.host(), ADMIN);
        for repository in ["secret/app", "team-a/app"] {
            let image = if repository == "secret/app" { &secret } else { &Image::new(51, &[4000]) };
            skopeo.copy(&image.reference(), &gate.image(repository)).succeeded();
        }
        Self { registry, gate, secret }
    }

    /// Everything that the registry did on paths that hold the word.
    fn touched(&self) -> usize {
        self.registry.acted().iter().filter(|acted| acted.target.to_lowercase().contains("ecret")).count()
    }

    /// Sends bytes on a connection of their own and returns all answers.
    fn send(&self, request: impl AsRef<[u8]>) -> String {
        let mut connection = Tls::connect(self.gate.pki(), self.gate.port(), "localhost");
        connection.send(request);
        String::from_utf8_lossy(&connection.rest()).into_owned()
    }

    /// One request of alice; the connection closes after it.
    fn ask(&self, method: &str, target: &str, more: &str) -> Response {
        let mut connection = Tls::connect(self.gate.pki(), self.gate.port(), "localhost");
        connection.send(format!("{method} {target} HTTP/1.1\r\n{}{more}Connection: close\r\n\r\n", self.head(ALICE)));
        connection.answer(method == "HEAD").unwrap_or_else(|| panic!("closed without an answer: {method} {target}"))
    }

    fn head(&self, login: Login) -> String {
        format!("Host: {}\r\n{}", self.gate.host(), basic(login))
    }
}

fn basic(login: Login) -> String {
    format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{}:{}", login.name, login.password)))
}

#[test]
fn no_spelling_of_a_path_reaches_another_repository() {
    let scene = Scene::new();
    let before = scene.touched();
    for target in [
        "/v2/secret/app/manifests/v1",
        "/v2/secret%2Fapp/manifests/v1",
        "/v2/secret%2fapp/manifests/v1",
        "/v2/%73ecret/app/manifests/v1",
        "/%762/secret/app/manifests/v1",
        "/v2/secret%252Fapp/manifests/v1",
        "/v2/team-a/../secret/app/manifests/v1",
        "/v2/team-a/%2e%2e/secret/app/manifests/v1",
        "/v2/team-a/..%2fsecret/app/manifests/v1",
        "/v2/./secret/app/manifests/v1",
        "/v2/team-a/app/manifests/../../../secret/app/manifests/v1",
        "//v2/secret/app/manifests/v1",
        "/v2//secret/app/manifests/v1",
        "/v2/secret//app/manifests/v1",
        "/v2/secret/app/manifests/v1/",
        "/v2/secret\\app/manifests/v1",
        "/v2/secret/app;x=y/manifests/v1",
        "/V2/secret/app/manifests/v1",
        "/v2/Secret/App/manifests/v1",
        "/v2/secret/app/Manifests/v1",
        "/v2/secret%c0%afapp/manifests/v1",
        "/v2/secret%ef%bc%8fapp/manifests/v1",
        "/v2/secret%zzapp/manifests/v1",
        "/v2/secret/app/manifests/v1%",
        "/v2/secret/app/manifests/v1%00",
        "/v2/secret/app/manifests/v1%0d%0aX:y",
        "/v2/secret/app/manifests/v1#fragment",
        "/v2/team-a/app/tags/list#/../../secret/app",
        "/v2/team-a?/../secret/app/manifests/v1",
        "http://evil.test/v2/secret/app/manifests/v1",
        "https://localhost@evil.test/v2/secret/app/manifests/v1",
        "v2/secret/app/manifests/v1",
        "*",
    ] {
        let answer = scene.ask("GET", target, "");
        assert!((400..500).contains(&answer.status), "{target}: {} {}", answer.status, answer.text());
        assert!(!answer.text().contains("schemaVersion"), "{target}");
    }
    assert_eq!(scene.touched(), before, "the registry acted on it: {:?}", scene.registry.acted());
}

#[test]
fn a_repository_may_be_called_like_a_route() {
    let scene = Scene::new();
    for (target, status) in [
        ("/v2/team-a/manifests/x/manifests/v1", 404),
        ("/v2/team-a/tags/list/tags/list", 404),
        ("/v2/manifests/manifests/manifests/manifests", 403),
        ("/v2/secret/blobs/uploads/manifests/v1", 403),
        ("/v2/team-a/blobs/uploads/../../../secret/manifests/v1", 400),
    ] {
        let answer = scene.ask("GET", target, "");
        assert_eq!(answer.status, status, "{target}: {}", answer.text());
    }
    assert_eq!(
        scene.registry.acted_on("team-a/manifests/x").len(),
        1,
        "judged by the last keyword, as the registry reads it"
    );
}

#[test]
fn no_header_changes_method_or_path() {
    let scene = Scene::new();
    let before = scene.touched();
    for header in [
        "X-HTTP-Method-Override: DELETE\r\n",
        "X-Method-Override: DELETE\r\n",
        "X-Original-URL: /v2/secret/app/manifests/v1\r\n",
        "X-Rewrite-URL: /v2/secret/app/manifests/v1\r\n",
        "X-Forwarded-User: admin\r\nX-Remote-User: admin\r\nRemote-User: admin\r\nX_Forwarded_User: admin\r\n",
        "Upgrade: websocket\r\nConnection: Upgrade\r\n",
        "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nConnection: Upgrade, HTTP2-Settings\r\n",
    ] {
        let answer = scene.ask("GET", "/v2/team-a/app/tags/list?_method=DELETE", header);
        assert!(answer.status == 200 || answer.status == 400, "{header}: {}", answer.status);
        assert_ne!(scene.ask("GET", "/v2/secret/app/tags/list", header).status, 200, "{header}");
    }
    assert_eq!(scene.touched(), before);
    assert!(scene.registry.acted().iter().all(|acted| acted.method != "DELETE"));
}

#[test]
fn a_mount_needs_pull_on_its_source_however_it_is_asked_for() {
    let scene = Scene::new();
    let (from, digest) = ("secret/app", scene.secret.layer.as_str());
    let mount = format!("mount={digest}&from={from}");
    let form = |body: &str, kind: &str| format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len());
    let uploads = "/v2/team-a/app/blobs/uploads/";
    let send = |target: &str, more: &str, body: &str| {
        let mut connection = Tls::connect(scene.gate.pki(), scene.gate.port(), "localhost");
        connection
            .send(format!("POST {target} HTTP/1.1\r\n{}{more}Connection: close\r\n\r\n{body}", scene.head(ALICE)));
        connection.answer(false).unwrap()
    };

    for query in [
        mount.clone(),
        format!("from={from}&mount={digest}"),
        format!("mount={}&from=secret%2Fapp", digest.replace(':', "%3A")),
        format!("%6dount={digest}&%66rom=%73ecret/app"),
        format!("mount={digest};from={from}"),
        format!("mount={digest}&from=team-a/app&from={from}"),
        format!("mount={digest}&from={from}&from=team-a/app"),
        format!("mount={digest}&From={from}"),
        format!("mount={digest}&from=+{from}"),
    ] {
        let answer = send(&format!("{uploads}?{query}"), "Content-Length: 0\r\n", "");
        assert!(matches!(answer.status, 202 | 400 | 401 | 403), "{query}: {}", answer.status);
    }
    for kind in ["application/x-www-form-urlencoded", "application/x-www-form-urlencoded; charset=utf-8"] {
        for target in [
            uploads.to_owned(),
            format!("{uploads}?from=team-a/app"),
            format!("{uploads}?mount={digest}&from=team-a/app"),
        ] {
            let answer = send(&target, &form(&mount, kind), &mount);
            assert!(matches!(answer.status, 202 | 400 | 415), "{kind} {target}: {}", answer.status);
        }
    }
    let part =
        |name: &str, value: &str| format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    let parts = format!("{}{}--b--\r\n", part("mount", digest), part("from", from));
    let answer = send(uploads, &form(&parts, "multipart/form-data; boundary=b"), &parts);
    assert!(matches!(answer.status, 202 | 400 | 415), "multipart: {}", answer.status);

    // None of them brought the blob over.
    let admin = scene.gate.curl(&format!("/v2/team-a/app/blobs/{digest}")).user(ADMIN).method("HEAD").send();
    assert_eq!(admin.status, 404);
}

#[test]
fn a_mount_from_a_source_one_may_pull_is_a_mount() {
    let scene = Scene::new();
    let target =
        format!("/v2/home/alice/copy/blobs/uploads/?mount={}&from=team-a%2Fapp", Image::new(51, &[4000]).layer);
    assert_eq!(scene.ask("POST", &target, "Content-Length: 0\r\n").status, 201);
}

#[test]
fn an_upload_session_belongs_to_its_repository() {
    let scene = Scene::new();
    let opened = scene.ask("POST", "/v2/team-a/app/blobs/uploads/", "Content-Length: 0\r\n");
    let location = opened.header("location").unwrap();
    let path = location.strip_prefix(&scene.gate.url("")).unwrap_or(location);
    let elsewhere = path.replacen("team-a/app", "home/alice/x", 1);
    assert_ne!(path, elsewhere);
    assert_eq!(scene.ask("GET", &elsewhere, "").status, 404);
    assert_eq!(scene.ask("GET", path, "").status, 204);
}

#[test]
fn forwarding_headers_of_a_client_build_no_location() {
    let scene = Scene::with(Registry::setup().with_absolute_urls().start());
    let headers = "Content-Length: 0\r\nX-Forwarded-Host: evil.test\r\nX-Forwarded-Proto: gopher\r\nForwarded: for=1.2.3.4;host=evil.test;proto=gopher\r\n";
    let answer = scene.ask("POST", "/v2/team-a/app/blobs/uploads/", headers);
    assert_eq!(answer.status, 202);
    let said = format!("{:?}", answer.headers);
    assert!(!said.contains("evil") && !said.contains("gopher"), "{said}");
}

#[test]
fn only_the_registry_api_is_public() {
    let scene = Scene::new();
    let before = scene.registry.acted().len();
    for target in [
        "/metrics",
        "/debug/vars",
        "/debug/pprof/",
        "/debug/health",
        "/readyz",
        "/status",
        "/v1/_ping",
        "/v1/search?q=a",
        "/favicon.ico",
        "/v2/_catalog/x",
    ] {
        let answer = scene.ask("GET", target, "");
        assert_eq!(answer.status, 404, "{target}");
    }
    let landing = scene.ask("GET", "/", "");
    assert!(landing.status == 200 && !landing.text().contains(env!("CARGO_PKG_VERSION")), "{}", landing.text());
    assert_eq!(scene.registry.acted().len(), before);
}

#[test]
fn secrets_are_in_no_log() {
    let scene = Scene::new();
    let token = scene.gate.token(Some(ALICE), "repository:team-a/app:pull");
    assert_eq!(scene.gate.curl("/v2/team-a/app/tags/list").bearer(&token).send().status, 200);
    let wrong = Login::new("alice", "a-wrong-password");
    assert_eq!(scene.gate.curl("/v2/").user(wrong).send().status, 401);
    let log = scene.gate.log();
    assert!(!log.is_empty());
    let signature = token.rsplit('.').next().unwrap();
    let encoded = basic(ALICE);
    for secret in
        [ALICE.password, ADMIN.password, wrong.password, signature, encoded.trim().rsplit(' ').next().unwrap()]
    {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}
