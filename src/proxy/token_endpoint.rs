//! `GET /token`: what a caller asked for and the policy allows, signed.

use http::{StatusCode, header};

use super::{
    head::RequestHead,
    respond::{Answer, Rejection},
};
use crate::{
    identity::{Credentials, Principal},
    registry::{Actions, QueryError, QueryPairs, Resource, Scope, ScopeSet},
    runtime::{NotAuthenticated, PublicRegistry, Runtime},
};

/// What the query asks.
#[derive(Debug, Default)]
struct Request {
    service: Option<String>,
    account: Option<String>,
    scopes: ScopeSet,
}

/// Answers with a token, however little it allows: a partial grant is no error.
pub(super) async fn token(
    runtime: &Runtime,
    registry: &PublicRegistry,
    head: &RequestHead,
    user: &mut Option<String>,
) -> Result<Answer, Rejection> {
    let request = read(head.query.as_deref().unwrap_or_default())
        .map_err(|_| Rejection::BadRequest("the query cannot be read"))?;
    if request.service.as_deref().is_some_and(|service| !service.is_empty() && service != registry.service) {
        return Err(Rejection::BadRequest("unknown service"));
    }
    let principal = match &head.credentials {
        Credentials::Bearer(_) => return Err(Rejection::NotBasic),
        credentials @ (Credentials::None | Credentials::Basic(_) | Credentials::Malformed) => {
            runtime.authenticate(credentials, &registry.service).await.map_err(hide_scheme)?
        }
    };
    *user = principal.name().map(str::to_owned);
    if let (Some(account), Credentials::Basic(login)) = (&request.account, &head.credentials)
        && *account != login.username
    {
        return Err(Rejection::BadRequest("account and user name differ"));
    }
    let granted = granted(runtime, registry, head, &principal, &request.scopes);
    let issued = runtime.issuer.issue(&registry.service, &principal, &granted).map_err(|error| {
        tracing::error!(%error, "a token could not be signed");
        Rejection::Signing
    })?;
    let body = serde_json::json!({
        "token": issued.token,
        "access_token": issued.token,
        "expires_in": issued.expires_in,
    });
    Ok(Answer::json(StatusCode::OK, body.to_string()).with(header::CACHE_CONTROL, "no-store"))
}

/// At this endpoint unreadable credentials are wrong ones.
fn hide_scheme(error: NotAuthenticated) -> Rejection {
    match error {
        NotAuthenticated::WrongCredentials | NotAuthenticated::InvalidToken => Rejection::WrongCredentials,
        NotAuthenticated::Unavailable => Rejection::IdentityUnavailable,
    }
}

fn read(query: &str) -> Result<Request, QueryError> {
    let pairs = QueryPairs::parse(query)?;
    let mut scopes = ScopeSet::default();
    for text in pairs.all("scope") {
        scopes.add_requested(text);
    }
    Ok(Request {
        service: pairs.single("service")?.map(str::to_owned),
        account: pairs.single("account")?.map(str::to_owned),
        scopes,
    })
}

/// The requested scopes as far as the policy allows them. The catalog is open to every accepted caller, who then
/// sees what it may pull.
fn granted(
    runtime: &Runtime,
    registry: &PublicRegistry,
    head: &RequestHead,
    principal: &Principal,
    wanted: &ScopeSet,
) -> ScopeSet {
    let asker = registry.asker(principal, head.client);
    let mut granted = ScopeSet::default();
    for scope in wanted.iter() {
        let actions = match &scope.resource {
            Resource::Catalog => Actions::ALL,
            Resource::Repository(name) => runtime.policy.allowed(asker, name).intersection(scope.actions),
        };
        if !actions.is_empty() {
            granted.add(Scope { resource: scope.resource.clone(), actions });
        }
    }
    granted
}
