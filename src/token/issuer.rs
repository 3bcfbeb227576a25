//! Principal + what is granted → token.

use std::{sync::Arc, time::Duration};

use super::{
    Keys,
    claims::{self, Audience, Claims, Entry, ParentClaim, TokenKind},
    keys::KeyError,
};
use crate::{
    identity::{Principal, User},
    registry::{ScopePatterns, ScopeSet},
};

/// A signed access token and its life in seconds, as the token endpoint's `expires_in` says it.
///
/// No `Debug`: a token is a secret while it lasts.
pub struct Issued {
    pub token: String,
    /// What the log names it by.
    pub id: String,
    /// At least 60: Docker takes anything less for 60.
    pub expires_in: u64,
}

/// A signed refresh or deploy token. No `Debug`, as with [`Issued`].
pub struct IssuedLong {
    pub token: String,
    /// What `tokens.revoked` names it by, and the log.
    pub id: String,
    /// The second since 1970 in which it expires.
    pub expires: u64,
}

/// Signs tokens with the first of the keys.
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

    /// `issuer` becomes the claim `iss`; `lifetime` is an access token's, and below a minute it is a minute.
    pub fn new(keys: Arc<Keys>, issuer: String, lifetime: Duration) -> Self {
        Self { keys, issuer: issuer.into(), lifetime: lifetime.as_secs().max(Self::SHORTEST) }
    }

    /// Signs an access token for `service`. `granted` is what the policy allows of what was asked; what a token has no
    /// room for (some 7 KiB of names) is left out.
    ///
    /// Where the principal came by a deploy token, that one's patterns and id go along. A token
    /// that was made from a long-lived one is not accepted after that one's end, whatever its own says.
    ///
    /// # Errors
    /// [`KeyError::Signing`] where the key or the system's randomness fails.
    pub fn issue(&self, service: &str, principal: &Principal, granted: &ScopeSet) -> Result<Issued, KeyError> {
        let parent = principal.parent();
        let left = parent.map_or(u64::MAX, |parent| parent.expires.saturating_sub(claims::now()));
        let lifetime = self.lifetime.min(left.max(Self::SHORTEST));
        let patterns = principal.limit().and_then(|limit| limit.patterns.as_deref());
        let claims = Claims {
            access: Some(Entry::write_all(granted)),
            grant: patterns.map(written),
            parent: parent.map(|parent| ParentClaim { jti: parent.id.to_string(), exp: parent.expires }),
            ..self.claims(TokenKind::Access, service, principal.as_user(), lifetime)?
        };
        Ok(Issued { token: self.keys.sign(TokenKind::Access, &claims)?, id: claims.jti, expires_in: lifetime })
    }

    /// Signs a refresh token: whoever sends it is the user, as long as the user's password stays what it is.
    ///
    /// # Errors
    /// As [`Issuer::issue`].
    pub fn issue_refresh(&self, service: &str, user: &User, lifetime: Duration) -> Result<IssuedLong, KeyError> {
        self.finish(TokenKind::Refresh, self.claims(TokenKind::Refresh, service, Some(user), lifetime.as_secs())?)
    }

    /// Signs a deploy token: whoever sends it as the user's password is the user, limited to the patterns.
    ///
    /// # Errors
    /// As [`Issuer::issue`].
    pub fn issue_deploy(
        &self,
        service: &str,
        user: &User,
        patterns: &ScopePatterns,
        lifetime: Duration,
    ) -> Result<IssuedLong, KeyError> {
        let claims = Claims {
            grant: Some(written(patterns)),
            ..self.claims(TokenKind::Deploy, service, Some(user), lifetime.as_secs())?
        };
        self.finish(TokenKind::Deploy, claims)
    }

    fn claims(&self, kind: TokenKind, service: &str, user: Option<&User>, lifetime: u64) -> Result<Claims, KeyError> {
        let now = claims::now();
        let issued_at = now.saturating_sub(claims::LEEWAY);
        Ok(Claims {
            iss: self.issuer.to_string(),
            sub: user.map_or_else(String::new, |user| user.name.to_string()),
            aud: Audience::One(kind.audience(service)),
            exp: now.saturating_add(lifetime),
            nbf: issued_at,
            iat: issued_at,
            jti: random_id()?,
            access: None,
            via: user.map(|user| user.via.to_string()),
            prf: user.map(|user| user.proof.as_str().to_owned()),
            grant: None,
            parent: None,
        })
    }

    fn finish(&self, kind: TokenKind, claims: Claims) -> Result<IssuedLong, KeyError> {
        Ok(IssuedLong { token: self.keys.sign(kind, &claims)?, id: claims.jti, expires: claims.exp })
    }
}

fn written(patterns: &ScopePatterns) -> Vec<String> {
    patterns.iter().map(ToString::to_string).collect()
}

/// 128 random bits in hexadecimal.
pub(super) fn random_id() -> Result<String, KeyError> {
    let mut bits = [0; 16];
    aws_lc_rs::rand::fill(&mut bits).map_err(|_| KeyError::Signing)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bits)))
}

#[cfg(test)]
mod tests;
