use std::fs;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    jwk::{Jwk, JwkSet, ThumbprintHash},
};
use serde_json::{Value, json};

use super::*;
use crate::token::{
    Keys, certificates,
    fixtures::{Forge, ISSUER, SERVICE, claims, key_file},
    keys::fingerprint,
};

/// The set of these kinds of keys, and their files.
fn published(kinds: &[&str]) -> (tempfile::TempDir, Vec<PathBuf>, Value) {
    let folder = tempfile::tempdir().unwrap();
    let name = |(position, kind): (usize, &&str)| key_file(&folder, &position.to_string(), kind);
    let files: Vec<PathBuf> = kinds.iter().enumerate().map(name).collect();
    let set = serde_json::from_str(&jwks(&files).unwrap()).unwrap();
    (folder, files, set)
}

fn names(key: &Value) -> Vec<&str> {
    key.as_object().unwrap().keys().map(String::as_str).collect()
}

/// The key of RFC 7638 §3.1's procedure and of libtrust's fingerprint that others computed too.
#[test]
fn a_known_key_is_written_as_others_read_it() {
    const X: &str = "m7zUpx3b-zmVE5cymSs64POG9QcyEpJaYCD82-549_Q";
    const Y: &str = "dU3biz8sZ_8GPB-odm8Wxz3lNDr1xcAQQPQaOcr1fmc";
    const ID: &str = "PYYO:TEWU:V7JH:26JV:AQTZ:LJC3:SXVJ:XGHA:34F2:2LAQ:ZRMK:Z7Q6";
    let point = [vec![4], URL_SAFE_NO_PAD.decode(X).unwrap(), URL_SAFE_NO_PAD.decode(Y).unwrap()].concat();
    let key = Verifying { algorithm: Algorithm::ES256, algorithm_name: "ES256", key: DecodingKey::from_ec_der(&point) };
    let jwk = jwk(ID, &key).unwrap();
    let expected = json!({ "kty": "EC", "crv": "P-256", "x": X, "y": Y, "use": "sig", "alg": "ES256", "kid": ID });
    assert_eq!(serde_json::to_value(&jwk).unwrap(), expected);
    assert_eq!(jwk.thumbprint(ThumbprintHash::SHA256).unwrap(), "8qjioA3ZA7ti2JIE7c-U8smBFuZolQZvhSHDPU3hhB8");
}

#[test]
fn the_set_holds_every_key_in_order_and_nothing_private() {
    let (_folder, files, set) = published(&["ED25519", "RSA", "P-256"]);
    let keys = set["keys"].as_array().unwrap();
    let said = |key: &Value| ["kty", "alg", "use"].map(|name| key[name].as_str().unwrap().to_owned());
    assert_eq!(
        keys.iter().map(said).collect::<Vec<_>>(),
        [["OKP", "EdDSA", "sig"], ["RSA", "RS256", "sig"], ["EC", "ES256", "sig"]]
    );
    // None of d, p, q, dp, dq, qi, k (RFC 7518 §6).
    assert_eq!(names(&keys[0]), ["alg", "crv", "kid", "kty", "use", "x"]);
    assert_eq!(names(&keys[1]), ["alg", "e", "kid", "kty", "n", "use"]);
    assert_eq!(names(&keys[2]), ["alg", "crv", "kid", "kty", "use", "x", "y"]);
    for (file, key) in files.iter().zip(keys) {
        let loaded = Keys::load_or_create(std::slice::from_ref(file)).unwrap();
        assert_eq!(key["kid"], loaded.signing_id());
    }
    assert_eq!(jwks(&files).unwrap(), jwks(&files).unwrap());
}

/// What is in the set is what the fingerprint was taken of.
#[test]
fn the_id_is_that_of_the_key_beside_it() {
    let (_folder, _, set) = published(&["P-256"]);
    let part = |name: &str| URL_SAFE_NO_PAD.decode(set["keys"][0][name].as_str().unwrap()).unwrap();
    // SubjectPublicKeyInfo of a P-256 key, up to the point (RFC 5480 §2).
    let mut info =
        b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04"
            .to_vec();
    info.extend([part("x"), part("y")].concat());
    assert_eq!(set["keys"][0]["kid"], fingerprint(&info));
}

#[test]
fn a_foreign_reader_of_the_set_verifies_our_tokens() {
    let forge = Forge::new();
    let set: JwkSet = serde_json::from_str(&jwks(&[forge.file()]).unwrap()).unwrap();
    let token = forge.sign(&forge.header(), &claims());
    let id = jsonwebtoken::decode_header(&token).unwrap().kid.unwrap();
    let jwk: &Jwk = set.find(&id).unwrap();
    let mut validation = Validation::new(jwk.common.key_algorithm.unwrap().to_string().parse().unwrap());
    validation.set_audience(&[SERVICE]);
    validation.set_issuer(&[ISSUER]);
    jsonwebtoken::decode::<Value>(&token, &DecodingKey::from_jwk(jwk).unwrap(), &validation).unwrap();
}

#[test]
fn a_missing_key_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let files = [folder.path().join("token.key")];
    let errors = [jwks(&files).unwrap_err().to_string(), certificates(&files).unwrap_err().to_string()];
    for error in errors {
        assert!(error.contains("does not exist; portcullis serve makes it") && error.contains("openssl genpkey"));
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
