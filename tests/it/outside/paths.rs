//! The web UI as a way around: whatever is asked, the registry does nothing that was not judged, and the UI is asked for
//! nothing but plain paths of its own.

use super::Scene;
use crate::{
    attacks::paths::SPELLINGS,
    support::{ADMIN, ALICE, Login, Response, Tls},
};

use base64::{Engine, engine::general_purpose::STANDARD};

fn basic(login: Login) -> String {
    format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{}:{}", login.name, login.password)))
}

/// One request as bytes; the connection closes after it. None where the gate closed without a word.
fn ask(scene: &Scene, method: &str, target: &str, more: &str) -> Option<Response> {
    let mut connection = Tls::connect(scene.gate.pki(), scene.gate.port(), "localhost");
    let head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n{more}", scene.gate.host());
    connection.send(format!("{head}{}Connection: close\r\n\r\n", basic(ALICE)));
    connection.answer(method == "HEAD")
}

/// What no client writes and what some server could read as the registry's, besides the spellings of secret/app.
const MORE: &[(&str, &str)] = &[
    ("A2", "/%56%32/secret/app/manifests/v1"),
    ("A2", "/v%32/secret/app/manifests/v1"),
    ("A3", "/v2/_catalog/"),
    ("A3", "/v2/%5fcatalog"),
    ("A3", "/V2/_catalog"),
    ("A5", "/./v2/secret/app/manifests/v1"),
    ("A5", "/ui/../v2/secret/app/manifests/v1"),
    ("A5", "/ui/%2e%2e/v2/secret/app/manifests/v1"),
    ("A5", "/..;/v2/secret/app/manifests/v1"),
    ("A5", "/ui/..%2fv2/secret/app/manifests/v1"),
    ("A7", "///v2/secret/app/manifests/v1"),
    ("A7", "/ui//v2/secret/app/manifests/v1"),
    ("A8", "/\\v2\\secret\\app\\manifests\\v1"),
    ("A8", "/v2;x=y/secret/app/manifests/v1"),
    ("A8", "/v2./secret/app/manifests/v1"),
    ("A8", "/v2,/secret/app/manifests/v1"),
    ("A8", "/v2~1/secret/app/manifests/v1"),
    ("A9", "/V2/"),
    ("A9", "/v1/search?q=secret"),
    ("A9", "/V1/_ping"),
    ("A9", "/TOKEN?scope=repository:secret/app:pull"),
    ("A9", "/token/?scope=repository:secret/app:pull"),
    ("A9", "/token/../v2/"),
    ("A10", "/v2%c0%afsecret/app/manifests/v1"),
    ("A10", "/%ef%bd%962/secret/app/manifests/v1"),
    ("A12", "/index.html%0d%0aX:y"),
    ("A12", "/index.html%00.js"),
    ("A12", "/index.html%09"),
    ("A12", "/index.html%20"),
    ("A13", "/index.html#/../v2/secret/app/manifests/v1"),
    ("A14", "http://localhost@evil.test/index.html"),
    ("A14", "https://evil.test/index.html"),
    ("A14", "ftp://localhost/index.html"),
    ("A15", "index.html"),
    ("A19", "/v2/manifests/manifests/manifests/manifests"),
    ("A23", "/v2"),
    ("A34", "/v2/secret/app/blobs/uploads"),
    ("A43", "/.env"),
    ("A43", "/.git/config"),
    ("A43", "/ui/.htpasswd"),
];

/// Plain paths of the UI: these go there, letter by letter, and nowhere else.
const PLAIN: &[(&str, &str)] = &[
    ("A42", "/debug/vars"),
    ("A42", "/debug/pprof/"),
    ("A42", "/metrics"),
    ("A42", "/debug/health"),
    ("A42", "/_notary_server/health"),
    ("A43", "/"),
    ("A43", "/favicon.ico"),
    ("A43", "/index.html"),
    ("A43", "/ui/v2/secret/app/manifests/v1"),
    ("A43", "/v2x/secret/app/manifests/v1"),
    ("A43", "/healthz"),
];

#[test]
fn no_spelling_reaches_the_registry_or_makes_the_ui_read_one() {
    let scene = Scene::new();
    let (before, requests) = (scene.touched(), scene.registry.acted().len());
    let mut own = 0;
    for (id, target) in SPELLINGS.iter().chain(MORE) {
        for method in ["GET", "HEAD", "POST", "DELETE"] {
            let Some(answer) = ask(&scene, method, target, "") else { continue };
            // `/v2` is the registry's, and alice may ask for it.
            let base = *target == "/v2" && matches!(method, "GET" | "HEAD");
            own += usize::from(base);
            assert!((400..500).contains(&answer.status) != base, "{id} {method} {target}: {}", answer.status);
            assert!(!answer.text().contains("schemaVersion"), "{id} {method} {target}");
            assert_eq!(answer.header("location"), None, "{id} {method} {target}");
        }
    }
    assert_eq!(own, 2);
    assert_eq!(scene.touched(), before, "the registry acted on it: {:?}", scene.registry.acted());
    assert_eq!(scene.registry.acted().len(), requests, "{:?}", scene.registry.acted());
    assert_eq!(scene.asked(), Vec::<String>::new(), "the UI was asked");
}

#[test]
fn plain_paths_go_to_the_ui_as_they_are() {
    let scene = Scene::new();
    let requests = scene.registry.acted().len();
    let mut expected = Vec::new();
    for (id, target) in PLAIN {
        for suffix in ["", "?x=/v2/secret/app/manifests/v1", "?;%zz"] {
            for method in ["GET", "HEAD"] {
                let answer = ask(&scene, method, &format!("{target}{suffix}"), "").unwrap();
                assert!(matches!(answer.status, 200 | 404), "{id} {method} {target}: {}", answer.status);
                expected.push(format!("{method} {target} HTTP/1.1|-|-"));
            }
        }
        for method in ["POST", "PUT", "PATCH", "DELETE", "CONNECT", "TRACE", "FOO"] {
            let status = ask(&scene, method, target, "Content-Length: 0\r\n").map(|answer| answer.status);
            assert!(matches!(status, None | Some(400 | 405)), "{id} {method} {target}: {status:?}");
        }
    }
    assert_eq!(scene.asked(), expected);
    assert_eq!(scene.registry.acted().len(), requests, "{:?}", scene.registry.acted());
}

/// A17, A18, A41, A45, A47: headers that some server takes for the request line, and bodies for a second request.
#[test]
fn headers_and_bodies_do_not_change_what_the_ui_is_asked() {
    let scene = Scene::new();
    let before = scene.touched();
    for more in [
        "X-Original-URL: /v2/secret/app/manifests/v1\r\n",
        "X-Rewrite-URL: /v2/secret/app/manifests/v1\r\n",
        "X-HTTP-Method-Override: DELETE\r\n",
        "X-Forwarded-Prefix: /v2\r\n",
        "Forwarded: host=evil.test;proto=gopher\r\n",
        "X-Forwarded-Host: evil.test\r\n",
        "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
        "Upgrade: websocket\r\nSec-WebSocket-Key: x\r\n",
    ] {
        let answer = ask(&scene, "GET", "/index.html", more).unwrap();
        assert_eq!(answer.status, 200, "{more}");
    }
    let smuggled = format!("GET /v2/secret/app/manifests/v1 HTTP/1.1\r\nHost: x\r\n{}\r\n", basic(ADMIN));
    let more = format!("Content-Length: {}\r\n", smuggled.len());
    let mut connection = Tls::connect(scene.gate.pki(), scene.gate.port(), "localhost");
    connection.send(format!(
        "GET /index.html HTTP/1.1\r\nHost: {}\r\n{more}Connection: close\r\n\r\n{smuggled}",
        scene.gate.host()
    ));
    let answers = String::from_utf8_lossy(&connection.rest()).into_owned();
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
    let asked = scene.asked();
    assert_eq!(asked, vec!["GET /index.html HTTP/1.1|-|-"; 9]);
    assert_eq!(scene.touched(), before);
}

/// The same registry judges what the browser of the UI asks of it.
#[test]
fn the_registrys_own_paths_are_judged_as_ever() {
    let scene = Scene::new();
    for (path, login, status) in [
        ("/v2/team-a/app/manifests/v1", Some(ALICE), 200),
        ("/v2/secret/app/manifests/v1", Some(ALICE), 403),
        ("/v2/secret/app/manifests/v1", Some(ADMIN), 200),
        ("/v2/secret/app/manifests/v1", None, 401),
        ("/v2/_catalog", Some(ALICE), 200),
        ("/v2/nothing", Some(ADMIN), 404),
    ] {
        let request = scene.curl(path).header("Accept: application/vnd.oci.image.manifest.v1+json");
        let answer = login.map_or_else(|| request.clone(), |login| request.clone().user(login)).send();
        assert_eq!(answer.status, status, "{path} {login:?}");
    }
    assert_eq!(scene.curl("/v2/_catalog").user(ALICE).send().json()["repositories"], serde_json::json!(["team-a/app"]));
    assert_eq!(scene.asked(), Vec::<String>::new());
    assert_eq!(scene.images.len(), 2);
}
