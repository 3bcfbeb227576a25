//! The public keys as a JWK set, for registries and other consumers of our tokens.

use std::path::PathBuf;

use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};

use super::keys::{self, KeyError, Verifying};

/// The public keys of `tokens.keys`, in their order, as a JWK set (RFC 7517, RFC 8037) in indented JSON.
///
/// Each has `use`, `alg` and the `kid` that stands in the headers of our tokens: libtrust's fingerprint.
///
/// # Errors
/// The first file that is missing or cannot be used; none is made.
pub fn jwks(files: &[PathBuf]) -> Result<String, KeyError> {
    let loaded = keys::load_all(files)?;
    let keys = loaded.iter().map(|key| jwk(&key.id, &key.verifying)).collect::<Option<_>>();
    let set = JwkSet { keys: keys.ok_or(KeyError::Publishing)? };
    serde_json::to_string_pretty(&set).map_err(|_| KeyError::Publishing)
}

fn jwk(id: &str, key: &Verifying) -> Option<Jwk> {
    let mut jwk = Jwk::from_decoding_key(&key.key, Some(key.algorithm)).ok()?;
    jwk.common.key_id = Some(id.to_owned());
    jwk.common.public_key_use = Some(PublicKeyUse::Signature);
    Some(jwk)
}

#[cfg(test)]
mod tests;
