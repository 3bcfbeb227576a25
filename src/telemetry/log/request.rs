//! What is said of a request once it is over: the access line, and the audit line where something was decided.

use std::{net::IpAddr, sync::atomic::Ordering, time::Duration};

use super::{
    ACCESS, AUDIT,
    line::{Fields, Kind, at_desk, key, push},
};

const OF_ACCESS: Kind = Kind { json: r#","level":"INFO","log":"access""#, text: "  INFO access:" };
const OF_AUDIT: Kind = Kind { json: r#","level":"INFO","log":"audit""#, text: "  INFO audit:" };

/// What is known of a request. No query string, header but those named, nor body is part of it, so no secret can be.
#[derive(Clone, Debug, Default)]
pub struct RequestLine<'a> {
    pub request_id: &'a str,
    /// The trace that the client's request belongs to (W3C Trace Context).
    pub trace: Option<&'a str>,
    pub client: Option<IpAddr>,
    /// Who holds the connection, where a trusted proxy says that the client is another.
    pub peer: Option<IpAddr>,
    pub user: Option<&'a str>,
    /// The name that a login claimed which did not succeed.
    pub claimed: Option<&'a str>,
    /// What the client showed, a fixed word: `password`, `token`, `malformed`; None: nothing.
    pub presented: Option<&'static str>,
    /// The identity provider that the user is known to.
    pub provider: Option<&'a str>,
    /// The id of the refresh or deploy token that the user came by, or that was issued.
    pub token: Option<&'a str>,
    /// The id of the access token that was shown, or issued.
    pub access_token: Option<&'a str>,
    /// The first host of the registry that was asked.
    pub registry: &'a str,
    pub method: Option<&'a str>,
    /// The kind of route, a fixed word.
    pub route: &'static str,
    pub repository: Option<&'a str>,
    pub reference: Option<&'a str>,
    /// What the registry says that the content's digest is, else that of the address.
    pub digest: Option<&'a str>,
    /// The repository that a blob is mounted from.
    pub from: Option<&'a str>,
    /// The host that was dialled, where it is none of ours.
    pub host: Option<&'a str>,
    /// The scopes that a token was asked for.
    pub asked: Option<&'a str>,
    /// The scopes that it got.
    pub granted: Option<&'a str>,
    pub action: Option<&'static str>,
    /// The grant that decided.
    pub grant: Option<&'a str>,
    /// Whom of its `to` the user is: `group:team-a`, `user:alice`, `authenticated`, `anyone`.
    pub subject: Option<&'a str>,
    /// The grant that would have allowed it from another network.
    pub near: Option<&'a str>,
    /// Why it was refused, a fixed word: `login_needed`, `wrong_credentials`, `denied`…
    pub refused: Option<&'static str>,
    /// What is wrong with the upstream, a fixed word: `connect`, `silent`…
    pub failure: Option<&'static str>,
    /// Why it ended early, a fixed word: `client_gone`, `upstream_broke`…
    pub aborted: Option<&'static str>,
    pub status: u16,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub duration: Duration,
    /// The server that answered.
    pub upstream: Option<&'a str>,
    /// How often another server went on with the body.
    pub resumed: Option<u32>,
    pub user_agent: Option<&'a str>,
    pub protocol: Option<&'static str>,
}

/// What was decided about somebody, in fixed words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// `login`, `token`, `pull`, `look`, `push`…
    pub event: &'static str,
    /// `allowed`, `denied`, `challenged`, `failed`…
    pub outcome: &'static str,
}

/// Writes what is switched on: the access line, and the audit line where there is a decision.
pub fn request(line: &RequestLine<'_>, decision: Option<Decision>) {
    let access = ACCESS.load(Ordering::Relaxed);
    let decision = decision.filter(|_| AUDIT.load(Ordering::Relaxed));
    if !access && decision.is_none() {
        return;
    }
    at_desk(|desk, format| {
        desk.share(format, |fields| line.shared(fields));
        if let Some(decision) = decision {
            desk.shared_line(format, &OF_AUDIT, |fields| decision.fields(fields), |_| {});
        }
        if access {
            desk.shared_line(format, &OF_ACCESS, |_| {}, |fields| line.of_access(fields));
        }
        push(desk.lines(), u64::from(access) + u64::from(decision.is_some()));
    });
}

impl Decision {
    fn fields(self, fields: &mut Fields<'_>) {
        fields.word(key!("event"), self.event);
        fields.word(key!("outcome"), self.outcome);
    }
}

impl RequestLine<'_> {
    /// What both lines hold.
    fn shared(&self, fields: &mut Fields<'_>) {
        fields.text(key!("request_id"), self.request_id);
        fields.optional(key!("trace"), self.trace);
        self.client.into_iter().for_each(|address| fields.address(key!("client"), address));
        self.peer.into_iter().for_each(|address| fields.address(key!("peer"), address));
        fields.optional(key!("user"), self.user);
        fields.optional(key!("claimed"), self.claimed);
        fields.optional_word(key!("presented"), self.presented);
        fields.optional(key!("provider"), self.provider);
        fields.optional(key!("token"), self.token);
        fields.optional(key!("access_token"), self.access_token);
        fields.text(key!("registry"), self.registry);
        fields.optional(key!("method"), self.method);
        fields.optional(key!("repository"), self.repository);
        fields.optional(key!("reference"), self.reference);
        fields.optional(key!("digest"), self.digest);
        fields.optional(key!("from"), self.from);
        fields.optional(key!("asked"), self.asked);
        fields.optional(key!("granted"), self.granted);
        fields.optional_word(key!("action"), self.action);
        fields.optional(key!("grant"), self.grant);
        fields.optional(key!("subject"), self.subject);
        fields.optional(key!("near"), self.near);
        fields.optional_word(key!("refused"), self.refused);
        fields.optional_word(key!("failure"), self.failure);
        fields.optional_word(key!("aborted"), self.aborted);
        fields.number(key!("status"), self.status);
        fields.number(key!("bytes_in"), self.bytes_in);
        fields.number(key!("bytes_out"), self.bytes_out);
        fields.optional(key!("upstream"), self.upstream);
        fields.optional(key!("user_agent"), self.user_agent);
        fields.optional_word(key!("protocol"), self.protocol);
    }

    /// What is in the access line alone.
    fn of_access(&self, fields: &mut Fields<'_>) {
        fields.word(key!("route"), self.route);
        fields.optional(key!("host"), self.host);
        if let Some(resumed) = self.resumed {
            fields.number(key!("resumed"), resumed);
        }
        fields.number(key!("duration_ms"), u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests;
