//! Permit → the token that the registry behind is shown, where it verifies tokens itself.

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;
use serde::Serialize;

use super::{
    Keys,
    claims::{self, Entry},
    issuer::random_id,
    keys::KeyError,
};
use crate::registry::ScopeSet;

/// The `typ` of a passed token. It is not an access token's, so that the gate takes none for one.
pub(super) const TYPE: &str = "JWT";

/// Seconds that a passed token is good for.
const LIFETIME: u64 = 60;

/// How long one is used again: an RSA signature costs more than all the rest of a request. What is left of its life is for
/// the way to the registry.
const REUSED_FOR: Duration = Duration::from_secs(30);

/// Tokens kept, of about a KiB each.
const KEPT: u64 = 1024;

/// Claims of the lowest common denominator: one `aud`, whole seconds, nothing of our own.
#[derive(Serialize)]
pub(super) struct Claims<'a> {
    iss: &'a str,
    /// Empty for an anonymous caller.
    sub: &'a str,
    aud: &'a str,
    exp: u64,
    nbf: u64,
    iat: u64,
    jti: String,
    access: Vec<Entry>,
}

/// Signs what one registry is shown: short-lived tokens for one request's scopes, never a client's own.
pub struct Minter {
    keys: Arc<Keys>,
    issuer: String,
    service: String,
    /// By caller and scopes.
    recent: Cache<(String, String), Arc<str>>,
}

impl Minter {
    /// `issuer` becomes the claim `iss` and `service` the claim `aud`; the registry's configuration must say the same.
    ///
    /// # Errors
    /// [`KeyError::NoneForRegistries`] where no key is for ES256 or RS256.
    pub fn new(keys: Arc<Keys>, issuer: String, service: String) -> Result<Self, KeyError> {
        if !keys.can_pass() {
            return Err(KeyError::NoneForRegistries);
        }
        let recent = Cache::builder().max_capacity(KEPT).time_to_live(REUSED_FOR).build();
        Ok(Self { keys, issuer, service, recent })
    }

    /// True where both sign with the same key, for the same registry.
    pub fn signs_like(&self, other: &Self) -> bool {
        let key = |minter: &Self| minter.keys.passing_id().map(str::to_owned);
        key(self) == key(other) && self.issuer == other.issuer && self.service == other.service
    }

    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    pub fn service(&self) -> &str {
        &self.service
    }

    /// A token with at least half a minute to go, for `caller` (none: an anonymous one) and exactly these scopes.
    ///
    /// # Errors
    /// [`KeyError::Signing`] where the key or the system's randomness fails.
    pub fn token(&self, caller: Option<&str>, scopes: &ScopeSet) -> Result<Arc<str>, KeyError> {
        let caller = caller.unwrap_or_default();
        let wanted = (caller.to_owned(), scopes.to_string());
        if let Some(token) = self.recent.get(&wanted) {
            return Ok(token);
        }
        let token = Arc::from(self.mint(caller, scopes)?);
        self.recent.insert(wanted, Arc::clone(&token));
        Ok(token)
    }

    fn mint(&self, caller: &str, scopes: &ScopeSet) -> Result<String, KeyError> {
        let now = claims::now();
        let issued_at = now.saturating_sub(claims::LEEWAY);
        self.keys.sign_passed(&Claims {
            iss: &self.issuer,
            sub: caller,
            aud: &self.service,
            exp: now.saturating_add(LIFETIME),
            nbf: issued_at,
            iat: issued_at,
            jti: random_id()?,
            access: Entry::write_all(scopes),
        })
    }
}

#[cfg(test)]
mod tests;
