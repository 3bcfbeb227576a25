//! `POST /token`: OAuth2 forms, and refresh tokens.

use serde_json::{Value, json};

use crate::support::{ALICE, CI, Curl, Login, Portcullis, Registry, Response, access, claims, form, header};

type Pairs<'a> = &'a [(&'a str, &'a str)];

const ASKED: &str = "repository:team-a/x:pull,push repository:library/y:pull repository:secret/z:pull";

fn gate_with_refresh(registry: &Registry) -> Portcullis {
    Portcullis::before(registry).with(|config| config["tokens"]["refresh"] = json!({ "enabled": true })).start()
}

fn post(gate: &Portcullis, pairs: Pairs<'_>) -> Response {
    gate.curl("/token").form(pairs).send()
}

/// A form by password.
fn by_password<'a>(login: Login, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&[("grant_type", "password"), ("username", login.name), ("password", login.password)], more].concat()
}

fn token(answer: &Response) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["token"].as_str().unwrap().to_owned()
}

/// Refused, with nothing to log in with in the answer, and never by a 403, after which containerd does not try GET.
#[track_caller]
fn refused(what: &str, answer: &Response, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{what}: {}", answer.text());
    assert!(!answer.text().contains("token\":"), "{what}: {}", answer.text());
}

#[test]
fn a_form_gets_what_a_query_gets() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    for (id, login, more, expected) in [
        (
            "T11 containerd",
            ALICE,
            &[("service", "localhost"), ("client_id", "containerd-client"), ("scope", ASKED)][..],
            &["library/y:pull", "team-a/x:pull,push"][..],
        ),
        ("T11 without service", ALICE, &[("scope", "repository:team-a/x:pull")], &["team-a/x:pull"]),
        (
            "T11 T22 an empty service",
            ALICE,
            &[("service", ""), ("scope", "repository:team-a/x:pull")],
            &["team-a/x:pull"],
        ),
        ("T11 without scope", ALICE, &[("service", "localhost")], &[]),
        ("T11 nothing granted is no error", ALICE, &[("scope", "repository:secret/z:pull,push")], &[]),
        (
            "T13 containerd",
            ALICE,
            &[("scope", "repository:team-a/x:pull repository:team-a/x:pull,push")],
            &["team-a/x:pull,push"],
        ),
        ("T16", ALICE, &[("access_type", "offline"), ("scope", "repository:team-a/x:pull")], &["team-a/x:pull"]),
        ("T27 T28", ALICE, &[("scope", "  repository:team-a/x:pull   ::: repository:a ")], &["team-a/x:pull"]),
        ("C24", CI, &[("scope", "repository:home/ci/x:*")], &["home/ci/x:delete,pull,push"]),
    ] {
        let pairs = by_password(login, more);
        let answer = post(&gate, &pairs);
        let token = token(&answer);
        let body = answer.json();
        assert_eq!(access(&token), expected, "{id}");
        assert_eq!(body["access_token"], token.as_str(), "{id}");
        assert_eq!(body["token_type"], "Bearer", "{id}");
        assert_eq!(body["expires_in"], 900, "T35 {id}");
        assert_eq!((body.get("refresh_token"), body.get("issued_at")), (None, None), "T16 T36 {id}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "T39 {id}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{id}");
        assert_eq!((&claims(&token)["sub"], &claims(&token)["aud"]), (&json!(login.name), &json!("localhost")), "{id}");
        assert_eq!(gate.curl("/v2/").bearer(&token).send().status, 200, "{id}");
    }
    let told = post(&gate, &by_password(ALICE, &[("scope", ASKED)])).json()["scope"].clone();
    assert_eq!(told, "repository:team-a/x:pull,push repository:library/y:pull", "what was granted");
    assert_eq!(registry.acted(), []);
}

/// T12, T34: the media type may have parameters, and of the request it is the form that counts.
#[test]
fn only_the_form_counts() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let text = form(&by_password(ALICE, &[("scope", "repository:library/y:pull")]));
    let send = |path: &str, header: &str| gate.curl(path).argument("--data").argument(&text).header(header).send();
    for kind in ["; charset=utf-8", ";charset=UTF-8", " ; x=\"y\"", ""] {
        let answer = send("/token", &format!("Content-Type: application/x-www-form-urlencoded{kind}"));
        assert_eq!(access(&token(&answer)), ["library/y:pull"], "T12 {kind}");
    }
    let capital = send("/token", "Content-Type: Application/X-WWW-Form-URLencoded");
    assert_eq!(access(&token(&capital)), ["library/y:pull"], "T12");
    let query = "/token?scope=repository:team-a/x:pull&service=other.test&account=bob&offline_token=true";
    assert_eq!(access(&token(&send(query, "X-Y: z"))), ["library/y:pull"], "T34");

    for kind in
        ["application/json", "text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencodedx", ""]
    {
        let header = if kind.is_empty() { "Content-Type:".to_owned() } else { format!("Content-Type: {kind}") };
        let answer = send("/token", &header);
        refused(kind, &answer, 400, "UNSUPPORTED");
        assert_eq!(answer.json()["error"], "invalid_request", "{kind}");
    }
}

#[test]
fn forms_that_get_nothing() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let service = ("service", "localhost");
    let wrong = |name, password| by_password(Login::new(name, password), &[service]);
    for (id, pairs) in [
        ("T11 a wrong password", wrong("alice", "wrong")),
        ("T11 an unknown user", wrong("nobody", "x")),
        ("T21 another case", wrong("ALICE", ALICE.password)),
        ("T18 nobody", wrong("", "")),
        ("T18 no name", wrong("", ALICE.password)),
        ("T19 no password", wrong("alice", "")),
        ("a colon in the name", wrong("alice:x", ALICE.password)),
        ("a password that is too long", by_password(Login::new("alice", "x".repeat(5000).leak()), &[service])),
    ] {
        let answer = post(&gate, &pairs);
        refused(id, &answer, 401, "UNAUTHORIZED");
        assert_eq!(answer.challenge(), r#"Basic realm="Registry""#, "{id}");
    }
    let valid = by_password(ALICE, &[service]);
    let twice = |pair| [&valid[..], &[pair]].concat();
    let (grant, name, password) = (valid[0], valid[1], valid[2]);
    for (id, pairs, error) in [
        ("T15", vec![("grant_type", "authorization_code"), ("code", "x"), service], "unsupported_grant_type"),
        ("T15 missing", vec![name, password, service], "unsupported_grant_type"),
        ("T15 empty", vec![("grant_type", ""), name, password], "unsupported_grant_type"),
        ("T15 another case", vec![("grant_type", "Password"), name, password], "unsupported_grant_type"),
        ("T15 client", vec![("grant_type", "client_credentials"), name, password], "unsupported_grant_type"),
        ("no name", vec![grant, password, service], "invalid_request"),
        ("no password", vec![grant, name, service], "invalid_request"),
        ("two grants", twice(("grant_type", "refresh_token")), "invalid_request"),
        ("two names", twice(("username", "bob")), "invalid_request"),
        ("two passwords", twice(("password", ALICE.password)), "invalid_request"),
        ("T24 two services", twice(service), "invalid_request"),
        ("two access types", [&valid[..], &[("access_type", "online"); 2]].concat(), "invalid_request"),
        ("two scopes", [&valid[..], &[("scope", "repository:library/y:pull"); 2]].concat(), "invalid_request"),
    ] {
        let answer = post(&gate, &pairs);
        refused(id, &answer, 400, "UNSUPPORTED");
        assert_eq!(answer.json()["error"], error, "{id}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{id}");
    }
    for other in ["other.test", "LOCALHOST", "localhost "] {
        refused("T23", &post(&gate, &by_password(ALICE, &[("service", other)])), 400, "UNSUPPORTED");
    }
    let request = gate.curl("/token").form(&valid);
    for beside in [request.clone().user(ALICE), request.clone().bearer("x"), request.header("Authorization: Basic")] {
        let answer = beside.send();
        refused("credentials beside the form", &answer, 400, "UNSUPPORTED");
        assert_eq!(answer.json()["error"], "invalid_request");
    }
    assert_eq!(registry.acted(), []);
}

#[test]
fn forms_that_cannot_be_read() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let valid = form(&by_password(ALICE, &[]));
    let raw = |name: &str, text: &[u8]| {
        let file = gate.dir().join(name);
        std::fs::write(&file, text).unwrap();
        let kind = "Content-Type: application/x-www-form-urlencoded";
        gate.curl("/token").header(kind).argument("--data-binary").argument(format!("@{}", file.display()))
    };
    assert_eq!(raw("valid", valid.as_bytes()).send().status, 200, "the control");
    for more in ["&x=%zz", "&x=%", "&x=%ff"] {
        let answer = raw("broken", format!("{valid}{more}").as_bytes()).send();
        refused(more, &answer, 400, "UNSUPPORTED");
        assert_eq!(answer.json()["error"], "invalid_request", "{more:?}");
    }
    refused("not UTF-8", &raw("bytes", &[valid.as_bytes(), b"&x=\xff"].concat()).send(), 400, "UNSUPPORTED");
    refused("nothing", &raw("nothing", b"").send(), 400, "UNSUPPORTED");
    // As large as a form may be, and larger; with its length told, and without.
    let padded = |length: usize| format!("{valid}&x={}", "y".repeat(length - valid.len() - 3)).into_bytes();
    let chunked = |request: Curl| request.header("Transfer-Encoding: chunked").argument("--http1.1");
    assert_eq!(raw("most", &padded(64 * 1024)).send().status, 200);
    assert_eq!(chunked(raw("most", &padded(64 * 1024))).send().status, 200);
    refused("too large", &raw("more", &padded(64 * 1024 + 1)).send(), 413, "SIZE_INVALID");
    refused("too large", &chunked(raw("more", &padded(64 * 1024 + 1))).send(), 413, "SIZE_INVALID");
    let many = vec!["x=y"; 257].join("&");
    refused("too many", &raw("many", many.as_bytes()).send(), 400, "UNSUPPORTED");
}

/// T1, T14, T16: 404 is what makes docker's engine and crane go on with GET.
#[test]
fn without_refresh_tokens_none_is_given_and_none_is_taken() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    assert_eq!(gate.curl("/token?offline_token=true").user(ALICE).send().json().get("refresh_token"), None, "T1");
    assert_eq!(
        post(&gate, &by_password(ALICE, &[("access_type", "offline")])).json().get("refresh_token"),
        None,
        "T16"
    );
    let access = gate.token(Some(ALICE), "repository:team-a/x:pull");
    for token in ["", "x", &access, ALICE.password] {
        refused("T14", &post(&gate, &[("grant_type", "refresh_token"), ("refresh_token", token)]), 404, "UNSUPPORTED");
    }
    refused("T14 none", &post(&gate, &[("grant_type", "refresh_token")]), 404, "UNSUPPORTED");
}

/// T1, T16: for who asked for one and proved a password.
#[test]
fn who_gets_a_refresh_token() {
    let registry = Registry::start();
    let gate = gate_with_refresh(&registry);
    let get = |query: &str, login: Option<Login>| {
        let request = gate.curl(&format!("/token?{query}"));
        login.map_or_else(|| request.clone(), |login| request.clone().user(login)).send()
    };
    let has_one = |answer: &Response| {
        token(answer);
        answer.json().get("refresh_token").is_some()
    };
    assert!(has_one(&get("account=alice&client_id=docker&offline_token=true&service=localhost", Some(ALICE))), "T1");
    assert!(has_one(&post(&gate, &by_password(ALICE, &[("access_type", "offline")]))), "T16");
    for query in ["", "offline_token=false", "offline_token=1", "offline_token=", "access_type=offline"] {
        assert!(!has_one(&get(query, Some(ALICE))), "T1 {query}");
    }
    for access_type in ["online", "", "Offline"] {
        assert!(!has_one(&post(&gate, &by_password(ALICE, &[("access_type", access_type)]))), "T16 {access_type}");
    }
    assert!(!has_one(&post(&gate, &by_password(ALICE, &[("offline_token", "true")]))), "T16");
    assert!(!has_one(&get("offline_token=true&scope=repository:library/y:pull", None)), "T17 nobody has none");
    assert_eq!(get("offline_token=true&offline_token=true", Some(ALICE)).status, 400);

    let refresh = gate.refresh_token(ALICE);
    assert_eq!(header(&refresh)["typ"], "refresh+jwt");
    let said = claims(&refresh);
    assert_eq!((&said["sub"], &said["aud"]), (&json!("alice"), &json!("localhost/refresh")));
    assert_eq!((said.get("access"), said.get("grant")), (None, None), "it carries nothing by itself");
    let [from, to] = ["nbf", "exp"].map(|name| said[name].as_u64().unwrap());
    assert_eq!(to - from, 30 * 24 * 3600 + 60);
}

/// T14: as docker, crane and skopeo send it, again and again.
#[test]
fn a_refresh_token_is_the_user_and_is_not_rotated() {
    let registry = Registry::start();
    let gate = gate_with_refresh(&registry);
    let refresh = gate.refresh_token(ALICE);
    let send = |more: Pairs<'_>| {
        post(&gate, &[&[("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())], more].concat())
    };
    for more in [
        &[("service", "localhost"), ("client_id", "docker"), ("scope", ASKED)][..],
        &[("service", "localhost"), ("scope", ASKED), ("access_type", "offline")],
        &[("scope", ASKED)],
        // A name beside it is nobody's.
        &[("scope", ASKED), ("username", "bob"), ("account", "bob"), ("password", "x")],
    ] {
        let answer = send(more);
        let token = token(&answer);
        assert_eq!(access(&token), ["library/y:pull", "team-a/x:pull,push"], "T14");
        assert_eq!(answer.json()["refresh_token"], refresh.as_str(), "T14 the same");
        assert_eq!(claims(&token)["sub"], "alice", "T14");
        assert_eq!(claims(&token)["parent"]["jti"], claims(&refresh)["jti"]);
        assert_eq!(gate.curl("/v2/team-a/x/tags/list").bearer(&token).send().status, 404, "allowed, and not there");
    }
    assert_eq!(access(&token(&send(&[]))), Vec::<String>::new(), "T14 no scope");
    refused("two", &send(&[("refresh_token", &refresh)]), 400, "UNSUPPORTED");
    refused("T23", &send(&[("service", "other.test")]), 400, "UNSUPPORTED");
    refused("none", &post(&gate, &[("grant_type", "refresh_token")]), 400, "UNSUPPORTED");
    for other in ["", "x", "..", &refresh[..refresh.len() - 2], &format!("{refresh}.")] {
        let answer = post(&gate, &[("grant_type", "refresh_token"), ("refresh_token", other)]);
        refused("T14", &answer, 401, "UNAUTHORIZED");
        assert_eq!(answer.challenge(), r#"Basic realm="Registry""#, "T14");
    }
}

/// What the log names can be revoked; what it does not hold cannot be stolen from it.
#[test]
fn the_log_names_refresh_tokens_and_holds_no_secret() {
    let registry = Registry::start();
    let gate = gate_with_refresh(&registry);
    let by_get = gate.refresh_token(ALICE);
    let posted = post(&gate, &by_password(ALICE, &[("access_type", "offline")])).json();
    let by_post = posted["refresh_token"].as_str().unwrap().to_owned();
    let id = |token: &str| claims(token)["jti"].as_str().unwrap().to_owned();
    let exchanged = token(&post(&gate, &[("grant_type", "refresh_token"), ("refresh_token", &by_post)]));
    assert_eq!(gate.curl("/v2/").bearer(&exchanged).send().status, 200);
    post(&gate, &[("grant_type", "refresh_token"), ("refresh_token", &format!("{by_get}x"))]);
    post(&gate, &by_password(Login::new("alice", "a wrong-password"), &[]));

    let lines: Vec<Value> = gate.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let named = |route: &str, method: &str, id: &str| {
        let fits = |line: &&Value| line["route"] == route && line["method"] == method && line["token"] == id;
        lines.iter().filter(fits).count()
    };
    assert_eq!(named("token", "GET", &id(&by_get)), 1, "issued by GET");
    assert_eq!(named("token", "POST", &id(&by_post)), 2, "issued by POST, and used");
    assert_eq!(named("base", "GET", &id(&by_post)), 1, "what was made from it");
    assert!(lines.iter().any(|line| line["claimed"] == "alice" && line["status"] == 401));
    let log = gate.log();
    for secret in [&by_get, &by_post, &exchanged, ALICE.password, "alice%27s", "a wrong-password", "a+wrong"] {
        assert!(!log.contains(secret), "a secret is in the log");
    }
    for token in [&by_get, &by_post, &exchanged] {
        assert!(token.split('.').all(|part| !log.contains(part)), "a part of a token is in the log");
    }
}
