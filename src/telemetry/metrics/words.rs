//! The labels of metrics, and the words that they may be.

/// A label of a metric.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    pub name: &'static str,
    pub values: Values,
}

/// What a label may be. Nothing that a request says is among it.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// One of these words. Each has its series from the start.
    Fixed(&'static [&'static str]),
    /// A name out of the configuration; what of it.
    Configured(&'static str),
    /// The status of an answer.
    Status,
}

const fn fixed(name: &'static str, words: &'static [&'static str]) -> Label {
    Label { name, values: Values::Fixed(words) }
}

const fn configured(name: &'static str, what: &'static str) -> Label {
    Label { name, values: Values::Configured(what) }
}

pub(super) const REGISTRY: Label =
    configured("registry", "a registry's first host; `none` where no registry was asked");
pub(super) const SERVER: Label = configured("server", "the address of one of its servers");
pub(super) const PROVIDER: Label = configured("provider", "`htpasswd`, `ldap`, `ldap-2`…; `none` where none was asked");
pub(super) const LDAP_SERVER: Label = configured("server", "the address of a directory server");
pub(super) const NAME: Label = configured("name", "a name of the certificate");
pub(super) const FIRST_NAME: Label = configured("name", "the certificate's first name");
pub(super) const ENDPOINT: Label = configured("endpoint", "an endpoint's name");
pub(super) const VERSION: Label = configured("version", "the release");

pub(super) const ROUTE: Label = fixed("route", ROUTES);
pub(super) const CODE: Label = Label { name: "code", values: Values::Status };
pub(super) const PROTOCOL: Label = fixed("protocol", &["HTTP/1.0", "HTTP/1.1", "HTTP/2", "none"]);
pub(super) const DIRECTION: Label = fixed("direction", &["in", "out"]);
pub(super) const ACTION: Label = fixed("action", &["pull", "push", "delete", "list", "visit"]);
pub(super) const DECISION: Label = fixed("outcome", &["allowed", "challenged", "denied", "read_only"]);
pub(super) const REFUSAL: Label = fixed("reason", REFUSALS);
pub(super) const LOGIN: Label = fixed("outcome", &["accepted", "cached", "rejected", "unknown", "error", "overload"]);
pub(super) const THROTTLED_OF: Label = fixed("of", &["name", "network"]);
pub(super) const LOOKUP: Label = fixed("result", &["hit", "miss"]);
pub(super) const ISSUED: Label = fixed("kind", &["access", "refresh"]);
pub(super) const TOKEN: Label = fixed("kind", &["access", "refresh", "deploy"]);
pub(super) const TOKEN_OUTCOME: Label = fixed("outcome", TOKEN_OUTCOMES);
pub(super) const LISTENER: Label = fixed("listener", &["https", "http"]);
pub(super) const CONNECTION_REFUSAL: Label = fixed(
    "reason",
    &["per_client", "plain_http", "handshake", "handshake_timeout", "proxy_protocol", "proxy_protocol_unexpected"],
);
pub(super) const TLS_VERSION: Label = fixed("version", &["TLSv1.2", "TLSv1.3"]);
pub(super) const RESUMED: Label = fixed("resumed", &["yes", "no"]);
pub(super) const HANDSHAKE_FAILURE: Label = fixed("reason", HANDSHAKE_FAILURES);
pub(super) const UPSTREAM_ERROR: Label = fixed("kind", UPSTREAM_ERRORS);
pub(super) const FAILOVER: Label = fixed("reason", FAILOVERS);
pub(super) const RESUME_REASON: Label = fixed("reason", RESUME_REASONS);
pub(super) const RESUME: Label = fixed("outcome", &["resumed", "lost"]);
pub(super) const PROBE: Label = fixed("outcome", &["good", "bad"]);
pub(super) const RELOAD_OUTCOME: Label = fixed("outcome", &["success", "failure"]);
pub(super) const ACME_RESULT: Label = fixed("result", ACME_RESULTS);
pub(super) const LDAP_FAULT: Label = fixed("reason", LDAP_FAULTS);
pub(super) const DELIVERY: Label = fixed("outcome", &["delivered", "refused", "failed"]);
pub(super) const WAIT: Label = fixed("outcome", &["served", "refused", "left"]);

/// The kinds of routes; `none` for what is none.
pub(super) const ROUTES: &[&str] = &[
    "landing",
    "base",
    "token",
    "catalog",
    "tags",
    "manifest",
    "blob",
    "upload",
    "referrers",
    "notary",
    "ui",
    "preflight",
    "none",
];

/// Why requests are refused, as the access line says it.
pub(super) const REFUSALS: &[&str] = &[
    "bad_request",
    "too_slow",
    "unknown_host",
    "unknown_route",
    "no_refresh_tokens",
    "login_needed",
    "wrong_credentials",
    "invalid_token",
    "token_not_yet_valid",
    "token_expired",
    "token_revoked",
    "token_user_changed",
    "token_of_another_user",
    "insufficient_scope",
    "denied",
    "read_only",
    "upload_of_another",
    "upload_at_unknown_server",
    "identity_unavailable",
    "identity_overloaded",
    "throttled",
    "cross_site",
    "too_large",
    "busy",
    "buffers_full",
    "catalog_unfinished",
    "upstream_failed",
    "internal",
];

const TOKEN_OUTCOMES: &[&str] = &[
    "valid",
    "malformed",
    "unknown_key",
    "other_kind",
    "bad_signature",
    "wrong_audience",
    "wrong_issuer",
    "not_yet_valid",
    "expired",
    "revoked",
    "user_changed",
    "other_user",
    "unavailable",
];

const HANDSHAKE_FAILURES: &[&str] = &[
    "not_tls",
    "timeout",
    "client_left",
    "no_shared_version",
    "no_shared_cipher",
    "no_shared_protocol",
    "no_certificate",
    "alert_unknown_ca",
    "alert_bad_certificate",
    "alert_certificate_expired",
    "alert_certificate_unknown",
    "alert_other",
    "other",
];

const UPSTREAM_ERRORS: &[&str] =
    &["connect", "broken", "unusable", "refused", "silent", "status", "redirect", "storage", "corrupt"];
const FAILOVERS: &[&str] =
    &["connect", "broken", "unusable", "refused", "silent", "status", "lacking", "redirect", "storage"];
const RESUME_REASONS: &[&str] = &["broken", "silent", "unusable"];

const ACME_RESULTS: &[&str] = &[
    "issued",
    "storage",
    "configuration",
    "rate_limited",
    "unreachable",
    "authority",
    "challenge",
    "clock",
    "timeout",
    "internal",
];

const LDAP_FAULTS: &[&str] =
    &["connect", "tls", "starttls", "timeout", "late", "crowded", "lost", "bind", "result", "answer"];

/// What answers usually have; each has a counter that is found without a search among all. 0: no answer went out.
pub(super) const STATUSES: &[u16] = &[
    0, 200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 406, 408, 409, 411, 412, 413,
    415, 416, 417, 421, 426, 429, 431, 499, 500, 501, 502, 503, 504,
];

/// Of these there is a series from the start for every route, so that the first failure is seen to be one.
pub(super) const STATUSES_FROM_THE_START: &[u16] = &[200, 401, 403, 404, 429, 500, 502, 503, 504];
