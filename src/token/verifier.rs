//! Token → principal with a scope limit.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Validation;

use super::{
    Keys,
    claims::{self, Claims, Header},
};
use crate::identity::{Chain, LoginError, Principal};

/// Why a token did not make a principal.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Malformed, forged, expired, wrong audience, subject gone or disabled or with another password: one text for all.
    #[error("invalid token")]
    Invalid,
    #[error("no identity source can answer now")]
    Unavailable,
}

/// Checks access tokens against the configured keys.
#[derive(Clone)]
pub struct Verifier {
    keys: Arc<Keys>,
    issuer: Arc<str>,
}

impl Verifier {
    /// `issuer` is what the claim `iss` must be.
    pub fn new(keys: Arc<Keys>, issuer: String) -> Self {
        Self { keys, issuer: issuer.into() }
    }

    /// Checks signature (algorithm fixed by the key that `kid` names), `typ`, `iss`, `aud`, `exp`, `nbf`, then asks the chain for
    /// the user's standing. The principal is limited to what the token carries, which may be nothing.
    ///
    /// # Errors
    /// [`VerifyError::Unavailable`] where the token is good and its user's provider cannot answer; else [`VerifyError::Invalid`].
    pub async fn authenticate(&self, service: &str, token: &str, chain: &Chain) -> Result<Principal, VerifyError> {
        let claims = self.verify(service, token).ok_or(VerifyError::Invalid)?;
        let principal = match (claims.sub.as_str(), &claims.via, &claims.prf) {
            ("", None, None) => Principal::anonymous(),
            (name, Some(via), Some(proof)) if !name.is_empty() => match chain.recall(name, via, proof).await {
                Ok(Some(user)) => Principal::user(user),
                Ok(None) | Err(LoginError::Rejected) => return Err(VerifyError::Invalid),
                Err(LoginError::Unavailable) => return Err(VerifyError::Unavailable),
            },
            _ => return Err(VerifyError::Invalid),
        };
        Ok(principal.limited(Arc::new(claims.scopes())))
    }

    /// The claims of a token that these keys signed for this service and that is in time. Nothing of it is believed before
    /// the signature is checked, but the name of the key.
    fn verify(&self, service: &str, token: &str) -> Option<Claims> {
        if token.len() > claims::LONGEST {
            return None;
        }
        let header = read_header(token)?;
        let key = self.keys.find(&header.kid)?;
        if header.typ != claims::TYPE || header.alg != key.algorithm_name {
            return None;
        }
        let mut validation = Validation::new(key.algorithm);
        validation.leeway = claims::LEEWAY;
        validation.validate_nbf = true;
        validation.set_required_spec_claims(&["exp", "iss", "sub", "aud"]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[service]);
        let claims: Claims = jsonwebtoken::decode(token, &key.key, &validation).ok()?.claims;
        claims.is_sane().then_some(claims)
    }
}

#[cfg(test)]
impl Verifier {
    /// True where the token is good, whoever its subject is.
    pub(super) fn accepts(&self, service: &str, token: &str) -> bool {
        self.verify(service, token).is_some()
    }
}

fn read_header(token: &str) -> Option<Header> {
    let (header, _) = token.split_once('.')?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()
}

#[cfg(test)]
mod tests;
