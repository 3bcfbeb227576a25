//! Tokens whose signature has been checked, remembered.
//!
//! Their texts are kept for that, and wiped when they are dropped. Who can read the process's memory can read the keys that
//! sign tokens, too, so nothing is told that could not be made.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use equivalent::Equivalent;
use moka::sync::Cache;

use super::claims::{Claims, TokenKind};
use crate::{
    config::Secret,
    identity::{Limit, Parent},
    telemetry::metrics,
};

/// What the entries may take up together, in bytes, roughly.
const CAPACITY: u64 = 32 * 1024 * 1024;
/// What an entry takes besides its token and what stands in it.
const OVERHEAD: usize = 512;
/// How much of a token is hashed.
const HASHED: usize = 32;

/// What a token said once its signature, kind, issuer and audience had been checked. Time, revocation and the subject's
/// standing are not part of it: they are asked each time.
pub(super) struct Verified {
    pub(super) id: Arc<str>,
    pub(super) not_before: u64,
    pub(super) expires: u64,
    /// None: nobody in particular.
    pub(super) subject: Option<Subject>,
    pub(super) limit: Limit,
    pub(super) parent: Option<Parent>,
}

/// Who a token speaks for, and by what.
pub(super) struct Subject {
    pub(super) name: String,
    pub(super) via: String,
    pub(super) proof: String,
}

impl Verified {
    /// `None` where claims do not go together.
    pub(super) fn new(claims: Claims) -> Option<Self> {
        let limit = Limit { scopes: claims.scopes().map(Arc::new), patterns: claims.patterns().map(Arc::new) };
        let subject = match (claims.sub, claims.via, claims.prf) {
            (name, None, None) if name.is_empty() => None,
            (name, Some(via), Some(proof)) if !name.is_empty() => Some(Subject { name, via, proof }),
            _ => return None,
        };
        Some(Self {
            id: claims.jti.into(),
            not_before: claims.nbf,
            expires: claims.exp,
            subject,
            limit,
            parent: claims.parent.map(|parent| Parent { id: parent.jti.into(), expires: parent.exp }),
        })
    }

    pub(super) fn subject_name(&self) -> &str {
        self.subject.as_ref().map_or("", |subject| &subject.name)
    }
}

/// A token with what it was checked for.
struct Key {
    kind: TokenKind,
    service: Box<str>,
    token: Secret,
}

/// The same of a token that is presented.
#[derive(PartialEq, Eq)]
struct Presented<'a> {
    kind: TokenKind,
    service: &'a str,
    token: &'a str,
}

/// Bounded in size. It belongs to one set of keys, issuer and configuration and goes with them, so that nothing outlives
/// a removed key.
#[derive(Clone)]
pub(super) struct VerifiedTokens(Cache<Key, Arc<Verified>>);

impl VerifiedTokens {
    pub(super) fn new() -> Self {
        Self(Cache::builder().max_capacity(CAPACITY).weigher(|key, _| size(key)).build())
    }

    /// The remembered result, or that of `verify`, which is remembered where there is one.
    pub(super) fn get<E>(
        &self,
        kind: TokenKind,
        service: &str,
        token: &str,
        verify: impl FnOnce() -> Result<Verified, E>,
    ) -> Result<Arc<Verified>, E> {
        let presented = Presented { kind, service, token };
        let known = self.0.get(&presented);
        metrics::token_looked_up(known.is_some());
        if let Some(verified) = known {
            return Ok(verified);
        }
        let verified = Arc::new(verify()?);
        self.0.insert(presented.to_key(), Arc::clone(&verified));
        Ok(verified)
    }

    pub(super) fn forget(&self, kind: TokenKind, service: &str, token: &str) {
        self.0.invalidate(&Presented { kind, service, token });
    }
}

/// What an entry takes: its token, as much again for what stands in it, and the rest.
fn size(key: &Key) -> u32 {
    u32::try_from(2 * key.token.reveal().len() + key.service.len() + OVERHEAD).unwrap_or(u32::MAX)
}

impl Key {
    fn presented(&self) -> Presented<'_> {
        Presented { kind: self.kind, service: &self.service, token: self.token.reveal() }
    }
}

impl Presented<'_> {
    fn to_key(&self) -> Key {
        Key { kind: self.kind, service: self.service.into(), token: Secret::new(self.token.to_owned()) }
    }
}

/// All of a token is compared, but only its end is hashed, since it is long and this is done at each request. What is kept
/// here ends in a signature of ours, and nobody can make two of these alike.
impl Hash for Presented<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let token = self.token.as_bytes();
        state.write(token.last_chunk::<HASHED>().map_or(token, |end| end));
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.presented().hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.presented() == other.presented()
    }
}

impl Eq for Key {}

impl Equivalent<Key> for Presented<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self == key.presented()
    }
}

#[cfg(test)]
mod tests;
