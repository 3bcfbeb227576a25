use std::path::PathBuf;

use jsonwebtoken::{DecodingKey, Validation};
use serde_json::{Value, json};

use super::*;
use crate::token::{
    claims::now,
    fixtures::{Forge, ISSUER, SERVICE, decode, key_file},
};

fn minter(keys: &Arc<Keys>) -> Minter {
    Minter::new(Arc::clone(keys), ISSUER.to_owned(), SERVICE.to_owned()).unwrap()
}

fn scopes(text: &str) -> ScopeSet {
    let mut scopes = ScopeSet::default();
    scopes.add_requested(text);
    scopes
}

/// Header and claims.
fn parts(token: &str) -> [Value; 2] {
    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!(parts.len(), 3);
    [decode(parts[0]), decode(parts[1])]
}

#[test]
fn signs_like_another_one_with_the_same_key_for_the_same_registry() {
    let forge = Forge::new();
    let first = minter(&forge.keys);
    let again = Arc::new(Keys::open(&[forge.file()]).unwrap());
    assert!(first.signs_like(&minter(&again)), "the file was read again");
    let other = |issuer: &str, service: &str| Minter::new(Arc::clone(&again), issuer.to_owned(), service.to_owned());
    assert!(!first.signs_like(&other("other", SERVICE).unwrap()));
    assert!(!first.signs_like(&other(ISSUER, "other").unwrap()));
    assert!(!first.signs_like(&minter(&Forge::new().keys)));
}

#[test]
fn holds_what_a_registry_reads_and_no_more() {
    let forge = Forge::new();
    let minter = minter(&forge.keys);
    let token = minter.token(Some("alice"), &scopes("repository:a/b:pull,push repository:c:pull")).unwrap();
    let [header, mut claims] = parts(&token);
    assert_eq!(header, json!({ "typ": "JWT", "alg": "ES256", "kid": forge.id }));
    let (issued, life) =
        (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap());
    assert!(issued.abs_diff(now() - 60) <= 5, "{claims}");
    assert_eq!(life, 120);
    assert_eq!(claims["nbf"], claims["iat"]);
    assert_eq!(claims["jti"].as_str().unwrap().len(), 32);
    for volatile in ["iat", "nbf", "exp", "jti"] {
        claims.as_object_mut().unwrap().remove(volatile);
    }
    let access = json!([
        { "type": "repository", "name": "a/b", "actions": ["pull", "push"] },
        { "type": "repository", "name": "c", "actions": ["pull"] },
    ]);
    assert_eq!(claims, json!({ "iss": ISSUER, "sub": "alice", "aud": SERVICE, "access": access }));

    let [_, anonymous] = parts(&minter.token(None, &ScopeSet::default()).unwrap());
    assert_eq!((&anonymous["sub"], &anonymous["access"]), (&json!(""), &json!([])));
    let mut catalog = ScopeSet::default();
    catalog.add(crate::registry::Scope::catalog());
    let [_, catalog] = parts(&minter.token(None, &catalog).unwrap());
    assert_eq!(catalog["access"], json!([{ "type": "registry", "name": "catalog", "actions": ["*"] }]));
}

/// And it is its type alone that makes the difference.
#[test]
fn is_no_access_token() {
    let forge = Forge::new();
    let token = minter(&forge.keys).token(None, &scopes("repository:library/x:pull")).unwrap();
    let verifier = forge.verifier();
    assert!(!verifier.accepts(SERVICE, &token));
    let [mut header, claims] = parts(&token);
    assert!(!verifier.accepts(SERVICE, &forge.sign(&header, &claims)));
    header["typ"] = "at+jwt".into();
    assert!(verifier.accepts(SERVICE, &forge.sign(&header, &claims)));
}

#[test]
fn the_first_key_that_every_registry_reads_signs() {
    let folder = tempfile::tempdir().unwrap();
    let [ed25519, rsa, p256] =
        [("ed", "ED25519"), ("rsa", "RSA"), ("ec", "P-256")].map(|(name, kind)| key_file(&folder, name, kind));
    let load = |files: &[&PathBuf]| {
        let files: Vec<PathBuf> = files.iter().copied().cloned().collect();
        (Keys::check(&files).unwrap(), Arc::new(Keys::load_or_create(&files).unwrap()))
    };
    for (files, algorithm) in [
        ([&ed25519, &rsa, &p256], "RS256"),
        ([&ed25519, &p256, &rsa], "ES256"),
        ([&rsa, &p256, &ed25519], "RS256"),
        ([&p256, &ed25519, &rsa], "ES256"),
    ] {
        let (passes, keys) = load(&files);
        assert!(passes);
        let token = minter(&keys).token(None, &ScopeSet::default()).unwrap();
        let [header, _] = parts(&token);
        assert_eq!(header["alg"], algorithm);
        let key: &DecodingKey = &keys.find(header["kid"].as_str().unwrap()).unwrap().key;
        let mut validation = Validation::new(algorithm.parse().unwrap());
        validation.set_audience(&[SERVICE]);
        jsonwebtoken::decode::<Value>(&*token, key, &validation).unwrap();
    }
    let (passes, keys) = load(&[&ed25519]);
    assert!(!passes, "a check finds it too");
    let error = Minter::new(keys, String::new(), String::new()).err().unwrap();
    assert!(error.to_string().contains("none of tokens.keys is for ES256 or RS256"), "{error}");
    let to_be_made = [folder.path().join("missing"), ed25519];
    assert!(Keys::check(&to_be_made).unwrap(), "the one that is made will do");
}

#[test]
fn is_used_again_for_the_same_caller_and_scopes_alone() {
    let forge = Forge::new();
    let minter = minter(&forge.keys);
    let token = |caller, wanted| minter.token(caller, &scopes(wanted)).unwrap();
    let first = token(Some("alice"), "repository:a:pull");
    assert_eq!(first, token(Some("alice"), "repository:a:pull"));
    for (caller, wanted) in [
        (Some("bob"), "repository:a:pull"),
        (None, "repository:a:pull"),
        (Some("alice"), "repository:a:pull,push"),
        (Some("alice"), "repository:b:pull"),
        (Some("alice"), ""),
    ] {
        let other = parts(&token(caller, wanted));
        assert_eq!(other[1]["sub"], caller.unwrap_or_default());
        let access = other[1]["access"].as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap());
        assert_eq!(access.collect::<Vec<_>>(), scopes(wanted).iter().map(|scope| scope.name()).collect::<Vec<_>>());
        assert_ne!(first, token(caller, wanted));
    }
}
