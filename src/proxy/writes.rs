//! Which requests count as writes under way, and how they end.

use http::{StatusCode, header, response::Parts};

use super::{Case, respond::Rejection};
use crate::{
    access::Permit,
    registry::{Route, UploadVerb},
    runtime::OpenWrite,
};

/// Counts a request that changes something, from now until its answer; None for one that does not.
///
/// # Errors
/// What it would change became read-only since it was allowed. So whoever sees in the status that a registry is
/// read-only sees every write that still goes on in the count beside it.
pub(super) fn begin(case: Case<'_>, permit: &Permit) -> Result<Option<OpenWrite>, Rejection> {
    let Some(write) = case.registry.writes.begin(permit.route()) else { return Ok(None) };
    // After the counting: the status looks at the configuration first, and at the count then.
    let latest = case.latest.load();
    let registry = latest.registry(&case.head.host);
    match registry.and_then(|registry| latest.policy.freezes(registry.first(), permit.route())) {
        Some(denial) => {
            write.settled();
            Err(denial.into())
        }
        None => Ok(Some(write)),
    }
}

/// The registry has answered.
pub(super) fn end(case: Case<'_>, write: Option<OpenWrite>, route: &Route, response: &Parts) {
    let status = response.status;
    let gone = status.is_success() || status == StatusCode::NOT_FOUND;
    let verb = if let Route::Upload { verb, .. } = route { Some(verb) } else { None };
    match (write, verb) {
        (Some(write), Some(UploadVerb::Chunk { session })) if status != StatusCode::NOT_FOUND => {
            write.goes_on(session.id.as_str());
        }
        (Some(write), Some(UploadVerb::Finish { session, .. })) if !gone => write.goes_on(session.id.as_str()),
        (Some(write), Some(UploadVerb::Start | UploadVerb::Mount { .. } | UploadVerb::Monolithic { .. }))
            if status == StatusCode::ACCEPTED =>
        {
            match opened(response) {
                Some(upload) => write.goes_on(&upload),
                None => write.settled(),
            }
        }
        (Some(write), _) => write.settled(),
        (None, Some(UploadVerb::Cancel { session })) if gone => case.registry.writes.gave_up(session.id.as_str()),
        (None, _) => {}
    }
}

/// The id of the upload that an answer's Location names: the last segment of its path.
fn opened(response: &Parts) -> Option<String> {
    let location = response.headers.get(header::LOCATION)?.to_str().ok()?;
    let path = location.split('?').next()?;
    path.rsplit('/').next().map(str::to_owned)
}
