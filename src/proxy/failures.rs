//! One line for what an upstream did to a request.

use std::{sync::LazyLock, time::Duration};

use super::record::Record;
use crate::{
    registry::RepositoryName,
    runtime::PublicRegistry,
    telemetry::log::{Spared, Sparing},
    upstream,
};

/// A server that is down fails every request; each has its access line.
const INTERVAL: Duration = Duration::from_secs(10);

/// Notes a failure for the request's line, and tells it: one of a registry and a kind in a while.
pub(super) fn tell(error: &upstream::Error, what: &'static str, registry: &PublicRegistry, record: &mut Record) {
    static TOLD: LazyLock<Sparing> = LazyLock::new(|| Sparing::new(INTERVAL));
    record.fails(error);
    let (request_id, registry, server) = (record.id.as_str(), registry.name(), record.upstream.as_deref());
    let (failure, repository) = (error.kind(), record.repository.as_ref().map(RepositoryName::as_str));
    match TOLD.spare(&format!("{what} {failure} {registry}")) {
        Spared::Due { left_out } => tracing::warn!(
            request_id, registry, server, repository, failure, %error, left_out, advice = error.advice(), "{what}"
        ),
        Spared::NotDue => tracing::debug!(request_id, registry, server, repository, failure, %error, "{what}"),
    }
}
