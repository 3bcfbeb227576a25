//! The token endpoint, and what a token is good for.

mod deploy;
mod forms;
mod framing;
mod kinds;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

use crate::support::{ALICE, Curl, Image, Login, Portcullis, Registry, Skopeo, access, claims, forged};

#[test]
fn the_token_endpoint_answers_what_clients_send() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    for (id, query, expected) in [
        ("T1 docker login", "account=alice&client_id=docker&offline_token=true&service=localhost", vec![]),
        (
            "T2 docker push",
            "account=alice&scope=repository:team-a/x:push,pull&service=localhost",
            vec!["team-a/x:pull,push"],
        ),
        (
            "T3 docker push with a mount",
            "scope=repository:team-a/x:push,pull&scope=repository:library/y:pull",
            vec!["library/y:pull", "team-a/x:pull,push"],
        ),
        ("T4 crane", "scope=repository:team-a/x:push,pull&service=localhost", vec!["team-a/x:pull,push"]),
        (
            "T5 crane copy",
            "scope=repository:team-a/x:push,pull&scope=repository:library/y:pull",
            vec!["library/y:pull", "team-a/x:pull,push"],
        ),
        ("T5 crane delete", "scope=repository:home/alice/x:push,pull,delete", vec!["home/alice/x:delete,pull,push"]),
        (
            "T5 after a 401",
            "scope=repository:team-a/x:pull&scope=repository:team-a/x:pull,push",
            vec!["team-a/x:pull,push"],
        ),
        (
            "T6 podman",
            "account=alice&scope=repository:team-a/x:pull,push&service=localhost",
            vec!["team-a/x:pull,push"],
        ),
        ("T6 a part of everything", "scope=repository:team-a/x:*", vec!["team-a/x:pull,push"]),
        ("T6 everything", "scope=repository:home/alice/x:*", vec!["home/alice/x:delete,pull,push"]),
        ("T6 nothing of everything", "scope=repository:secret/x:*", vec![]),
        (
            "T7 regctl",
            "client_id=regclient/regctl+(v0.0.0-2025)&scope=repository:team-a/x:delete,pull,push",
            vec!["team-a/x:pull,push"],
        ),
        ("T8 oras", "scope=repository:home/alice/x:delete,pull", vec!["home/alice/x:delete,pull"]),
        ("T8 oras login", "service=localhost", vec![]),
        ("T9 podman login", "account=alice&service=localhost", vec![]),
        ("T10 the catalog", "scope=registry:catalog:*", vec!["catalog:*"]),
        ("T13 containerd", "scope=repository:team-a/x:pull+repository:team-a/x:pull,push", vec!["team-a/x:pull,push"]),
        (
            "T13 containerd",
            "scope=repository:team-a/x:pull%20repository:library/y:pull",
            vec!["library/y:pull", "team-a/x:pull"],
        ),
        ("T22 no service", "scope=repository:team-a/x:pull", vec!["team-a/x:pull"]),
        ("T22 an empty service", "service=&scope=repository:team-a/x:pull", vec!["team-a/x:pull"]),
        ("T25 a host and a port in a name", "scope=repository:h:5000/foo:pull", vec![]),
        ("T26 a class", "scope=repository(plugin):team-a/x:pull", vec!["team-a/x:pull"]),
        ("T26 a class, denied", "scope=repository(plugin):team-b/x:pull", vec![]),
        ("T27 no actions", "scope=repository:team-a/x:", vec![]),
        ("T27 no name", "scope=repository::pull", vec![]),
        ("T27 no colon", "scope=repository:team-a/x", vec![]),
        ("T27 a blank", "scope=+", vec![]),
        ("T27 colons", "scope=:::", vec![]),
        ("T27 nothing", "scope=&scope=repository:team-a/x:pull", vec!["team-a/x:pull"]),
        (
            "T28 blanks",
            "scope=++repository:team-a/x:pull++repository:library/y:pull+",
            vec!["library/y:pull", "team-a/x:pull"],
        ),
        ("T29 another type", "scope=whatever:team-a/x:pull&scope=Repository:team-a/x:pull", vec![]),
        ("T30 upper case", "scope=repository:Team-A/x:pull", vec![]),
        ("T30 dots", "scope=repository:library/../team-a/x:pull", vec![]),
        ("T30 an escape", "scope=repository:team-a%252Fx:pull", vec![]),
        (
            "T30 slashes",
            "scope=repository:team-a//x:pull&scope=repository:/team-a/x:pull&scope=repository:team-a/x/:pull",
            vec![],
        ),
        ("T30 patterns", "scope=repository:team-a/*:pull&scope=repository:**:pull", vec![]),
        ("T32 other words", "scope=repository:team-a/x:pull,pull,PULL,*x,fly", vec!["team-a/x:pull"]),
        ("no grant", "scope=repository:team-a/x:delete", vec![]),
        ("no grant", "scope=repository:team-b/x:pull,push", vec![]),
    ] {
        let answer = gate.curl(&format!("/token?{query}")).user(ALICE).send();
        assert_eq!(answer.status, 200, "{id}: {}", answer.text());
        let body = answer.json();
        let token = body["token"].as_str().unwrap();
        assert_eq!(body["access_token"], token, "T1 T11 {id}");
        assert!(body["expires_in"].as_u64().unwrap() >= 60, "T35 {id}");
        assert_eq!(body.get("issued_at"), None, "T36: clients would compare it with their own clock");
        assert_eq!(body.get("refresh_token"), None, "T1 T16: docker would put it in the password's place");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "T39 {id}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{id}");
        assert_eq!(access(token), expected, "{id}");
        let claims = claims(token);
        assert_eq!((&claims["sub"], &claims["aud"]), (&json!("alice"), &json!("localhost")), "T22 T24 {id}");
        assert_eq!(gate.curl("/v2/").bearer(token).send().status, 200, "T8 {id}");
    }
    assert_eq!(registry.acted(), []);
}

#[test]
fn the_token_endpoint_refuses() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let scope = "scope=repository:library/x:pull";
    for (id, login) in [
        ("T9 a wrong password", Login::new("alice", "wrong")),
        ("T18 nobody", Login::new("", "")),
        ("T18 no user", Login::new("", ALICE.password)),
        ("T19 no password", Login::new("alice", "")),
        ("an unknown user", Login::new("nobody", "x")),
        ("another case", Login::new("ALICE", ALICE.password)),
    ] {
        for query in [format!("service=localhost&{scope}"), format!("{scope}&offline_token=true"), String::new()] {
            let answer = gate.curl(&format!("/token?{query}")).user(login).send();
            assert_eq!(answer.status, 401, "{id}: {login:?} became somebody: {}", answer.text());
            assert!(!answer.text().contains("token\""), "{id}");
        }
    }
    for (id, query) in [
        ("T20", "service=localhost&account=bob"),
        ("T21", "service=localhost&account=ALICE"),
        ("T23", "service=other.test"),
        ("T23", "service=LOCALHOST"),
        ("T24", "service=localhost&service=localhost"),
        ("T24", "service=localhost&service=other.test"),
        ("T24", "service=other.test&service=localhost"),
        ("T24", "service=localhost&account=alice&account=bob"),
        ("T30", "scope=repository:team-a/x:pull;scope=repository:library/x:pull"),
        ("T30", "scope=%zz"),
        ("T30", "scope=%00"),
        ("T30", "scope=%ff"),
    ] {
        let answer = gate.curl(&format!("/token?{query}")).user(ALICE).send();
        assert_eq!((answer.status, answer.code().as_str()), (400, "UNSUPPORTED"), "{id} {query}: {}", answer.text());
        assert!(!answer.text().contains("token\""), "{id}");
    }
    for method in ["HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "FOO"] {
        let answer = gate.curl("/token?service=localhost").method(method).user(ALICE).send();
        assert_eq!(answer.status, 405, "T33 {method}");
        assert_eq!(answer.header("allow"), Some("GET, POST"), "T33 {method}");
        assert!(!answer.text().contains("token\""), "T33 {method}");
    }
    for path in ["/token/", "/Token", "//token", "/token/../token"] {
        let answer = gate.curl(path).user(ALICE).send();
        assert!(matches!(answer.status, 400 | 404), "T38 no redirect to the endpoint: {path} {}", answer.status);
    }
}

#[test]
fn a_query_without_measure_is_answered_within_one() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let many = |count: usize, name: usize| {
        let scopes = (0..count).map(|number| format!("scope=repository:team-a/{}{number}:pull,push", "x".repeat(name)));
        format!("/token?{}", scopes.collect::<Vec<_>>().join("&"))
    };
    // 1,000 scopes in 44 kB, 1,200 in 60 kB, and one scope of 60 kB.
    for path in [many(1000, 1), many(1200, 10), many(1, 60_000), many(257, 0)] {
        let answer = gate.curl(&path).user(ALICE).attempt();
        let status = answer.as_ref().map(|answer| answer.status);
        assert!(status.as_ref().map_or(true, |status| matches!(status, 400 | 414 | 431)), "T31 {status:?}");
    }
    // As many as are read; what a token has no room for is left out.
    let most = gate.curl(&many(30, 200)).user(ALICE).send();
    assert_eq!(most.status, 200, "T31 {}", most.text());
    let token = most.json()["token"].as_str().unwrap().to_owned();
    assert!((2_000..16 * 1024).contains(&token.len()), "T31 {}", token.len());
    assert_eq!(gate.curl("/v2/").bearer(&token).send().status, 200, "T31 the largest token is accepted");
}

#[test]
fn only_the_query_counts() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let form = "scope=repository:team-a/x:pull,push&service=other.test&account=bob";
    let answer = gate
        .curl("/token?scope=repository:library/y:pull")
        .user(ALICE)
        .argument("--data")
        .argument(form)
        .method("GET")
        .send();
    assert_eq!(answer.status, 200, "T34 {}", answer.text());
    assert_eq!(access(answer.json()["token"].as_str().unwrap()), ["library/y:pull"], "T34");
}

/// T37: the session goes on where a fresh token takes over from one that ran out.
#[test]
fn a_push_outlives_its_token() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let image = Image::new(63, &[300_000]);
    let bytes = std::fs::read(image.blob(&image.layer)).unwrap();
    let halves = tempfile::tempdir().unwrap();
    let [first, second] = [("first", &bytes[..100_000]), ("second", &bytes[100_000..])].map(|(name, half)| {
        let path = halves.path().join(name);
        std::fs::write(&path, half).unwrap();
        path
    });
    let scope = "repository:team-a/x:pull,push";
    let token = gate.token(Some(ALICE), scope);
    let path = |answer: &crate::support::Response| {
        let location = answer.header("location").expect("a Location");
        location.strip_prefix(&gate.url("")).unwrap_or(location).to_owned()
    };
    let opened = gate.curl("/v2/team-a/x/blobs/uploads/").method("POST").bearer(&token).send();
    let one = gate.curl(&path(&opened)).method("PATCH").bearer(&token).body_file(&first).send();
    assert_eq!(one.status, 202, "{}", one.text());

    let expired = forged(&gate, &token, |claims| claims["exp"] = json!(claims["nbf"].as_u64().unwrap() - 60));
    let refused = gate.curl(&path(&one)).method("PATCH").bearer(&expired).body_file(&second).send();
    assert!(refused.challenge().contains(r#"scope="repository:team-a/x:pull,push",error="invalid_token""#), "T37 C10");

    let fresh = gate.token(Some(ALICE), scope);
    let two = gate.curl(&path(&one)).method("PATCH").bearer(&fresh).body_file(&second).send();
    assert_eq!(two.status, 202, "T37 {}", two.text());
    let end = format!("{}&digest={}", path(&two), image.layer);
    assert_eq!(gate.curl(&end).method("PUT").bearer(&fresh).send().status, 201, "T37");
}

#[test]
fn nobody_gets_a_token_for_what_is_public_alone() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let token = gate.token(None, "repository:library/x:pull,push&scope=repository:team-a/x:pull");
    assert_eq!(access(&token), ["library/x:pull"], "T17");
    assert_eq!(claims(&token)["sub"], "", "T17");
    assert_eq!(
        access(&gate.token(None, "repository:team-a/x:pull")),
        Vec::<String>::new(),
        "T17 nothing granted is no error"
    );
    assert_eq!(gate.curl("/v2/library/x/tags/list").bearer(&token).send().status, 404, "allowed, and not there");
    let refused = gate.curl("/v2/team-a/x/tags/list").bearer(&token).send();
    assert!(refused.challenge().contains(r#"error="insufficient_scope""#), "{refused:?}");
}

#[test]
fn a_token_narrows_and_the_policy_narrows_further() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    Skopeo::logged_in(gate.pki(), &gate.host(), ALICE)
        .copy(&Image::new(60, &[1000]).reference(), &gate.image("team-a/app"))
        .succeeded();

    let pull = gate.token(Some(ALICE), "repository:team-a/app:pull");
    assert_eq!(gate.curl("/v2/team-a/app/tags/list").bearer(&pull).send().status, 200);
    for (method, path) in [("POST", "/v2/team-a/app/blobs/uploads/"), ("GET", "/v2/team-a/other/tags/list")] {
        let refused = gate.curl(path).bearer(&pull).method(method).send();
        let challenge = refused.challenge();
        assert!(
            challenge.contains(r#"error="insufficient_scope""#) && challenge.contains("scope=\"repository:team-a/"),
            "{challenge}"
        );
        assert_eq!(gate.curl(path).bearer(&pull).method(method).send().status, 401, "C9 the same again");
    }
    let forbidden = gate.curl("/v2/team-b/app/tags/list").bearer(&pull).send();
    assert_eq!((forbidden.status, forbidden.code().as_str()), (403, "DENIED"));
}

/// J30
#[test]
fn a_token_is_for_one_registry() {
    let registry = Registry::start();
    let gate = Portcullis::before(&registry).with_second("two.test", &registry).start();
    let token = gate.token(Some(ALICE), "repository:team-a/x:pull");
    let at_two = || Curl::new(gate.url_of("two.test", "/v2/")).trusting(gate.pki().ca_file());
    let answer = at_two().bearer(&token).send();
    assert!(answer.challenge().contains(r#"error="invalid_token""#), "{answer:?}");
    assert_eq!(at_two().user(ALICE).send().status, 200);
}

/// J1, J2, J14, J23, J26, J28, J29
#[test]
fn a_token_that_was_touched_is_none() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let token = gate.token(Some(ALICE), "repository:team-a/x:pull");
    let parts: Vec<&str> = token.split('.').collect();
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let mut header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[0]).unwrap()).unwrap();
    let mut grown = claims(&token);
    grown["access"] = json!([{ "type": "repository", "name": "secret/app", "actions": ["pull"] }]);
    let mut late = claims(&token);
    late["exp"] = json!(4_000_000_000_u32);
    header["alg"] = "none".into();
    let none = encode(&header);
    header["alg"] = "HS256".into();
    let hmac = encode(&header);

    let mut forged = vec![
        format!("{}.{}.{}", parts[0], encode(&grown), parts[2]),
        format!("{}.{}.{}", parts[0], encode(&late), parts[2]),
        format!("{none}.{}.", parts[1]),
        format!("{none}.{}.{}", parts[1], parts[2]),
        format!("{hmac}.{}.{}", parts[1], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{token}.{}", parts[2]),
        format!("{token}="),
        token[..token.len() - 1].to_owned(),
        URL_SAFE_NO_PAD.encode(&token),
        "x".to_owned(),
        "..".to_owned(),
        "a".repeat(7000),
    ];
    let swapped = if parts[2].starts_with('A') { "B" } else { "A" };
    forged.push(format!("{}.{}.{swapped}{}", parts[0], parts[1], &parts[2][1..]));
    for forged in forged {
        let answer = gate.curl("/v2/").bearer(&forged).send();
        assert!(answer.challenge().contains(r#"error="invalid_token""#), "{forged}: {answer:?}");
    }
    let in_query = gate.curl(&format!("/v2/?token={token}&access_token={token}")).send();
    assert!(matches!(in_query.status, 400 | 401), "{}", in_query.status);
    let as_password = gate.curl("/v2/").header(&format!("Authorization: Basic {}", basic_token(&token))).send();
    assert_eq!(as_password.status, 401);
    assert_eq!(gate.curl("/v2/").header(&format!("Authorization: bearer {token}")).send().status, 200);
}

/// J25–J28: a token is one word after one scheme in one header.
#[test]
fn a_token_comes_in_one_way() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let token = gate.token(Some(ALICE), "repository:team-a/x:pull");
    let send = |headers: &[String]| {
        let request = headers.iter().fold(gate.curl("/v2/"), |request, header| request.header(header));
        request.send().status
    };
    let good = format!("Authorization: Bearer {token}");
    for scheme in ["Bearer", "bearer", "BEARER"] {
        assert_eq!(send(&[format!("Authorization: {scheme} {token}")]), 200, "J26 {scheme}");
    }
    let bad = "Authorization: Bearer x".to_owned();
    let basic = format!("Authorization: Basic {}", STANDARD.encode(format!("alice:{}", ALICE.password)));
    assert_eq!(send(std::slice::from_ref(&basic)), 200, "the control");
    for two in [[&good, &bad], [&bad, &good], [&good, &good], [&good, &basic], [&basic, &good]] {
        assert!(matches!(send(&two.map(Clone::clone)), 400 | 401), "J27 {two:?}");
    }
    for form in [
        format!("Bearer\t{token}"),
        format!("Bearer{token}"),
        format!("Bearer {token},{token}"),
        format!("Bearer {token}, Bearer {token}"),
        format!("Bearer {token} x"),
        format!("Bearer \"{token}\""),
        format!("Token {token}"),
        format!("Basic {token}"),
        token.clone(),
        format!("Bearer {}", "a".repeat(15_000)),
        format!("Bearer {token}{}", "a".repeat(12_000)),
    ] {
        assert_eq!(send(&[format!("Authorization: {form}")]), 401, "J25 J27 {form:.60}");
    }
    for length in [60_000, 120_000] {
        let answer = gate.curl("/v2/").bearer(&"a".repeat(length)).attempt();
        let status = answer.as_ref().map(|answer| answer.status);
        assert!(status.as_ref().map_or(true, |status| matches!(status, 400 | 401 | 431)), "J25 {status:?}");
    }
    for path in [format!("/v2/?access_token={token}"), format!("/v2/?token={token}")] {
        let answer = gate.curl(&path).send();
        assert_eq!(answer.status, 401, "J28");
        assert!(!answer.challenge().contains("error="), "J28 nothing was sent that counts");
    }
    assert_eq!(gate.curl("/v2/").bearer(&token).send().status, 200);
}

fn basic_token(token: &str) -> String {
    STANDARD.encode(format!("<token>:{token}"))
}
