//! What is noted of a request on its way, for the access line and the metrics.

use std::{net::IpAddr, time::Instant};

use super::head::RequestHead;
use crate::{
    identity::{Credentials, Principal},
    registry::{Action, Needs, Reference, Route},
    telemetry::{self, log::AccessLine, metrics},
};

const LONGEST_METHOD: usize = 16;
const LONGEST_NAME: usize = 128;

/// Filled as the request goes its way; written once, at the end.
pub(super) struct Record {
    began: Instant,
    request_id: String,
    pub client: Option<IpAddr>,
    pub user: Option<String>,
    /// The id of the refresh or deploy token that the user came by.
    token: Option<String>,
    pub registry: Option<String>,
    pub method: String,
    pub route: &'static str,
    pub repository: Option<String>,
    pub reference: Option<String>,
    pub action: Option<Action>,
    pub grant: Option<String>,
    pub status: u16,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub upstream: Option<String>,
    pub user_agent: Option<String>,
    pub protocol: &'static str,
    pub aborted: Option<&'static str>,
    /// Why the request was refused, a fixed word.
    pub refused: Option<&'static str>,
    /// The name that a Basic login claimed; not to be trusted unless it is `user` too.
    claimed: Option<String>,
}

impl Record {
    pub(super) fn new(request_id: String) -> Self {
        Self {
            began: Instant::now(),
            request_id,
            client: None,
            user: None,
            token: None,
            registry: None,
            method: String::new(),
            route: "none",
            repository: None,
            reference: None,
            action: None,
            grant: None,
            status: 0,
            bytes_in: 0,
            bytes_out: 0,
            upstream: None,
            user_agent: None,
            protocol: "",
            aborted: None,
            refused: None,
            claimed: None,
        }
    }

    pub(super) fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Notes who speaks, and how.
    pub(super) fn hears(&mut self, head: &RequestHead) {
        self.client = Some(head.client);
        // A method may be any word of any length.
        self.method = head.method.as_str().chars().take(LONGEST_METHOD).collect();
        self.user_agent.clone_from(&head.user_agent);
        self.protocol = head.protocol;
        if let Credentials::Basic(login) = &head.credentials {
            self.claims(&login.username);
        }
    }

    /// Notes the name that a login claims.
    pub(super) fn claims(&mut self, name: &str) {
        self.claimed = Some(name.chars().take(LONGEST_NAME).collect());
    }

    /// Notes who was found to be asking.
    pub(super) fn knows(&mut self, principal: &Principal) {
        self.user = principal.name().map(str::to_owned);
        self.token = principal.parent().map(|parent| parent.id.to_string());
    }

    /// Notes a refresh token that was issued, so that it can be revoked.
    pub(super) fn issues(&mut self, id: &str) {
        self.token = Some(id.to_owned());
    }

    /// Notes what is asked.
    pub(super) fn asks(&mut self, route: &Route) {
        self.route = route.label();
        self.repository = route.repository().map(ToString::to_string);
        self.reference = reference(route);
        if let Needs::Repository { action, .. } = route.needs() {
            self.action = Some(action);
        }
    }

    /// Writes the access line and counts the request.
    pub(super) fn write(&self) {
        let duration = self.began.elapsed();
        let registry = self.registry.as_deref().unwrap_or("none");
        metrics::request(registry, self.route, self.status, duration.as_secs_f64());
        metrics::bytes("in", self.bytes_in);
        metrics::bytes("out", self.bytes_out);
        telemetry::log::access(&AccessLine {
            request_id: &self.request_id,
            client: self.client,
            user: self.user.as_deref(),
            token: self.token.as_deref(),
            registry,
            method: &self.method,
            route: self.route,
            repository: self.repository.as_deref(),
            reference: self.reference.as_deref(),
            action: self.action.map(Action::as_str),
            grant: self.grant.as_deref(),
            status: self.status,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            duration,
            upstream: self.upstream.as_deref(),
            user_agent: self.user_agent.as_deref(),
            protocol: self.protocol,
            aborted: self.aborted,
            refused: self.refused,
            claimed: self.claimed.as_deref().filter(|_| self.user.is_none()),
        });
    }
}

/// Tag or digest. Upload sessions are left out: their ids are capabilities of a kind.
fn reference(route: &Route) -> Option<String> {
    match route {
        Route::Manifest { reference, .. } => Some(match reference {
            Reference::Tag(tag) => tag.as_str().to_owned(),
            Reference::Digest(digest) => digest.as_str().to_owned(),
        }),
        Route::Blob { digest, .. } | Route::Referrers { digest, .. } => Some(digest.as_str().to_owned()),
        Route::Landing(_)
        | Route::Base(_)
        | Route::Token(_)
        | Route::Catalog { .. }
        | Route::TagList { .. }
        | Route::Upload { .. } => None,
    }
}
