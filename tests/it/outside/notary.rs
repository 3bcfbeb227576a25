//! Trust data behind the gate, with the real server and client: who may pull verifies, who may push signs.

use serde_json::json;

use crate::support::{ADMIN, ALICE, BOB, Image, Login, Notary, NotaryServer, Portcullis, Registry, Skopeo};

struct Scene {
    _registry: Registry,
    server: NotaryServer,
    gate: Portcullis,
}

impl Scene {
    /// Bob may pull what team-a has, and everybody may pull `library`.
    fn new() -> Self {
        let (registry, server) = (Registry::start(), NotaryServer::start());
        let url = server.url.clone();
        let gate = Portcullis::before(&registry)
            .with(move |config| {
                config["registries"][0]["notary"] = json!(url);
                config["access"]["grants"].as_array_mut().unwrap().push(json!({
                    "name": "team-b looks", "repositories": ["team-a/**"], "actions": ["pull"], "to": ["group:team-b"],
                }));
            })
            .start();
        Self { _registry: registry, server, gate }
    }

    fn client(&self, login: Option<Login>) -> Notary {
        Notary::new(&self.gate.url(""), self.gate.pki(), login)
    }

    /// A repository's collection, as docker names it.
    fn gun(&self, repository: &str) -> String {
        format!("{}/{repository}", self.gate.host())
    }

    fn acted_on(&self, method: &str, word: &str) -> usize {
        self.server.acted().iter().filter(|line| line.starts_with(method) && line.contains(word)).count()
    }
}

#[test]
fn who_may_push_signs_and_who_may_pull_verifies() {
    let scene = Scene::new();
    let gun = scene.gun("team-a/app");
    let signer = scene.client(Some(ALICE));
    signer.sign(&gun, "content").succeeded();
    assert!(scene.acted_on("POST", &format!("/v2/{gun}/_trust/tuf/")) == 1, "{:?}", scene.server.acted());

    let reader = scene.client(Some(BOB));
    let listed = reader.ask(&["list", &gun]).succeeded();
    assert!(listed.stdout.contains("v1"), "{}", listed.stdout);
    reader.verify(&gun, "content").succeeded();
    reader.verify(&gun, "other content").failed_with(&["did not match"]);

    // Nobody without a login, and with a wrong one.
    for login in [None, Some(Login::new("bob", "wrong"))] {
        let done = scene.client(login).ask(&["list", &gun]);
        assert!(!done.success && !done.stdout.contains("v1"), "{} {}", done.stdout, done.stderr);
    }
    // A second signature, and a key that the server makes anew.
    let file = signer.file("more");
    signer.ask(&["add", &gun, "v2", file.to_str().unwrap()]).succeeded();
    signer.ask(&["publish", &gun]).succeeded();
    signer.ask(&["key", "rotate", &gun, "snapshot", "-r"]).succeeded();
    assert!(reader.ask(&["list", &gun]).succeeded().stdout.contains("v2"));
}

#[test]
fn who_may_only_pull_cannot_sign_replace_or_remove() {
    let scene = Scene::new();
    let gun = scene.gun("team-a/app");
    scene.client(Some(ALICE)).sign(&gun, "content").succeeded();
    let changes = || scene.acted_on("POST", "/_trust/") + scene.acted_on("DELETE", "/_trust/");
    let before = changes();

    // A collection of one's own, and one's own keys under a name that is another's.
    for gun in [scene.gun("team-a/new"), gun.clone(), "team-a/new".to_owned(), scene.gun("library/x")] {
        let done = scene.client(Some(BOB)).sign(&gun, "forged");
        assert!(!done.success, "{gun}: {}", done.stdout);
    }
    // The owner's keys in hands that may not push.
    let thief = Notary::new(&scene.gate.url(""), scene.gate.pki(), Some(ALICE));
    thief.sign(&scene.gun("team-a/stolen"), "content").succeeded();
    let before = before + 1;
    let thief = thief.in_the_hands_of(Some(BOB));
    let file = thief.file("forged");
    thief.ask(&["add", &scene.gun("team-a/stolen"), "v2", file.to_str().unwrap()]).succeeded();
    thief.ask(&["publish", &scene.gun("team-a/stolen")]).failed_with(&["403"]);
    for login in [ALICE, BOB] {
        // alice may push and not delete.
        let done = scene.client(Some(login)).ask(&["delete", &gun, "--remote"]);
        assert!(!done.success, "{login:?}: {}", done.stdout);
    }
    assert_eq!(changes(), before, "{:?}", scene.server.acted());
    scene.client(Some(BOB)).verify(&gun, "content").succeeded();

    scene.client(Some(ADMIN)).ask(&["delete", &gun, "--remote"]).succeeded();
    let gone = scene.client(Some(BOB)).ask(&["list", &gun]);
    assert!(!gone.success, "{}", gone.stdout);
}

#[test]
fn what_anyone_may_pull_anyone_may_verify() {
    let scene = Scene::new();
    let gun = scene.gun("library/app");
    scene.client(Some(ADMIN)).sign(&gun, "content").succeeded();
    let anybody = scene.client(None);
    anybody.verify(&gun, "content").succeeded();
    anybody.verify(&gun, "forged").failed_with(&["did not match"]);
}

#[test]
fn each_request_is_judged_as_the_repository_it_is_about() {
    let scene = Scene::new();
    let host = scene.gate.host();
    scene.client(Some(ADMIN)).sign(&scene.gun("secret/app"), "content").succeeded();
    scene.client(Some(ADMIN)).sign("secret/app", "content").succeeded();
    let before = scene.server.acted().len();
    let ask = |method: &str, path: &str, login: Option<Login>| {
        let curl = scene.gate.curl(path).method(method);
        login.map_or_else(|| curl.clone(), |login| curl.clone().user(login)).send()
    };
    for (method, path, login, status) in [
        ("GET", format!("/v2/{host}/secret/app/_trust/tuf/root.json"), Some(ALICE), 403),
        ("GET", "/v2/secret/app/_trust/tuf/root.json".to_owned(), Some(ALICE), 403),
        ("GET", "/v2/localhost/secret/app/_trust/tuf/root.json".to_owned(), Some(ALICE), 403),
        ("GET", "/v2/registry.test:1/secret/app/_trust/tuf/root.json".to_owned(), Some(ALICE), 403),
        ("GET", format!("/v2/{host}/secret/app/_trust/tuf/root.json"), None, 401),
        ("GET", format!("/v2/{host}/team-a/app/_trust/tuf/timestamp.key"), Some(BOB), 403),
        ("POST", format!("/v2/{host}/team-a/app/_trust/tuf/timestamp.key"), Some(BOB), 403),
        ("DELETE", format!("/v2/{host}/team-a/app/_trust/tuf/"), Some(ALICE), 403),
        ("GET", format!("/v2/{host}/secret/app/_trust/changefeed?records=10"), Some(ALICE), 403),
        ("GET", "/v2/_trust/changefeed?records=10".to_owned(), Some(ADMIN), 404),
        ("GET", "/_notary_server/health".to_owned(), Some(ADMIN), 404),
        ("GET", "/metrics".to_owned(), Some(ADMIN), 404),
        ("GET", format!("/v2/{host}/_trust/changefeed"), Some(ADMIN), 400),
        ("GET", "/v2/other.test:5000/team-a/app/_trust/tuf/root.json".to_owned(), Some(ADMIN), 400),
        ("GET", format!("/v2/{host}/team-a/../secret/app/_trust/tuf/root.json"), Some(ADMIN), 400),
        ("GET", format!("/v2/{host}/team-a/app/_trust/tuf/targets/../root.json"), Some(ADMIN), 400),
        ("GET", format!("/v2/{host}/team-a%2fapp/_trust/tuf/root.json"), Some(ADMIN), 400),
        ("GET", format!("/v2/{host}/team-a/app/_trust/tuf/x.json"), Some(ADMIN), 404),
        ("PUT", format!("/v2/{host}/team-a/app/_trust/tuf/root.json"), Some(ADMIN), 405),
        ("GET", "/v2/team-a/app/_trust/tuf/targets/_trust/tuf/root.json".to_owned(), Some(ADMIN), 400),
    ] {
        let answer = ask(method, &path, login);
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
    }
    assert_eq!(scene.server.acted().len(), before, "{:?}", scene.server.acted());
    let denied = ask("GET", &format!("/v2/{host}/secret/app/_trust/tuf/root.json"), Some(ALICE));
    assert!(denied.text().contains("pull access to secret/app is denied"), "{}", denied.text());
    let challenged = ask("POST", &format!("/v2/{host}/team-a/app/_trust/tuf/"), None);
    assert!(challenged.challenge().ends_with(",scope=\"repository:team-a/app:pull,push\""), "{:?}", challenged.headers);
    for path in
        [format!("/v2/{host}/secret/app/_trust/tuf/root.json"), "/v2/secret/app/_trust/tuf/root.json".to_owned()]
    {
        let read = ask("GET", &path, Some(ADMIN));
        assert_eq!((read.status, read.json()["signed"]["_type"].as_str()), (200, Some("Root")), "{path}");
    }
    let feed = ask("GET", &format!("/v2/{host}/secret/app/_trust/changefeed?records=10"), Some(ADMIN));
    assert_eq!((feed.status, feed.json()["count"].as_u64()), (200, Some(1)), "{}", feed.text());
}

#[test]
fn a_token_for_a_name_with_our_host_is_for_the_repository() {
    let scene = Scene::new();
    let gun = scene.gun("team-a/app");
    scene.client(Some(ALICE)).sign(&gun, "content").succeeded();
    let trust = format!("/v2/{gun}/_trust/tuf/root.json");
    let with = |token: &str, path: &str| scene.gate.curl(path).bearer(token).send().status;
    // What its client asks for.
    let token = scene.gate.token(Some(BOB), &format!("repository:{gun}:push,pull"));
    assert_eq!(with(&token, &trust), 200);
    assert_eq!(with(&token, "/v2/team-a/app/tags/list"), 404, "allowed, and not there");
    let push = scene.gate.curl(&format!("/v2/{gun}/_trust/tuf/")).method("POST").bearer(&token).send();
    assert_eq!((push.status, push.code().as_str()), (403, "DENIED"));
    // What the challenge says.
    assert_eq!(with(&scene.gate.token(Some(BOB), "repository:team-a/app:pull"), &trust), 200);
    for scope in [
        "repository:other.test:5000/team-a/app:pull",
        "repository:library/x:pull",
        "repository:evil.localhost/team-a/app:pull",
    ] {
        let token = scene.gate.token(Some(BOB), scope);
        let answer = scene.gate.curl(&trust).bearer(&token).send();
        assert!(answer.challenge().contains("error=\"insufficient_scope\""), "{scope}");
    }
    // A repository may be called like a host.
    let token = scene.gate.token(Some(ADMIN), "repository:localhost/team-a/app:pull");
    assert_eq!(with(&token, "/v2/localhost/team-a/app/tags/list"), 404);
    assert_eq!(with(&token, "/v2/team-a/app/tags/list"), 404);

    let plain = Portcullis::start(&Registry::start());
    let token = plain.token(Some(ALICE), &format!("repository:{}/team-a/app:pull", plain.host()));
    assert_eq!(plain.curl("/v2/team-a/app/tags/list").bearer(&token).send().status, 401, "without notary");
    assert_eq!(
        plain.curl(&format!("/v2/{}/team-a/app/_trust/tuf/root.json", plain.host())).user(ADMIN).send().status,
        404
    );
}

#[test]
fn what_is_too_large_or_read_only_or_no_form_goes_nowhere() {
    let mut scene = Scene::new();
    scene.gate.reload_with(|config| config["limits"] = json!({ "manifest": "64KiB" }));
    let path = format!("/v2/{}/_trust/tuf/", scene.gun("team-a/app"));
    let large = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(large.path(), vec![b'x'; 70 * 1024]).unwrap();
    let post = |scene: &Scene| scene.gate.curl(&path).method("POST").user(ALICE);
    assert_eq!(post(&scene).body_file(large.path()).send().status, 413);
    let chunked = post(&scene).body_file(large.path()).header("Transfer-Encoding: chunked");
    assert_eq!(chunked.send().status, 413);
    assert_eq!(post(&scene).form(&[("files", "root")]).send().status, 400, "the server's own word on it");
    scene.gate.reload_with(|config| config["registries"][0]["read_only"] = json!(true));
    let done = scene.client(Some(ALICE)).sign(&scene.gun("team-a/app"), "content");
    assert!(!done.success, "{}", done.stdout);
    let frozen = post(&scene).send();
    assert_eq!((frozen.status, frozen.code().as_str()), (403, "DENIED"));
    assert!(frozen.text().contains("read-only"), "{}", frozen.text());
}

/// The image and its signature under one grant, by one login each.
#[test]
fn an_image_is_pushed_signed_and_found_by_its_digest() {
    let scene = Scene::new();
    let image = Image::new(70, &[4000]);
    let skopeo = Skopeo::logged_in(scene.gate.pki(), &scene.gate.host(), ALICE);
    skopeo.copy(&image.reference(), &scene.gate.image("team-a/app")).succeeded();
    let gun = scene.gun("team-a/app");
    let manifest = scene.gate.curl("/v2/team-a/app/manifests/v1").user(ALICE);
    let manifest = manifest.header("Accept: application/vnd.oci.image.manifest.v1+json").send();
    scene.client(Some(ALICE)).sign(&gun, &manifest.text()).succeeded();
    let found = scene.client(Some(BOB)).ask(&["lookup", &gun, "v1"]).succeeded();
    let hex = image.digest.strip_prefix("sha256:").unwrap();
    assert!(found.stdout.contains(hex), "{}", found.stdout);
}
