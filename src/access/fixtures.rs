//! Grants, callers and routes for the tests of this folder.

use std::{net::IpAddr, sync::Arc};

use http::Method;

use super::Asker;
use crate::{
    config::{Access, Grant, Host, Subject},
    identity::{Limit, Principal, Proof, User},
    registry::{Action, Actions, Pattern, RepositoryName, Resource, Route, Scope, ScopeSet},
};

pub(super) const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

pub(super) fn grant(name: &str, repositories: &[&str], actions: &[Action], to: &[Subject]) -> Grant {
    Grant {
        name: name.to_owned(),
        repositories: patterns(repositories),
        except: Vec::new(),
        actions: actions.iter().copied().collect(),
        to: to.to_vec(),
        from: Vec::new(),
        registries: Vec::new(),
        line: 0,
    }
}

pub(super) fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::parse(text).unwrap()).collect()
}

/// Numbers the grants as a file would.
pub(super) fn access(grants: Vec<Grant>) -> Access {
    let numbered = |(position, grant)| Grant { line: 10 * position + 10, ..grant };
    Access { grants: grants.into_iter().enumerate().map(numbered).collect() }
}

pub(super) fn user_subject(name: &str) -> Subject {
    Subject::User(name.to_owned())
}

pub(super) fn group_subject(name: &str) -> Subject {
    Subject::Group(name.to_owned())
}

/// A caller who logged in with a password.
pub(super) fn user(name: &str, groups: &[&str]) -> Principal {
    Principal::user(Arc::new(User {
        name: name.into(),
        groups: groups.iter().map(|&group| group.into()).collect(),
        directory_groups: Vec::new(),
        via: "htpasswd".into(),
        proof: Proof("proof".into()),
    }))
}

/// The bearer of a token that carries these actions on these repositories.
pub(super) fn with_token(principal: Principal, scopes: &[(&str, &[Action])]) -> Principal {
    let mut set = ScopeSet::default();
    for (name, actions) in scopes {
        let actions: Actions = actions.iter().copied().collect();
        set.add(Scope { resource: Resource::Repository(repository(name)), actions });
    }
    principal.limited(Limit { scopes: Some(Arc::new(set)), patterns: None })
}

pub(super) fn repository(name: &str) -> RepositoryName {
    RepositoryName::parse(name).unwrap()
}

pub(super) fn host(text: &str) -> Host {
    Host::parse(text).unwrap()
}

pub(super) fn route(method: &Method, target: &str) -> Route {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    Route::parse(method, path, query, "/token").unwrap()
}

/// One registry and the callers of one client address.
pub(super) struct Place {
    hosts: Vec<Host>,
    client: IpAddr,
}

impl Place {
    pub(super) fn new(hosts: &[&str], client: &str) -> Self {
        Self { hosts: hosts.iter().map(|text| host(text)).collect(), client: client.parse().unwrap() }
    }

    pub(super) fn asker<'a>(&'a self, principal: &'a Principal) -> Asker<'a> {
        Asker { principal, registry: &self.hosts[0], hosts: &self.hosts, client: self.client }
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::new(&["registry.example.com"], "10.1.2.3")
    }
}
