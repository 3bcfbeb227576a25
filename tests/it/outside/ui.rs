//! The web UI: its files, and nothing else of it.

use serde_json::json;

use super::{Scene, nothing_for_anyone};
use crate::support::{ADMIN, ALICE, Ear, INDEX, Login, Portcullis, Registry, Response, Site, eventually};

#[test]
fn its_files_are_served() {
    let scene = Scene::new();
    let index = scene.curl("/").send();
    assert_eq!((index.status, index.text().as_str()), (200, INDEX));
    assert_eq!(index.header("content-type"), Some("text/html"));
    assert_eq!(index.header("content-security-policy"), Some("default-src 'self'"));
    assert_eq!(index.header("x-frame-options"), Some("SAMEORIGIN"));
    for taken_off in ["set-cookie", "access-control-allow-origin", "server"] {
        assert_eq!(index.header(taken_off), None, "{taken_off}");
    }
    let tag = index.header("etag").unwrap();
    assert_eq!(scene.curl("/").header(&format!("If-None-Match: {tag}")).send().status, 304);
    let head = scene.curl("/app.js").method("HEAD").send();
    assert_eq!((head.status, head.header("content-length")), (200, Some("1200")));
    let part = scene.curl("/app.js").header("Range: bytes=3-10").send();
    assert_eq!((part.status, part.text().as_str()), (206, "a script"));
    let packed = scene.curl("/app.js").header("Accept-Encoding: gzip").argument("--compressed").send();
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert_eq!((packed.header("vary"), packed.body.len()), (Some("Accept-Encoding"), 1200));
    let folder = scene.curl("/docs").send();
    assert_eq!((folder.status, folder.header("location")), (301, Some("/docs/")), "where the UI is seen from outside");
    assert_eq!(scene.curl("/docs/").send().status, 200);
    assert_eq!(scene.curl("/nothing.html").send().status, 404);
    assert_eq!(scene.curl("/app.js?v=1;2#%zz").send().status, 200);
    assert!(scene.asked().iter().all(|line| !line.contains('?') && line.ends_with("|-|-")), "{:?}", scene.asked());
}

#[test]
fn it_is_no_way_to_change_or_to_leave() {
    let scene = Scene::new();
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO"] {
        let answer = scene.curl("/app.js").method(method).user(ADMIN).send();
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
    // A body is not the UI's.
    assert_eq!(scene.curl("/app.js").argument("--get").argument("--data").argument("a=b").send().status, 200);
    assert_eq!(scene.curl("/app.js").method("GET").form(&[("a", "b")]).send().status, 200);
    let before = scene.touched();
    let elsewhere = scene.curl("/elsewhere").send();
    assert_eq!((elsewhere.status, elsewhere.header("location")), (502, None), "a redirect into the registry");
    let private = scene.curl("/private.html").send();
    assert_eq!((private.status, private.header("www-authenticate")), (502, None), "a UI that asks for a login");
    let asked = scene.asked();
    assert!(asked.iter().all(|line| line.starts_with("GET /")), "{asked:?}");
    assert_eq!(scene.touched(), before);
}

/// Whatever a browser sends along: what the UI's server hears is a short list.
#[test]
fn no_credential_reaches_it() {
    let ear = Ear::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    let registry = Registry::start();
    let ui = ear.url();
    let gate = Portcullis::before(&registry).with(move |config| config["registries"][0]["ui"] = json!(ui)).start();
    let answer = gate
        .curl("/app.js?token=secret")
        .user(ALICE)
        .header("Cookie: session=secret")
        .header("Proxy-Authorization: Basic c2VjcmV0")
        .header("Referer: https://localhost/?secret")
        .header("X-Api-Key: secret")
        .header("Origin: https://localhost")
        .header("Accept-Language: de")
        .header("Accept-Encoding: gzip")
        .header("If-None-Match: \"1\"")
        .header("User-Agent: a browser")
        .header("Sec-Fetch-Site: same-origin")
        .send();
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    let heard: Vec<_> = ear.heard().into_iter().filter(|head| !head.contains("portcullis-health")).collect();
    let [head] = heard.as_slice() else { panic!("{heard:?}") };
    let (line, headers) = head.split_once("\r\n").unwrap();
    assert_eq!(line, "GET /app.js HTTP/1.1");
    let heard = Response::parse_head(&format!("HTTP/1.1 0 request\r\n{headers}"));
    let mut names: Vec<&str> = heard.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "accept",
            "accept-encoding",
            "accept-language",
            "host",
            "if-none-match",
            "user-agent",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-request-id"
        ]
    );
    assert!(!format!("{heard:?}").contains("secret") && !format!("{heard:?}").contains("YWxpY2U"), "{heard:?}");
    let token = gate.token(Some(ALICE), "repository:team-a/app:pull");
    assert_eq!(gate.curl("/").bearer(&token).send().status, 200);
    assert!(!ear.heard().concat().contains(&token[..40]));
}

#[test]
fn its_end_is_not_the_registrys() {
    let mut scene = Scene::new();
    scene.site.stop();
    let answer = scene.curl("/").send();
    assert_eq!((answer.status, answer.code().as_str()), (502, "UNAVAILABLE"));
    assert!(!answer.text().contains("127.0.0.1"), "{}", answer.text());
    assert_eq!(scene.curl("/v2/team-a/app/tags/list").user(ALICE).send().status, 200);
    eventually("the log names the UI's server", || {
        scene.gate.log().lines().any(|line| line.contains("WARN") && line.contains(&scene.site.url))
    });
}

#[test]
fn it_may_live_behind_a_socket_and_come_and_go_by_reload() {
    let (registry, site) = (Registry::start(), Site::on_unix_socket());
    let mut gate = Portcullis::start(&registry);
    assert!(gate.curl("/").send().text().contains("registry"), "the landing page");
    assert_eq!(gate.curl("/app.js").send().status, 404);
    gate.reload_with(|config| config["registries"][0]["ui"] = json!(site.url));
    assert_eq!(gate.curl("/").send().text(), INDEX);
    assert_eq!(gate.curl("/app.js").send().status, 200);
    gate.reload_with(|config| config["registries"][0]["ui"] = json!(null));
    assert_eq!(gate.curl("/app.js").send().status, 404);
}

/// Where nothing is for anyone, neither is the UI: so a browser asks for a login before the page needs it.
#[test]
fn it_takes_a_login_where_nothing_is_for_anyone() {
    let scene = Scene::with(nothing_for_anyone);
    for path in ["/", "/app.js", "/nothing"] {
        assert_eq!(scene.curl(path).send().challenge(), "Basic realm=\"Registry\"", "{path}");
        let wrong = scene.curl(path).user(Login::new("alice", "wrong")).send();
        assert_eq!(wrong.challenge(), "Basic realm=\"Registry\"", "{path}");
    }
    assert!(scene.asked().is_empty(), "{:?}", scene.asked());
    assert_eq!(scene.curl("/").user(ALICE).send().text(), INDEX);
    let token = scene.gate.token(Some(ALICE), "repository:team-a/app:pull");
    assert_eq!(scene.curl("/").bearer(&token).send().status, 200);

    let open = Scene::new();
    assert_eq!(open.curl("/").send().text(), INDEX);
    let wrong = open.curl("/").user(Login::new("alice", "wrong")).send();
    assert_eq!(wrong.challenge(), "Basic realm=\"Registry\"", "wrong credentials never act as none");
}
