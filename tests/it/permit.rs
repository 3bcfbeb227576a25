//! No byte reaches the registry without a permit: every route, every method, every kind of credentials that do not
//! suffice, with and without a body, over both protocols.

use std::{io::ErrorKind, net::TcpListener, sync::Mutex, thread};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::support::{ALICE, Asked, BOB, Http2, Login, Portcullis, Registry, Response, Tls, forged};

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO"];
const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
const SESSION: &str = "11111111-2222-4333-8444-555555555555";
/// Parameters of a mount, as a body that a registry would read.
const FORM: &[u8] = b"mount=sha256:0000000000000000000000000000000000000000000000000000000000000000&from=library/app";

/// Every path of the registry API that is about one repository.
fn paths(repository: &str) -> Vec<String> {
    let uploads = format!("blobs/uploads/{SESSION}");
    [
        "tags/list".to_owned(),
        "tags/list?n=1&last=a".to_owned(),
        "manifests/v1".to_owned(),
        format!("manifests/{DIGEST}"),
        format!("manifests/{DIGEST}?tag=v2"),
        format!("blobs/{DIGEST}"),
        "blobs/uploads/".to_owned(),
        "blobs/uploads".to_owned(),
        format!("blobs/uploads/?digest={DIGEST}"),
        format!("blobs/uploads/?mount={DIGEST}&from=library/app"),
        format!("blobs/uploads/?mount={DIGEST}"),
        uploads.clone(),
        format!("{uploads}?_state=x"),
        format!("{uploads}?_state=x&digest={DIGEST}"),
        format!("referrers/{DIGEST}"),
        format!("referrers/{DIGEST}?artifactType=a/b"),
    ]
    .map(|rest| format!("/v2/{repository}/{rest}"))
    .to_vec()
}

/// The paths that any accepted caller may ask for.
const FOR_CALLERS: [&str; 4] = ["/v2/", "/v2", "/v2/_catalog", "/v2/_catalog?n=1&last=a"];

/// Credentials that do not suffice.
struct Caller {
    what: &'static str,
    authorization: Vec<String>,
    /// Whether they are accepted as such, so that `/v2/` and the catalog are open to them.
    accepted: bool,
    /// What they are tried on.
    repository: &'static str,
}

fn callers(gate: &Portcullis) -> Vec<Caller> {
    let basic = |login: Login| format!("Basic {}", STANDARD.encode(format!("{}:{}", login.name, login.password)));
    let refused = |what, authorization: &[String]| Caller {
        what,
        authorization: authorization.to_vec(),
        accepted: false,
        repository: "team-a/app",
    };
    let accepted = |what, authorization: String, repository| Caller {
        what,
        authorization: vec![authorization],
        accepted: true,
        repository,
    };
    let bearer = |token: &str| format!("Bearer {token}");
    let all = "repository:secret/app:pull,push,delete&scope=repository:team-a/app:pull,push,delete&scope=repository:library/app:pull,push,delete";
    let alice = gate.token(Some(ALICE), all);
    let expired = forged(gate, &alice, |claims| claims["exp"] = json!(claims["nbf"].as_u64().unwrap() - 3600));
    let foreign = forged(gate, &alice, |claims| claims["aud"] = "another.test".into());
    vec![
        refused("nothing", &[]),
        refused("a wrong password", &[basic(Login::new("alice", "wrong"))]),
        refused("an unknown user", &[basic(Login::new("mallory", "x"))]),
        refused("an empty user", &["Basic Og==".to_owned()]),
        refused("a garbage token", &["Bearer x.y.z".to_owned()]),
        refused("an unknown scheme", &["Negotiate abc".to_owned()]),
        refused("two headers", &[basic(ALICE), bearer(&alice)]),
        refused("an expired token", &[bearer(&expired)]),
        refused("a token of another service", &[bearer(&foreign)]),
        accepted("an anonymous token", bearer(&gate.token(None, all)), "secret/app"),
        accepted(
            "a token for another repository",
            bearer(&gate.token(Some(ALICE), "repository:team-a/other:pull,push")),
            "team-a/app",
        ),
        accepted("a user without a grant", basic(BOB), "team-a/app"),
        accepted("a token of a user without a grant", bearer(&gate.token(Some(BOB), all)), "secret/app"),
    ]
}

/// Every request that none of these callers may make. Whoever sends credentials that are refused may not even pull
/// what is public.
fn requests(callers: &[Caller]) -> Vec<(&'static str, Asked<'static>)> {
    let mut requests = Vec::new();
    for caller in callers {
        let mut add = |method, path: &str, body| requests.push((caller.what, asked(caller, method, path, body)));
        for method in METHODS {
            for path in paths(caller.repository) {
                add(method, &path, None);
                add(method, &path, Some(FORM));
            }
            if !caller.accepted {
                FOR_CALLERS.iter().for_each(|path| add(method, path, None));
            }
        }
        if !caller.accepted && !caller.authorization.is_empty() {
            for path in paths("library/app") {
                add("GET", &path, None);
                add("HEAD", &path, None);
            }
        }
    }
    requests
}

fn asked(caller: &Caller, method: &'static str, path: &str, body: Option<&'static [u8]>) -> Asked<'static> {
    let mut headers: Vec<_> = caller.authorization.iter().map(|value| ("authorization", value.clone())).collect();
    if body.is_some() {
        headers.push(("content-type", "application/x-www-form-urlencoded".to_owned()));
    }
    Asked { method, path: path.to_owned(), headers, body }
}

/// Sends all of them over HTTP/2.
fn over_http2(gate: &Portcullis, requests: &[(&str, Asked<'_>)]) {
    let asked: Vec<_> = requests.iter().map(|(_, asked)| asked.clone()).collect();
    for ((caller, asked), answer) in requests.iter().zip(Http2::connect(gate).ask_all(&asked)) {
        check(caller, asked, &answer.unwrap_or_else(|error| panic!("{caller} {asked:?}: {error}")));
    }
}

/// Sends all of them over HTTP/1.1 on several connections, with bodies of known and of unknown length in turn.
fn over_http1(gate: &Portcullis, requests: &[(&str, Asked<'_>)]) {
    let left = Mutex::new(requests.iter().enumerate());
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                let mut connection = None;
                loop {
                    let next = left.lock().unwrap().next();
                    let Some((number, (caller, asked))) = next else { break };
                    let mut open: Tls =
                        connection.take().unwrap_or_else(|| Tls::connect(gate.pki(), gate.port(), "localhost"));
                    open.send(written(gate, asked, number % 4 < 2));
                    let answer = open.answer(asked.method == "HEAD");
                    let answer = answer.unwrap_or_else(|| panic!("no answer: {caller} {asked:?}"));
                    check(caller, asked, &answer);
                    let closes = answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
                    connection = (!closes).then_some(open);
                }
            });
        }
    });
}

fn written(gate: &Portcullis, asked: &Asked<'_>, chunked: bool) -> Vec<u8> {
    let mut head = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", asked.method, asked.path, gate.host());
    for (name, value) in &asked.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let body = asked.body.unwrap_or_default();
    let (framing, body) = match asked.body {
        None => (String::new(), Vec::new()),
        Some(_) if chunked => (
            "Transfer-Encoding: chunked\r\n".to_owned(),
            [format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n0\r\n\r\n"].concat(),
        ),
        Some(_) => (format!("Content-Length: {}\r\n", body.len()), body.to_vec()),
    };
    [head.as_bytes(), framing.as_bytes(), b"\r\n", &body].concat()
}

/// 401 and 403 where the route knows the method, 405 where it does not, and 400 or 404 for a line that is none of ours
/// whoever asks (a session that ends without a digest).
fn check(caller: &str, asked: &Asked<'_>, answer: &Response) {
    assert!(matches!(answer.status, 400 | 401 | 403 | 404 | 405), "{caller} {asked:?}: {answer:?}");
    let readable = asked.path.ends_with("/tags/list") || asked.path.ends_with("/manifests/v1");
    if readable && matches!(asked.method, "GET" | "HEAD") {
        assert!(matches!(answer.status, 401 | 403), "{caller} {asked:?}: {answer:?}");
    }
    if matches!(asked.method, "OPTIONS" | "TRACE" | "FOO") {
        assert_eq!(answer.status, 405, "{caller} {asked:?}");
        assert!(answer.header("allow").is_some());
    }
}

/// What has no path at all.
fn tunnels(gate: &Portcullis) {
    for target in [gate.host(), "127.0.0.1:80".to_owned(), "/v2/team-a/app/manifests/v1".to_owned()] {
        let mut connection = Tls::connect(gate.pki(), gate.port(), "localhost");
        let asked = format!("CONNECT {target} HTTP/1.1\r\nHost: {}\r\n\r\n", gate.host());
        connection.send(asked + "GET /v2/team-a/app/manifests/v1 HTTP/1.1\r\n\r\n");
        let status = connection.answer(false).map(|answer| answer.status);
        assert!(status.is_none_or(|status| (400..500).contains(&status)), "CONNECT {target}: {status:?}");
    }
    let answer = Http2::connect(gate).tunnel(&gate.host());
    assert!(answer.as_ref().map_or(true, |answer| (400..500).contains(&answer.status)), "{answer:?}");
}

#[test]
fn the_registry_hears_of_no_request_without_a_permit() {
    let registry = Registry::start();
    let gate = Portcullis::before(&registry).without_probes().start();
    let requests = requests(&callers(&gate));
    let before = registry.requests();
    over_http2(&gate, &requests);
    over_http1(&gate, &requests);
    tunnels(&gate);
    assert_eq!(registry.requests(), before, "{:?}", registry.acted());

    // And it does hear of the others.
    assert_eq!(gate.curl("/v2/team-a/app/tags/list").user(ALICE).send().status, 404);
    assert_eq!(registry.requests(), before + 1);
}

#[test]
fn no_connection_is_opened_without_a_permit() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let gate = Portcullis::before(&Registry::start())
        .with_upstream(|upstream| {
            upstream["servers"] = json!([{ "url": url }]);
            upstream["timeouts"] = json!({ "first_byte": "200ms" });
        })
        .without_probes()
        .start();
    let requests = requests(&callers(&gate));
    over_http2(&gate, &requests);
    // The whole of them went over HTTP/1.1 above; 7 is prime to all that repeats in the list.
    over_http1(&gate, &requests.into_iter().step_by(7).collect::<Vec<_>>());
    tunnels(&gate);
    let none = listener.accept().map(drop).expect_err("a connection was opened");
    assert_eq!(none.kind(), ErrorKind::WouldBlock);

    assert!(gate.curl("/v2/team-a/app/tags/list").user(ALICE).send().status >= 500, "it says nothing");
    listener.accept().expect("a connection for who may");
}

/// A token that carries one action gives no other, whatever the policy says.
#[test]
fn a_narrow_token_is_no_permit_for_more() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let before = registry.requests();
    for (scope, lines) in [
        (
            "repository:team-a/app:pull",
            &[
                "PUT /v2/team-a/app/manifests/v1".to_owned(),
                "POST /v2/team-a/app/blobs/uploads/".to_owned(),
                format!("POST /v2/team-a/app/blobs/uploads/?mount={DIGEST}&from=team-a/app"),
                format!("PATCH /v2/team-a/app/blobs/uploads/{SESSION}"),
                format!("PUT /v2/team-a/app/blobs/uploads/{SESSION}?digest={DIGEST}"),
                format!("GET /v2/team-a/app/blobs/uploads/{SESSION}"),
                format!("DELETE /v2/team-a/app/blobs/uploads/{SESSION}"),
            ][..],
        ),
        (
            "repository:team-a/app:push",
            &[
                "GET /v2/team-a/app/tags/list".to_owned(),
                "HEAD /v2/team-a/app/manifests/v1".to_owned(),
                format!("GET /v2/team-a/app/blobs/{DIGEST}"),
                format!("GET /v2/team-a/app/referrers/{DIGEST}"),
                // The source of a mount is read.
                format!("POST /v2/team-a/app/blobs/uploads/?mount={DIGEST}&from=team-a/other"),
            ],
        ),
    ] {
        let token = gate.token(Some(ALICE), scope);
        for line in lines {
            let (method, path) = line.split_once(' ').unwrap();
            let answer = gate.curl(path).method(method).bearer(&token).send();
            assert!(answer.challenge().contains(r#"error="insufficient_scope""#), "{scope} {line}: {answer:?}");
        }
    }
    assert_eq!(registry.requests(), before, "{:?}", registry.acted());
}
