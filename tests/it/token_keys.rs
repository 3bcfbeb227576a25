//! `portcullis token keys`: the public keys, as registries read them.

use std::{fs, path::Path, process::Output};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::support::{ALICE, Portcullis, Registry, TokenKeys, openssl};

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn complaint(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn set(keys: &TokenKeys) -> Vec<Value> {
    let output = keys.publish("jwks");
    assert_eq!(complaint(&output), "");
    let set: Value = serde_json::from_str(&said(&output)).unwrap();
    set["keys"].as_array().unwrap().clone()
}

/// Each certificate of a bundle in a file of its own.
fn split(bundle: &str, dir: &Path) -> Vec<std::path::PathBuf> {
    const END: &str = "-----END CERTIFICATE-----";
    let blocks: Vec<&str> = bundle.split_inclusive(END).filter(|block| block.contains(END)).collect();
    let write = |(number, block): (usize, &&str)| {
        let file = dir.join(format!("{number}.crt"));
        fs::write(&file, block).unwrap();
        file
    };
    blocks.iter().enumerate().map(write).collect()
}

#[test]
fn certificates_hold_the_keys_and_verify_with_them() {
    let keys = TokenKeys::new(&["RSA", "ED25519", "P-256"]);
    let output = keys.publish("certificates");
    let left_out =
        format!("portcullis: {} is left out: docker-registry 2 cannot read EdDSA\n", keys.files[1].display());
    assert_eq!(complaint(&output), left_out);
    let dir = tempfile::tempdir().unwrap();
    let certificates = split(&said(&output), dir.path());
    assert_eq!(certificates.len(), 2);
    let ids: Vec<Value> = set(&keys).iter().map(|key| key["kid"].clone()).collect();
    for (certificate, (key, id)) in certificates.iter().zip([(&keys.files[0], &ids[0]), (&keys.files[2], &ids[2])]) {
        let public = openssl(&["pkey", "-pubout"], Some(key), None);
        assert_eq!(openssl(&["x509", "-noout", "-pubkey"], Some(certificate), None), public);
        let path = certificate.to_str().unwrap();
        let verified = openssl(&["verify", "-check_ss_sig", "-CAfile", path, path], None, None);
        assert!(verified.contains(": OK"), "{verified}");
        let about = openssl(&["x509", "-noout", "-subject", "-dates"], Some(certificate), None);
        assert!(about.contains(id.as_str().unwrap()) && about.contains("9999"), "{about}");
    }
}

/// The modulus and the point are those that openssl sees.
#[test]
fn the_set_holds_the_keys() {
    let keys = TokenKeys::new(&["P-256", "RSA", "ED25519"]);
    let set = set(&keys);
    let hex = |key: &Value, name: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let shown = |file: &Path| {
        let text = openssl(&["pkey", "-noout", "-text_pub"], Some(file), None);
        text.replace([' ', '\n', ':'], "").to_lowercase()
    };
    assert!(shown(&keys.files[0]).contains(&format!("04{}{}", hex(&set[0], "x"), hex(&set[0], "y"))));
    assert!(shown(&keys.files[1]).contains(&hex(&set[1], "n")));
    assert_eq!(hex(&set[1], "e"), "010001");
    assert!(shown(&keys.files[2]).contains(&hex(&set[2], "x")));
}

#[test]
fn nothing_private_is_printed_and_the_same_is_printed_again() {
    let keys = TokenKeys::new(&["RSA", "P-256", "ED25519"]);
    let mut private = Vec::new();
    for file in &keys.files {
        private.extend(fs::read_to_string(file).unwrap().lines().map(str::to_owned));
        // RSA's factors and exponents, the scalars of the others.
        let text = openssl(&["pkey", "-noout", "-text"], Some(file), None);
        let (_, numbers) = text.split_once("priv").unwrap();
        private.extend(numbers.lines().filter(|line| line.starts_with("    ")).map(|line| line.trim().to_owned()));
    }
    assert!(private.len() > 40, "{private:?}");
    for format in ["jwks", "certificates"] {
        let text = said(&keys.publish(format));
        assert!(!text.contains("PRIVATE"));
        for line in private.iter().filter(|line| line.len() > 20) {
            assert!(!text.contains(line), "{format}: {line}");
        }
    }
    assert_eq!(set(&keys), set(&keys));
    for key in set(&keys) {
        for name in ["d", "p", "q", "dp", "dq", "qi", "k"] {
            assert_eq!(key.get(name), None);
        }
    }
}

#[test]
fn a_missing_key_is_an_error_and_stays_missing() {
    let mut keys = TokenKeys::new(&["P-256"]);
    fs::remove_file(&keys.files[0]).unwrap();
    for format in ["jwks", "certificates"] {
        let output = keys.publish(format);
        assert_eq!(output.status.code(), Some(78));
        assert!(output.stdout.is_empty());
        let complaint = complaint(&output);
        let path = keys.files[0].display().to_string();
        assert!(complaint.contains(&path) && complaint.contains("portcullis serve makes it"), "{complaint}");
        assert!(complaint.contains("openssl genpkey"), "{complaint}");
        assert!(!keys.files[0].exists());
    }
    // A later one: the same, and nothing of the first is printed.
    let second = keys.files[0].with_extension("second");
    let more = TokenKeys::new(&["P-256"]);
    keys.files = vec![more.files[0].clone(), second];
    let output = keys.publish("jwks");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(78), &[][..]));
}

#[test]
fn keys_that_no_certificate_can_be_made_for_are_an_error() {
    let keys = TokenKeys::new(&["ED25519"]);
    let output = keys.publish("certificates");
    assert_eq!(output.status.code(), Some(78));
    assert!(output.stdout.is_empty());
    assert!(complaint(&output).contains("none of tokens.keys is for ES256 or RS256"), "{}", complaint(&output));
    assert_eq!(set(&keys).len(), 1);
}

#[test]
fn a_token_names_a_key_of_the_set() {
    let keys = TokenKeys::new(&["ED25519", "P-256"]);
    let configured = keys.configured();
    let gate = Portcullis::before(&Registry::start())
        .with(move |config| config["tokens"]["keys"] = configured.clone())
        .start();
    let token = gate.token(Some(ALICE), "repository:team-a/app:pull");
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    assert_eq!((&header["kid"], &header["alg"]), (&set(&keys)[0]["kid"], &set(&keys)[0]["alg"]));
}
