//! `upstream.pass_token`: a registry that verifies tokens itself behind the gate.

use std::{fs, process::Stdio};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::support::{
    ADMIN, ALICE, Ear, Image, Login, Pki, Portcullis, Registry, Response, Skopeo, TokenKeys, http_get, portcullis,
};

const SERVICE: &str = "localhost";
const ISSUER: &str = "portcullis";

fn registry(keys: &TokenKeys) -> Registry {
    Registry::setup().with_tokens(SERVICE, ISSUER, keys).start()
}

fn gate(url: &str, keys: &TokenKeys) -> Portcullis {
    let configured = keys.configured();
    Portcullis::before_url(url)
        .with_upstream(|upstream| upstream["pass_token"] = true.into())
        .with(move |config| config["tokens"]["keys"] = configured.clone())
        .start()
}

fn push(gate: &Portcullis, login: Login, repository: &str, image: &Image) {
    let skopeo = Skopeo::logged_in(gate.pki(), &gate.host(), login);
    skopeo.copy(&image.reference(), &gate.image(repository)).succeeded();
}

fn pulls(gate: &Portcullis, skopeo: &Skopeo, repository: &str, image: &Image) {
    let dir = tempfile::tempdir().unwrap();
    let layout = dir.path().join("pulled");
    skopeo.copy(&gate.image(repository), &format!("oci:{}:v1", layout.display())).succeeded();
    image.assert_same(&layout);
}

/// All that clients do, one of each kind.
fn works(gate: &Portcullis) {
    let image = Image::new(70, &[300_000]);
    push(gate, ALICE, "team-a/app", &image);
    pulls(gate, &Skopeo::logged_in(gate.pki(), &gate.host(), ALICE), "team-a/app", &image);
    push(gate, ADMIN, "library/app", &image);
    pulls(gate, &Skopeo::new(gate.pki()), "library/app", &image);

    let ask = |method: &str, path: &str| gate.curl(path).user(ADMIN).method(method).send();
    let status = |method: &str, path: &str| ask(method, path).status;
    assert_eq!(ask("GET", "/v2/team-a/app/tags/list").json()["tags"], json!(["v1"]));
    assert_eq!(gate.curl("/v2/library/app/tags/list").send().status, 200, "anonymously");
    assert_eq!(status("HEAD", &format!("/v2/team-a/app/blobs/{}", image.layer)), 200);
    assert_eq!(ask("GET", "/v2/_catalog").json()["repositories"], json!(["library/app", "team-a/app"]));
    assert_eq!(gate.curl("/v2/_catalog").user(ALICE).send().json()["repositories"].as_array().unwrap().len(), 2);

    let mount = format!("/v2/other/app/blobs/uploads/?mount={}&from=team-a/app", image.layer);
    assert_eq!(status("POST", &mount), 201, "mounted");
    uploads_in_pieces(gate);
    cancels(gate);

    let manifest = format!("/v2/team-a/app/manifests/{}", image.digest);
    assert_eq!(status("DELETE", &manifest), 202);
    assert_eq!(status("DELETE", &format!("/v2/team-a/app/blobs/{}", image.layer)), 202);
    assert_eq!(status("GET", &manifest), 404);
}

fn opened(gate: &Portcullis) -> String {
    let answer = gate.curl("/v2/team-a/pieces/blobs/uploads/").user(ALICE).method("POST").send();
    assert_eq!(answer.status, 202, "{}", answer.text());
    location(gate, &answer)
}

fn location(gate: &Portcullis, answer: &Response) -> String {
    answer.header("location").expect("a Location").replace(&gate.url(""), "")
}

/// A chunk, the session's status, the end.
fn uploads_in_pieces(gate: &Portcullis) {
    let image = Image::new(71, &[100_000]);
    let session = opened(gate);
    let chunk = gate.curl(&session).user(ALICE).method("PATCH").chunked_file(&image.blob(&image.layer)).send();
    assert_eq!(chunk.status, 202, "{}", chunk.text());
    let session = location(gate, &chunk);
    assert_eq!(gate.curl(&session).user(ALICE).send().status, 204, "the session's status");
    let end = format!("{session}&digest={}", image.layer);
    assert_eq!(gate.curl(&end).user(ALICE).method("PUT").send().status, 201);
}

/// By one who may push and not delete; the registry asks for delete.
fn cancels(gate: &Portcullis) {
    let session = opened(gate);
    assert_eq!(gate.curl(&session).user(ALICE).method("DELETE").send().status, 204);
    assert_eq!(gate.curl(&session).user(ALICE).send().status, 404);
}

/// 502 that tells the client nothing of the inside, and an operator in the log where to look.
#[track_caller]
fn is_refused(gate: &Portcullis, words: &[&str]) {
    let image = Image::new(72, &[1000]);
    for answer in [
        gate.curl("/v2/team-a/app/tags/list").user(ALICE).send(),
        gate.curl("/v2/_catalog").user(ALICE).send(),
        gate.curl("/v2/team-a/app/blobs/uploads/").user(ALICE).method("POST").send(),
        gate.curl("/v2/team-a/app/manifests/v1").user(ALICE).method("PUT").body_file(&image.manifest()).send(),
    ] {
        assert_eq!((answer.status, answer.code().as_str()), (502, "UNAVAILABLE"), "{}", answer.text());
        assert_eq!(answer.header("www-authenticate"), None);
        assert!(answer.text().contains("the registry does not accept this gate"), "{}", answer.text());
        assert!(!answer.text().contains("token"), "{}", answer.text());
    }
    let log = gate.log();
    let line = log.lines().find(|line| line.contains("upstream failed")).unwrap_or_else(|| panic!("{log}"));
    for word in words {
        assert!(line.contains(word), "{word}: {line}");
    }
    assert!(gate.admin("/metrics").text().contains(r#"kind="refused""#));
}

/// What `pass_token` says in the log where the registry does not take its tokens.
const HELP: [&str; 4] = ["upstream.pass_token", "portcullis token keys", "localhost", "issuer"];

#[test]
fn a_registry_that_verifies_es256_takes_what_is_passed() {
    let keys = TokenKeys::new(&["P-256"]);
    works(&gate(&registry(&keys).url, &keys));
}

#[test]
fn a_registry_that_verifies_rs256_takes_what_is_passed() {
    let keys = TokenKeys::new(&["RSA"]);
    works(&gate(&registry(&keys).url, &keys));
}

/// EdDSA signs what clients get, and the next key what the registry gets.
#[test]
fn of_several_keys_the_first_that_the_registry_can_read_signs() {
    let keys = TokenKeys::new(&["ED25519", "RSA", "P-256"]);
    works(&gate(&registry(&keys).url, &keys));
}

#[test]
fn a_registry_that_verifies_tokens_takes_nothing_else() {
    let keys = TokenKeys::new(&["P-256"]);
    let registry = registry(&keys);
    for path in ["/v2/", "/v2/team-a/app/tags/list", "/v2/_catalog"] {
        let answer = http_get(registry.port(), path).unwrap();
        assert!(answer.challenge().starts_with("Bearer "), "{path}: {:?}", answer.headers);
    }
    let without = Portcullis::start(&registry);
    is_refused(&without, &["wants credentials", "upstream.credentials", "upstream.pass_token"]);
}

#[test]
fn a_new_key_needs_a_new_bundle_and_two_keys_overlap() {
    let old = TokenKeys::new(&["P-256"]);
    let new = TokenKeys::new(&["P-256"]);
    let stale = registry(&old);
    let mut gate = gate(&stale.url, &old);
    push(&gate, ALICE, "team-a/app", &Image::new(73, &[1000]));
    gate.restart_with(|config| config["tokens"]["keys"] = new.configured());
    is_refused(&gate, &HELP);

    // The bundle is renewed first, while the old key still signs.
    let mut both = TokenKeys::new(&[]);
    both.files = vec![old.files[0].clone(), new.files[0].clone()];
    let renewed = registry(&both);
    for keys in [&old, &both, &new] {
        gate.restart_with(|config| {
            config["tokens"]["keys"] = keys.configured();
            config["registries"][0]["upstream"]["servers"][0]["url"] = renewed.url.as_str().into();
        });
        push(&gate, ALICE, "team-a/app", &Image::new(74, &[1000]));
    }
}

#[test]
fn service_and_issuer_must_be_the_registrys() {
    let keys = TokenKeys::new(&["P-256"]);
    for (service, issuer) in [("another", ISSUER), (SERVICE, "another")] {
        let registry = Registry::setup().with_tokens(service, issuer, &keys).start();
        is_refused(&gate(&registry.url, &keys), &HELP);
    }
}

/// Header and claims of what the registry was shown.
fn shown(ear: &Ear) -> (String, [Value; 2]) {
    let (_, request) = ear.only_request();
    let mut authorizations = request.headers.iter().filter(|(name, _)| name == "authorization");
    let (_, value) = authorizations.next().expect("an Authorization");
    assert!(authorizations.next().is_none());
    let token = value.strip_prefix("Bearer ").expect("Bearer").to_owned();
    let part = |number: usize| {
        let bytes = URL_SAFE_NO_PAD.decode(token.split('.').nth(number).unwrap()).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    };
    let parts = [part(0), part(1)];
    (token, parts)
}

#[test]
fn a_client_s_own_token_or_password_never_leaves() {
    const EMPTY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}";
    let keys = TokenKeys::new(&["P-256"]);
    // Of one with a token for more, one with a password, and one with nothing.
    let manifest = format!("manifests/sha256:{}", "0".repeat(64));
    for (caller, method, name, rest, actions) in [
        ("token", "GET", "team-a/app", "tags/list", json!(["pull"])),
        ("token", "POST", "team-a/app", "blobs/uploads/", json!(["pull", "push"])),
        ("token", "DELETE", "home/alice/app", manifest.as_str(), json!(["delete"])),
        ("password", "GET", "team-a/app", "tags/list", json!(["pull"])),
        ("nothing", "GET", "library/app", "tags/list", json!(["pull"])),
    ] {
        let ear = Ear::answering(EMPTY);
        let gate = gate(&ear.url(), &keys);
        let own = gate.token(Some(ALICE), "repository:team-a/app:pull,push&scope=repository:home/alice/app:*");
        let curl = gate.curl(&format!("/v2/{name}/{rest}")).method(method);
        let curl = match caller {
            "token" => curl.bearer(&own),
            "password" => curl.user(ALICE),
            _ => curl,
        };
        assert_eq!(curl.send().status, 200, "{caller} {method}");
        let (token, [header, claims]) = shown(&ear);
        assert_ne!(token, own);
        assert_eq!(header["typ"], "JWT");
        assert_eq!((&claims["aud"], &claims["iss"]), (&json!(SERVICE), &json!(ISSUER)));
        assert_eq!(claims["sub"], if caller == "nothing" { "" } else { ALICE.name });
        assert_eq!(claims["access"], json!([{ "type": "repository", "name": name, "actions": actions }]));
        let dates = ["nbf", "exp"].map(|date| claims[date].as_u64().unwrap());
        assert_eq!(dates[1] - dates[0], 120, "a minute back, a minute to come");

        // What the registry was shown opens nothing here.
        let answer = gate.curl("/v2/").bearer(&token).send();
        assert!(answer.challenge().contains(r#"error="invalid_token""#), "{answer:?}");
        assert!(!gate.log().contains(&token[token.len() - 20..]), "a token is in the log");
    }
}

#[test]
fn check_and_serve_find_that_no_key_can_sign_for_the_registry() {
    let keys = TokenKeys::new(&["ED25519"]);
    let dir = tempfile::tempdir().unwrap();
    let leaf = Pki::new().issue_into(dir.path(), &["localhost"]);
    fs::write(dir.path().join("htpasswd"), "").unwrap();
    let file = dir.path().join("portcullis.yml");
    let run = |command: &str, pass_token: bool| {
        let config = json!({
            "version": 1,
            "listen": { "https": ["127.0.0.1:0"], "http": [], "admin": "127.0.0.1:0" },
            "tls": { "certificates": [{ "certificate_file": leaf.certificate, "key_file": leaf.key }] },
            "registries": [{
                "hosts": ["localhost"],
                "upstream": { "servers": [{ "url": "http://127.0.0.1:5000" }], "pass_token": pass_token },
            }],
            "identity": { "providers": [{ "htpasswd": { "file": "htpasswd" } }] },
            "tokens": { "keys": keys.configured() },
        });
        fs::write(&file, config.to_string()).unwrap();
        let output = portcullis().args([command, "-c"]).arg(&file).stdin(Stdio::null()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for command in ["check", "serve"] {
        let (code, said) = run(command, true);
        assert_eq!(code, Some(78), "{command}: {said}");
        assert!(said.contains("none of tokens.keys is for ES256 or RS256"), "{command}: {said}");
    }
    assert_eq!(run("check", false).0, Some(0), "and without pass_token any key will do");
}
