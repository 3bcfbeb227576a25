//! Tokens signed: a key is read and checked once, not at each signature.

use aws_lc_rs::{
    error::Unspecified,
    rand::SystemRandom,
    signature::{EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Header;
use serde::Serialize;

use super::KeyError;

/// A private key that is ready to sign.
pub(super) enum Pair {
    /// ES256, with signatures of fixed length (RFC 7518 §3.4).
    P256(EcdsaKeyPair),
    /// RS256.
    Rsa(RsaKeyPair),
    /// EdDSA.
    Ed25519(Ed25519KeyPair),
}

impl Pair {
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature = match self {
            Self::P256(pair) => pair.sign(&SystemRandom::new(), message).map(|signature| signature.as_ref().to_vec()),
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).map(|()| signature)
            }
            Self::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        };
        signature.map_err(|Unspecified| KeyError::Signing)
    }

    /// A token in compact form (RFC 7515 §7.1). The header must name this key's algorithm.
    ///
    /// # Errors
    /// [`KeyError::Signing`] where the system has no randomness.
    pub(super) fn token(&self, header: &Header, claims: &impl Serialize) -> Result<String, KeyError> {
        let mut token = String::new();
        append(&mut token, serde_json::to_vec(header).map_err(|_| KeyError::Signing)?);
        token.push('.');
        append(&mut token, serde_json::to_vec(claims).map_err(|_| KeyError::Signing)?);
        let signature = self.sign(token.as_bytes())?;
        token.push('.');
        append(&mut token, signature);
        Ok(token)
    }
}

fn append(token: &mut String, part: Vec<u8>) {
    URL_SAFE_NO_PAD.encode_string(part, token);
}
