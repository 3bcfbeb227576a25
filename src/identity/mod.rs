//! Who is asking: credentials, providers, principals.

mod admission;
mod basic;
mod cache;
mod chain;
mod htpasswd;
mod ldap;
mod network;
mod spelling;
mod throttle;
mod turns;
mod workers;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

pub use basic::{BasicCredentials, BasicError};
pub use chain::{Chain, ChainError, LoginError, Step, Trial};
pub use htpasswd::{Htpasswd, HtpasswdProblem, check_user, hash_password};
pub use ldap::{DirectoryProblem, DirectoryState, DirectoryTrouble};
pub use throttle::Barred;

use self::turns::Turns;
use crate::{
    config::{GroupKey, Secret},
    registry::{Actions, RepositoryName, ScopePatterns, ScopeSet},
};

/// What came as `Authorization`. Malformed is not none.
#[derive(Debug)]
pub enum Credentials {
    None,
    Basic(BasicCredentials),
    Bearer(String),
    /// Two headers, an unknown scheme, or something unreadable.
    Malformed,
}

/// A short, non-reversible fingerprint of what proved a login (the htpasswd line's hash, the directory's account with the
/// time of its password). Tokens carry it; a changed password changes it where [`Proof::binds_password`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proof(pub(crate) Arc<str>);

impl Proof {
    /// Begins a proof that stays the same where the password changes.
    const WITHOUT_PASSWORD: char = '~';

    /// A proof of the account alone, where nobody says when its password changed.
    pub(crate) fn without_password(text: &str) -> Self {
        Self(format!("{}{text}", Self::WITHOUT_PASSWORD).into())
    }

    /// True where a changed password changes it.
    pub fn binds_password(&self) -> bool {
        !self.0.starts_with(Self::WITHOUT_PASSWORD)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a provider says of a user it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The provider's own spelling of the name, never what was typed.
    pub name: Arc<str>,
    /// Groups that the provider itself brings.
    pub groups: Vec<GroupKey>,
    pub proof: Proof,
}

/// The four outcomes of asking a provider; the fourth is the error.
#[derive(Clone, Debug)]
pub enum Outcome {
    Accepted(Standing),
    /// Knows the user, and the password is wrong: no other provider is asked.
    Rejected,
    /// Does not know the user.
    Unknown,
}

/// The provider cannot tell at the moment.
#[derive(Clone, Debug, thiserror::Error)]
#[error("identity provider {provider} cannot answer: {reason}")]
pub struct ProviderError {
    pub provider: String,
    pub reason: String,
}

/// A source of users.
#[async_trait]
pub trait Provider: Send + Sync {
    /// A fixed word for tokens, logs and metrics, e.g. `htpasswd`.
    fn name(&self) -> &str;
    /// Checks a login. An unknown user costs the same as a known one.
    async fn authenticate(&self, login: &BasicCredentials) -> Result<Outcome, ProviderError>;
    /// The present standing of a user that this provider accepted earlier; None where it is gone.
    async fn standing(&self, user: &str) -> Result<Option<Standing>, ProviderError>;
    /// The same as the provider says at this moment, where it can be asked; never from memory then.
    async fn standing_now(&self, user: &str) -> Result<Option<Standing>, ProviderError> {
        self.standing(user).await
    }
    /// True where the name is this provider's, though its user may be unable to log in: no provider after it is asked.
    async fn knows(&self, user: &str) -> Result<bool, ProviderError> {
        Ok(self.standing(user).await?.is_some())
    }
    /// Checks a login as `authenticate` does, and tells what was asked and what came back, in words for who administers
    /// the gate. Without a password it finds out what a login with the right one would come to.
    async fn trial(&self, user: &str, password: Option<&Secret>) -> (Vec<String>, Result<Outcome, ProviderError>) {
        let login = |password: &Secret| BasicCredentials { username: user.to_owned(), password: password.clone() };
        let outcome = match password.map(login) {
            Some(login) => self.authenticate(&login).await,
            None => match self.standing(user).await {
                Ok(Some(standing)) => Ok(Outcome::Accepted(standing)),
                Ok(None) => {
                    self.knows(user).await.map(|knows| if knows { Outcome::Rejected } else { Outcome::Unknown })
                }
                Err(error) => Err(error),
            },
        };
        (Vec::new(), outcome)
    }
    /// Spends what `authenticate` costs for an unknown user, and tells nothing. Called where a refusal is certain
    /// without this provider, so that the time of the answer does not say so.
    async fn spend(&self) {}
    /// How long `authenticate` takes to refuse somebody, whoever it is, as far as is known: a refusal waits for so long.
    /// Zero where all refusals take the same, and `spend` as long as they.
    fn longest_refusal(&self) -> Duration {
        Duration::ZERO
    }
    /// True where it takes several spellings for one name.
    fn folds_names(&self) -> bool {
        false
    }
    /// True where checking is computing: then logins are checked in turns, so many at a time as there are threads for it.
    fn computes(&self) -> bool {
        false
    }
    /// Where it checks only so many logins at a time for another reason: the turns for that.
    fn turns(&self) -> Option<&Arc<Turns>> {
        None
    }
}

/// A user that a provider accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: Arc<str>,
    /// Those that the configuration gives it. Compared byte by byte.
    pub groups: Vec<Arc<str>>,
    /// Those that its provider brings. Compared without regard to letter case.
    pub directory_groups: Vec<GroupKey>,
    /// The provider's name.
    pub via: Arc<str>,
    pub proof: Proof,
}

/// Who is asking, as far as anything later may know. Made in `identity` and by the token verifier alone.
///
/// Nothing outside the crate can make one: this compiles,
///
/// ```
/// use portcullis::identity::{Principal, User};
///
/// fn somebody(principal: Principal, user: User) -> Principal {
///     principal
/// }
/// ```
///
/// and none of these, which differ in one line.
///
/// ```compile_fail,E0451
/// use portcullis::identity::{Principal, User};
///
/// fn somebody(principal: Principal, user: User) -> Principal {
///     Principal { user: Some(user.into()), limit: None, parent: None, access_token: None }
/// }
/// ```
///
/// ```compile_fail,E0451
/// use portcullis::identity::{Principal, User};
///
/// fn somebody(principal: Principal, user: User) -> Principal {
///     Principal { limit: None, ..principal }
/// }
/// ```
///
/// ```compile_fail,E0624
/// use portcullis::identity::{Principal, User};
///
/// fn somebody(principal: Principal, user: User) -> Principal {
///     Principal::anonymous()
/// }
/// ```
///
/// ```compile_fail,E0624
/// use portcullis::identity::{Principal, User};
///
/// fn somebody(principal: Principal, user: User) -> Principal {
///     Principal::user(user.into())
/// }
/// ```
///
/// ```compile_fail,E0599
/// use portcullis::identity::{Principal, User};
///
/// fn somebody(principal: Principal, user: User) -> Principal {
///     Principal::default()
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Principal {
    user: Option<Arc<User>>,
    limit: Option<Limit>,
    parent: Option<Parent>,
    access_token: Option<Arc<str>>,
}

/// What a token leaves of what the policy allows its bearer; with neither part it leaves everything.
#[derive(Clone, Debug, Default)]
pub struct Limit {
    /// The scopes of an access token.
    pub scopes: Option<Arc<ScopeSet>>,
    /// The patterns of a deploy token, also where an access token was made from it.
    pub patterns: Option<Arc<ScopePatterns>>,
}

/// The refresh or deploy token that a caller came by, directly or through an access token made from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Its id, by which it can be revoked.
    pub id: Arc<str>,
    /// The second since 1970 in which it expires.
    pub expires: u64,
}

impl Principal {
    /// Nothing was sent. Not for anything that was sent and did not check out.
    pub(crate) fn anonymous() -> Self {
        Self { user: None, limit: None, parent: None, access_token: None }
    }

    pub(crate) fn user(user: Arc<User>) -> Self {
        Self { user: Some(user), limit: None, parent: None, access_token: None }
    }

    /// The bearer of a token: at most what the token says.
    pub(crate) fn limited(self, limit: Limit) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// The bearer of a long-lived token, or of one that was made from it.
    pub(crate) fn through(self, parent: Parent) -> Self {
        Self { parent: Some(parent), ..self }
    }

    /// The bearer of the access token with this id.
    pub(crate) fn bearing(self, access_token: Arc<str>) -> Self {
        Self { access_token: Some(access_token), ..self }
    }

    pub fn name(&self) -> Option<&str> {
        self.user.as_deref().map(|user| &*user.name)
    }

    pub fn as_user(&self) -> Option<&User> {
        self.user.as_deref()
    }

    pub fn shared_user(&self) -> Option<&Arc<User>> {
        self.user.as_ref()
    }

    /// The id of the access token that was sent.
    pub fn access_token(&self) -> Option<&Arc<str>> {
        self.access_token.as_ref()
    }

    /// What a token limits the caller to; None where no token was sent.
    pub fn limit(&self) -> Option<&Limit> {
        self.limit.as_ref()
    }

    /// The refresh or deploy token that the caller came by.
    pub fn parent(&self) -> Option<&Parent> {
        self.parent.as_ref()
    }

    /// What the caller's token carries on a repository: every action where no token was sent.
    pub fn carries(&self, repository: &RepositoryName) -> Actions {
        let scopes = |limit: &Limit| limit.scopes.as_ref().map_or(Actions::ALL, |scopes| scopes.actions_on(repository));
        self.limit.as_ref().map_or(Actions::ALL, scopes).intersection(self.reaches(repository))
    }

    /// What the caller could get a token for: every action, but for the bearer of a deploy token.
    pub fn reaches(&self, repository: &RepositoryName) -> Actions {
        let patterns = self.limit.as_ref().and_then(|limit| limit.patterns.as_ref());
        patterns.map_or(Actions::ALL, |patterns| patterns.actions_on(repository, self.name()))
    }
}
