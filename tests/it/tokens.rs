//! The token endpoint, and what a token is good for.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

use crate::support::{ALICE, Curl, Image, Login, Portcullis, Registry, Skopeo};

/// The claims of a token, unchecked.
fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// `access` as `name:actions`, sorted.
fn access(token: &str) -> Vec<String> {
    let claims = claims(token);
    let entries = claims["access"].as_array().unwrap().iter();
    let mut entries: Vec<_> = entries
        .map(|entry| {
            let mut actions: Vec<_> =
                entry["actions"].as_array().unwrap().iter().map(|action| action.as_str().unwrap()).collect();
            actions.sort_unstable();
            format!("{}:{}", entry["name"].as_str().unwrap(), actions.join(","))
        })
        .collect();
    entries.sort();
    entries
}

#[test]
fn the_token_endpoint_answers_what_clients_send() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    for (query, expected) in [
        ("account=alice&client_id=docker&offline_token=true&service=localhost", vec![]),
        ("scope=repository:team-a/x:push,pull&service=localhost", vec!["team-a/x:pull,push"]),
        (
            "scope=repository:team-a/x:push,pull&scope=repository:library/y:pull",
            vec!["library/y:pull", "team-a/x:pull,push"],
        ),
        ("scope=repository:team-a/x:pull&scope=repository:team-a/x:pull,push", vec!["team-a/x:pull,push"]),
        ("scope=repository:team-a/x:pull+repository:library/y:pull", vec!["library/y:pull", "team-a/x:pull"]),
        ("scope=repository:team-a/x:*", vec!["team-a/x:pull,push"]),
        ("scope=repository:team-a/x:delete", vec![]),
        ("scope=repository:team-b/x:pull,push", vec![]),
        ("scope=repository:team-a/x:pull,PULL,*x,fly", vec!["team-a/x:pull"]),
        ("scope=repository(plugin):team-b/x:pull", vec![]),
        ("scope=repository:h:5000/foo:pull&scope=whatever:foo:pull&scope=:::&scope=&scope=repository::pull", vec![]),
        (
            "scope=repository:team-a/../team-b/x:pull&scope=repository:Team-A/x:pull&scope=repository:team-a%2fx/:pull",
            vec![],
        ),
        ("client_id=regclient/regctl+(v0.0.0-2025)&scope=repository:team-a/x:pull", vec!["team-a/x:pull"]),
        ("service=", vec![]),
    ] {
        let answer = gate.curl(&format!("/token?{query}")).user(ALICE).send();
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        let body = answer.json();
        let token = body["token"].as_str().unwrap();
        assert_eq!(body["access_token"], token);
        assert!(body["expires_in"].as_u64().unwrap() >= 60);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(access(token), expected, "{query}");
        assert_eq!(claims(token)["sub"], "alice");
        assert_eq!(gate.curl("/v2/").bearer(token).send().status, 200, "{query}");
    }
}

/// 405 is what makes containerd and BuildKit, which try a form first, go on with GET.
#[test]
fn a_form_is_told_to_use_get() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let form = "grant_type=password&username=alice&password=x&service=localhost&client_id=containerd-client";
    let answer = gate.curl("/token").argument("--data").argument(form).send();
    assert_eq!(answer.status, 405);
    assert!(answer.header("allow").is_some_and(|allow| allow.contains("GET")));
}

#[test]
fn the_token_endpoint_refuses() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    for login in [
        Login::new("alice", "wrong"),
        Login::new("alice", ""),
        Login::new("", ""),
        Login::new("nobody", "x"),
        Login::new("ALICE", ALICE.password),
    ] {
        let answer = gate.curl("/token?service=localhost&scope=repository:library/x:pull").user(login).send();
        assert_eq!(answer.status, 401, "{login:?} became somebody: {}", answer.text());
    }
    let other = gate.curl("/token?service=localhost&account=bob").user(ALICE).send();
    assert!(matches!(other.status, 400 | 401), "{}", other.status);
    let foreign = gate.curl("/token?service=other.test").user(ALICE).send();
    assert!(matches!(foreign.status, 400 | 401), "{}", foreign.status);
    for method in ["HEAD", "PUT", "DELETE", "OPTIONS"] {
        let answer = gate.curl("/token?service=localhost").method(method).user(ALICE).send();
        assert_eq!(answer.status, 405, "{method}");
        assert!(answer.header("allow").is_some_and(|allow| allow.contains("GET")), "{method}");
    }
}

#[test]
fn nobody_gets_a_token_for_what_is_public_alone() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let token = gate.token(None, "repository:library/x:pull,push&scope=repository:team-a/x:pull");
    assert_eq!(access(&token), ["library/x:pull"]);
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
        assert_eq!(gate.curl(path).bearer(&pull).method(method).send().status, 401, "the same again");
    }
    let forbidden = gate.curl("/v2/team-b/app/tags/list").bearer(&pull).send();
    assert_eq!((forbidden.status, forbidden.code().as_str()), (403, "DENIED"));
}

#[test]
fn a_token_is_for_one_registry() {
    let registry = Registry::start();
    let second = json!({ "hosts": ["two.test"], "upstream": { "servers": [{ "url": registry.url }] } });
    let setup = Portcullis::before(&registry);
    let leaf = setup.pki().issue(&["two.test"]);
    let entry = json!({ "certificate_file": leaf.certificate, "key_file": leaf.key });
    let gate = setup
        .with(move |config| {
            config["registries"].as_array_mut().unwrap().push(second.clone());
            config["tls"]["certificates"].as_array_mut().unwrap().push(entry.clone());
        })
        .start();
    let token = gate.token(Some(ALICE), "repository:team-a/x:pull");
    let at_two = || Curl::new(gate.url_of("two.test", "/v2/")).trusting(gate.pki().ca_file());
    let answer = at_two().bearer(&token).send();
    assert!(answer.challenge().contains(r#"error="invalid_token""#), "{answer:?}");
    assert_eq!(at_two().user(ALICE).send().status, 200);
}

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

fn basic_token(token: &str) -> String {
    STANDARD.encode(format!("<token>:{token}"))
}
