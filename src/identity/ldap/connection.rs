//! Binds and searches on one connection, and what their results mean.

use std::sync::{Arc, OnceLock};

use ldap3::{DerefAliases, Ldap, LdapError, LdapResult, Scope, SearchEntry, SearchOptions};
use tokio::time::Instant;

use super::{
    fault::{Fault, Refusal},
    reason,
    wire::{self, Link},
};
use crate::config::Secret;

/// Result codes (RFC 4511, appendix A.1).
const SUCCESS: u32 = 0;
const SIZE_LIMIT_EXCEEDED: u32 = 4;
const CONSTRAINT_VIOLATION: u32 = 19;
const NO_SUCH_OBJECT: u32 = 32;
const INVALID_DN_SYNTAX: u32 = 34;
const INAPPROPRIATE_AUTHENTICATION: u32 = 48;
const INVALID_CREDENTIALS: u32 = 49;
const UNWILLING_TO_PERFORM: u32 = 53;

/// A connection to one server. Whoever's bind it carries is for the caller to know.
pub(super) struct Connection {
    ldap: Ldap,
    end: Arc<OnceLock<String>>,
}

/// What a bind said of a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    Yes,
    /// The password is wrong, or the account must not log in; in words for the log.
    No(String),
    /// There is no such entry, as far as the server says.
    NoEntry,
}

/// Entries that a search found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) entries: Vec<SearchEntry>,
    /// There were more than the server or the caller would have.
    pub(super) cut: bool,
    /// Nothing is where the search begins, as far as the server says.
    pub(super) baseless: bool,
}

/// What is searched for.
#[derive(Clone, Copy)]
pub(super) struct Search<'a> {
    pub(super) base: &'a str,
    pub(super) scope: Scope,
    pub(super) filter: &'a str,
    pub(super) attributes: &'a [&'a str],
    pub(super) most: i32,
}

impl Connection {
    pub(super) fn new(link: Link) -> Self {
        Self { ldap: link.ldap, end: link.end }
    }

    /// False once it is known to be closed.
    pub(super) fn is_open(&mut self) -> bool {
        !self.ldap.is_closed() && self.end.get().is_none()
    }

    /// A simple bind. Never with an empty name or an empty password, which would be an anonymous bind that succeeds (RFC
    /// 4513, sections 5.1.1 and 5.1.2).
    pub(super) async fn bind(&mut self, dn: &str, password: &Secret, deadline: Instant) -> Result<Bound, Fault> {
        if dn.is_empty() || password.reveal().is_empty() {
            return Ok(Bound::No("an empty name or password is never sent".to_owned()));
        }
        let bound = wire::within(deadline, "binding", self.ldap.simple_bind(dn, password.reveal())).await?;
        let result = bound.map_err(|error| self.broken(error))?;
        match result.rc {
            SUCCESS => Ok(Bound::Yes),
            INVALID_CREDENTIALS | INAPPROPRIATE_AUTHENTICATION | CONSTRAINT_VIOLATION => {
                Ok(Bound::No(reason::of_bind(&result.text)))
            }
            // 389 Directory Server and FreeIPA say so of an account that is disabled.
            UNWILLING_TO_PERFORM if result.text.to_lowercase().contains("inactivated") => Ok(Bound::No(result.text)),
            NO_SUCH_OBJECT | INVALID_DN_SYNTAX => Ok(Bound::NoEntry),
            _ => Err(refusal("the bind", result)),
        }
    }

    /// Aliases and referrals are not followed.
    pub(super) async fn search(&mut self, search: Search<'_>, deadline: Instant) -> Result<Found, Fault> {
        let left = deadline.saturating_duration_since(Instant::now()).as_secs();
        let options = SearchOptions::new()
            .deref(DerefAliases::Never)
            .sizelimit(search.most)
            .timelimit(i32::try_from(left).unwrap_or(i32::MAX).max(1));
        let Search { base, scope, filter, attributes, .. } = search;
        let work = self.ldap.with_search_options(options).search(base, scope, filter, attributes.to_vec());
        let found = wire::within(deadline, "searching", work).await?;
        let ldap3::SearchResult(entries, result) = found.map_err(|error| self.broken(error))?;
        let cut = match result.rc {
            SUCCESS => false,
            SIZE_LIMIT_EXCEEDED => true,
            NO_SUCH_OBJECT => return Ok(Found { baseless: true, ..Found::default() }),
            _ => return Err(refusal("the search", result)),
        };
        let entries = entries.into_iter().filter(|entry| !entry.is_ref() && !entry.is_intermediate());
        Ok(Found { entries: entries.map(SearchEntry::construct).collect(), cut, baseless: false })
    }

    fn broken(&self, error: LdapError) -> Fault {
        match (self.end.get(), error) {
            (_, LdapError::FilterParsing) => Fault::Answer("the filter cannot be sent".to_owned()),
            (Some(why), _) => Fault::Lost(why.clone()),
            (None, LdapError::ResultRecv { .. } | LdapError::OpSend { .. } | LdapError::EndOfStream) => {
                Fault::Lost("it was closed".to_owned())
            }
            (None, error) => Fault::Lost(error.to_string()),
        }
    }
}

fn refusal(what: &'static str, result: LdapResult) -> Fault {
    let text =
        if result.refs.is_empty() { result.text } else { "it refers elsewhere, which is not followed".to_owned() };
    Fault::Result(Refusal { what, code: result.rc, text: reason::printable(&text) })
}
