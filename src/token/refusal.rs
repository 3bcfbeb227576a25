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

/// Why a token is none of ours for this registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Malformed,
    /// Signed by a key that is not listed, or with another algorithm than the key's.
    Key,
    /// A token for something else.
    Kind,
    Signature,
    /// For another registry.
    Audience,
    Issuer,
}

/// The reasons, each a fixed word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No token of ours for this registry.
    Foreign(Fault),
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
            Self::Foreign(_) => "invalid_token",
            Self::Early => "token_not_yet_valid",
            Self::Expired => "token_expired",
            Self::Revoked => "token_revoked",
            Self::UserChanged => "token_user_changed",
            Self::OtherUser => "token_of_another_user",
        }
    }
}

impl Reason {
    /// What metrics say of it.
    pub(super) fn outcome(self) -> &'static str {
        match self {
            Self::Foreign(fault) => match fault {
                Fault::Malformed => "malformed",
                Fault::Key => "unknown_key",
                Fault::Kind => "other_kind",
                Fault::Signature => "bad_signature",
                Fault::Audience => "wrong_audience",
                Fault::Issuer => "wrong_issuer",
            },
            Self::Early => "not_yet_valid",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::UserChanged => "user_changed",
            Self::OtherUser => "other_user",
        }
    }
}

impl Refusal {
    pub(super) fn foreign(fault: Fault) -> Self {
        Self { reason: Reason::Foreign(fault), user: None, token: None }
    }
}
