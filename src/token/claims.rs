//! The header and the claims of an access token.
//!
//! Claims are those of distribution's token specification (`docs/content/spec/auth/jwt.md`), plus `via` (the provider that
//! proved the name) and `prf` (a fingerprint of what proved it). The header's `typ` keeps an access token apart from any
//! other kind that the same keys sign (RFC 8725 §3.11); `at+jwt` is RFC 9068's.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::registry::{Scope, ScopeSet};

/// The `typ` of an access token.
pub(super) const TYPE: &str = "at+jwt";

/// What clocks may differ by, in seconds: `nbf` lies so far back, and `exp` and `nbf` are read with so much leeway.
pub(super) const LEEWAY: u64 = 60;

/// The longest token that is looked at, in bytes.
pub(super) const LONGEST: usize = 16 * 1024;

/// What the names in `access` may come to in a token that is made, in bytes, with an allowance for the rest of each entry;
/// in base64 and with the other claims it stays below [`LONGEST`].
const LONGEST_ACCESS: usize = 8 * 1024;

/// The last second that RFC 3339 can write; a later date is no date.
const LAST_SECOND: u64 = 253_402_300_799;

/// All that a header of ours holds. Anything more (`crit`, `jwk`, `jku`, `x5c`, `x5u`, `zip`, `b64`) was not written here.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) typ: String,
    pub(super) alg: String,
    pub(super) kid: String,
}

/// Dates are whole seconds since 1970. Names are exact: `Access` is not `access`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    /// Empty for an anonymous caller.
    pub(super) sub: String,
    pub(super) aud: Audience,
    pub(super) exp: u64,
    #[serde(default)]
    pub(super) nbf: u64,
    #[serde(default)]
    pub(super) iat: u64,
    #[serde(default)]
    pub(super) jti: String,
    pub(super) access: Vec<Entry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) via: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) prf: Option<String>,
}

/// RFC 7519 §4.1.3: one string or several. We write one, since registry 2.8 reads no more.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Audience {
    One(String),
    Several(Vec<String>),
}

/// One entry of `access`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    r#type: String,
    name: String,
    actions: Vec<String>,
}

impl Claims {
    /// False where a date is none, or where there are more entries than a token of ours holds.
    pub(super) fn is_sane(&self) -> bool {
        [self.exp, self.nbf, self.iat].iter().all(|&date| date <= LAST_SECOND) && self.access.len() <= ScopeSet::MAX
    }

    /// What the token carries. An entry that is not in our grammar gives nothing: there are no patterns inside tokens.
    pub(super) fn scopes(&self) -> ScopeSet {
        let mut scopes = ScopeSet::default();
        for scope in self.access.iter().filter_map(Entry::read) {
            scopes.add(scope);
        }
        scopes
    }
}

impl Entry {
    /// The entries for what was granted, as many as a token has room for: leaving some out can only narrow.
    pub(super) fn write_all(granted: &ScopeSet) -> Vec<Self> {
        const AROUND_A_NAME: usize = 64;
        let size = |scope: &Scope| scope.name().len().saturating_add(AROUND_A_NAME);
        let within_bounds = granted.iter().scan(0_usize, |total, scope| {
            *total = total.saturating_add(size(scope));
            (*total <= LONGEST_ACCESS).then_some(scope)
        });
        within_bounds.map(Self::write).collect()
    }

    fn write(scope: &Scope) -> Self {
        Self {
            r#type: scope.kind().to_owned(),
            name: scope.name().to_owned(),
            actions: scope.action_words().into_iter().map(str::to_owned).collect(),
        }
    }

    fn read(&self) -> Option<Scope> {
        Scope::from_claim(&self.r#type, &self.name, &self.actions)
    }
}

/// Whole seconds since 1970; 0 for a clock before that, with which no token is in time.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
