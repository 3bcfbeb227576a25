//! Token → principal.

use std::{collections::HashSet, sync::Arc, time::Duration};

use jsonwebtoken::{Validation, errors::ErrorKind};

use super::{
    Fault, Keys, Reason, Refusal, Sealed, Seals,
    claims::{self, Audience, Claims, Header, TokenKind},
    verified::{Subject, Verified, VerifiedTokens},
};
use crate::{
    identity::{BasicCredentials, Chain, Limit, LoginError, Parent, Principal},
    registry::{RepositoryName, UploadSession},
    telemetry::metrics,
};

/// Why a token did not make a principal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Malformed, forged, expired, revoked, wrong audience or kind, subject gone or disabled or with another password:
    /// one text for all.
    #[error("invalid token")]
    Invalid(Box<Refusal>),
    #[error("no identity source can answer now")]
    Unavailable,
}

/// Checks tokens against the configured keys.
///
/// A token whose signature was checked is remembered until it expires; in time, not revoked, and its user still there
/// with the same password: that is asked each time.
#[derive(Clone)]
pub struct Verifier {
    keys: Arc<Keys>,
    issuer: Arc<str>,
    revoked: Arc<HashSet<String>>,
    seals: Seals,
    /// Seconds for which an upload session goes on after its token expired.
    upload_grace: u64,
    verified: VerifiedTokens,
}

impl Verifier {
    /// `issuer` is what the claim `iss` must be; `revoked` holds ids of refresh and deploy tokens.
    pub fn new(keys: Arc<Keys>, issuer: String, revoked: HashSet<String>, upload_grace: Duration) -> Self {
        Self {
            seals: Seals::new(Arc::clone(&keys)),
            keys,
            issuer: issuer.into(),
            revoked: Arc::new(revoked),
            upload_grace: upload_grace.as_secs(),
            verified: VerifiedTokens::new(),
        }
    }

    /// The bearer of an access token: signature (algorithm fixed by the key that `kid` names), kind, `iss`, `aud`, `exp`,
    /// `nbf`, revocation of the token it was made from, then the user's standing. The principal is limited to what the
    /// token carries, which may be nothing.
    ///
    /// An upload session that its bearer opened while the token was good goes on for the grace time after its expiry; all
    /// else is asked as ever.
    ///
    /// # Errors
    /// [`VerifyError::Unavailable`] where the token is good and its user's provider cannot answer; else [`VerifyError::Invalid`].
    pub async fn access(
        &self,
        service: &str,
        token: &str,
        chain: &Chain,
        upload: Option<(&RepositoryName, &UploadSession)>,
    ) -> Result<Principal, VerifyError> {
        counted(TokenKind::Access, self.bearer(service, token, chain, upload).await)
    }

    async fn bearer(
        &self,
        service: &str,
        token: &str,
        chain: &Chain,
        upload: Option<(&RepositoryName, &UploadSession)>,
    ) -> Result<Principal, VerifyError> {
        let verified = self.verified(TokenKind::Access, service, token)?;
        let opened = || {
            let (repository, session) = upload?;
            let sealed = Sealed { service, repository, id: &session.id, subject: verified.subject_name() };
            self.seals.opened(sealed, session.seal.as_ref())
        };
        if !self.is_in_time(&verified, opened) {
            self.verified.forget(TokenKind::Access, service, token);
            return Err(verified.untimely(TokenKind::Access));
        }
        let principal = match &verified.subject {
            None => Principal::anonymous(),
            Some(subject) => standing(TokenKind::Access, &verified, subject, chain).await?,
        };
        let principal = principal.limited(verified.limit.clone()).bearing(Arc::clone(&verified.id));
        Ok(match &verified.parent {
            Some(parent) => principal.through(parent.clone()),
            None => principal,
        })
    }

    /// The user of a refresh token, not limited by it, as its provider knows it at this moment.
    ///
    /// # Errors
    /// As [`Verifier::access`].
    pub async fn refresh(&self, service: &str, token: &str, chain: &Chain) -> Result<Principal, VerifyError> {
        counted(TokenKind::Refresh, self.refreshed(service, token, chain).await)
    }

    async fn refreshed(&self, service: &str, token: &str, chain: &Chain) -> Result<Principal, VerifyError> {
        let verified = self.long_lived(TokenKind::Refresh, service, token)?;
        let subject = verified.subject.as_ref().ok_or_else(|| foreign(Fault::Malformed))?;
        let principal = standing(TokenKind::Refresh, &verified, subject, chain).await?;
        if principal.as_user().is_some_and(|user| !user.proof.binds_password()) {
            return Err(verified.refused(TokenKind::Refresh, Reason::UserChanged));
        }
        Ok(principal.through(parent(&verified)))
    }

    /// The user of a deploy token that came as a password, limited to its patterns. The name sent with it must be its
    /// user's.
    ///
    /// # Errors
    /// As [`Verifier::access`].
    pub async fn deploy(
        &self,
        service: &str,
        login: &BasicCredentials,
        chain: &Chain,
    ) -> Result<Principal, VerifyError> {
        counted(TokenKind::Deploy, self.deployed(service, login, chain).await)
    }

    async fn deployed(&self, service: &str, login: &BasicCredentials, chain: &Chain) -> Result<Principal, VerifyError> {
        let verified = self.long_lived(TokenKind::Deploy, service, login.password.reveal())?;
        let subject = verified.subject.as_ref().filter(|subject| subject.name == login.username);
        let subject = subject.ok_or_else(|| verified.refused(TokenKind::Deploy, Reason::OtherUser))?;
        let principal = standing(TokenKind::Deploy, &verified, subject, chain).await?;
        let limit = Limit { scopes: None, patterns: verified.limit.patterns.clone() };
        Ok(principal.limited(limit).through(parent(&verified)))
    }

    fn long_lived(&self, kind: TokenKind, service: &str, token: &str) -> Result<Arc<Verified>, VerifyError> {
        let verified = self.verified(kind, service, token)?;
        // To the second: with leeway, what is made from it would outlive it by the leeway too.
        if verified.expires >= claims::now() && self.is_in_time(&verified, || None) {
            return Ok(verified);
        }
        self.verified.forget(kind, service, token);
        Err(verified.untimely(kind))
    }

    /// What a token of this kind says that these keys signed for this service and that is not revoked.
    fn verified(&self, kind: TokenKind, service: &str, token: &str) -> Result<Arc<Verified>, VerifyError> {
        let verify = || Verified::new(self.check(kind, service, token)?).ok_or(Fault::Malformed);
        let verified = self.verified.get(kind, service, token, verify).map_err(foreign)?;
        let parent = verified.parent.as_ref().map(|parent| &*parent.id);
        let revoked = self.names(&verified.id, parent);
        if revoked { Err(verified.refused(kind, Reason::Revoked)) } else { Ok(verified) }
    }

    /// True where these keys signed it, for whatever service it names.
    pub(super) fn was_made_here(&self, kind: TokenKind, claims: &Claims, token: &str) -> bool {
        let Audience::One(audience) = &claims.aud else { return false };
        let service = match kind {
            TokenKind::Access => Some(audience.as_str()),
            TokenKind::Refresh | TokenKind::Deploy => audience.rsplit_once('/').map(|(service, _)| service),
        };
        service.is_some_and(|service| self.check(kind, service, token).is_ok())
    }

    /// True where the token, or the one it was made from, was revoked.
    pub(super) fn is_revoked(&self, claims: &Claims) -> bool {
        self.names(&claims.jti, claims.parent.as_ref().map(|parent| parent.jti.as_str()))
    }

    fn names(&self, id: &str, parent: Option<&str>) -> bool {
        self.revoked.contains(id) || parent.is_some_and(|parent| self.revoked.contains(parent))
    }

    fn is_in_time(&self, verified: &Verified, opened: impl FnOnce() -> Option<u64>) -> bool {
        let now = claims::now();
        // What was made from another token ends with that one, to the second.
        let parent = verified.parent.as_ref().map_or(u64::MAX, |parent| parent.expires);
        let expired_at = verified.expires.saturating_add(claims::LEEWAY).min(parent);
        if now.saturating_add(claims::LEEWAY) < verified.not_before {
            return false;
        }
        let late = verified.expires.min(parent).saturating_add(self.upload_grace);
        now <= expired_at || (now <= late && opened().is_some_and(|opened| opened <= expired_at))
    }

    /// The claims of a token, whatever the time is. Nothing of it is believed before the signature is checked, but the
    /// name of the key.
    pub(super) fn check(&self, kind: TokenKind, service: &str, token: &str) -> Result<Claims, Fault> {
        let header = Header::read(token).ok_or(Fault::Malformed)?;
        let key = self.keys.find(&header.kid).ok_or(Fault::Key)?;
        if header.typ != kind.media_type() {
            return Err(Fault::Kind);
        }
        if header.alg != key.algorithm_name {
            return Err(Fault::Key);
        }
        let mut validation = Validation::new(key.algorithm);
        // Read by `is_in_time`, each time that the token is used.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.set_required_spec_claims(&["exp", "iss", "sub", "aud"]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[kind.audience(service)]);
        let claims: Claims = jsonwebtoken::decode(token, &key.key, &validation).map_err(|error| fault(&error))?.claims;
        if claims.is_sane(kind) { Ok(claims) } else { Err(Fault::Malformed) }
    }
}

/// The subject of a token as it stands now.
async fn standing(
    kind: TokenKind,
    verified: &Verified,
    subject: &Subject,
    chain: &Chain,
) -> Result<Principal, VerifyError> {
    let Subject { name, via, proof } = subject;
    let recalled = match kind {
        TokenKind::Access | TokenKind::Deploy => chain.recall(name, via, proof).await,
        TokenKind::Refresh => chain.recall_now(name, via, proof).await,
    };
    match recalled {
        Ok(Some(user)) => Ok(Principal::user(user)),
        Ok(None) | Err(LoginError::Rejected) => Err(verified.refused(kind, Reason::UserChanged)),
        Err(LoginError::Unavailable | LoginError::Overloaded | LoginError::Throttled { .. }) => {
            Err(VerifyError::Unavailable)
        }
    }
}

/// Counts what was found of a token.
fn counted(kind: TokenKind, found: Result<Principal, VerifyError>) -> Result<Principal, VerifyError> {
    let outcome = match &found {
        Ok(_) => "valid",
        Err(VerifyError::Invalid(refusal)) => refusal.reason.outcome(),
        Err(VerifyError::Unavailable) => "unavailable",
    };
    metrics::token_verified(kind.as_str(), outcome);
    found
}

fn foreign(fault: Fault) -> VerifyError {
    VerifyError::Invalid(Box::new(Refusal::foreign(fault)))
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the library's list of errors is open")]
fn fault(error: &jsonwebtoken::errors::Error) -> Fault {
    match error.kind() {
        ErrorKind::InvalidSignature => Fault::Signature,
        ErrorKind::InvalidAudience => Fault::Audience,
        ErrorKind::InvalidIssuer => Fault::Issuer,
        _ => Fault::Malformed,
    }
}

impl Verified {
    fn untimely(&self, kind: TokenKind) -> VerifyError {
        let early = claims::now().saturating_add(claims::LEEWAY) < self.not_before;
        self.refused(kind, if early { Reason::Early } else { Reason::Expired })
    }

    fn refused(&self, kind: TokenKind, reason: Reason) -> VerifyError {
        let own = (kind != TokenKind::Access).then(|| self.id.to_string());
        let token = own.or_else(|| self.parent.as_ref().map(|parent| parent.id.to_string()));
        let user = self.subject.as_ref().map(|subject| subject.name.clone());
        VerifyError::Invalid(Box::new(Refusal { reason, user, token }))
    }
}

fn parent(verified: &Verified) -> Parent {
    Parent { id: Arc::clone(&verified.id), expires: verified.expires }
}

#[cfg(test)]
impl Verifier {
    /// With nothing revoked and no grace.
    pub(super) fn plain(keys: Arc<Keys>) -> Self {
        Self::new(keys, super::fixtures::ISSUER.to_owned(), HashSet::new(), Duration::ZERO)
    }

    /// What a good access token in time says, whoever its subject is.
    pub(super) fn verify(&self, service: &str, token: &str) -> Option<Arc<Verified>> {
        self.verified(TokenKind::Access, service, token).ok().filter(|verified| self.is_in_time(verified, || None))
    }

    pub(super) fn accepts(&self, service: &str, token: &str) -> bool {
        self.verify(service, token).is_some()
    }
}

#[cfg(test)]
mod tests;
