//! One order: from names to a certificate that is stored. The only place, with `account`, that speaks ACME.

use std::{fmt, sync::Arc, time::Duration};

use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Error, Identifier, Key, NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use tokio::task::spawn_blocking;

use super::{
    Answer, Challenges, Lock, Moment, OpenAnswer, Published, Slot, Storage, StoredCertificate, StoredOrder, Token,
    account,
    client::{Client, Heard},
    error::{AttemptError, Refusal, in_one_line, is_account_unknown, is_passing, may_pass, said, words},
    issued::Issued,
    window,
};
use crate::config::{Acme, AcmeCertificate, AcmeChallenge, AcmeName, Secret};

/// How long an authority may take for its checks, and for the certificate.
const PATIENCE: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(250)).backoff(1.5).timeout(Duration::from_secs(90));
/// For so long an order that was not finished is gone on with; then, whatever is wrong with it, another one is better.
const UNFINISHED: Duration = Duration::from_secs(60 * 60);
/// Bytes of PEM, far beyond a chain for a hundred names; with its key it must be readable when it is stored.
const LARGEST_CHAIN: usize = 256 * 1024;
/// A clock may be that wrong.
const CLOCK: Duration = Duration::from_secs(24 * 60 * 60);
/// How much later than here it may be where a certificate begins.
const BEGINS: Duration = Duration::from_secs(5 * 60);
/// Calls again where the authority did not take a nonce: then it has done nothing. The library alone gives up soon.
macro_rules! insist {
    ($call:expr) => {{
        let mut left = 5_u32;
        loop {
            match $call {
                Err(error) if left > 0 && $crate::tls::acme::error::is_bad_nonce(&error) => left -= 1,
                outcome => break outcome,
            }
        }
    }};
}
pub(super) use insist;

/// A kind of proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    TlsAlpn01,
    Http01,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Http01 => "http-01",
        })
    }
}

/// What is to be had, and all that it takes.
pub(super) struct Job {
    /// Of the slot; held until the last that was begun is written, and the last answer is closed.
    pub(super) lock: Lock,
    pub(super) acme: Arc<Acme>,
    pub(super) certificate: AcmeCertificate,
    pub(super) storage: Storage,
    pub(super) slot: Slot,
    pub(super) challenges: Arc<Challenges>,
    pub(super) client: Client,
    /// In force so far.
    pub(super) former: Option<Issued>,
}

/// Answered everywhere for as long as this lives.
struct Proof {
    _here: OpenAnswer,
    _elsewhere: Published,
}

impl Job {
    /// Comes back with a certificate that is stored.
    pub(super) async fn run(self) -> Result<Issued, AttemptError> {
        let account = account::open(&self.acme, &self.storage, &self.client).await?;
        self.check_clock()?;
        self.check_profile(&account)?;
        if let Some(issued) = self.finish_former(&account).await? {
            return Ok(issued);
        }
        match self.order(&account).await {
            Err(AttemptError::Authority { error, .. }) if is_account_unknown(&error) => {
                let account = account::replace(&self.acme, &self.storage, &self.client, account.id()).await?;
                self.order(&account).await
            }
            outcome => outcome,
        }
    }

    /// An order whose certificate may be there, made by a process that ended before it was stored.
    async fn finish_former(&self, account: &Account) -> Result<Option<Issued>, AttemptError> {
        let slot = self.slot.clone();
        let found = blocking(move || slot.order().and_then(|order| Ok((order, slot.certificate()?)))).await;
        // What cannot be read is written anew.
        let Ok((Some(former), stored)) = found else { return Ok(None) };
        if stored.is_some_and(|stored| stored.key == former.key) {
            return Ok(None);
        }
        match self.go_on(account, &former).await {
            Err(error) if is_worth_another_try(&error, former.begun, Moment::now()) => Err(error),
            Err(error) => {
                let error = in_one_line(&error.to_string());
                tracing::info!(names = self.names(), error, "an order that was not finished is left for another one");
                Ok(None)
            }
            finished => finished,
        }
    }

    /// None where there is nothing to go on with.
    async fn go_on(&self, account: &Account, former: &StoredOrder) -> Result<Option<Issued>, AttemptError> {
        let mut order = insist!(account.order(former.url.clone()).await).map_err(|error| self.authority(error))?;
        match order.state().status {
            OrderStatus::Ready | OrderStatus::Processing | OrderStatus::Valid => {
                tracing::info!(names = self.names(), "going on with an order that was not finished");
                self.pay_out(&mut order, former.clone()).await.map(Some)
            }
            OrderStatus::Pending | OrderStatus::Invalid => Ok(None),
        }
    }

    async fn order(&self, account: &Account) -> Result<Issued, AttemptError> {
        let kinds: &[Kind] = match self.acme.challenge {
            AcmeChallenge::Auto => &[Kind::TlsAlpn01, Kind::Http01],
            AcmeChallenge::TlsAlpn01 => &[Kind::TlsAlpn01],
            AcmeChallenge::Http01 => &[Kind::Http01],
        };
        let (mut all, mut last) = (Vec::new(), None);
        for kind in kinds {
            match self.order_by(account, *kind).await {
                Err(AttemptError::Proof { refusals, retry_after }) => {
                    all.extend(refusals);
                    last = retry_after;
                }
                outcome => {
                    self.say_what_failed_before(&all);
                    return outcome;
                }
            }
        }
        Err(AttemptError::Proof { refusals: all, retry_after: last })
    }

    fn say_what_failed_before(&self, refusals: &[Refusal]) {
        if let Some(refusal) = refusals.first() {
            let kind = refusal.kind;
            tracing::warn!(
                names = self.names(),
                "{kind} failed and another kind was tried; tls.acme.challenge can leave {kind} out: {}",
                in_one_line(&refusal.to_string())
            );
        }
    }

    async fn order_by(&self, account: &Account, kind: Kind) -> Result<Issued, AttemptError> {
        let mut order = self.new_order(account).await?;
        let proofs = self.prove(&mut order, kind).await?;
        let ready = insist!(order.poll_ready(&PATIENCE).await);
        drop(proofs);
        match ready {
            Ok(OrderStatus::Ready) => {}
            Ok(_) | Err(Error::Api(_)) => return Err(self.refused(order, kind, ready.err()).await),
            Err(error) => return Err(self.authority(error)),
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(internal)?;
        let (url, key) = (order.url().to_owned(), Secret::new(key.serialize_pem()));
        self.pay_out(&mut order, StoredOrder { url, begun: Moment::now(), key }).await
    }

    /// In the place of the certificate in force, which authorities that know of renewals count differently.
    async fn new_order(&self, account: &Account) -> Result<Order, AttemptError> {
        let identifiers: Vec<Identifier> = self.certificate.names.iter().map(identifier_of).collect();
        let plain = || {
            let order = NewOrder::new(&identifiers);
            if let Some(profile) = &self.acme.profile { order.profile(profile) } else { order }
        };
        let replaced =
            self.former.as_ref().and_then(|former| former.life.id.as_deref()).and_then(window::parse_identifier);
        if let Some(replaced) = replaced {
            match insist!(account.new_order(&plain().replaces(replaced.clone())).await) {
                Ok(order) => return Ok(order),
                Err(error) if is_passing(&error) || is_account_unknown(&error) => return Err(self.authority(error)),
                Err(Error::Unsupported(_)) => {}
                Err(error) => {
                    let error = in_one_line(&said(&error));
                    tracing::info!(
                        names = self.names(),
                        error,
                        "the authority does not take this for a renewal: ordering anew"
                    );
                }
            }
        }
        insist!(account.new_order(&plain()).await).map_err(|error| self.authority(error))
    }

    /// Has every name checked that the authority has not checked lately.
    async fn prove(&self, order: &mut Order, kind: Kind) -> Result<Vec<Proof>, AttemptError> {
        insist!(fetch_authorizations(order).await).map_err(|error| self.authority(error))?;
        let mut proofs = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| self.authority(error))?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let name = authorization.identifier().to_string();
            let Some(mut challenge) = authorization.challenge(match kind {
                Kind::TlsAlpn01 => ChallengeType::TlsAlpn01,
                Kind::Http01 => ChallengeType::Http01,
            }) else {
                let refusals = vec![Refusal { name, kind, reason: None }];
                return Err(AttemptError::Proof { refusals, retry_after: None });
            };
            let key_authorization = challenge.key_authorization();
            let answer = match kind {
                Kind::TlsAlpn01 => {
                    let digest = key_authorization.digest().as_ref().try_into().map_err(internal)?;
                    Answer::TlsAlpn { name, digest }
                }
                Kind::Http01 => {
                    let token = Token::parse(&challenge.token)
                        .ok_or_else(|| AttemptError::Internal("a token of letters that none may have".to_owned()))?;
                    Answer::Http { name, token, key_authorization: key_authorization.as_str().to_owned() }
                }
            };
            proofs.push(self.open(answer).await?);
            insist!(challenge.set_ready().await).map_err(|error| self.authority(error))?;
        }
        Ok(proofs)
    }

    async fn open(&self, answer: Answer) -> Result<Proof, AttemptError> {
        let (storage, shared) = (self.storage.clone(), answer.clone());
        let elsewhere = blocking(move || storage.publish(&shared)).await?;
        Ok(Proof { _here: self.challenges.open(answer), _elsewhere: elsewhere })
    }

    /// What the authority found wrong, name by name.
    async fn refused(&self, mut order: Order, kind: Kind, error: Option<Error>) -> AttemptError {
        let retry_after = self.client.heard().retry_after;
        let mut refusals = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            if insist!(authorization.refresh().await.map(drop)).is_err() {
                break;
            }
            let name = authorization.identifier().to_string();
            let found = authorization.challenges.iter().find_map(|challenge| challenge.error.as_ref());
            refusals.extend(found.map(|problem| Refusal { name, kind, reason: Some(words(problem)) }));
        }
        match error {
            Some(error) if refusals.is_empty() => self.authority(error),
            _ if refusals.is_empty() => AttemptError::Unusable("the authority calls the order invalid".to_owned()),
            Some(_) | None => AttemptError::Proof { refusals, retry_after },
        }
    }

    /// The key is stored before the authority is asked, so that a certificate which it issued is never lost.
    async fn pay_out(&self, order: &mut Order, kept: StoredOrder) -> Result<Issued, AttemptError> {
        let (slot, lock, key) = (self.slot.clone(), self.lock.clone(), kept.key.clone());
        blocking(move || (slot.set_order(Some(&kept)), drop(lock)).0).await?;
        if order.state().status == OrderStatus::Ready || order.state().status == OrderStatus::Pending {
            let request = self.request(&key)?;
            insist!(order.finalize_csr(&request).await).map_err(|error| self.authority(error))?;
        }
        let chain = insist!(order.poll_certificate(&PATIENCE).await).map_err(|error| self.authority(error))?;
        let stored = StoredCertificate { directory: self.acme.directory.clone(), chain, key, stored_at: Moment::now() };
        let issued = self.examine(&stored)?;
        let (slot, lock) = (self.slot.clone(), self.lock.clone());
        blocking(move || (slot.set_certificate(&stored).and_then(|()| slot.set_order(None)), drop(lock)).0).await?;
        Ok(issued)
    }

    fn request(&self, key: &Secret) -> Result<Vec<u8>, AttemptError> {
        let key = KeyPair::from_pem(key.reveal()).map_err(internal)?;
        let names: Vec<String> = self.certificate.names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).map_err(internal)?;
        params.distinguished_name = DistinguishedName::new();
        Ok(params.serialize_request(&key).map_err(internal)?.der().to_vec())
    }

    /// Nothing is stored, and so nothing served, that would not work.
    fn examine(&self, stored: &StoredCertificate) -> Result<Issued, AttemptError> {
        if stored.chain.len() > LARGEST_CHAIN {
            return Err(AttemptError::Unusable(format!("the chain has {} bytes", stored.chain.len())));
        }
        let issued = Issued::load(stored, &self.slot.path()).map_err(AttemptError::Unusable)?;
        let now = Moment::now();
        if !issued.covers(&self.certificate.names) {
            return Err(AttemptError::Unusable(format!("it is for {}", issued.loaded.info.names.join(", "))));
        }
        if issued.life.not_after <= now || issued.life.not_before > now.plus(BEGINS) {
            return Err(AttemptError::Clock { here: now, there: issued.life.not_before });
        }
        Ok(issued)
    }

    fn check_clock(&self) -> Result<(), AttemptError> {
        let Some(there) = self.client.heard().clock.map(Moment::of) else { return Ok(()) };
        let here = Moment::now();
        let apart = here.since(there).max(there.since(here));
        if apart > CLOCK { Err(AttemptError::Clock { here, there }) } else { Ok(()) }
    }

    fn check_profile(&self, account: &Account) -> Result<(), AttemptError> {
        self.acme.profile.as_deref().map_or(Ok(()), |profile| check_profile(account, profile))
    }

    fn authority(&self, error: Error) -> AttemptError {
        authority(&self.client, error)
    }

    fn names(&self) -> String {
        self.certificate.names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// False where an order that was not finished is not to stand in the way of another one.
fn is_worth_another_try(error: &AttemptError, begun: Moment, now: Moment) -> bool {
    let is_recent = begun <= now && now.since(begun) < UNFINISHED;
    matches!(error, AttemptError::Storage(_)) || (is_recent && may_pass(error))
}

/// What is fetched stays in the order, so that this can be called again where it failed.
async fn fetch_authorizations(order: &mut Order) -> Result<(), Error> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        authorization?;
    }
    Ok(())
}

fn check_profile(account: &Account, profile: &str) -> Result<(), AttemptError> {
    let mut known: Vec<&str> = account.profiles().map(|known| known.name).collect();
    if known.contains(&profile) {
        return Ok(());
    }
    known.sort_unstable();
    let known = if known.is_empty() { "none at all".to_owned() } else { known.join(", ") };
    Err(AttemptError::Profile { profile: profile.to_owned(), known })
}

/// Asks the authority whether it has the profile of the configuration; for when there is no account yet.
pub(super) async fn try_out(acme: &Acme, client: &Client) -> Result<(), AttemptError> {
    let (_, key) = Key::generate_pkcs8().map_err(internal)?;
    let nobody = Account::builder_with_http(Box::new(client.clone()));
    let nobody = nobody.from_parts(String::new(), key, acme.directory.clone()).await;
    let nobody = nobody.map_err(|error| authority(client, error))?;
    acme.profile.as_deref().map_or(Ok(()), |profile| check_profile(&nobody, profile))
}

fn identifier_of(name: &AcmeName) -> Identifier {
    match name {
        AcmeName::Dns(name) => Identifier::Dns(name.clone()),
        AcmeName::Ip(address) => Identifier::Ip(*address),
    }
}

/// With what the authority said beside it.
pub(super) fn authority(client: &Client, error: Error) -> AttemptError {
    let Heard { retry_after, url, is_directory, .. } = client.heard();
    AttemptError::Authority { error: Box::new(error), url, is_directory, retry_after }
}

/// Work on files, where it holds nobody up.
pub(super) async fn blocking<T: Send + 'static, E: Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, AttemptError>
where
    AttemptError: From<E>,
{
    match spawn_blocking(work).await {
        Ok(outcome) => Ok(outcome?),
        Err(error) => Err(internal(error)),
    }
}

fn internal(error: impl fmt::Display) -> AttemptError {
    AttemptError::Internal(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::acme::StorageError;

    #[test]
    fn an_order_that_was_not_finished_is_not_gone_on_with_for_ever() {
        let away = || AttemptError::Timeout(Duration::from_secs(1));
        let again = |error: &AttemptError, begun, now| is_worth_another_try(error, Moment(begun), Moment(now));
        assert!(again(&away(), 1000, 1000) && again(&away(), 1000, 4599));
        assert!(!again(&away(), 1000, 4600) && !again(&away(), 1000, 999), "by a clock that was wrong");
        assert!(!again(&AttemptError::Unusable(String::new()), 1000, 1000));
        let full = StorageError { path: "order.json".into(), reason: String::new() };
        assert!(again(&AttemptError::Storage(full), 1000, 9000), "another one would not be stored either");
    }
}
