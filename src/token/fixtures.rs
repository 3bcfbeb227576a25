//! A key on disk, and tokens made by hand with it.

use std::{path::PathBuf, process::Command, sync::Arc};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Keys, Verifier, claims::now};

pub(super) const ISSUER: &str = "portcullis";
pub(super) const SERVICE: &str = "registry.example.com";

pub(super) struct Forge {
    pub(super) folder: TempDir,
    pub(super) keys: Arc<Keys>,
    pub(super) pair: EcdsaKeyPair,
    pub(super) id: String,
}

impl Forge {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token.key");
        let keys = Arc::new(Keys::load_or_create(std::slice::from_ref(&file)).unwrap());
        let der = PrivatePkcs8KeyDer::from_pem_file(&file).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der()).unwrap();
        let id = keys.signing_id().to_owned();
        Self { folder, keys, pair, id }
    }

    pub(super) fn file(&self) -> PathBuf {
        self.folder.path().join("token.key")
    }

    pub(super) fn verifier(&self) -> Verifier {
        Verifier::plain(Arc::clone(&self.keys))
    }

    pub(super) fn header(&self) -> Value {
        json!({ "typ": "at+jwt", "alg": "ES256", "kid": self.id })
    }

    pub(super) fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_raw(header.to_string().as_bytes(), claims.to_string().as_bytes())
    }

    pub(super) fn sign_raw(&self, header: &[u8], claims: &[u8]) -> String {
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", encode(signature.as_ref()))
    }

    /// A token that is right in all, but for what `change` does to its claims.
    pub(super) fn claiming(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = claims();
        change(&mut claims);
        self.sign(&self.header(), &claims)
    }

    /// A token that is right in all, but for what `change` does to its header.
    pub(super) fn headed(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut header = self.header();
        change(&mut header);
        self.sign(&header, &claims())
    }
}

/// A key file of this kind (`P-256`, `RSA`, `ED25519`), made by openssl.
pub(super) fn key_file(folder: &TempDir, name: &str, kind: &str) -> PathBuf {
    let file = folder.path().join(name);
    let arguments: &[&str] = match kind {
        "P-256" => &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        "RSA" => &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
        other => &["-algorithm", other],
    };
    let made = Command::new("openssl").arg("genpkey").args(arguments).arg("-out").arg(&file).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    file
}

/// The claims of a good anonymous token.
pub(super) fn claims() -> Value {
    let now = now();
    json!({
        "iss": ISSUER, "sub": "", "aud": SERVICE, "exp": now + 900, "nbf": now - 60, "iat": now - 60, "jti": "0",
        "access": [{ "type": "repository", "name": "library/x", "actions": ["pull"] }],
    })
}

pub(super) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn decode(part: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}
