//! Read-only mode: writes wait while garbage is collected, reads go on.

use serde_json::{Value, json};

use crate::support::{ADMIN, ALICE, BOB, Image, Login, Portcullis, Registry, Response, Skopeo};

struct Scene {
    registry: Registry,
    gate: Portcullis,
    image: Image,
}

impl Scene {
    /// With an image in `team-a/app`, that may be deleted.
    fn new(seed: u64) -> Self {
        let registry = Registry::start();
        let gate = Portcullis::start(&registry);
        let image = Image::new(seed, &[1000]);
        Skopeo::logged_in(gate.pki(), &gate.host(), ALICE)
            .copy(&image.reference(), &gate.image("team-a/app"))
            .succeeded();
        Self { registry, gate, image }
    }

    fn freeze(&mut self, what: Value, uploads: &str) {
        let uploads = json!(uploads);
        self.gate.reload_with(|config| {
            config["registries"][0]["read_only"] = what;
            config["registries"][0]["read_only_uploads"] = uploads;
        });
    }

    fn ask(&self, login: Login, method: &str, path: &str) -> Response {
        let request = self.gate.curl(path).user(login).method(method);
        let body = matches!(method, "PATCH" | "PUT").then(|| self.image.blob(&self.image.layer));
        body.map_or_else(|| request.clone(), |body| request.clone().body_file(&body)).send()
    }

    fn open(&self) -> String {
        let opened = self.ask(ALICE, "POST", "/v2/team-a/app/blobs/uploads/");
        assert_eq!(opened.status, 202, "{}", opened.text());
        opened.header("location").unwrap().replace(&self.gate.url(""), "")
    }

    /// Every route that changes something of a repository.
    fn writes(&self, repository: &str) -> Vec<(&'static str, String)> {
        let (layer, digest) = (&self.image.layer, &self.image.digest);
        vec![
            ("PUT", format!("/v2/{repository}/manifests/v2")),
            ("DELETE", format!("/v2/{repository}/manifests/{digest}")),
            ("DELETE", format!("/v2/{repository}/blobs/{layer}")),
            ("POST", format!("/v2/{repository}/blobs/uploads/")),
            ("POST", format!("/v2/{repository}/blobs/uploads/?digest={layer}")),
            ("POST", format!("/v2/{repository}/blobs/uploads/?mount={layer}&from=team-a/app")),
        ]
    }
}

fn frozen(answer: &Response) -> bool {
    answer.status == 403 && answer.code() == "DENIED" && answer.text().contains("read-only")
}

#[test]
fn nothing_is_written_and_everything_is_read() {
    let mut scene = Scene::new(150);
    scene.freeze(json!(true), "finish");
    let before = scene.registry.acted().len();
    for (method, path) in scene.writes("team-a/app") {
        let answer = scene.ask(ADMIN, method, &path);
        assert!(frozen(&answer), "{method} {path}: {answer:?}");
    }
    assert_eq!(scene.registry.acted().len(), before, "nothing reached the registry");
    let skopeo = Skopeo::logged_in(scene.gate.pki(), &scene.gate.host(), ALICE);
    let refused = skopeo.copy(&scene.image.reference(), &scene.gate.image("team-a/new"));
    refused.failed_with(&["read-only at the moment"]);
    skopeo.ask("inspect", &[&scene.gate.image("team-a/app")]).succeeded();
    let blob = scene.ask(ALICE, "GET", &format!("/v2/team-a/app/blobs/{}", scene.image.layer));
    assert_eq!((blob.status, blob.header("docker-content-digest")), (200, Some(scene.image.layer.as_str())));

    // Who may not write is told that, and nothing of the maintenance.
    let denied = scene.ask(BOB, "POST", "/v2/team-a/app/blobs/uploads/");
    assert!(denied.status == 403 && !denied.text().contains("read-only"), "{}", denied.text());
    assert_eq!(scene.gate.curl("/v2/team-a/app/blobs/uploads/").method("POST").send().status, 401);

    scene.freeze(json!(false), "finish");
    assert_eq!(scene.ask(ALICE, "POST", "/v2/team-a/app/blobs/uploads/").status, 202);
    assert_eq!(scene.ask(ADMIN, "DELETE", &format!("/v2/team-a/app/manifests/{}", scene.image.digest)).status, 202);
}

#[test]
fn open_uploads_finish_or_do_not() {
    let mut scene = Scene::new(151);
    let (first, second, third) = (scene.open(), scene.open(), scene.open());
    scene.freeze(json!(true), "finish");
    let sent = scene.ask(ALICE, "PATCH", &first);
    assert_eq!(sent.status, 202, "{}", sent.text());
    let next = sent.header("location").unwrap().replace(&scene.gate.url(""), "");
    let end = format!("{next}&digest={}", scene.image.layer);
    let made = scene.gate.curl(&end).user(ALICE).method("PUT").header("Content-Length: 0").send();
    assert_eq!(made.status, 201, "{}", made.text());
    assert!(frozen(&scene.ask(ALICE, "PUT", "/v2/team-a/app/manifests/v2")), "a manifest is no part of an upload");

    scene.freeze(json!(true), "refuse");
    assert!(frozen(&scene.ask(ALICE, "PATCH", &second)));
    assert!(frozen(&scene.ask(ALICE, "PUT", &format!("{second}&digest={}", scene.image.layer))));
    assert_eq!(scene.ask(ALICE, "GET", &second).status, 204, "it may be asked for");
    assert_eq!(scene.ask(ALICE, "DELETE", &third).status, 204, "and given up");
    scene.freeze(json!(false), "refuse");
    assert_eq!(scene.ask(ALICE, "PATCH", &second).status, 202, "nothing of it was lost");
}

#[test]
fn only_what_is_named_is_read_only() {
    let mut scene = Scene::new(152);
    scene.freeze(json!(["team-a/**", "*/locked"]), "finish");
    for repository in ["team-a/app", "team-a", "library/locked"] {
        let answer = scene.ask(ADMIN, "POST", &format!("/v2/{repository}/blobs/uploads/"));
        assert!(frozen(&answer), "{repository}: {}", answer.text());
    }
    for repository in ["team-b/app", "library/lock", "a/b/locked"] {
        let answer = scene.ask(ADMIN, "POST", &format!("/v2/{repository}/blobs/uploads/"));
        assert_eq!(answer.status, 202, "{repository}: {}", answer.text());
    }
    // A mount reads from what is read-only.
    let mount = format!("/v2/team-b/app/blobs/uploads/?mount={}&from=team-a/app", scene.image.layer);
    assert_eq!(scene.ask(ADMIN, "POST", &mount).status, 201);
    let line = |log: &str| log.lines().any(|line| line.contains(r#""refused":"read_only""#));
    assert!(line(&scene.gate.log()), "{}", scene.gate.log());
}
