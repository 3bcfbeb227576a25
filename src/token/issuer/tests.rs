use super::*;
use crate::{
    identity::{Proof, User},
    token::fixtures::{Forge, ISSUER, SERVICE, decode},
};

fn issuer(forge: &Forge, seconds: u64) -> Issuer {
    Issuer::new(Arc::clone(&forge.keys), ISSUER.to_owned(), Duration::from_secs(seconds))
}

fn payload(issued: &Issued) -> serde_json::Value {
    decode(issued.token.split('.').nth(1).unwrap())
}

fn scopes(text: &str) -> ScopeSet {
    let mut scopes = ScopeSet::default();
    scopes.add_requested(text);
    scopes
}

fn alice() -> Principal {
    Principal::user(Arc::new(User {
        name: "alice".into(),
        groups: vec!["team-a".into()],
        directory_groups: Vec::new(),
        via: "htpasswd".into(),
        proof: Proof("5ae1f00d".into()),
    }))
}

#[test]
fn claims_of_a_user() {
    let forge = Forge::new();
    let granted = scopes("repository:team-a/app:push,pull repository:library/x:pull registry:catalog:*");
    let before = claims::now();
    let issued = issuer(&forge, 900).issue(SERVICE, &alice(), &granted).unwrap();
    let body = payload(&issued);
    assert_eq!(issued.expires_in, 900);
    assert_eq!(body["iss"], ISSUER);
    assert_eq!(body["sub"], "alice");
    assert_eq!(body["aud"], SERVICE, "a string: registry 2.8 reads no list");
    assert_eq!(body["via"], "htpasswd");
    assert_eq!(body["prf"], "5ae1f00d");
    let date = |name: &str| body[name].as_u64().unwrap();
    assert!((before + 900..=before + 905).contains(&date("exp")));
    assert_eq!(date("exp") - date("nbf"), 960);
    assert_eq!(date("iat"), date("nbf"));
    assert_eq!(
        body["access"],
        serde_json::json!([
            { "type": "repository", "name": "team-a/app", "actions": ["pull", "push"] },
            { "type": "repository", "name": "library/x", "actions": ["pull"] },
            { "type": "registry", "name": "catalog", "actions": ["*"] },
        ])
    );
    assert!(issued.token.len() < 1024, "{}", issued.token.len());
}

/// T17
#[test]
fn claims_of_nobody() {
    let forge = Forge::new();
    let body = payload(&issuer(&forge, 900).issue(SERVICE, &Principal::anonymous(), &scopes("")).unwrap());
    assert_eq!(body["sub"], "");
    assert_eq!(body["access"], serde_json::json!([]));
    assert!(body.get("via").is_none() && body.get("prf").is_none());
}

#[test]
fn no_two_tokens_are_alike() {
    let forge = Forge::new();
    let id = || {
        let body = payload(&issuer(&forge, 900).issue(SERVICE, &alice(), &scopes("")).unwrap());
        body["jti"].as_str().unwrap().to_owned()
    };
    let (one, other) = (id(), id());
    assert_ne!(one, other);
    assert!(one.len() == 32 && one.bytes().all(|byte| byte.is_ascii_hexdigit()));
}

/// T35
#[test]
fn a_minute_is_the_least() {
    let forge = Forge::new();
    let issued = issuer(&forge, 5).issue(SERVICE, &alice(), &scopes("")).unwrap();
    assert_eq!(issued.expires_in, 60);
}

/// T31
#[test]
fn the_largest_token_is_one_that_is_accepted() {
    let forge = Forge::new();
    let name = |number: usize| format!("{}/{number:03}", "n".repeat(251));
    let asked: Vec<String> = (0..64).map(|number| format!("repository:{}:pull,push,delete", name(number))).collect();
    let granted = scopes(&asked.join(" "));
    assert_eq!(granted.iter().count(), 64);
    let user = User { name: "u".repeat(255).into(), ..alice().as_user().unwrap().clone() };
    let issued = issuer(&forge, 900).issue(SERVICE, &Principal::user(Arc::new(user)), &granted).unwrap();
    let access = payload(&issued)["access"].as_array().unwrap().clone();
    assert!(access.len() > 20, "{}", access.len());
    assert!(access.iter().enumerate().all(|(number, entry)| entry["name"] == name(number)));
    assert!(forge.verifier().accepts(SERVICE, &issued.token), "{}", issued.token.len());
}
