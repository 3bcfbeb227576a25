//! Why a token does not count, for the log alone.

/// What an operator is told of a token that does not count. A client is told the same of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    /// Whom it speaks for, where its signature is good.
    pub user: Option<String>,
    /// The id that it can be revoked by, or that of the token it was made from, where its signature is good.
    pub token: Option<String>,
}

/// The reasons, each a fixed word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No token of ours for this registry: malformed, forged, of another kind, signed by a key that is not listed, or for
    /// another service.
    Foreign,
    Early,
    Expired,
    Revoked,
    /// The user is gone or disabled, or has another password than when it was made.
    UserChanged,
    /// A deploy token that came with another name than its user's.
    OtherUser,
}

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Foreign => "invalid_token",
            Self::Early => "token_not_yet_valid",
            Self::Expired => "token_expired",
            Self::Revoked => "token_revoked",
            Self::UserChanged => "token_user_changed",
            Self::OtherUser => "token_of_another_user",
        }
    }
}

impl Refusal {
    pub(super) fn foreign() -> Self {
        Self { reason: Reason::Foreign, user: None, token: None }
    }
}
