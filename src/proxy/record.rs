//! What is noted of a request on its way, for the log and the metrics.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Method};
use tokio::time::Instant;

use super::{
    audit::{self, Noted},
    head::RequestHead,
    ids::{RequestId, Trace},
    respond::Rejection,
};
use crate::{
    access::Permit,
    config::Host,
    events::Passing,
    identity::{Credentials, Principal, User},
    registry::{Action, Digest, Needs, Reference, RepositoryName, Route, ScopeSet, UploadVerb},
    telemetry::{
        log::{self, Decision, RequestLine},
        metrics::{self, RegistryCounts},
        pulse,
    },
    upstream,
};

const LONGEST_METHOD: usize = 16;
const LONGEST_NAME: usize = 128;
const LONGEST_SCOPES: usize = 512;
const LONGEST_USER_AGENT: usize = 256;

/// Filled as the request goes its way; written once, at the end.
pub(super) struct Record {
    began: Instant,
    pub id: RequestId,
    pub trace: Option<Trace>,
    pub client: Option<IpAddr>,
    /// Who holds the connection.
    peer: Option<IpAddr>,
    pub user: Option<Arc<User>>,
    /// What the client showed.
    presented: Option<&'static str>,
    /// The id of the refresh or deploy token that the user came by.
    token: Option<Arc<str>>,
    /// The id of the access token that was shown or issued.
    access_token: Option<Arc<str>>,
    /// What the request is counted with, and the registry's name; None where it is for no registry.
    pub counts: Option<Arc<RegistryCounts>>,
    pub method: Option<Method>,
    pub route: &'static str,
    /// What kind of decision it is about; None: of no kind.
    event: Option<&'static str>,
    pub repository: Option<RepositoryName>,
    pub reference: Option<Reference>,
    /// As the registry says.
    pub digest: Option<HeaderValue>,
    /// The repository that a blob is mounted from.
    from: Option<RepositoryName>,
    /// The host that was dialled, where it is none of ours.
    host: Option<String>,
    /// Scopes that a token was asked for, and those it got.
    scopes: Option<(String, String)>,
    pub action: Option<Action>,
    grant: Option<Arc<str>>,
    /// Whom of the grant's `to` the user is.
    subject: Option<Arc<str>>,
    /// The grant that would have allowed it from another network.
    pub near: Option<Arc<str>>,
    pub status: u16,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// The server that answered.
    pub upstream: Option<Arc<str>>,
    /// How often another server went on with the body.
    pub resumed: u32,
    pub user_agent: Option<HeaderValue>,
    pub protocol: &'static str,
    pub aborted: Option<&'static str>,
    /// The registry has all of the request, and has said nothing yet that can be passed on.
    pub unanswered: bool,
    /// It is to be written, and has not been.
    due: bool,
    /// Why the request was refused, and what that comes to: fixed words.
    refused: Option<(&'static str, &'static str)>,
    /// What was wrong with the upstream, a fixed word.
    failure: Option<&'static str>,
    /// The name that a login claimed; not to be trusted unless it is `user` too.
    claimed: Option<String>,
    /// A manifest on its way, where somebody is to be told what it refers to.
    pub passing: Option<Passing>,
}

impl Record {
    /// Of a request that is awaited from this address.
    pub(super) fn new(id: RequestId, peer: IpAddr, now: Instant) -> Self {
        Self {
            began: now,
            id,
            trace: None,
            client: Some(peer),
            peer: Some(peer),
            user: None,
            presented: None,
            token: None,
            access_token: None,
            counts: None,
            method: None,
            route: "none",
            event: None,
            repository: None,
            reference: None,
            digest: None,
            from: None,
            host: None,
            scopes: None,
            action: None,
            grant: None,
            subject: None,
            near: None,
            status: 0,
            bytes_in: 0,
            bytes_out: 0,
            upstream: None,
            resumed: 0,
            user_agent: None,
            protocol: "",
            aborted: None,
            unanswered: false,
            due: false,
            refused: None,
            failure: None,
            claimed: None,
            passing: None,
        }
    }

    /// From now on there is something to tell, even where a bug ends the request.
    pub(super) fn begins(&mut self, now: Instant) {
        self.began = now;
        self.due = true;
    }

    /// Notes who speaks, and how.
    pub(super) fn hears(&mut self, head: &RequestHead) {
        self.id = head.id.clone();
        self.trace.clone_from(&head.trace);
        self.client = Some(head.client);
        self.method = Some(head.method.clone());
        self.user_agent.clone_from(&head.user_agent);
        self.protocol = head.protocol;
        self.presented = match &head.credentials {
            Credentials::None => None,
            Credentials::Basic(login) => {
                self.claims(&login.username);
                Some("password")
            }
            Credentials::Bearer(_) => Some("token"),
            Credentials::Malformed => Some("malformed"),
        };
    }

    /// Notes the name that a login in a form claims.
    pub(super) fn claims(&mut self, name: &str) {
        self.presented = Some("password");
        self.claimed = Some(brief(name, LONGEST_NAME).to_owned());
    }

    /// Notes that a refresh token came in a form.
    pub(super) fn presents_token(&mut self) {
        self.presented = Some("token");
    }

    /// Notes who was found to be asking.
    pub(super) fn knows(&mut self, principal: &Principal) {
        self.user = principal.shared_user().cloned();
        self.token = principal.parent().map(|parent| Arc::clone(&parent.id));
        self.access_token = principal.access_token().cloned();
    }

    /// Notes what allows it.
    pub(super) fn allows(&mut self, permit: &Permit) {
        self.grant = permit.grant().cloned();
        self.subject = permit.subject().cloned();
    }

    /// Notes which of the scopes that were asked for a token got.
    pub(super) fn grants(&mut self, asked: &ScopeSet, granted: &ScopeSet) {
        let written = |scopes: &ScopeSet| brief(&scopes.to_string(), LONGEST_SCOPES).to_owned();
        self.scopes = Some((written(asked), written(granted)));
    }

    /// Notes a host that is none of ours.
    pub(super) fn misses(&mut self, host: &Host) {
        self.host = Some(brief(&host.to_string(), LONGEST_NAME).to_owned());
    }

    /// Notes why nothing came of it.
    pub(super) fn refuses(&mut self, rejection: &Rejection) {
        self.refused = Some((rejection.word(), rejection.outcome()));
        if let Some(refusal) = rejection.refusal() {
            self.claimed = refusal.user.clone().or_else(|| self.claimed.take());
            self.token = refusal.token.as_deref().map(Arc::from);
        }
    }

    /// Notes what was wrong with the upstream.
    pub(super) fn fails(&mut self, error: &upstream::Error) {
        self.failure = Some(error.kind());
    }

    /// Notes an access token that was issued.
    pub(super) fn issues(&mut self, id: &str) {
        self.access_token = Some(id.into());
    }

    /// Notes a refresh token that was issued, so that it can be revoked.
    pub(super) fn issues_refresh(&mut self, id: &str) {
        self.token = Some(id.into());
    }

    /// Notes what the registry says that the content is.
    pub(super) fn receives(&mut self, answer: &HeaderMap) {
        self.digest = answer.get(Digest::HEADER).cloned();
    }

    /// Counts bytes of the request's body.
    pub(super) fn reads(&mut self, bytes: u64) {
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
        self.event = audit::event(route);
        self.repository = route.repository().cloned();
        self.reference = reference(route);
        if let Needs::Repository { action, source, .. } = route.needs() {
            self.action = Some(action);
            self.from = source.cloned();
        }
    }

    /// Writes the access line and the audit line, and counts the request.
    pub(super) fn write(&mut self) {
        self.due = false;
        let duration = self.began.elapsed();
        let counts = self.counts.as_deref().unwrap_or_else(|| metrics::unknown());
        counts.request(self.route, self.status, duration, self.bytes_in, self.bytes_out);
        metrics::protocol(self.protocol);
        self.refused.into_iter().for_each(|(reason, _)| metrics::refused(reason));
        let broken = matches!(self.aborted, Some("upstream_broke" | "damaged"));
        pulse::answered(self.status, broken, self.refused.map(|(reason, _)| reason));
        let agent = self.user_agent.as_ref().map(|agent| String::from_utf8_lossy(agent.as_bytes()));
        log::request(&self.line(counts.name(), agent.as_deref(), duration), self.decision());
    }

    fn line<'a>(&'a self, registry: &'a str, user_agent: Option<&'a str>, duration: Duration) -> RequestLine<'a> {
        let said = self.digest.as_ref().and_then(|digest| digest.to_str().ok());
        let of_address = || match &self.reference {
            Some(Reference::Digest(digest)) => Some(digest.as_str()),
            Some(Reference::Tag(_)) | None => None,
        };
        RequestLine {
            request_id: self.id.as_str(),
            trace: self.trace.as_ref().map(Trace::id),
            client: self.client,
            peer: self.peer.filter(|peer| self.client != Some(*peer)),
            user: self.user.as_ref().map(|user| &*user.name),
            claimed: self.claimed.as_deref().filter(|_| self.user.is_none()),
            presented: self.presented,
            provider: self.user.as_ref().map(|user| &*user.via),
            token: self.token.as_deref(),
            access_token: self.access_token.as_deref(),
            registry,
            // A method may be any word of any length.
            method: self.method.as_ref().map(|method| brief(method.as_str(), LONGEST_METHOD)),
            route: self.route,
            repository: self.repository.as_ref().map(RepositoryName::as_str),
            reference: self.reference.as_ref().map(Reference::as_str),
            digest: said.map(|digest| brief(digest, LONGEST_NAME)).or_else(of_address),
            from: self.from.as_ref().map(RepositoryName::as_str),
            host: self.host.as_deref(),
            asked: self.scopes.as_ref().map(|(asked, _)| asked.as_str()),
            granted: self.scopes.as_ref().map(|(_, granted)| granted.as_str()),
            action: self.action.map(Action::as_str),
            grant: self.grant.as_deref(),
            subject: self.subject.as_deref(),
            near: self.near.as_deref(),
            refused: self.refused.map(|(word, _)| word),
            failure: self.failure,
            aborted: self.aborted,
            status: self.status,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            duration,
            upstream: self.upstream.as_deref(),
            resumed: (self.resumed > 0).then_some(self.resumed),
            user_agent: user_agent.map(|agent| brief(agent, LONGEST_USER_AGENT)),
            protocol: Some(self.protocol).filter(|protocol| !protocol.is_empty()),
        }
    }

    fn decision(&self) -> Option<Decision> {
        let case = Noted {
            event: self.event?,
            action: self.action,
            presented: self.presented,
            user: self.user.is_some(),
            grant: self.grant.is_some(),
            scopes: self.scopes.as_ref().map(|(asked, granted)| (asked.as_str(), granted.as_str())),
            refused: self.refused,
            aborted: self.aborted.is_some(),
            // Where it had no connection, or was not let in, it did nothing.
            unanswered: self.unanswered && !matches!(self.failure, Some("connect" | "refused" | "unsigned")),
            status: self.status,
        };
        case.decision()
    }
}

/// What a bug ended, or the end of the process, has its lines too: it may have been allowed something.
impl Drop for Record {
    fn drop(&mut self) {
        if self.due {
            self.aborted.get_or_insert(if std::thread::panicking() { "bug" } else { "stopped" });
            self.write();
        }
    }
}

/// At most so many characters of it.
fn brief(text: &str, most: usize) -> &str {
    if text.len() <= most {
        return text;
    }
    text.char_indices().nth(most).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

/// Tag or digest; of an upload the digest that it ends with. The ids of sessions are left out: they are capabilities of a kind.
fn reference(route: &Route) -> Option<Reference> {
    match route {
        Route::Manifest { reference, .. } => Some(reference.clone()),
        Route::Blob { digest, .. }
        | Route::Referrers { digest, .. }
        | Route::Upload {
            verb:
                UploadVerb::Monolithic { digest } | UploadVerb::Mount { digest, .. } | UploadVerb::Finish { digest, .. },
            ..
        } => Some(Reference::Digest(digest.clone())),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn awaited() -> Record {
        Record::new(RequestId::random(), IpAddr::from([127, 0, 0, 1]), Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn what_it_took_counts_from_its_head() {
        let mut record = awaited();
        tokio::time::advance(Duration::from_secs(100)).await;
        record.begins(Instant::now());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(record.began.elapsed(), Duration::from_secs(2));
        record.due = false;
    }

    #[test]
    fn a_request_that_a_bug_ends_is_told_once_and_one_that_never_came_is_not() {
        let told = |act: fn(&mut Record), reason| {
            let mut record = awaited();
            record.refused = Some((reason, "refused"));
            act(&mut record);
            drop(record);
            pulse::totals().refusals.iter().find(|(known, _)| *known == reason).map_or(0, |(_, count)| *count)
        };
        assert_eq!(told(|_| {}, "a test: nothing came"), 0);
        assert_eq!(told(|record| record.begins(Instant::now()), "a test: a bug"), 1);
        let whole = |record: &mut Record| {
            record.begins(Instant::now());
            record.write();
        };
        assert_eq!(told(whole, "a test: all is well"), 1);
    }
}
