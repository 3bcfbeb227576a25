//! Every metric that there is. A metric has its name, kind, labels and help text here and nowhere else; conf/guide/metrics.md
//! is written from it, and a test compares the two.

use super::words::*;

/// A metric.
#[derive(Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    /// Those out of the configuration first.
    pub labels: &'static [Label],
    pub help: &'static str,
}

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Counter,
    Gauge,
    /// The upper bounds of its buckets.
    Histogram(&'static [f64]),
}

/// Metrics that belong together.
#[derive(Debug)]
pub struct Section {
    pub title: &'static str,
    pub metrics: &'static [&'static Metric],
}

/// Every metric.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    SECTIONS.iter().flat_map(|section| section.metrics).copied()
}

impl Kind {
    /// As the text format of Prometheus says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

use Kind::{Counter, Gauge, Histogram};

const TRANSFERS: Kind = Histogram(&[0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0, 300.0, 1800.0]);
const ANSWERS: Kind = Histogram(&[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0]);
const CHECKS: Kind = Histogram(&[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0]);
const DELIVERIES: Kind = Histogram(&[0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0, 300.0, 1800.0, 7200.0]);
const WAITS: Kind = Histogram(&[0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0]);

macro_rules! catalogue {
    ($($title:literal { $($id:ident: $kind:expr, $name:literal [$($label:expr),*] $help:literal;)+ })+) => {
        $($(pub(super) static $id: Metric = Metric { name: $name, kind: $kind, labels: &[$($label),*], help: $help };)+)+

        /// Every metric, by what it is about.
        pub static SECTIONS: &[Section] = &[$(Section { title: $title, metrics: &[$(&$id),+] }),+];
    };
}

catalogue! {
    "Requests" {
        REQUESTS: Counter, "portcullis_requests_total" [REGISTRY, ROUTE, CODE]
            "Requests answered.";
        DURATION: TRANSFERS, "portcullis_request_duration_seconds" [ROUTE]
            "Time from a request's head to the end of its answer.";
        IN_FLIGHT: Gauge, "portcullis_requests_in_flight" []
            "Requests under way.";
        PROTOCOLS: Counter, "portcullis_requests_by_protocol_total" [PROTOCOL]
            "Requests by the version of HTTP that they came in; none: no head that can be read.";
        BYTES: Counter, "portcullis_body_bytes_total" [REGISTRY, DIRECTION]
            "Bytes of bodies received from clients (in) and sent to them (out).";
        REFUSED: Counter, "portcullis_refused_total" [REFUSAL]
            "Requests refused, by reason as the access line names it.";
    }
    "Decisions and logins" {
        DECISIONS: Counter, "portcullis_decisions_total" [ACTION, DECISION]
            "Access decisions.";
        AUTHENTICATIONS: Counter, "portcullis_authentications_total" [PROVIDER, LOGIN]
            "What providers said of logins. One that asks several providers counts at each.";
        AUTHENTICATION_TIME: CHECKS, "portcullis_authentication_duration_seconds" [PROVIDER]
            "How long a provider took to check a password, once it was its turn.";
        LOGIN_CACHE: Counter, "portcullis_login_cache_lookups_total" [LOOKUP]
            "Logins that were looked for among those that succeeded of late: a hit is not checked again.";
        THROTTLED: Counter, "portcullis_logins_throttled_total" [THROTTLED_OF]
            "Logins that were not verified because too many had failed before: with the name in its network, or from the network.";
        VERIFICATIONS_WAITING: Gauge, "portcullis_login_verifications_waiting" []
            "Logins that wait for a thread to compute a password's hash.";
        VERIFICATION_WAIT: WAITS, "portcullis_login_verification_wait_seconds" []
            "How long they waited; its count is that of the hashes that were computed.";
    }
    "Tokens" {
        TOKENS_ISSUED: Counter, "portcullis_tokens_issued_total" [ISSUED]
            "Tokens issued by the token endpoint.";
        TOKENS_VERIFIED: Counter, "portcullis_tokens_verified_total" [TOKEN, TOKEN_OUTCOME]
            "Tokens that were shown, by what was found.";
        TOKEN_CACHE: Counter, "portcullis_token_cache_lookups_total" [LOOKUP]
            "Tokens that were looked for among those whose signature was checked before: of a hit it is not checked again.";
    }
    "Connections and TLS" {
        CONNECTIONS: Gauge, "portcullis_connections" []
            "Open client connections over TLS.";
        CONNECTION_LIMIT: Gauge, "portcullis_connections_limit" []
            "The most there may be (limits.connections).";
        CONNECTIONS_ACCEPTED: Counter, "portcullis_connections_accepted_total" [LISTENER]
            "Client connections let in.";
        CONNECTIONS_REFUSED: Counter, "portcullis_connections_refused_total" [CONNECTION_REFUSAL]
            "Client connections that were closed unserved.";
        CONNECTION_WAITS: Counter, "portcullis_connection_limit_reached_total" []
            "How often a new connection had to wait because limits.connections was reached.";
        HANDSHAKES: Counter, "portcullis_tls_handshakes_total" [TLS_VERSION, RESUMED]
            "TLS handshakes that succeeded.";
        HANDSHAKES_FAILED: Counter, "portcullis_tls_handshake_failures_total" [HANDSHAKE_FAILURE]
            "TLS handshakes that failed. alert_…: what the client said; alert_unknown_ca, of clients in Go \
             alert_bad_certificate: it does not accept the certificate.";
    }
    "Upstreams" {
        UPSTREAM_UP: Gauge, "portcullis_upstream_up" [REGISTRY, SERVER]
            "1 while a server has its turn, 0 while it is asked only where nobody else is left, NaN once it is out of the configuration.";
        UPSTREAM_REQUESTS: Counter, "portcullis_upstream_requests_total" [REGISTRY, SERVER]
            "Requests sent to a server, probes left out.";
        UPSTREAM_IN_FLIGHT: Gauge, "portcullis_upstream_requests_in_flight" [REGISTRY, SERVER]
            "Requests, transfers and probes under way at a server, NaN once it is out of the configuration.";
        UPSTREAM_LATENCY: ANSWERS, "portcullis_upstream_response_seconds" [REGISTRY, SERVER]
            "Time from a request without a body to the head of the server's answer, probes left out.";
        UPSTREAM_ERRORS: Counter, "portcullis_upstream_errors_total" [REGISTRY, SERVER, UPSTREAM_ERROR]
            "Attempts at a server that came to nothing, whether or not another one served the request; status: it answered 5xx.";
        UPSTREAM_EJECTIONS: Counter, "portcullis_upstream_ejections_total" [REGISTRY, SERVER]
            "How often a server lost its turn.";
        UPSTREAM_MOVES: Counter, "portcullis_upstream_failovers_total" [REGISTRY, SERVER, FAILOVER]
            "Attempts at a server that did not serve a request, so that the next one is asked where there is one.";
        UPSTREAM_RESUMES: Counter, "portcullis_upstream_resumes_total" [REGISTRY, SERVER, RESUME_REASON, RESUME]
            "Bodies that a server broke off half way, by whether the rest was had from elsewhere.";
        UPSTREAM_PROBES: Counter, "portcullis_upstream_probes_total" [REGISTRY, SERVER, PROBE]
            "Probes of a server's health.";
        OPEN_WRITES: Gauge, "portcullis_open_writes" [REGISTRY]
            "Writes and uploads that are open: 0 before garbage is collected, NaN once the registry is out of the configuration.";
    }
    "Certificates" {
        CERTIFICATE_EXPIRY: Gauge, "portcullis_certificate_expiry_timestamp_seconds" [NAME]
            "When the certificate in use ends, in seconds since 1970; 0 where there is a temporary one alone, NaN once nothing is to serve the name any more.";
        ACME_ATTEMPTS: Counter, "portcullis_acme_attempts_total" [ACME_RESULT]
            "Attempts to have a certificate issued, by what came of them: issued, or why not.";
        ACME_NEXT: Gauge, "portcullis_acme_next_attempt_timestamp_seconds" [FIRST_NAME]
            "When the next attempt for a certificate of tls.acme is made, in seconds since 1970; NaN where none is.";
        ACME_WINDOW: Gauge, "portcullis_acme_renewal_window_start_timestamp_seconds" [FIRST_NAME]
            "When the authority would have a certificate renewed at the earliest, in seconds since 1970; NaN where it says nothing.";
    }
    "Configuration" {
        RELOAD: Gauge, "portcullis_config_reload_success" []
            "1 while the latest configuration is in force, 0 while it could not be used.";
        RELOADS: Counter, "portcullis_config_reloads_total" [RELOAD_OUTCOME]
            "Configurations read while the gate runs.";
        LAST_RELOAD: Gauge, "portcullis_config_last_reload_success_timestamp_seconds" []
            "When a configuration came into force last, in seconds since 1970.";
        PASSWORD_FILE: Gauge, "portcullis_password_file_readable" []
            "0 while a password file cannot be read and what it said before holds, 1 otherwise.";
    }
    "Directories" {
        LDAP_UP: Gauge, "portcullis_ldap_up" [PROVIDER, LDAP_SERVER]
            "0 while a directory server is left out, 1 otherwise, NaN once it is out of the configuration. One that nobody asks is probed.";
        LDAP_ERRORS: Counter, "portcullis_ldap_errors_total" [PROVIDER, LDAP_SERVER, LDAP_FAULT]
            "Questions and probes that a directory server did not answer.";
    }
    "Events" {
        EVENTS_QUEUED: Gauge, "portcullis_events_queued" [ENDPOINT]
            "Events that wait for an endpoint; NaN once it is out of the configuration.";
        EVENTS_LIMIT: Gauge, "portcullis_events_queue_limit" [ENDPOINT]
            "The most that may wait for an endpoint; NaN once it is out of the configuration.";
        EVENTS_SENT: Counter, "portcullis_events_sent_total" [ENDPOINT, DELIVERY]
            "Attempts to deliver events, of one or several at a time: refused where the answer was neither 2xx nor 3xx, failed where there was none.";
        EVENTS_DROPPED: Counter, "portcullis_events_dropped_total" [ENDPOINT]
            "Events that an endpoint never got: there was no room for them, or it would not have them.";
        EVENTS_DELIVERY: DELIVERIES, "portcullis_events_delivery_seconds" [ENDPOINT]
            "Time from an event to its delivery, waiting and repeated attempts included.";
    }
    "Memory for bodies" {
        BUFFERS: Gauge, "portcullis_buffer_bytes" []
            "Memory set aside for bodies under way and HTTP/2 windows.";
        BUFFER_LIMIT: Gauge, "portcullis_buffer_limit_bytes" []
            "The most that may be set aside (limits.buffers).";
        BUFFER_WAITING: Gauge, "portcullis_buffer_waiting" []
            "Bodies that wait for memory.";
        BUFFER_WAITS: Counter, "portcullis_buffer_waits_total" [WAIT]
            "Bodies that had to wait for memory, by how that ended; left: the client went away.";
    }
    "The process" {
        LOG_DROPPED: Counter, "portcullis_log_lines_dropped_total" []
            "Lines of the log that were not written, because standard error took none for too long.";
        BUILD: Gauge, "portcullis_build_info" [VERSION]
            "1, with what runs as labels.";
        CPU: Counter, "process_cpu_seconds_total" []
            "User and system time.";
        MEMORY: Gauge, "process_resident_memory_bytes" []
            "Memory that is resident.";
        VIRTUAL_MEMORY: Gauge, "process_virtual_memory_bytes" []
            "Address space.";
        OPEN_FILES: Gauge, "process_open_fds" []
            "Open file descriptors.";
        MOST_FILES: Gauge, "process_max_fds" []
            "The most there may be.";
        THREADS: Gauge, "process_threads" []
            "Threads.";
        STARTED: Gauge, "process_start_time_seconds" []
            "When the process began, in seconds since 1970.";
    }
}
