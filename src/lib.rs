//! # portcullis
//!
//! The gate in front of a container registry: TLS, accounts, tokens and per-repository grants in one binary.
//!
//! ## The life of a request
//!
//! ```text
//!  client (docker, containerd, skopeo, curl)
//!    │ TCP
//!    ▼
//!  listener::accept      connection limits, handshake with a time limit, certificate by SNI (tls::CertStore)
//!    │ pingora-core: HTTP/1.1 and HTTP/2 framing
//!    ▼
//!  proxy::Gate           one async function, read it top to bottom
//!    1  host and SNI → registry                       else 421
//!    2  registry::Route::parse(method, path, query)   else 400, 404, 405       what, once
//!    3  runtime::Runtime::authenticate(credentials)   else 401, 429, 503       who, once
//!    4  access::Policy::authorize(asker, route)       else 401, 403            may, once → Permit
//!    5  size limits                                   else 413
//!    6  upstream::Pool::fetch / send (&Permit, …)     a server is chosen; the line is rebuilt from the permit's route
//!    7  budget::Budget::place                         else 503                 memory for a body
//!    8  proxy::pump, upstream::Download               bodies both ways, a frame at a time; a blob whose server dies goes
//!    │                                                on from another one
//!    ▼
//!  the registry's servers, reachable from here alone
//! ```
//!
//! Four files in this order tell the product: `proxy/gate.rs`, `registry/route.rs`, `identity/chain.rs`,
//! `access/policy.rs`.
//!
//! ## Decisions and their one place
//!
//! | decision | place |
//! |---|---|
//! | what is asked | [`registry::Route::parse`] |
//! | who asks | [`identity::Chain`], `token::Verifier`; chosen by [`runtime::Runtime::authenticate`] |
//! | whether a login is verified at all, and when | `identity/admission.rs`: what failed before (`throttle.rs`), whose turn it is (`turns.rs`) |
//! | may they | [`access::Policy::authorize`], which alone makes a [`access::Permit`] |
//! | which upstream, which server | [`upstream::Pools`] by repository; `upstream/select.rs` by role, health and balance |
//! | what may be asked again | `upstream/pool.rs`: GET and HEAD; what goes on elsewhere: `upstream/resume.rs` |
//! | what leaves | `proxy/forward.rs`, `proxy/beside.rs` (headers), [`registry::Route::to_upstream`] (the line) |
//! | what a page of another origin may | `proxy/asking.rs` |
//! | where a redirect of a registry may lead | `upstream/redirect.rs`, at which addresses: `upstream/address.rs` |
//! | what the client is told | `proxy/respond.rs`: status, error code, challenge |
//! | whose upload session, at which server | `token::Seals`, asked in `proxy/gate.rs` |
//! | memory for a body | `proxy/places.rs`, out of [`budget::Budget`] |
//! | which certificate | [`tls::CertStore`]; what an authority is shown that looks whether a name is ours: [`tls::acme::Challenges`] |
//! | when a certificate is ordered | `tls/acme/schedule.rs`, asked in `tls/acme/keeper.rs`; what is stored: `tls/acme/order.rs`, after a look |
//! | who is told of what was done | `proxy/notice.rs` says what, [`events::Events`] whom; `events/course.rs` when again |
//! | which configuration | [`reload::Reloader`]; when it is read again: `reload/watch.rs` |
//!
//! ## Invariants
//!
//! - No byte reaches an upstream without a permit, and the permit holds the very route that is sent.
//! - Wrong or malformed credentials never act as anonymous.
//! - Nothing goes to a directory but over TLS, and an empty password goes nowhere.
//! - An unknown user costs what a known one does, and is refused no sooner.
//! - A provider that cannot answer is no "unknown user".
//! - Over `limits.failed_logins` nothing is verified for a name from a network, whether there is such a user or not; what fails
//!   there touches no other name and no other network, and no password that was right before.
//! - The same login at the same time is verified once; networks take turns, and where no more may wait, who has most gives way.
//! - For every accepted request, parsing what is sent upstream gives the same route.
//! - An upload goes out as `application/octet-stream`, so that no body is read as parameters.
//! - `Authorization`, `Cookie`, `Forwarded` and `X-…` of a client never pass.
//! - What a page elsewhere has a browser ask is refused before anybody is authenticated, unless its origin is allowed.
//! - A body that breaks off, in either direction, never ends as if it were whole.
//! - Nothing is sent twice but GET and HEAD; a body goes on from elsewhere only where length and digest (or ETag) agree.
//! - A redirect is followed to an origin that is listed, at an address that was judged, and nothing of us or the client goes along.
//! - A replica's word counts for what is there, never for what is not.
//! - An upload session is for who opened it; its address says so in a form that only the gate can make.
//! - A token is of one kind, for one registry, and counts only while its user's proof holds; a token only narrows.
//! - Bodies under way and HTTP/2 windows hold no more memory than `limits.buffers` ([`budget`]).
//! - While more than half of that is used, one client gets no more once it holds a quarter.
//! - An event is told when it came about, never before, and no request waits for that; each endpoint is told by one process at a
//!   time, in order.
//! - A request keeps one [`runtime::Runtime`] from its head to its end, the one in force when the head arrived; but nothing is
//!   written to what has become read-only since, and what is written until then is counted ([`runtime::Writes`]).
//! - A certificate of an authority is stored with its key in one file, once it was seen to fit its key, its names and the clock; an
//!   order that may have led to one is gone on with. What fails is repeated at a distance that no restart shortens.
//! - Nothing waits for an authority, and whatever it does, what is in force stays.
//! - A configuration is in force as a whole or not at all ([`reload::Reloader`]).
//! - What did not change is the same afterwards, by the content of files too: upstreams and their servers, with connections and
//!   all that is known of them ([`upstream::Plan`]), password files ([`identity::Chain::rebuild`]) and certificates
//!   ([`tls::CertStore::load`]). A server of a changed upstream is one of them, and it is probed once.
//! - Who has come to a socket is served, whatever becomes of it: a changed address, a stop, another process
//!   ([`listener::Listening`], [`server`]).
//!
//! ## Layers
//!
//! A module uses only modules below it; a test keeps it so.
//!
//! ```text
//! main
//! cli
//! server
//! proxy   admin   reload
//! listener
//! runtime
//! events
//! upstream
//! access    token    budget
//! identity
//! tls
//! telemetry   disk   outbound
//! config
//! registry
//! ```

pub mod access;
pub mod admin;
pub mod budget;
pub mod cli;
pub mod config;
pub mod disk;
pub mod events;
pub mod identity;
pub mod listener;
pub mod outbound;
pub mod proxy;
pub mod registry;
pub mod reload;
pub mod runtime;
pub mod server;
pub mod telemetry;
pub mod tls;
pub mod token;
pub mod upstream;
