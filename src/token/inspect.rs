//! What a token is, told to an operator.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    TokenKind, Verifier,
    claims::{self, Audience, Claims},
};
use crate::identity::{Chain, LoginError};

/// What a token says, and whether it would be accepted. It holds nothing that could be used in the token's place.
#[derive(Debug)]
pub struct Inspection {
    pub kind: TokenKind,
    pub id: String,
    /// The id of the token that it was made from.
    pub parent: Option<String>,
    /// Empty for an anonymous caller.
    pub user: String,
    pub audience: String,
    /// Scopes of an access token, patterns of a deploy token, as text.
    pub allows: Vec<String>,
    /// Seconds since 1970.
    pub begins: u64,
    pub ends: u64,
    pub state: TokenState,
}

/// Why a token is not accepted, or that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    Good,
    /// Wrong signature, unknown key, another issuer, no registry of this configuration: it says nothing that counts.
    Foreign,
    Revoked,
    Early,
    Expired,
    /// The user is gone or disabled, or has another password than when it was made.
    UserChanged,
    /// A refresh token where there are none.
    SwitchedOff,
    /// Signed by a listed key, for a token service that no registry of this configuration has.
    OtherService,
    Unknown,
}

impl fmt::Display for TokenState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Good => "good",
            Self::Foreign => {
                "not accepted: no key of tokens.keys signed it for a registry of this configuration; what it says may be made up"
            }
            Self::SwitchedOff => "not accepted: tokens.refresh is off",
            Self::OtherService => {
                "not accepted: it was made here, for a token service that no registry of this configuration has"
            }
            Self::Revoked => "not accepted: revoked",
            Self::Early => "not accepted: it has not begun; compare the clocks",
            Self::Expired => "not accepted: expired",
            Self::UserChanged => {
                "not accepted: its user is gone or disabled, or has another password than when it was made"
            }
            Self::Unknown => "cannot tell: the identity source does not answer",
        })
    }
}

/// What a text says where it is a token of some kind of ours; `None` where it is not even that.
///
/// `services` are the token services of the registries that it could be for.
///
/// `refresh` is whether refresh tokens are switched on.
pub async fn inspect(
    token: &str,
    verifier: &Verifier,
    services: &[String],
    chain: &Chain,
    refresh: bool,
) -> Option<Inspection> {
    let kind = TokenKind::claimed(token)?;
    let claims = read(token)?;
    let service = services.iter().find(|service| verifier.check(kind, service, token).is_ok());
    let leeway = match kind {
        TokenKind::Access => claims::LEEWAY,
        TokenKind::Refresh | TokenKind::Deploy => 0,
    };
    let state = match service {
        None if verifier.was_made_here(kind, &claims, token) => TokenState::OtherService,
        None => TokenState::Foreign,
        Some(_) if kind == TokenKind::Refresh && !refresh => TokenState::SwitchedOff,
        Some(_) if verifier.is_revoked(&claims) => TokenState::Revoked,
        Some(_) if claims.nbf > claims::now().saturating_add(claims::LEEWAY) => TokenState::Early,
        Some(_) if claims.exp.saturating_add(leeway) < claims::now() => TokenState::Expired,
        Some(_) => standing(&claims, chain).await,
    };
    let scopes = claims.scopes();
    let patterns = claims.patterns();
    let scopes = scopes.iter().flat_map(|scopes| scopes.iter().map(ToString::to_string));
    let patterns = patterns.iter().flat_map(|patterns| patterns.iter().map(|pattern| format!("within {pattern}")));
    Some(Inspection {
        kind,
        allows: scopes.chain(patterns).collect(),
        id: claims.jti,
        parent: claims.parent.map(|parent| parent.jti),
        user: claims.sub,
        audience: match claims.aud {
            Audience::One(audience) => audience,
            Audience::Several(all) => all.join(", "),
        },
        begins: claims.nbf,
        ends: claims.exp,
        state,
    })
}

/// The claims, unchecked.
fn read(token: &str) -> Option<Claims> {
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

async fn standing(claims: &Claims, chain: &Chain) -> TokenState {
    let (Some(via), Some(proof)) = (&claims.via, &claims.prf) else { return TokenState::Good };
    match chain.recall(&claims.sub, via, proof).await {
        Ok(Some(_)) => TokenState::Good,
        Ok(None) | Err(LoginError::Rejected) => TokenState::UserChanged,
        Err(LoginError::Unavailable | LoginError::Overloaded | LoginError::Throttled { .. }) => TokenState::Unknown,
    }
}

/// A second since 1970 as RFC 3339 writes it, in UTC.
pub fn date(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| format!("second {seconds}"))
}
