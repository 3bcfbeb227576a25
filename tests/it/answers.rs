//! The table of answers: what was sent, and what exactly comes back.

mod whole;
use std::{collections::BTreeSet, fs};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::support::{
    ADMIN, ALICE, Asked, BOB, CI, Curl, Http2, Image, Login, Portcullis, Registry, Response, Skopeo, Tls, Waiting,
    eventually, forged, htpasswd_line,
};

const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
const NAVIGATION: &str = "Sec-Fetch-Mode: navigate";

/// One line of the table.
struct Row {
    what: &'static str,
    method: &'static str,
    path: String,
    headers: Vec<String>,
    /// A file that is sent, and whether its length is not said beforehand.
    body: Option<(std::path::PathBuf, bool)>,
    status: u16,
    code: &'static str,
    challenge: Option<Challenge>,
    allow: Option<&'static str>,
}

enum Challenge {
    /// What follows realm and service.
    Bearer(&'static str),
    Basic,
}

use Challenge::{Basic, Bearer};

fn row(what: &'static str, line: &str, status: u16, code: &'static str) -> Row {
    let (method, path) = line.split_once(' ').unwrap();
    let method = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO"]
        .into_iter()
        .find(|known| *known == method)
        .unwrap();
    Row {
        what,
        method,
        path: path.to_owned(),
        headers: Vec::new(),
        body: None,
        status,
        code,
        challenge: None,
        allow: None,
    }
}

impl Row {
    fn with(mut self, header: impl Into<String>) -> Self {
        self.headers.push(header.into());
        self
    }

    fn login(self, login: Login) -> Self {
        let encoded = STANDARD.encode(format!("{}:{}", login.name, login.password));
        self.with(format!("Authorization: Basic {encoded}"))
    }

    fn token(self, token: &str) -> Self {
        self.with(format!("Authorization: Bearer {token}"))
    }

    fn challenged(mut self, challenge: Challenge) -> Self {
        self.challenge = Some(challenge);
        self
    }

    fn allows(mut self, methods: &'static str) -> Self {
        self.allow = Some(methods);
        self
    }

    fn sending(mut self, file: &std::path::Path, chunked: bool) -> Self {
        self.body = Some((file.to_owned(), chunked));
        self
    }

    /// Asks by one of the gate's names and holds the answer against the row.
    fn check(&self, gate: &Portcullis, host: &str, protocol: &str) -> Response {
        let mut curl = Curl::new(gate.url_of(host, &self.path)).trusting(gate.pki().ca_file()).argument(protocol);
        curl = curl.method(self.method);
        for header in &self.headers {
            curl = curl.header(header);
        }
        curl = match &self.body {
            None => curl,
            Some((file, true)) if protocol == "--http1.1" => curl.chunked_file(file).method(self.method),
            // HTTP/2 has no chunks; a body from a pipe is one without a length.
            Some((file, true)) => {
                curl.argument("--upload-file").argument(file).header("Content-Length:").method(self.method)
            }
            Some((file, false)) => curl.body_file(file),
        };
        let answer = curl.send();
        let what = format!("{} ({} {} at {host}): {answer:?} {}", self.what, self.method, self.path, answer.text());
        assert_eq!(answer.status, self.status, "{what}");
        if self.method != "HEAD" && !self.code.is_empty() {
            assert_eq!(answer.code(), self.code, "{what}");
        }
        let expected = self.challenge.as_ref().map(|challenge| match challenge {
            Bearer(rest) => format!(r#"Bearer realm="{}",service="localhost"{rest}"#, gate.url_of(host, "/token")),
            Basic => r#"Basic realm="Registry""#.to_owned(),
        });
        assert_eq!(answer.header("www-authenticate"), expected.as_deref(), "{what}");
        if let Some(expected) = expected {
            assert_eq!(answer.challenge(), expected, "one challenge: {what}");
        }
        assert_eq!(answer.header("allow"), self.allow, "{what}");
        assert_eq!(answer.header("retry-after"), None, "{what}");
        common(&answer, host == "registry.test", &what);
        answer
    }
}

/// What every answer bears, whoever made it. HSTS is for the names that a browser can learn it for.
fn common(answer: &Response, public_name: bool, what: &str) {
    for (name, value) in [
        ("docker-distribution-api-version", Some("registry/2.0")),
        ("x-content-type-options", Some("nosniff")),
        ("strict-transport-security", public_name.then_some("max-age=31536000")),
    ] {
        let values: Vec<_> = answer.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value).collect();
        assert_eq!(values, value.iter().collect::<Vec<_>>(), "{name}: {what}");
    }
}

/// By two names and over both protocols.
fn check(gate: &Portcullis, rows: &[Row]) -> Vec<Response> {
    let both = |row: &Row| {
        row.check(gate, "localhost", "--http1.1");
        row.check(gate, "registry.test", "--http2")
    };
    rows.iter().map(both).collect()
}

#[test]
fn who_asks_and_what_the_policy_says() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let team = "repository:team-a/app:pull";
    let anonymous = gate.token(None, "repository:library/x:pull&scope=repository:team-a/app:pull");
    let alice = gate.token(Some(ALICE), "repository:team-a/app:pull,push");
    let narrow = gate.token(Some(ALICE), team);
    let empty = gate.token(Some(ALICE), "");
    let bob = gate.token(Some(BOB), team);
    let pull = r#",scope="repository:team-a/app:pull""#;
    let pull_narrow = r#",scope="repository:team-a/app:pull",error="insufficient_scope""#;
    let push = r#",scope="repository:team-a/app:pull,push""#;
    let push_narrow = r#",scope="repository:team-a/app:pull,push",error="insufficient_scope""#;
    check(
        &gate,
        &[
            row("C1 the base without credentials", "GET /v2/", 401, "UNAUTHORIZED").challenged(Bearer("")),
            row("C1 the base's head", "HEAD /v2/", 401, "").challenged(Bearer("")),
            row("C2 the base without its slash", "GET /v2", 401, "UNAUTHORIZED").challenged(Bearer("")),
            row("the base by an anonymous token", "GET /v2/", 200, "").token(&anonymous),
            row("the base by name", "GET /v2/", 200, "").login(CI),
            row("the base by token", "GET /v2/", 200, "").token(&empty),
            row("nothing sent, denied", "GET /v2/team-a/app/tags/list", 401, "UNAUTHORIZED").challenged(Bearer(pull)),
            row("nothing sent, denied to push", "POST /v2/team-a/app/blobs/uploads/", 401, "UNAUTHORIZED")
                .challenged(Bearer(push)),
            row("nothing sent, allowed", "GET /v2/library/x/tags/list", 404, "NAME_UNKNOWN"),
            row("an anonymous token, denied", "GET /v2/team-a/app/tags/list", 401, "UNAUTHORIZED")
                .token(&anonymous)
                .challenged(Bearer(pull_narrow)),
            row("an anonymous token, allowed", "GET /v2/library/x/tags/list", 404, "NAME_UNKNOWN").token(&anonymous),
            row("by name, allowed", "GET /v2/team-a/app/tags/list", 404, "NAME_UNKNOWN").login(ALICE),
            row("by token, allowed", "GET /v2/team-a/app/tags/list", 404, "NAME_UNKNOWN").token(&alice),
            row("by name, denied", "GET /v2/team-a/app/tags/list", 403, "DENIED").login(BOB),
            row("by name, denied, head", "HEAD /v2/team-a/app/manifests/v1", 403, "").login(BOB),
            row("P9 by name, denied, after the head", "GET /v2/team-a/app/manifests/v1", 403, "DENIED").login(BOB),
            row("by token, denied", "GET /v2/team-a/app/tags/list", 403, "DENIED").token(&bob),
            row("by token, denied to push", "POST /v2/library/x/blobs/uploads/", 403, "DENIED").token(&alice),
            row("the token is narrower", "POST /v2/team-a/app/blobs/uploads/", 401, "UNAUTHORIZED")
                .token(&narrow)
                .challenged(Bearer(push_narrow)),
            row("C9 the same again", "POST /v2/team-a/app/blobs/uploads/", 401, "UNAUTHORIZED")
                .token(&narrow)
                .challenged(Bearer(push_narrow)),
            row("the token is for nothing", "HEAD /v2/team-a/app/manifests/v1", 401, "")
                .token(&empty)
                .challenged(Bearer(pull_narrow)),
            row("wrong password", "GET /v2/team-a/app/tags/list", 401, "UNAUTHORIZED")
                .login(Login::new("alice", "wrong"))
                .challenged(Bearer(pull)),
            row("C23 wrong password at the base", "GET /v2/", 401, "UNAUTHORIZED")
                .login(Login::new("alice", "wrong"))
                .challenged(Bearer("")),
            row("wrong password on what is public", "GET /v2/library/x/tags/list", 401, "UNAUTHORIZED")
                .login(Login::new("alice", "wrong"))
                .challenged(Bearer(r#",scope="repository:library/x:pull""#)),
            row("wrong password at the token endpoint", "GET /token", 401, "UNAUTHORIZED")
                .login(Login::new("alice", "wrong"))
                .challenged(Basic),
            row("a token at the token endpoint", "GET /token", 401, "UNAUTHORIZED").token(&alice).challenged(Basic),
        ],
    );
    for (login, method, path, words) in [
        (BOB, "GET", "/v2/team-a/app/tags/list", ["pull", "team-a/app"]),
        (ALICE, "POST", "/v2/library/x/blobs/uploads/", ["push", "library/x"]),
        (ALICE, "DELETE", &format!("/v2/team-a/app/manifests/{DIGEST}"), ["delete", "team-a/app"]),
    ] {
        let denied = gate.curl(path).method(method).user(login).send();
        assert_eq!(denied.code(), "DENIED");
        assert!(words.iter().all(|word| denied.text().contains(word)), "{}", denied.text());
    }
}

/// Whatever is wrong with it, a token is answered in the same words.
#[test]
fn a_token_that_does_not_count() {
    let registry = Registry::start();
    let mut gate = Portcullis::start(&registry);
    let scope = "repository:team-a/app:pull&scope=repository:library/x:pull";
    let [alice, ci, bob] = [ALICE, CI, BOB].map(|login| gate.token(Some(login), scope));
    gate.restart_with(|config| config["identity"]["disabled_users"] = json!(["bob"]));
    // The last line of a user is the one in force; another hash of the same password would end the others' tokens too.
    let lines = fs::read_to_string(gate.htpasswd()).unwrap();
    fs::write(gate.htpasswd(), lines + &htpasswd_line(Login::new(CI.name, "another password"))).unwrap();
    eventually("the changed password is seen", || gate.curl("/v2/").user(CI).send().status == 401);

    let (kept, changed) = alice.rsplit_once('.').unwrap();
    let swapped = if changed.starts_with('A') { "B" } else { "A" };
    let rows: Vec<_> = [
        ("malformed", "x".to_owned()),
        ("malformed", "a.b.c".to_owned()),
        ("forged", format!("{kept}.{swapped}{}", &changed[1..])),
        ("C10 expired", forged(&gate, &alice, |claims| claims["exp"] = json!(claims["nbf"].as_u64().unwrap() - 60))),
        ("wrong audience", forged(&gate, &alice, |claims| claims["aud"] = "two.test".into())),
        ("of a user who is gone", forged(&gate, &alice, |claims| claims["sub"] = "mallory".into())),
        ("of a disabled user", bob),
        ("of a changed password", ci),
    ]
    .into_iter()
    .map(|(what, token)| {
        row(what, "GET /v2/library/x/tags/list", 401, "UNAUTHORIZED")
            .token(&token)
            .challenged(Bearer(r#",scope="repository:library/x:pull",error="invalid_token""#))
    })
    .collect();
    let texts: BTreeSet<_> = check(&gate, &rows).iter().map(Response::text).collect();
    assert_eq!(texts.len(), 1, "{texts:?}");
    check(
        &gate,
        &[
            row("the control", "GET /v2/library/x/tags/list", 404, "NAME_UNKNOWN").token(&forged(
                &gate,
                &alice,
                |_| {},
            )),
            row("the disabled user's password", "GET /v2/library/x/tags/list", 401, "UNAUTHORIZED")
                .login(BOB)
                .challenged(Bearer(r#",scope="repository:library/x:pull""#)),
            row("no scheme of ours", "GET /v2/library/x/tags/list", 401, "UNAUTHORIZED")
                .with("Authorization: Negotiate abc")
                .challenged(Bearer(r#",scope="repository:library/x:pull",error="invalid_token""#)),
        ],
    );
    assert_eq!(registry.acted_on("library/x").len(), 2, "the control's");
}

#[test]
fn a_person_in_a_browser() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    check(
        &gate,
        &[
            row("the base", "GET /v2/", 401, "UNAUTHORIZED").with(NAVIGATION).challenged(Basic),
            row("the catalog", "GET /v2/_catalog", 401, "UNAUTHORIZED").with(NAVIGATION).challenged(Basic),
            row("a repository", "GET /v2/team-a/app/tags/list", 401, "UNAUTHORIZED").with(NAVIGATION).challenged(Basic),
            row("a typing error", "GET /v2/_catalog", 401, "UNAUTHORIZED")
                .with(NAVIGATION)
                .login(Login::new("alice", "wrong"))
                .challenged(Basic),
            row("signed in", "GET /v2/_catalog", 200, "").with(NAVIGATION).login(ALICE),
            row("signed in and denied", "GET /v2/team-a/app/tags/list", 403, "DENIED").with(NAVIGATION).login(BOB),
            row("what is public", "GET /v2/library/x/tags/list", 404, "NAME_UNKNOWN").with(NAVIGATION),
            row("no navigation", "GET /v2/_catalog", 401, "UNAUTHORIZED")
                .with("Sec-Fetch-Mode: cors")
                .challenged(Bearer(r#",scope="registry:catalog:*""#)),
            row("the landing page", "GET /", 200, "").with(NAVIGATION),
        ],
    );
}

#[test]
fn what_is_no_route_of_ours() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let long_name = ["a"; 129].join("/");
    let long_tag = "t".repeat(129);
    let not_found = |what, line: &str| row(what, line, 404, "NAME_UNKNOWN");
    let name = |line: &str| row("name grammar", line, 400, "NAME_INVALID");
    let digest = |line: &str| row("malformed digest", line, 400, "DIGEST_INVALID");
    let escape = |line: &str| row("an escape in the path", line, 400, "UNSUPPORTED");
    let method = |line: &str, allow| row("method", line, 405, "UNSUPPORTED").allows(allow);
    check(
        &gate,
        &[
            not_found("unknown path", "GET /favicon.ico"),
            not_found("P16 unknown path", "GET /v1/_ping"),
            not_found("P16 unknown path", "GET /v1/search?q=x&n=25"),
            not_found("unknown path", "GET /v2/library/x"),
            not_found("unknown path", "GET /v2/library/x/manifests/"),
            not_found("unknown path", "GET /V2/library/x/tags/list"),
            not_found("something in a blob's place", "GET /v2/library/x/blobs/latest"),
            row("the landing page", "GET /", 200, ""),
            row("the landing page's head", "HEAD /", 200, ""),
            name("GET /v2/Library/x/tags/list"),
            name("GET /v2/library/x_/manifests/v1"),
            name(&format!("GET /v2/{long_name}/tags/list")),
            row("neither tag nor digest", "GET /v2/library/x/manifests/-v1", 404, "MANIFEST_UNKNOWN"),
            row("a tag over 128", &format!("GET /v2/library/x/manifests/{long_tag}"), 404, "MANIFEST_UNKNOWN"),
            row("a tag of 128", &format!("GET /v2/library/x/manifests/{}", &long_tag[1..]), 404, "MANIFEST_UNKNOWN"),
            digest("GET /v2/library/x/manifests/sha256:abc"),
            digest("GET /v2/library/x/blobs/sha256:abc"),
            digest(&format!("GET /v2/library/x/blobs/{}", DIGEST.replace("00", "AA"))),
            digest("GET /v2/library/x/referrers/latest"),
            digest("POST /v2/library/x/blobs/uploads/?digest=sha256:abc"),
            escape("GET /v2/library%2Fx/tags/list"),
            escape("GET /v2/%6cibrary/x/tags/list"),
            escape("GET /v2/library/x/manifests/v%31"),
            escape("GET /v2/library/x/blobs/uploads/%2e%2e"),
            escape(&format!("GET /v2/library/x/blobs/{}", DIGEST.replace(':', "%253A"))),
            row(
                "the colon of a digest",
                &format!("GET /v2/library/x/manifests/{}", DIGEST.replace(':', "%3A")),
                404,
                "MANIFEST_UNKNOWN",
            ),
            method("POST /v2/", "GET, HEAD"),
            method("DELETE /v2/_catalog", "GET, HEAD"),
            method("PUT /v2/library/x/tags/list", "GET, HEAD"),
            method("POST /v2/library/x/manifests/v1", "GET, HEAD, PUT, DELETE"),
            method(&format!("PUT /v2/library/x/blobs/{DIGEST}"), "GET, HEAD, DELETE"),
            method("GET /v2/library/x/blobs/uploads/", "POST"),
            method("POST /v2/library/x/blobs/uploads/id", "GET, HEAD, PATCH, PUT, DELETE"),
            method(&format!("DELETE /v2/library/x/referrers/{DIGEST}"), "GET, HEAD"),
            method("OPTIONS /v2/library/x/tags/list", "GET, HEAD"),
            method("TRACE /v2/library/x/tags/list", "GET, HEAD"),
            method("FOO /v2/library/x/tags/list", "GET, HEAD"),
            method("POST /", "GET, HEAD"),
            method("HEAD /token", "GET, POST"),
        ],
    );
}
