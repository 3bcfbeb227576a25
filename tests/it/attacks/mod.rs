//! Requests that no client sends: whatever they look like, nobody reaches what the policy does not allow, and the
//! registry acts on nothing that was not judged.
//!
//! Rows and tests carry the numbers of the attacks they stand for: A1 and following are about what is asked, S1 and
//! following about framing, §8.1 and following about what registries are known to let by.

mod flood;
mod frames;
mod framing;
mod headers;
mod http2;
mod mounts;
pub(crate) mod paths;
mod sessions;
mod slow;
mod upstream;

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::support::{ADMIN, ALICE, Image, Login, Portcullis, Registry, Response, Skopeo, Tls};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// A registry with something in `secret/app` and `team-a/app`, and a gate that lets alice into the second alone.
struct Scene {
    registry: Registry,
    gate: Portcullis,
    secret: Image,
    public: Image,
}

impl Scene {
    fn new() -> Self {
        Self::with(Registry::start())
    }

    fn with(registry: Registry) -> Self {
        let gate = Portcullis::start(&registry);
        let (secret, public) = (Image::new(50, &[4000]), Image::new(51, &[4000]));
        let skopeo = Skopeo::logged_in(gate.pki(), &gate.host(), ADMIN);
        for (repository, image) in [("secret/app", &secret), ("team-a/app", &public)] {
            skopeo.copy(&image.reference(), &gate.image(repository)).succeeded();
        }
        Self { registry, gate, secret, public }
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

    /// One request of alice with a body of known length.
    fn submit(&self, method: &str, target: &str, kind: &str, body: &str) -> Response {
        let mut connection = Tls::connect(self.gate.pki(), self.gate.port(), "localhost");
        let head = self.head(ALICE);
        let framing = format!("Content-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
        connection.send(format!("{method} {target} HTTP/1.1\r\n{head}{framing}\r\n{body}"));
        connection.answer(method == "HEAD").unwrap_or_else(|| panic!("closed without an answer: {method} {target}"))
    }

    /// The path under which an upload of alice goes on.
    fn open_upload(&self, repository: &str) -> String {
        let opened = self.ask("POST", &format!("/v2/{repository}/blobs/uploads/"), "Content-Length: 0\r\n");
        let location = opened.header("location").unwrap_or_else(|| panic!("{}", opened.text()));
        location.strip_prefix(&self.gate.url("")).unwrap_or(location).to_owned()
    }

    fn head(&self, login: Login) -> String {
        format!("Host: {}\r\n{}", self.gate.host(), basic(login))
    }
}

/// A manifest with this configuration and no layer.
fn manifest(config: &str, size: usize) -> String {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"{CONFIG}","digest":"{config}","size":{size}}},"layers":[]}}"#
    )
}

fn basic(login: Login) -> String {
    format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{}:{}", login.name, login.password)))
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
