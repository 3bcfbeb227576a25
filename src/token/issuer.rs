//! Principal + granted scopes → token.

use std::{sync::Arc, time::Duration};

use super::{
    Keys,
    claims::{self, Audience, Claims, Entry},
    keys::KeyError,
};
use crate::{identity::Principal, registry::ScopeSet};

/// A signed access token and its life in seconds, as the token endpoint's `expires_in` says it.
///
/// No `Debug`: a token is a secret while it lasts.
pub struct Issued {
    pub token: String,
    /// At least 60: Docker takes anything less for 60.
    pub expires_in: u64,
}

/// Signs access tokens with the first of the keys.
#[derive(Clone)]
pub struct Issuer {
    keys: Arc<Keys>,
    issuer: Arc<str>,
    /// Seconds.
    lifetime: u64,
}

impl Issuer {
    /// The shortest life of a token in seconds.
    const SHORTEST: u64 = 60;

    /// `issuer` becomes the claim `iss`; a lifetime below a minute is a minute.
    pub fn new(keys: Arc<Keys>, issuer: String, lifetime: Duration) -> Self {
        Self { keys, issuer: issuer.into(), lifetime: lifetime.as_secs().max(Self::SHORTEST) }
    }

    /// Signs an access token for `service`. `granted` is what the policy allows of what was asked; what a
    /// token has no room for (some 8 KiB of names) is left out. A token limit of the principal itself is not looked at.
    ///
    /// # Errors
    /// [`KeyError::Signing`] where the key or the system's randomness fails.
    pub fn issue(&self, service: &str, principal: &Principal, granted: &ScopeSet) -> Result<Issued, KeyError> {
        let user = principal.as_user();
        let now = claims::now();
        let issued_at = now.saturating_sub(claims::LEEWAY);
        let claims = Claims {
            iss: self.issuer.to_string(),
            sub: user.map_or_else(String::new, |user| user.name.to_string()),
            aud: Audience::One(service.to_owned()),
            exp: now.saturating_add(self.lifetime),
            nbf: issued_at,
            iat: issued_at,
            jti: random_id()?,
            access: Entry::write_all(granted),
            via: user.map(|user| user.via.to_string()),
            prf: user.map(|user| user.proof.as_str().to_owned()),
        };
        Ok(Issued { token: self.keys.sign(&claims)?, expires_in: self.lifetime })
    }
}

/// 128 random bits in hexadecimal.
pub(super) fn random_id() -> Result<String, KeyError> {
    let mut bits = [0; 16];
    aws_lc_rs::rand::fill(&mut bits).map_err(|_| KeyError::Signing)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bits)))
}

#[cfg(test)]
mod tests;
