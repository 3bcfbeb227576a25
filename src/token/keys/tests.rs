use std::{
    os::unix::fs::{PermissionsExt as _, symlink},
    process::Command,
    sync::Barrier,
    thread,
};

use aws_lc_rs::signature::KeyPair as _;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;

use super::*;
use crate::token::{
    Verifier,
    claims::now,
    fixtures::{ISSUER, SERVICE},
};

/// SubjectPublicKeyInfo of a P-256 key, up to the point (RFC 5480 §2).
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

fn openssl(arguments: &[&str], out: &Path) {
    let status = Command::new("openssl").args(arguments).arg("-out").arg(out).output().unwrap();
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
}

fn reason(result: Result<Keys, KeyError>) -> String {
    result.err().unwrap().to_string()
}

/// Signs with the first key and verifies with the same.
fn round_trip(keys: Keys) -> bool {
    let claims = json!({ "iss": ISSUER, "sub": "", "aud": SERVICE, "exp": now() + 60, "access": [] });
    let claims: Claims = serde_json::from_value(claims).unwrap();
    let token = keys.sign(TokenKind::Access, &claims).unwrap();
    Verifier::plain(Arc::new(keys)).accepts(SERVICE, &token)
}

#[test]
fn fingerprint_is_libtrusts() {
    let x = URL_SAFE_NO_PAD.decode("m7zUpx3b-zmVE5cymSs64POG9QcyEpJaYCD82-549_Q").unwrap();
    let y = URL_SAFE_NO_PAD.decode("dU3biz8sZ_8GPB-odm8Wxz3lNDr1xcAQQPQaOcr1fmc").unwrap();
    let info = [&P256_PREFIX[..], &[4], &x, &y].concat();
    assert_eq!(fingerprint(&info), "PYYO:TEWU:V7JH:26JV:AQTZ:LJC3:SXVJ:XGHA:34F2:2LAQ:ZRMK:Z7Q6");
}

#[test]
fn the_fingerprinted_form_is_subject_public_key_info() {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let der: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    assert_eq!(der.as_ref(), [&P256_PREFIX[..], pair.public_key().as_ref()].concat());
}

#[test]
fn makes_a_private_key_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token.key");
    Keys::check(std::slice::from_ref(&file)).unwrap();
    assert!(!file.exists(), "a check makes nothing");
    let first = Keys::load_or_create(std::slice::from_ref(&file)).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let again = Keys::load_or_create(std::slice::from_ref(&file)).unwrap();
    assert_eq!(first.signing_id(), again.signing_id());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    assert!(round_trip(first));
    openssl(&["pkey", "-in", file.to_str().unwrap(), "-noout", "-check"], &folder.path().join("checked"));
}

#[test]
fn two_starts_at_once_use_one_key() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token.key");
        let barrier = Barrier::new(4);
        let start = || {
            barrier.wait();
            Keys::load_or_create(std::slice::from_ref(&file)).unwrap().signing_id().to_owned()
        };
        let ids: Vec<String> = thread::scope(|scope| {
            let starts: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

#[test]
fn loads_what_openssl_writes() {
    let folder = tempfile::tempdir().unwrap();
    let curve = "ec_paramgen_curve:P-256";
    let kinds: [(&str, &[&str], &str); 6] = [
        ("p256", &["genpkey", "-algorithm", "EC", "-pkeyopt", curve], "ES256"),
        ("sec1", &["ecparam", "-genkey", "-name", "prime256v1"], "ES256"),
        ("ed25519", &["genpkey", "-algorithm", "ED25519"], "EdDSA"),
        ("rsa2048", &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], "RS256"),
        ("rsa3072", &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"], "RS256"),
        ("pkcs1", &["rsa", "-traditional", "-in", "rsa2048"], "RS256"),
    ];
    for (name, arguments, algorithm) in kinds {
        let file = folder.path().join(name);
        let input = folder.path().join("rsa2048");
        let arguments: Vec<&str> =
            arguments.iter().map(|&word| if word == "rsa2048" { input.to_str().unwrap() } else { word }).collect();
        openssl(&arguments, &file);
        let keys = Keys::load_or_create(std::slice::from_ref(&file)).unwrap();
        let id = keys.signing_id().to_owned();
        assert_eq!(keys.find(&id).unwrap().algorithm_name, algorithm, "{name}");
        assert!(round_trip(keys), "{name}");
    }
    let id = |name: &str| Keys::load_or_create(&[folder.path().join(name)]).unwrap().signing_id().to_owned();
    assert_eq!(id("rsa2048"), id("pkcs1"));
}

#[test]
fn refuses_keys_that_are_too_weak_or_of_another_kind() {
    let folder = tempfile::tempdir().unwrap();
    let kinds: [&[&str]; 4] = [
        &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"],
        &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
        &["genpkey", "-algorithm", "ED448"],
        &["genpkey", "-algorithm", "X25519"],
    ];
    for (position, arguments) in kinds.into_iter().enumerate() {
        let file = folder.path().join(position.to_string());
        openssl(arguments, &file);
        let text = reason(Keys::load_or_create(&[file]));
        assert!(text.contains("not a key for P-256, Ed25519, or RSA"), "{text}");
    }
}

#[test]
fn a_certificate_beside_the_key_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (key, certificate) = (path("key"), path("certificate"));
    let bits = "rsa_keygen_bits:2048";
    openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", bits], &key);
    let request = ["req", "-x509", "-subj", "/CN=x", "-key", key.to_str().unwrap()];
    openssl(&request, &certificate);
    let text = |file: &Path| fs::read_to_string(file).unwrap();
    fs::write(path("after"), text(&key) + &text(&certificate)).unwrap();
    assert!(round_trip(Keys::load_or_create(&[path("after")]).unwrap()));
    fs::write(path("before"), text(&certificate) + &text(&key)).unwrap();
    assert!(round_trip(Keys::load_or_create(&[path("before")]).unwrap()));
}

#[test]
fn unusable_files_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("empty"), " \n").unwrap();
    fs::write(path("text"), "hello").unwrap();
    fs::write(path("broken"), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
    symlink(path("nowhere"), path("dangling")).unwrap();
    let good = path("good");
    let cases: [(Vec<PathBuf>, &str); 8] = [
        (vec![], "names no file"),
        (vec![path("empty")], "the file is empty"),
        (vec![path("text")], "not an unencrypted private key in PEM"),
        (vec![path("broken")], "not a key for P-256"),
        (vec![path("dangling")], "does not exist"),
        (vec![path("missing/token.key")], "missing does not exist; create it"),
        (vec![folder.path().to_owned()], "directory"),
        (vec![good.clone(), path("second")], "only the first of tokens.keys is made"),
    ];
    for (files, expected) in cases {
        let text = reason(Keys::load_or_create(&files));
        assert!(text.contains(expected), "{text}");
        if files != [good.clone(), path("second")] {
            let checked = Keys::check(&files).unwrap_err()[0].to_string();
            assert!(checked.contains(expected), "{checked}");
        }
    }
    assert_eq!(fs::read_to_string(path("text")).unwrap(), "hello", "what is there stays");
    assert!(fs::symlink_metadata(path("nowhere")).is_err(), "nothing is made behind a link");
}

#[test]
fn a_key_that_cannot_be_made_says_how_to_make_it() {
    let folder = tempfile::tempdir().unwrap();
    // No file beside it can have a longer name.
    let file = folder.path().join("k".repeat(255));
    let text = reason(Keys::load_or_create(std::slice::from_ref(&file)));
    assert!(text.contains("let this process write there") && text.contains("openssl genpkey"), "{text}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn an_error_holds_nothing_of_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    fs::write(&file, "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n").unwrap();
    let text = format!("{:?}", Keys::load_or_create(&[file]).err().unwrap());
    assert!(!text.contains("c2VjcmV0") && !text.contains("secret"), "{text}");
}
