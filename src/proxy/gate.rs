//! The decision: which registry, what is asked, who asks, may they. Read it top to bottom.

use std::sync::Arc;

use super::{
    asking,
    head::RequestHead,
    record::Record,
    respond::{Answer, Challenger, Rejection},
};
use crate::{
    access::{Asker, Denial, Permit},
    identity::Principal,
    registry::{ManifestVerb, Needs, Read, Route, TokenVerb, TrustVerb, UploadVerb},
    runtime::{PublicRegistry, Runtime},
    telemetry::metrics,
    token::{self, Sealed},
};

/// What is to be done with a request.
pub(super) enum Verdict {
    /// Answered here.
    Answer(Answer),
    /// The token endpoint's turn.
    Token(TokenVerb),
    /// The catalog's turn: several pages of the upstream make one of ours.
    Catalog { permit: Permit, principal: Principal },
    /// Sent to the registry.
    Forward(Admitted),
}

/// A permit that passed every step: what may be sent.
pub(super) struct Admitted {
    pub(super) permit: Permit,
    pub(super) upload: Upload,
}

/// The upload session that a route goes on with, or would begin.
pub(super) struct Upload {
    /// When it was opened, in seconds since 1970: now where the route would begin one, None where it is about none.
    pub(super) opened: Option<u64>,
    /// Which of the upstream's servers holds it.
    pub(super) server: Option<Arc<str>>,
}

/// Step 1: the registry that the host names. The name of the TLS handshake must not be another one's.
pub(super) fn registry<'a>(runtime: &'a Runtime, head: &RequestHead) -> Result<&'a Arc<PublicRegistry>, Rejection> {
    let registry = runtime.registry(&head.host).ok_or(Rejection::Misdirected)?;
    if head.sni.as_deref().is_some_and(|name| runtime.names_another(name, registry)) {
        return Err(Rejection::Misdirected);
    }
    Ok(registry)
}

/// Steps 2 to 6.
pub(super) async fn decide(
    runtime: &Runtime,
    registry: &PublicRegistry,
    head: &RequestHead,
    challenger: &mut Challenger<'_>,
    record: &mut Record,
) -> Result<Verdict, Rejection> {
    let surface = registry.surface(&runtime.token_path);
    let route = Route::parse(&head.method, head.target.path(), head.target.query(), surface)?;
    record.asks(&route);
    asking::admit(head, &route, registry)?;
    match route {
        Route::Preflight { allow, token_endpoint } => {
            return Ok(Verdict::Answer(asking::preflight(head, registry, allow, token_endpoint)?));
        }
        // Whoever looks at it is a person with a browser.
        Route::Ui { .. } => challenger.navigation = true,
        Route::Landing(_) => return Ok(Verdict::Answer(super::pages::landing(&head.host))),
        Route::Token(verb) => {
            challenger.token_endpoint = true;
            return Ok(Verdict::Token(verb));
        }
        Route::Base(_)
        | Route::Catalog { .. }
        | Route::TagList { .. }
        | Route::Manifest { .. }
        | Route::Blob { .. }
        | Route::Upload { .. }
        | Route::Referrers { .. }
        | Route::Notary { .. } => {}
    }
    let principal = match runtime.authenticate(&head.credentials, head.client, &registry.service, &route).await {
        Ok(principal) => principal,
        Err(error) => {
            challenger.scope = route.challenge_scope();
            return Err(error.into());
        }
    };
    record.knows(&principal);
    let permit = authorize(runtime, registry, head, &principal, route);
    let permit = permit.inspect_err(|denial| {
        record.near = near(runtime, registry.asker(&principal, head.client), denial);
        if let Denial::Challenge { scope, .. } = denial {
            challenger.scope.clone_from(scope);
        }
    });
    let permit = mountable(registry, permit?);
    record.allows(&permit);
    let upload = admit(runtime, registry, head, &permit)?;
    Ok(match permit.route() {
        Route::Base(Read::Get) if head.asking.navigates() && surface.ui && principal.name().is_some() => {
            Verdict::Answer(super::pages::signed_in())
        }
        Route::Base(_) => Verdict::Answer(super::pages::base()),
        Route::Catalog { .. } => Verdict::Catalog { permit, principal },
        Route::Landing(_)
        | Route::Token(_)
        | Route::Preflight { .. }
        | Route::TagList { .. }
        | Route::Manifest { .. }
        | Route::Blob { .. }
        | Route::Upload { .. }
        | Route::Referrers { .. }
        | Route::Notary { .. }
        | Route::Ui { .. } => Verdict::Forward(Admitted { permit, upload }),
    })
}

fn authorize(
    runtime: &Runtime,
    registry: &PublicRegistry,
    head: &RequestHead,
    principal: &Principal,
    route: Route,
) -> Result<Permit, Denial> {
    let action = match route.needs() {
        Needs::Repository { action, .. } => action.as_str(),
        Needs::Nothing | Needs::Caller => "list",
        Needs::Visit => "visit",
    };
    let outcome = runtime.policy.authorize(registry.asker(principal, head.client), route);
    metrics::decision(
        action,
        match &outcome {
            Ok(_) => "allowed",
            Err(Denial::Challenge { .. }) => "challenged",
            Err(Denial::Forbidden { .. }) => "denied",
            Err(Denial::ReadOnly { .. }) => "read_only",
        },
    );
    outcome
}

/// The grant that would have helped, had the client asked from elsewhere.
fn near(runtime: &Runtime, asker: Asker<'_>, denial: &Denial) -> Option<Arc<str>> {
    let Denial::Forbidden { action, repository } = denial else { return None };
    runtime.policy.allows_elsewhere(asker, repository, *action)
}

/// A blob cannot be mounted from another upstream's storage; an ordinary upload does the same.
fn mountable(registry: &PublicRegistry, permit: Permit) -> Permit {
    match permit.route().mount() {
        Some((target, source)) if !registry.pools.together(target, source) => permit.degraded(),
        Some(_) | None => permit,
    }
}

/// Step 6: what the head already says about size (bodies of unknown length are counted on their way), and whose upload
/// session it is: one that somebody else opened is answered like one that does not exist, and so is one whose server is
/// no longer among the upstream's.
fn admit(
    runtime: &Runtime,
    registry: &PublicRegistry,
    head: &RequestHead,
    permit: &Permit,
) -> Result<Upload, Rejection> {
    match (body_limit(runtime, permit.route()), head.content_length) {
        (Some(limit), Some(length)) if length > limit => return Err(Rejection::TooLarge { limit }),
        _ => {}
    }
    let Some((repository, session)) = permit.route().upload_session() else {
        let opens = matches!(permit.route(), Route::Upload { .. });
        return Ok(Upload { opened: opens.then(token::now), server: None });
    };
    let subject = permit.caller().unwrap_or_default();
    let sealed = Sealed { service: &registry.service, repository, id: &session.id, subject };
    let seal = session.seal.as_ref();
    let opened = runtime.seals.opened(sealed, seal).ok_or(Rejection::ForeignUpload)?;
    let pool = registry.pool(permit.route())?;
    let server = runtime.seals.server(sealed, seal, pool.servers()).ok_or(Rejection::LostUpload)?;
    Ok(Upload { opened: Some(opened), server: Some(Arc::clone(server)) })
}

/// The most that a route's request body may hold; None: no limit.
pub(super) fn body_limit(runtime: &Runtime, route: &Route) -> Option<u64> {
    match route {
        Route::Manifest { .. } | Route::Notary { .. } => Some(runtime.limits.manifest),
        Route::Upload { .. } => runtime.limits.upload,
        Route::Landing(_)
        | Route::Base(_)
        | Route::Token(_)
        | Route::Catalog { .. }
        | Route::TagList { .. }
        | Route::Blob { .. }
        | Route::Referrers { .. }
        | Route::Ui { .. }
        | Route::Preflight { .. } => None,
    }
}

/// True for the routes whose request body goes to the registry.
pub(super) fn takes_body(route: &Route) -> bool {
    match route {
        Route::Manifest { verb, .. } => matches!(verb, ManifestVerb::Put { .. }),
        Route::Upload { verb, .. } => match verb {
            UploadVerb::Monolithic { .. } | UploadVerb::Chunk { .. } | UploadVerb::Finish { .. } => true,
            UploadVerb::Start | UploadVerb::Mount { .. } | UploadVerb::Status { .. } | UploadVerb::Cancel { .. } => {
                false
            }
        },
        Route::Landing(_)
        | Route::Base(_)
        | Route::Token(_)
        | Route::Catalog { .. }
        | Route::TagList { .. }
        | Route::Blob { .. }
        | Route::Referrers { .. }
        | Route::Ui { .. }
        | Route::Preflight { .. } => false,
        Route::Notary { verb, .. } => matches!(verb, TrustVerb::Publish),
    }
}
