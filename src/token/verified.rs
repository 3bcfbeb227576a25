//! Tokens whose signature has been checked, remembered.

use std::sync::Arc;

use aws_lc_rs::digest;
use moka::sync::Cache;

use super::claims::{Claims, TokenKind};
use crate::{
    identity::{Limit, Parent},
    telemetry::metrics,
};

/// What the entries may take up together, in bytes, roughly.
const CAPACITY: u64 = 32 * 1024 * 1024;
/// What an entry takes besides what stands in its token.
const OVERHEAD: usize = 512;

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
    size: usize,
}

/// Who a token speaks for, and by what.
pub(super) struct Subject {
    pub(super) name: String,
    pub(super) via: String,
    pub(super) proof: String,
}

impl Verified {
    /// `None` where claims do not go together.
    pub(super) fn new(claims: Claims, token: &str) -> Option<Self> {
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
            size: OVERHEAD.saturating_add(token.len()),
        })
    }

    pub(super) fn subject_name(&self) -> &str {
        self.subject.as_ref().map_or("", |subject| &subject.name)
    }
}

/// The hash of a token with what it was checked for.
type Key = [u8; digest::SHA256_OUTPUT_LEN];

/// Bounded in size. It belongs to one set of keys, issuer and configuration and goes with them, so that nothing outlives
/// a removed key.
#[derive(Clone)]
pub(super) struct VerifiedTokens(Cache<Key, Arc<Verified>>);

impl VerifiedTokens {
    pub(super) fn new() -> Self {
        let weigher = |_: &Key, verified: &Arc<Verified>| u32::try_from(verified.size).unwrap_or(u32::MAX);
        Self(Cache::builder().max_capacity(CAPACITY).weigher(weigher).build())
    }

    /// The remembered result, or that of `verify`, which is remembered where there is one.
    pub(super) fn get<E>(
        &self,
        kind: TokenKind,
        service: &str,
        token: &str,
        verify: impl FnOnce() -> Result<Verified, E>,
    ) -> Result<Arc<Verified>, E> {
        let key = key(kind, service, token);
        let known = self.0.get(&key);
        metrics::token_looked_up(known.is_some());
        if let Some(verified) = known {
            return Ok(verified);
        }
        let verified = Arc::new(verify()?);
        self.0.insert(key, Arc::clone(&verified));
        Ok(verified)
    }

    pub(super) fn forget(&self, kind: TokenKind, service: &str, token: &str) {
        self.0.invalidate(&key(kind, service, token));
    }
}

fn key(kind: TokenKind, service: &str, token: &str) -> Key {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [kind.as_str(), service, token] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut key = Key::default();
    key.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    key
}

#[cfg(test)]
mod tests;
