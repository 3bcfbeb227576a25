//! What is noted of a request on its way, for the access line and the metrics.

use std::{net::IpAddr, sync::Arc, time::Instant};

use super::{head::RequestHead, respond::Rejection};
use crate::{
    config::Host,
    events::Passing,
    identity::{Credentials, Principal},
    registry::{Action, Needs, Reference, Route, ScopeSet, UploadVerb},
    telemetry::{
        self,
        log::AccessLine,
        metrics::{self, RegistryCounts},
        pulse,
    },
};

const LONGEST_METHOD: usize = 16;
const LONGEST_NAME: usize = 128;
const LONGEST_SCOPES: usize = 512;

/// Filled as the request goes its way; written once, at the end.
pub(super) struct Record {
    began: Instant,
    request_id: String,
    pub client: Option<IpAddr>,
    pub user: Option<String>,
    /// The id of the refresh or deploy token that the user came by.
    token: Option<String>,
    pub registry: Option<String>,
    /// What the request is counted with; None where it is for no registry.
    pub counts: Option<Arc<RegistryCounts>>,
    pub method: String,
    pub route: &'static str,
    pub repository: Option<String>,
    pub reference: Option<String>,
    /// The repository that a blob is mounted from.
    from: Option<String>,
    /// The host that was dialled, where it is none of ours.
    host: Option<String>,
    /// Scopes that a token was asked for, and those it got.
    scopes: Option<(String, String)>,
    pub action: Option<Action>,
    pub grant: Option<String>,
    pub status: u16,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// The server that answered.
    pub upstream: Option<String>,
    /// How often another server went on with the body.
    pub resumed: u32,
    pub user_agent: Option<String>,
    pub protocol: &'static str,
    pub aborted: Option<&'static str>,
    /// Why the request was refused, a fixed word.
    refused: Option<&'static str>,
    /// The name that a Basic login claimed; not to be trusted unless it is `user` too.
    claimed: Option<String>,
    /// A manifest on its way, where somebody is to be told what it refers to.
    pub passing: Option<Passing>,
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
            counts: None,
            method: String::new(),
            route: "none",
            repository: None,
            reference: None,
            from: None,
            host: None,
            scopes: None,
            action: None,
            grant: None,
            status: 0,
            bytes_in: 0,
            bytes_out: 0,
            upstream: None,
            resumed: 0,
            user_agent: None,
            protocol: "",
            aborted: None,
            refused: None,
            claimed: None,
            passing: None,
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

    /// Notes which of the scopes that were asked for a token got.
    pub(super) fn grants(&mut self, asked: &ScopeSet, granted: &ScopeSet) {
        let brief = |scopes: &ScopeSet| scopes.to_string().chars().take(LONGEST_SCOPES).collect();
        self.scopes = Some((brief(asked), brief(granted)));
    }

    /// Notes a host that is none of ours.
    pub(super) fn misses(&mut self, host: &Host) {
        self.host = Some(host.to_string().chars().take(LONGEST_NAME).collect());
    }

    /// Notes why nothing came of it.
    pub(super) fn refuses(&mut self, rejection: &Rejection) {
        self.refused = Some(rejection.word());
        if let Some(refusal) = rejection.refusal() {
            self.claimed = refusal.user.clone().or_else(|| self.claimed.take());
            self.token.clone_from(&refusal.token);
        }
    }

    /// Notes a refresh token that was issued, so that it can be revoked.
    pub(super) fn issues(&mut self, id: &str) {
        self.token = Some(id.to_owned());
    }

    /// Counts bytes of the request's body.
    pub(super) fn receives(&mut self, bytes: u64) {
        self.bytes_in += bytes;
        pulse::received(bytes);
    }

    /// Counts bytes of the answer's body.
    pub(super) fn sends(&mut self, bytes: u64) {
        self.bytes_out += bytes;
        pulse::sent(bytes);
    }

    /// Notes what is asked.
    pub(super) fn asks(&mut self, route: &Route) {
        self.route = route.label();
        self.repository = route.repository().map(ToString::to_string);
        self.reference = reference(route);
        if let Needs::Repository { action, source, .. } = route.needs() {
            self.action = Some(action);
            self.from = source.map(ToString::to_string);
        }
    }

    /// Writes the access line and counts the request.
    pub(super) fn write(&self) {
        let duration = self.began.elapsed();
        let registry = self.registry.as_deref().unwrap_or("none");
        let counts = self.counts.as_deref().unwrap_or_else(|| metrics::unknown());
        counts.request(self.route, self.status, duration, self.bytes_in, self.bytes_out);
        metrics::protocol(self.protocol);
        self.refused.into_iter().for_each(metrics::refused);
        let broken = matches!(self.aborted, Some("upstream_broke" | "damaged"));
        pulse::answered(self.status, broken, self.refused);
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
            from: self.from.as_deref(),
            host: self.host.as_deref(),
            asked: self.scopes.as_ref().map(|(asked, _)| asked.as_str()),
            granted: self.scopes.as_ref().map(|(_, granted)| granted.as_str()),
            action: self.action.map(Action::as_str),
            grant: self.grant.as_deref(),
            status: self.status,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            duration,
            upstream: self.upstream.as_deref(),
            resumed: (self.resumed > 0).then_some(self.resumed),
            user_agent: self.user_agent.as_deref(),
            protocol: self.protocol,
            aborted: self.aborted,
            refused: self.refused,
            claimed: self.claimed.as_deref().filter(|_| self.user.is_none()),
        });
    }
}

/// Tag or digest; of an upload the digest that it ends with. The ids of sessions are left out: they are capabilities of a kind.
fn reference(route: &Route) -> Option<String> {
    match route {
        Route::Manifest { reference, .. } => Some(match reference {
            Reference::Tag(tag) => tag.as_str().to_owned(),
            Reference::Digest(digest) => digest.as_str().to_owned(),
        }),
        Route::Blob { digest, .. }
        | Route::Referrers { digest, .. }
        | Route::Upload {
            verb:
                UploadVerb::Monolithic { digest } | UploadVerb::Mount { digest, .. } | UploadVerb::Finish { digest, .. },
            ..
        } => Some(digest.as_str().to_owned()),
        Route::Landing(_)
        | Route::Base(_)
        | Route::Token(_)
        | Route::Catalog { .. }
        | Route::TagList { .. }
        | Route::Notary { .. }
        | Route::Ui { .. }
        | Route::Preflight { .. }
        | Route::Upload {
            verb: UploadVerb::Start | UploadVerb::Status { .. } | UploadVerb::Chunk { .. } | UploadVerb::Cancel { .. },
            ..
        } => None,
    }
}
