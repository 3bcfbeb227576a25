//! Deploy tokens: a password for machines that allows what both its patterns and the policy allow.

use std::fs;

use portcullis::token;
use serde_json::{Value, json};

use crate::support::{
    ADMIN, ALICE, BOB, Curl, Deploy, Image, Login, Portcullis, Registry, Response, Skopeo, access, claims, forged,
    portcullis,
};

/// What alice's machine is limited to. The policy gives her `library/**`, `team-a/**` without delete, and her home.
const GRANTS: &[&str] = &["team-a/app:pull", "team-b/**:pull,push", "home/$user/**:pull,push", "library/**:pull,push"];

struct Scene {
    registry: Registry,
    gate: Portcullis,
    deploy: Deploy,
}

impl Scene {
    fn new() -> Self {
        let registry = Registry::start();
        let gate = Portcullis::before(&registry)
            .with(|config| config["tokens"]["refresh"] = json!({ "enabled": true }))
            .start();
        let deploy = gate.deploy_token(ALICE.name, GRANTS);
        Self { registry, gate, deploy }
    }

    fn user(&self, method: &str, path: &str) -> Curl {
        self.gate.curl(path).method(method).user(self.deploy.login)
    }

    /// The same token with other claims, as its user's password.
    fn forged(&self, change: impl FnOnce(&mut Value)) -> Login {
        Login::new(ALICE.name, forged(&self.gate, self.deploy.login.password, change).leak())
    }
}

/// Status, and the error of a challenge or the code.
fn told(answer: &Response) -> String {
    match answer.status {
        401 => format!("401 {}", answer.challenge().split_once(",scope=").map_or("", |(_, rest)| rest)),
        status if answer.body.is_empty() => status.to_string(),
        status => format!("{status} {}", answer.code()),
    }
}

/// Answers by action, `None` for what both allow.
fn narrow(repository: &str, actions: &str) -> Option<String> {
    Some(format!(r#"401 "repository:{repository}:{actions}",error="insufficient_scope""#))
}

/// The policy does not allow it: 403, whatever the token says. The policy does and the token does not: 401.
#[test]
fn the_narrower_of_token_and_policy_decides() {
    let scene = Scene::new();
    let digest = format!("sha256:{}", "0".repeat(64));
    let denied = || Some("403 DENIED".to_owned());
    let wide = "repository:team-a/app:* repository:team-a/other:* repository:team-b/x:* repository:home/alice/x:* \
                repository:home/bob/x:* repository:library/x:* repository:secret/x:*";
    let made = scene.gate.curl("/token").form(&[
        ("grant_type", "password"),
        ("username", ALICE.name),
        ("password", scene.deploy.login.password),
        ("scope", wide),
    ]);
    let made = made.send().json()["token"].as_str().unwrap().to_owned();
    assert_eq!(access(&made), ["home/alice/x:pull,push", "library/x:pull", "team-a/app:pull"]);
    // One that carries more than its patterns: they count at every use, not only when it is made.
    let grown = forged(&scene.gate, &made, |claims| {
        let names = ["team-a/app", "team-a/other", "team-b/x", "home/alice/x", "home/bob/x", "library/x", "secret/x"];
        let entry = |name: &str| json!({ "type": "repository", "name": name, "actions": ["*"] });
        claims["access"] = names.map(entry).into_iter().collect();
    });
    let mount = |from: &str| format!("/v2/home/alice/x/blobs/uploads/?mount={digest}&from={from}");
    let both = Some(
        r#"401 "repository:home/alice/x:pull,push repository:team-a/other:pull",error="insufficient_scope""#.to_owned(),
    );
    for (method, path, refusal) in [
        ("GET", "/v2/team-a/app/tags/list".to_owned(), None),
        ("POST", "/v2/team-a/app/blobs/uploads/".to_owned(), narrow("team-a/app", "pull,push")),
        ("GET", "/v2/team-a/other/tags/list".to_owned(), narrow("team-a/other", "pull")),
        ("DELETE", format!("/v2/team-a/app/manifests/{digest}"), denied()),
        ("GET", "/v2/team-b/x/tags/list".to_owned(), denied()),
        ("POST", "/v2/team-b/x/blobs/uploads/".to_owned(), denied()),
        ("GET", "/v2/home/alice/x/tags/list".to_owned(), None),
        ("POST", "/v2/home/alice/x/blobs/uploads/".to_owned(), None),
        ("DELETE", format!("/v2/home/alice/x/manifests/{digest}"), narrow("home/alice/x", "delete")),
        ("GET", "/v2/home/bob/x/tags/list".to_owned(), denied()),
        ("GET", "/v2/library/x/tags/list".to_owned(), None),
        ("POST", "/v2/library/x/blobs/uploads/".to_owned(), denied()),
        ("GET", "/v2/secret/x/tags/list".to_owned(), denied()),
        ("POST", mount("team-a/app"), None),
        // What the policy forbids to read becomes an ordinary upload; what only the token lacks can be asked for.
        ("POST", mount("team-b/x"), None),
        ("POST", mount("team-a/other"), both),
    ] {
        let before = scene.registry.acted().len();
        let expected = refusal.unwrap_or_else(|| if method == "POST" { "202" } else { "404 NAME_UNKNOWN" }.to_owned());
        assert_eq!(told(&scene.user(method, &path).send()), expected, "{method} {path} by password");
        for (what, token) in [("made from it", &made), ("with more than its patterns", &grown)] {
            let answer = scene.gate.curl(&path).method(method).bearer(token).send();
            assert_eq!(told(&answer), expected, "{method} {path} by an access token {what}");
        }
        let acted = scene.registry.acted().len() - before;
        assert_eq!(
            acted,
            if expected.starts_with("40") && !expected.ends_with("NAME_UNKNOWN") { 0 } else { 3 },
            "{path}"
        );
    }
    assert_eq!(scene.user("GET", "/v2/").send().status, 200);
}

/// Patterns follow the live policy: what it gives later counts as far as they reach.
#[test]
fn a_policy_that_grows_grows_within_the_patterns() {
    let mut scene = Scene::new();
    let status = |scene: &Scene, path: &str| scene.user("GET", path).send().status;
    let made = scene.gate.token(Some(scene.deploy.login), "repository:team-b/x:pull");
    assert_eq!(status(&scene, "/v2/team-b/x/tags/list"), 403);
    scene.gate.reload_with(|config| {
        let more = json!({ "repositories": ["**"], "actions": ["pull"], "to": ["user:alice"] });
        config["access"]["grants"].as_array_mut().unwrap().push(more);
    });
    assert_eq!(status(&scene, "/v2/team-b/x/tags/list"), 404, "allowed, and not there");
    assert_eq!(status(&scene, "/v2/secret/x/tags/list"), 401, "beyond the token");
    let answer = scene.gate.curl("/v2/team-b/x/tags/list").bearer(&made).send();
    assert!(answer.challenge().ends_with(r#"error="insufficient_scope""#), "what was made before did not get it");
}

#[test]
fn the_catalog_stays_within_the_patterns() {
    let scene = Scene::new();
    let admin = Skopeo::logged_in(scene.gate.pki(), &scene.gate.host(), ADMIN);
    let image = Image::new(150, &[100]);
    for repository in ["home/alice/x", "home/bob/x", "library/x", "team-a/app", "team-a/other", "team-b/x"] {
        admin.copy(&image.reference(), &scene.gate.image(repository)).succeeded();
    }
    let shown = |request: Curl| request.send().json()["repositories"].clone();
    let catalog = || scene.gate.curl("/v2/_catalog");
    let within = json!(["home/alice/x", "library/x", "team-a/app"]);
    assert_eq!(shown(catalog().user(scene.deploy.login)), within);
    for scope in ["", "registry:catalog:*", "repository:team-a/other:pull"] {
        let made = scene.gate.token(Some(scene.deploy.login), scope);
        assert_eq!(shown(catalog().bearer(&made)), within, "with a token for {scope:?}");
    }
    let all = json!(["home/alice/x", "library/x", "team-a/app", "team-a/other"]);
    assert_eq!(shown(catalog().user(ALICE)), all);
    let page = scene.gate.curl("/v2/_catalog?n=3").user(scene.deploy.login).send();
    assert_eq!((page.json()["repositories"].clone(), page.header("link")), (within, None), "no page of hidden names");
}

#[test]
fn a_deploy_token_is_its_users_alone() {
    let scene = Scene::new();
    let token = scene.deploy.login.password;
    for name in [BOB.name, "nobody", "Alice", "", "<token>"] {
        for path in ["/v2/", "/token", "/v2/library/x/tags/list"] {
            assert_eq!(scene.gate.curl(path).user(Login::new(name, token)).send().status, 401, "{name:?} {path}");
        }
    }
    let other = scene.gate.curl("/token?account=bob").user(scene.deploy.login).send();
    assert_eq!(other.status, 400, "T20");
    let said = claims(token);
    assert_eq!((&said["sub"], &said["aud"]), (&json!("alice"), &json!("localhost/deploy")));
    assert_eq!(said["grant"], json!(GRANTS));
    assert_eq!(said["jti"], scene.deploy.id.as_str());
}

/// A refresh token would escape the limits.
#[test]
fn the_bearer_of_a_deploy_token_gets_no_refresh_token() {
    let scene = Scene::new();
    let Login { name, password } = scene.deploy.login;
    let posted = [("grant_type", "password"), ("username", name), ("password", password), ("access_type", "offline")];
    for request in [scene.user("GET", "/token?offline_token=true"), scene.gate.curl("/token").form(&posted)] {
        let answer = request.send();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json().get("refresh_token"), None);
    }
}

/// What is made from it ends with it, give or take the minute that is the least a token lives.
#[test]
fn nothing_outlives_a_deploy_token() {
    let scene = Scene::new();
    let now = token::now();
    for (left, least, most) in [(10_000, 900, 900), (600, 590, 600), (61, 60, 61), (30, 60, 60), (5, 60, 60)] {
        let login = scene.forged(|claims| claims["exp"] = json!(now + left));
        let answer = scene.gate.curl("/token").user(login).send();
        assert_eq!(answer.status, 200, "{left}: {}", answer.text());
        let expires_in = answer.json()["expires_in"].as_u64().unwrap();
        assert!((least..=most).contains(&expires_in), "{left}: {expires_in}");
        let end = claims(answer.json()["token"].as_str().unwrap())["exp"].as_u64().unwrap();
        assert!(end <= now + left + 60, "{left}: {end}");
    }
    for (claim, date) in [("exp", now - 2), ("exp", now - 3600), ("exp", 0), ("nbf", now + 300)] {
        let login = scene.forged(|claims| claims[claim] = json!(date));
        for path in ["/v2/", "/token"] {
            assert_eq!(scene.gate.curl(path).user(login).send().status, 401, "{claim} {date} {path}");
        }
    }
}

#[test]
fn an_upload_with_a_deploy_token() {
    let scene = Scene::new();
    let image = Image::new(151, &[1000]);
    let layer = image.blob(&image.layer);
    let path = |answer: &Response| {
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.header("location").unwrap().replace(&scene.gate.url(""), "")
    };
    let made = scene.gate.token(Some(scene.deploy.login), "repository:home/alice/x:pull,push");
    let opened = path(&scene.user("POST", "/v2/home/alice/x/blobs/uploads/").send());
    assert_eq!(scene.gate.curl(&opened).user(BOB).send().status, 403);
    let admin = scene.gate.curl(&opened).user(ADMIN).send();
    assert_eq!((admin.status, admin.code().as_str()), (404, "BLOB_UPLOAD_UNKNOWN"), "another's session");
    let sent = path(&scene.gate.curl(&opened).method("PATCH").bearer(&made).body_file(&layer).send());
    let end = format!("{sent}&digest={}", image.layer);
    // A token for something else of the same user's does not do.
    let pull = scene.gate.token(Some(scene.deploy.login), "repository:home/alice/x:pull");
    assert_eq!(scene.gate.curl(&end).method("PUT").bearer(&pull).header("Content-Length: 0").send().status, 401);
    assert_eq!(scene.user("PUT", &end).header("Content-Length: 0").send().status, 201);
    let got = scene.user("GET", &format!("/v2/home/alice/x/blobs/{}", image.layer)).send();
    assert!(got.body == fs::read(layer).unwrap());
}

/// With a real client; and the log says by which token, without the token.
#[test]
fn skopeo_with_a_deploy_token() {
    let scene = Scene::new();
    let image = Image::new(152, &[1000, 2000]);
    let skopeo = Skopeo::logged_in(scene.gate.pki(), &scene.gate.host(), scene.deploy.login);
    skopeo.copy(&image.reference(), &scene.gate.image("home/alice/x")).succeeded();
    let dir = tempfile::tempdir().unwrap();
    let layout = dir.path().join("pulled");
    skopeo.copy(&scene.gate.image("home/alice/x"), &format!("oci:{}:v1", layout.display())).succeeded();
    image.assert_same(&layout);
    for repository in ["team-a/app", "team-a/other", "team-b/x"] {
        skopeo.copy(&image.reference(), &scene.gate.image(repository)).failed_with(&[
            "denied",
            "forbidden",
            "unauthorized",
        ]);
    }
    let wrong = Login::new(ALICE.name, scene.forged(|claims| claims["sub"] = json!("bob")).password);
    Skopeo::new(scene.gate.pki()).login(&scene.gate.host(), wrong).failed_with(&["unauthorized", "invalid username"]);

    let log = scene.gate.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let (mut by_token, mut refused) = (0, 0);
    for line in lines.filter(|line| line["log"] == "access" && line["user"] == "alice") {
        assert_eq!(line["token"], scene.deploy.id.as_str(), "{line}");
        by_token += 1;
        refused += usize::from(matches!(line["status"].as_u64(), Some(401 | 403)));
    }
    assert!(by_token > 10 && refused >= 3, "{by_token} {refused}");
    for part in [scene.deploy.login.password, wrong.password].iter().flat_map(|token| token.split('.')) {
        assert!(!log.contains(part), "a part of the token is in the log");
    }
}

/// One line in the configuration ends it, and what was made from it, and nothing else.
#[test]
fn a_revoked_deploy_token() {
    let mut scene = Scene::new();
    let other = scene.gate.deploy_token(ALICE.name, &["team-a/app:pull"]);
    let made = scene.gate.token(Some(scene.deploy.login), "repository:team-a/app:pull");
    let inspect = |gate: &Portcullis, token: &str| {
        let mut command = portcullis();
        command.args(["token", "inspect", "-c"]).arg(gate.configuration());
        let file = gate.dir().join("token.txt");
        fs::write(&file, token).unwrap();
        let output = command.stdin(fs::File::open(file).unwrap()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let id = scene.deploy.id.clone();
    scene.gate.reload_with(|config| config["tokens"]["revoked"] = json!([id]));
    assert_eq!(scene.user("GET", "/v2/").send().status, 401);
    assert_eq!(scene.gate.curl("/v2/").bearer(&made).send().status, 401);
    assert_eq!(scene.gate.curl("/v2/").user(other.login).send().status, 200);
    for (token, good) in [(scene.deploy.login.password, false), (&made, false), (other.login.password, true)] {
        let (code, said) = inspect(&scene.gate, token);
        assert_eq!(code, Some(i32::from(!good)), "{said}");
        assert!(said.ends_with(if good { "good\n" } else { "not accepted: revoked\n" }), "{said}");
    }
    assert!(inspect(&scene.gate, &made).1.contains(&format!("parent   {}", scene.deploy.id)));
}
