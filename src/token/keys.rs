//! Signing keys: load, or create on first start.

use std::{
    collections::HashMap,
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::{
    digest,
    encoding::{AsDer as _, PublicKeyX509Der},
    hmac,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey, Header,
    crypto::{self, aws_lc},
};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};
use serde::Serialize;
use zeroize::Zeroizing;

use super::{
    claims::{Claims, TokenKind},
    create::{HOW_TO_MAKE, can_be_made, create},
    passed,
    signing::Pair,
};
use crate::config::{open_regular, others_may_read};

/// Why there are no keys, or no signature.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file that cannot be used, and what to do about it.
    #[error("token key {path}: {reason}")]
    Unusable { path: PathBuf, reason: String },
    /// The list of files is empty.
    #[error("tokens.keys names no file")]
    None,
    /// All keys are for EdDSA, which docker-registry 2.8 cannot read.
    #[error(
        "none of tokens.keys is for ES256 or RS256, the only algorithms that every registry reads: add such a key, in \
         any place, made by: {HOW_TO_MAKE} FILE"
    )]
    NoneForRegistries,
    /// The key or the system's source of randomness failed.
    #[error("cannot sign a token")]
    Signing,
    /// A key that signs, and whose public side cannot be written down.
    #[error("cannot write a public key")]
    Publishing,
}

/// The first signs, all verify.
pub struct Keys {
    signing: Signing,
    /// The first that any registry can verify.
    passing: Option<Signing>,
    verifying: HashMap<String, Verifying>,
    /// Keys for the seals of upload sessions, one for each token key, in their order.
    sealing: (hmac::Key, Vec<hmac::Key>),
}

struct Signing {
    id: String,
    algorithm: Algorithm,
    pair: Arc<Pair>,
}

/// A public key, and the one algorithm it is for.
pub(super) struct Verifying {
    pub(super) algorithm: Algorithm,
    /// The algorithm's name in a header (RFC 7518 §3.1, RFC 8037 §3.1).
    pub(super) algorithm_name: &'static str,
    pub(super) key: DecodingKey,
}

impl Keys {
    /// Loads every file: an unencrypted private key in PEM (PKCS#8, SEC1 or PKCS#1) for P-256 (ES256), RSA of 2048 to 8192 bits
    /// (RS256) or Ed25519 (EdDSA).
    ///
    /// The first is made where it does not exist, a P-256 key that only its owner can read. Of two processes that start at once,
    /// one makes it and both use it. A file that others can read is a warning in the log.
    ///
    /// # Errors
    /// The first file that cannot be read, made or used.
    pub fn load_or_create(files: &[PathBuf]) -> Result<Self, KeyError> {
        if let Some(first) = files.first()
            && !exists(first)?
        {
            create(first)?;
            tracing::warn!(file = %first.display(), "made a new signing key; tokens that another one signed are not accepted");
        }
        Self::open(files)
    }

    /// Loads what is there, for what must not make a key.
    ///
    /// # Errors
    /// The first file that is missing, or cannot be read or used.
    pub fn open(files: &[PathBuf]) -> Result<Self, KeyError> {
        Self::of(load_all(files)?)
    }

    /// Loads without creating (for `check`); a missing first file is fine where it could be made. False where none of
    /// the keys can sign what `pass_token` passes on.
    ///
    /// # Errors
    /// Every file that [`Keys::load_or_create`] could not use.
    pub fn check(files: &[PathBuf]) -> Result<bool, Vec<KeyError>> {
        let Some((first, others)) = files.split_first() else {
            return Err(vec![KeyError::None]);
        };
        let mut passes = false;
        let mut errors = Vec::new();
        for checked in std::iter::once(check_first(first)).chain(others.iter().map(|file| load(file).map(Some))) {
            match checked {
                // One that is made is for ES256.
                Ok(key) => passes |= key.is_none_or(|key| key.is_for_registries()),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(passes) } else { Err(errors) }
    }

    fn of(keys: Vec<Loaded>) -> Result<Self, KeyError> {
        let signing = Signing::new(keys.first().ok_or(KeyError::None)?);
        let passing = keys.iter().find(|key| key.is_for_registries()).map(Signing::new);
        let mut verifying = HashMap::new();
        let mut sealing = Vec::new();
        for key in keys {
            verifying.insert(key.id, key.verifying);
            sealing.push(key.sealing);
        }
        let mut sealing = sealing.into_iter();
        let newest = sealing.next().ok_or(KeyError::None)?;
        Ok(Self { signing, passing, verifying, sealing: (newest, sealing.collect()) })
    }

    /// The `kid` of the tokens signed here.
    #[cfg(test)]
    pub(super) fn signing_id(&self) -> &str {
        &self.signing.id
    }

    pub(super) fn sign(&self, kind: TokenKind, claims: &Claims) -> Result<String, KeyError> {
        self.signing.sign(kind.media_type(), claims)
    }

    /// The key for new seals.
    pub(super) fn sealing(&self) -> &hmac::Key {
        &self.sealing.0
    }

    /// The keys that a seal may have been made with.
    pub(super) fn unsealing(&self) -> impl Iterator<Item = &hmac::Key> {
        std::iter::once(&self.sealing.0).chain(&self.sealing.1)
    }

    /// True where [`Keys::sign_passed`] can.
    pub(super) fn can_pass(&self) -> bool {
        self.passing.is_some()
    }

    /// The `kid` of what [`Keys::sign_passed`] signs: a fingerprint of its key.
    pub(super) fn passing_id(&self) -> Option<&str> {
        self.passing.as_ref().map(|key| &*key.id)
    }

    /// Signs what a registry is shown, with the first key that any registry can verify.
    pub(super) fn sign_passed(&self, claims: &passed::Claims<'_>) -> Result<String, KeyError> {
        self.passing.as_ref().ok_or(KeyError::NoneForRegistries)?.sign(passed::TYPE, claims)
    }

    /// The key that a header names; only those of the configuration are ever looked at.
    pub(super) fn find(&self, id: &str) -> Option<&Verifying> {
        self.verifying.get(id)
    }
}

impl Signing {
    fn new(key: &Loaded) -> Self {
        Self { id: key.id.clone(), algorithm: key.verifying.algorithm, pair: Arc::clone(&key.pair) }
    }

    /// `kind` is the header's `typ`.
    fn sign(&self, kind: &str, claims: &impl Serialize) -> Result<String, KeyError> {
        let mut header = Header::new(self.algorithm);
        header.typ = Some(kind.to_owned());
        header.kid = Some(self.id.clone());
        self.pair.token(&header, claims)
    }
}

/// The folder of a file; `.` for a bare name.
pub(super) fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

pub(super) fn unusable(path: &Path, reason: impl Into<String>) -> KeyError {
    KeyError::Unusable { path: path.to_owned(), reason: reason.into() }
}

pub(super) fn missing_folder(file: &Path) -> KeyError {
    let folder = folder_of(file).display();
    unusable(file, format!("the folder {folder} does not exist; create it, owned by the account of this process"))
}

/// `None` where it would be made.
fn check_first(file: &Path) -> Result<Option<Loaded>, KeyError> {
    if exists(file)? {
        return load(file).map(Some);
    }
    if !folder_of(file).is_dir() {
        return Err(missing_folder(file));
    }
    can_be_made(file).map(|()| None)
}

fn exists(file: &Path) -> Result<bool, KeyError> {
    // Not `try_exists`: a link to nowhere is there, and must not be taken for a first start.
    match fs::symlink_metadata(file) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(unusable(file, error.to_string())),
    }
}

/// One key file, read.
pub(super) struct Loaded {
    pub(super) id: String,
    pair: Arc<Pair>,
    pub(super) verifying: Verifying,
    sealing: hmac::Key,
}

impl Loaded {
    /// True for the algorithms that docker-registry 2.8 reads as well as its successors.
    pub(super) fn is_for_registries(&self) -> bool {
        matches!(self.verifying.algorithm, Algorithm::ES256 | Algorithm::RS256)
    }
}

/// Loads the files for what they publish, in their order, and makes none.
///
/// # Errors
/// The first file that cannot be read or used. Of a first one that is missing it says how it comes into being.
pub(super) fn load_all(files: &[PathBuf]) -> Result<Vec<Loaded>, KeyError> {
    let first = files.first().ok_or(KeyError::None)?;
    if !exists(first)? {
        let reason = format!(
            "the file does not exist; portcullis serve makes it on first start, or: {HOW_TO_MAKE} {}",
            first.display()
        );
        return Err(unusable(first, reason));
    }
    files.iter().map(|file| load(file)).collect()
}

fn load(file: &Path) -> Result<Loaded, KeyError> {
    let mut pem = Zeroizing::new(Vec::new());
    let read = open_regular(file).and_then(|mut opened| opened.read_to_end(&mut pem));
    read.map_err(|error| unusable(file, reading(&error)))?;
    if pem.iter().all(u8::is_ascii_whitespace) {
        return Err(unusable(file, "the file is empty; put a key there, or remove it to have one made"));
    }
    warn_if_shared(file);
    let der = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| unusable(file, "not an unencrypted private key in PEM (PKCS#8, SEC1 or PKCS#1)"))?;
    let loaded = parse(&der).map_err(|reason| unusable(file, reason))?;
    if !signs(&loaded) {
        return Err(unusable(file, "what the key signs cannot be verified with its public key; make a new one"));
    }
    Ok(loaded)
}

/// Tries the key, so that a bad one is found at the start and not at the first login.
fn signs(loaded: &Loaded) -> bool {
    const MESSAGE: &[u8] = b"portcullis";
    // The first installation counts: features of other crates cannot change the choice afterwards.
    let _ = aws_lc::DEFAULT_PROVIDER.install_default();
    let Verifying { algorithm, key, .. } = &loaded.verifying;
    let signature = loaded.pair.sign(MESSAGE).map(|signature| URL_SAFE_NO_PAD.encode(signature));
    signature.is_ok_and(|text| crypto::verify(&text, MESSAGE, key, *algorithm).unwrap_or(false))
}

fn reading(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound {
        "the file does not exist; only the first of tokens.keys is made where it is missing".to_owned()
    } else {
        error.to_string()
    }
}

fn warn_if_shared(file: &Path) {
    if others_may_read(file) {
        tracing::warn!(file = %file.display(), "token key can be read by others than its owner; chmod 600 it");
    }
}

fn parse(der: &PrivateKeyDer<'_>) -> Result<Loaded, &'static str> {
    const UNKNOWN: &str = "not a key for P-256, Ed25519, or RSA of 2048 to 8192 bits";
    match der {
        PrivateKeyDer::Sec1(key) => p256(key.secret_sec1_der()),
        PrivateKeyDer::Pkcs1(key) => {
            let der = key.secret_pkcs1_der();
            RsaKeyPair::from_der(der).ok().and_then(|pair| rsa(der, pair))
        }
        PrivateKeyDer::Pkcs8(key) => {
            let der = key.secret_pkcs8_der();
            p256(der)
                .or_else(|| ed25519(der))
                .or_else(|| RsaKeyPair::from_pkcs8(der).ok().and_then(|pair| rsa(der, pair)))
        }
        _ => None,
    }
    .ok_or(UNKNOWN)
}

fn p256(der: &[u8]) -> Option<Loaded> {
    let pair = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, der).ok()?;
    let pkcs8 = pair.to_pkcs8v1().ok()?;
    let public = pair.public_key();
    Some(Loaded {
        id: key_id(&public.as_der().ok()?),
        sealing: sealing_key(pkcs8.as_ref()),
        verifying: Verifying {
            algorithm: Algorithm::ES256,
            algorithm_name: "ES256",
            key: DecodingKey::from_ec_der(public.as_ref()),
        },
        pair: Arc::new(Pair::P256(pair)),
    })
}

fn ed25519(pkcs8: &[u8]) -> Option<Loaded> {
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8).ok()?;
    let public = pair.public_key();
    Some(Loaded {
        id: key_id(&public.as_der().ok()?),
        sealing: sealing_key(pkcs8),
        verifying: Verifying {
            algorithm: Algorithm::EdDSA,
            algorithm_name: "EdDSA",
            key: DecodingKey::from_ed_der(public.as_ref()),
        },
        pair: Arc::new(Pair::Ed25519(pair)),
    })
}

/// `pair` has been checked for its size.
fn rsa(der: &[u8], pair: RsaKeyPair) -> Option<Loaded> {
    let public = pair.public_key();
    Some(Loaded {
        id: key_id(&public.as_der().ok()?),
        sealing: sealing_key(der),
        verifying: Verifying {
            algorithm: Algorithm::RS256,
            algorithm_name: "RS256",
            key: DecodingKey::from_rsa_der(public.as_ref()),
        },
        pair: Arc::new(Pair::Rsa(pair)),
    })
}

/// A key for another purpose, made from a private key's encoding: whoever has the same file has the same key, and it
/// says nothing of the private key.
fn sealing_key(private: &[u8]) -> hmac::Key {
    let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, private), b"portcullis upload sessions");
    hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref())
}

/// libtrust's fingerprint, which registry 2.8 looks keys up by: the first 240 bits of the SHA-256 of the public key
/// (SubjectPublicKeyInfo, DER) in base32 (RFC 4648 §6), in twelve groups of four.
fn key_id(public: &PublicKeyX509Der<'_>) -> String {
    fingerprint(public.as_ref())
}

pub(super) fn fingerprint(subject_public_key_info: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let digest = digest::digest(&digest::SHA256, subject_public_key_info);
    // Five bytes are eight letters.
    let fives =
        digest.as_ref().chunks_exact(5).map(|five| five.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte)));
    let numbers = fives.flat_map(|bits| (0..8).rev().map(move |letter| bits >> (5 * letter) & 31));
    let letters: Vec<u8> = numbers.filter_map(|number| ALPHABET.get(usize::try_from(number).ok()?).copied()).collect();
    let groups: Vec<_> = letters.chunks(4).map(String::from_utf8_lossy).collect();
    groups.join(":")
}

#[cfg(test)]
mod tests;
