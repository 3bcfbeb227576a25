//! The kinds of token, their headers and their claims.
//!
//! Claims are those of distribution's token specification (`docs/content/spec/auth/jwt.md`), plus `via` (the provider that
//! proved the name), `prf` (a fingerprint of what proved it), `grant` (what a deploy token is limited to) and `parent` (the
//! id of the long-lived token that an access token was made from).

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::registry::{Scope, ScopePattern, ScopePatterns, ScopeSet};

/// What clocks may differ by, in seconds: `nbf` lies so far back, and `exp` and `nbf` are read with so much leeway.
pub(super) const LEEWAY: u64 = 60;

/// The longest token that is looked at, in bytes.
pub(super) const LONGEST: usize = 16 * 1024;

/// What the names in `access` may come to in a token that is made, in bytes, with an allowance for the rest of each entry;
/// in base64, with the other claims (a deploy token's patterns among them) and the longest of signatures it stays below
/// [`LONGEST`].
const LONGEST_ACCESS: usize = 7 * 1024;

/// The last second that RFC 3339 can write; a later date is no date.
const LAST_SECOND: u64 = 253_402_300_799;

/// What a token is for. Each kind has a `typ` and an `aud` of its own, so that none passes for another, also not with a
/// verifier that looks at the audience alone (RFC 8725 §3.9, §3.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Sent with each request; carries scopes.
    Access,
    /// Exchanged for access tokens at the token endpoint.
    Refresh,
    /// Used as a password; limited to patterns.
    Deploy,
}

impl TokenKind {
    const ALL: [Self; 3] = [Self::Access, Self::Refresh, Self::Deploy];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Refresh => "refresh",
            Self::Deploy => "deploy",
        }
    }

    /// The header's `typ`; `at+jwt` is RFC 9068's.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Access => "at+jwt",
            Self::Refresh => "refresh+jwt",
            Self::Deploy => "deploy+jwt",
        }
    }

    /// The audience at a registry with this token service. No host holds a slash, so none is another registry's service.
    pub(super) fn audience(self, service: &str) -> String {
        match self {
            Self::Access => service.to_owned(),
            Self::Refresh | Self::Deploy => format!("{service}/{}", self.as_str()),
        }
    }

    /// The kind that a text claims to be where it looks like a token of ours; nothing of it is believed.
    pub fn claimed(text: &str) -> Option<Self> {
        let header = Header::read(text)?;
        Self::ALL.into_iter().find(|kind| kind.media_type() == header.typ)
    }
}

/// All that a header of ours holds. Anything more (`crit`, `jwk`, `jku`, `x5c`, `x5u`, `zip`, `b64`) was not written here.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) typ: String,
    pub(super) alg: String,
    pub(super) kid: String,
}

impl Header {
    /// `None` where there is none, or the token is longer than any of ours.
    pub(super) fn read(token: &str) -> Option<Self> {
        if token.len() > LONGEST {
            return None;
        }
        let (header, _) = token.split_once('.')?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()
    }
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
    /// In access tokens alone, and always there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) access: Option<Vec<Entry>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) via: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) prf: Option<String>,
    /// Patterns with actions, `team-a/**:pull,push`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) grant: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) parent: Option<ParentClaim>,
}

/// The long-lived token that an access token was made from.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ParentClaim {
    pub(super) jti: String,
    pub(super) exp: u64,
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
    /// False where a date is none, where there are more entries than a token of ours holds, or where a claim is another
    /// kind's.
    pub(super) fn is_sane(&self, kind: TokenKind) -> bool {
        let dates = [self.exp, self.nbf, self.iat].iter().all(|&date| date <= LAST_SECOND);
        let entries = self.access.as_ref().is_none_or(|access| access.len() <= ScopeSet::MAX);
        let named = !self.jti.is_empty() && !self.sub.is_empty();
        let fitting = match kind {
            TokenKind::Access => self.access.is_some(),
            TokenKind::Refresh => named && self.access.is_none() && self.grant.is_none() && self.parent.is_none(),
            TokenKind::Deploy => named && self.access.is_none() && self.grant.is_some() && self.parent.is_none(),
        };
        dates && entries && fitting
    }

    /// What the token carries. An entry that is not in our grammar gives nothing: there are no patterns among them.
    pub(super) fn scopes(&self) -> Option<ScopeSet> {
        let mut scopes = ScopeSet::default();
        for scope in self.access.as_ref()?.iter().filter_map(Entry::read) {
            scopes.add(scope);
        }
        Some(scopes)
    }

    /// What the deploy token behind it is limited to; one that cannot be read gives nothing.
    pub(super) fn patterns(&self) -> Option<ScopePatterns> {
        let patterns = self.grant.as_ref()?.iter();
        Some(patterns.filter_map(|text| ScopePattern::parse(text).ok()).collect())
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
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
