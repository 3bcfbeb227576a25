//! Tests of the whole: the real binary between a real registry and real clients.
//!
//! They need docker-registry, nginx, haproxy, notary, slapd, ldap-utils, pebble, prometheus, testssl.sh, curl, htpasswd, openssl,
//! skopeo, podman, buildah, containerd, docker and chromium (`tests/run.sh` installs them); one that is missing fails the tests that need it, by name. podman, buildah, containerd and docker
//! need root. `PORTCULLIS_TEST_REGISTRY` names another registry binary, `PORTCULLIS_TEST_PEBBLE` another
//! pebble.
// A test that cannot go on panics; that is what the lints of the product forbid there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]
#![allow(clippy::print_stderr, reason = "the logs of a failed test")]

mod support;

mod acme;
mod admin;
mod affinity;
mod allocations;
mod answers;
mod architecture;
mod attacks;
mod balance;
mod blobs;
mod buffers;
mod catalog;
mod challenges;
mod cli;
mod clients;
mod collect;
mod differential;
mod documents;
mod ending;
mod events;
mod examples;
mod faults;
mod grace;
mod htpasswd;
mod keep;
mod ldap;
mod listening;
mod live;
mod login;
mod logs;
mod metrics;
mod outside;
mod pairing;
mod pass_token;
mod permit;
mod proxied;
mod pull_push;
mod quickstart;
mod read_only;
mod redirects;
mod reload;
mod replicas;
mod restart;
mod revocation;
mod routes;
mod sequences;
mod serving;
mod storm;
mod survive;
mod throttle;
mod timing;
mod tls;
mod token_keys;
mod tokens;
mod upgrade;
mod uploads;
mod upstream_tls;
mod upstreams;
