//! The token endpoint: what a caller asked for and the policy allows, signed.
//!
//! GET as in distribution's token specification (`docs/content/spec/auth/token.md`): credentials in the header,
//! parameters in the query. POST as in its OAuth2 specification (`oauth.md`): everything in a form. Neither ever answers
//! 403, after which some clients do not try the other one.

use http::{StatusCode, header};
use pingora_core::protocols::http::ServerSession;

use super::{
    Case, form,
    pump::Stop,
    record::Record,
    respond::{Answer, OAuthError, Rejection},
};
use crate::{
    identity::{BasicCredentials, Credentials, Principal},
    registry::{Actions, QueryError, QueryPairs, Resource, Route, Scope, ScopeSet, TokenVerb},
    runtime::{NotAuthenticated, PublicRegistry},
    telemetry::metrics,
    token::{Issued, KeyError, Refusal},
};

/// What is asked, however it came.
#[derive(Debug, Default)]
struct Request {
    service: Option<String>,
    scopes: ScopeSet,
    /// A refresh token is wanted.
    offline: bool,
}

/// Who asks, and the refresh token that goes into the answer.
struct Bearer {
    principal: Principal,
    refresh_token: Option<String>,
}

/// Answers with a token, however little it allows: a partial grant is no error.
pub(super) async fn token(
    session: &mut ServerSession,
    case: Case<'_>,
    verb: TokenVerb,
    record: &mut Record,
) -> Result<Answer, Stop> {
    let (request, bearer) = match verb {
        TokenVerb::Query => query(case, record).await?,
        TokenVerb::Form => {
            let form = form::read(session, case, record).await?;
            posted(case, &form, record).await?
        }
    };
    let granted = granted(case, &bearer.principal, &request.scopes);
    if wants_a_person(case, &bearer.principal, &request.scopes, &granted) {
        return Err(Rejection::LoginNeeded.into());
    }
    record.grants(&request.scopes, &granted);
    let issued = case
        .runtime
        .issuer
        .issue(&case.registry.service, &bearer.principal, &granted)
        .map_err(|error| unsigned(&error))?;
    metrics::token_issued("access");
    record.issues(&issued.id);
    let body = body(&issued, &granted, bearer.refresh_token.as_deref(), verb);
    Ok(Answer::json(StatusCode::OK, body).with(header::CACHE_CONTROL, "no-store"))
}

/// True where a browser without credentials asks for more than anyone may have: the answer then has it prompt for a login,
/// as no page can by itself.
fn wants_a_person(case: Case<'_>, principal: &Principal, wanted: &ScopeSet, granted: &ScopeSet) -> bool {
    let nothing_sent = principal.name().is_none() && matches!(case.head.credentials, Credentials::None);
    let serves = || case.runtime.policy.serves_anyone(&case.registry.hosts);
    nothing_sent && case.head.asking.is_of_a_browser() && (wanted != granted || !serves())
}

/// `token` for older clients, `access_token` for OAuth2 ones. No `issued_at`: a client would compare it with its own clock.
fn body(issued: &Issued, granted: &ScopeSet, refresh_token: Option<&str>, verb: TokenVerb) -> String {
    let mut body = serde_json::json!({
        "token": issued.token,
        "access_token": issued.token,
        "expires_in": issued.expires_in,
    });
    if let Some(map) = body.as_object_mut() {
        if verb == TokenVerb::Form {
            map.insert("scope".to_owned(), granted.to_string().into());
            map.insert("token_type".to_owned(), "Bearer".into());
        }
        if let Some(token) = refresh_token {
            map.insert("refresh_token".to_owned(), token.into());
        }
    }
    body.to_string()
}

/// GET.
async fn query(case: Case<'_>, record: &mut Record) -> Result<(Request, Bearer), Rejection> {
    const UNREADABLE: Rejection = Rejection::BadRequest("the query cannot be read");
    let Case { runtime, registry, head, .. } = case;
    let pairs = QueryPairs::parse(head.target.query().unwrap_or_default()).map_err(|_| UNREADABLE)?;
    let offline = pairs.single("offline_token").map_err(|_| UNREADABLE)? == Some("true");
    let request = Request { offline, ..Request::read(&pairs, registry).map_err(|_| UNREADABLE)? };
    request.check_service(case)?;
    let account = pairs.single("account").map_err(|_| UNREADABLE)?;
    match &head.credentials {
        // A token does not renew itself.
        Credentials::Bearer(_) => return Err(Rejection::NotBasic),
        // A login without a name, where nothing is to be had without one.
        Credentials::None if request.scopes.is_empty() && !runtime.policy.serves_anyone(&registry.hosts) => {
            return Err(Rejection::LoginNeeded);
        }
        Credentials::None | Credentials::Basic(_) | Credentials::Malformed => {}
    }
    let route = Route::Token(TokenVerb::Query);
    let principal = runtime.authenticate(&head.credentials, head.client, &registry.service, &route).await;
    let principal = principal.map_err(hide_scheme)?;
    record.knows(&principal);
    // Never an identity; a client that says two names is not to be guessed at.
    if let (Some(account), Credentials::Basic(login)) = (account, &head.credentials)
        && account != login.username
    {
        return Err(Rejection::BadRequest("account and user name differ"));
    }
    let refresh_token = if request.offline { refresh_token(case, &principal, record)? } else { None };
    Ok((request, Bearer { principal, refresh_token }))
}

/// POST.
async fn posted(case: Case<'_>, form: &QueryPairs, record: &mut Record) -> Result<(Request, Bearer), Rejection> {
    const UNREADABLE: Rejection = invalid("a parameter is given twice");
    let Case { runtime, registry, head, .. } = case;
    if !matches!(head.credentials, Credentials::None) {
        return Err(invalid("credentials belong into the form alone"));
    }
    let one = |name: &str| form.single(name).map_err(|_| UNREADABLE);
    let offline = one("access_type")? == Some("offline");
    let request = Request { offline, ..Request::read(form, registry).map_err(|_| UNREADABLE)? };
    if form.all("scope").nth(1).is_some() {
        return Err(UNREADABLE);
    }
    request.check_service(case)?;
    let bearer = match one("grant_type")? {
        Some("password") => {
            let (Some(username), Some(password)) = (one("username")?, one("password")?) else {
                return Err(invalid("username and password are needed"));
            };
            record.claims(username);
            let login = BasicCredentials::new(username, password).map_err(|_| Rejection::WrongCredentials(None))?;
            let principal = runtime.login(&login, head.client, &registry.service).await.map_err(hide_scheme)?;
            record.knows(&principal);
            let refresh_token = if request.offline { refresh_token(case, &principal, record)? } else { None };
            Bearer { principal, refresh_token }
        }
        Some("refresh_token") => {
            if runtime.refresh.is_none() {
                return Err(Rejection::NoRefreshTokens);
            }
            record.presents_token();
            let token = one("refresh_token")?.ok_or(invalid("refresh_token is needed"))?;
            let principal = runtime.refresh(token, &registry.service).await;
            let principal = principal.map_err(|error| refused(error, Rejection::InvalidRefresh))?;
            record.knows(&principal);
            // The same one: docker never stores another.
            Bearer { principal, refresh_token: Some(token.to_owned()) }
        }
        Some(_) | None => return Err(Rejection::OAuth(OAuthError::UnsupportedGrantType)),
    };
    Ok((request, bearer))
}

const fn invalid(reason: &'static str) -> Rejection {
    Rejection::OAuth(OAuthError::InvalidRequest(reason))
}

impl Request {
    fn read(pairs: &QueryPairs, registry: &PublicRegistry) -> Result<Self, QueryError> {
        let mut scopes = ScopeSet::default();
        for text in pairs.all("scope") {
            scopes.add_requested(text);
            if let Some(own) = registry.trusted_hosts() {
                scopes.add_requested_for_trust(text, own);
            }
        }
        Ok(Self { service: pairs.single("service")?.map(str::to_owned), scopes, offline: false })
    }

    /// Left out or empty it is the registry's own.
    fn check_service(&self, case: Case<'_>) -> Result<(), Rejection> {
        match self.service.as_deref() {
            Some(service) if !service.is_empty() && service != case.registry.service => {
                Err(Rejection::BadRequest("unknown service"))
            }
            _ => Ok(()),
        }
    }
}

/// A refresh token for a caller who proved a password; None where there are none, for the bearer of a deploy token, who
/// would escape its limits, and where nobody would say that the password changed.
fn refresh_token(case: Case<'_>, principal: &Principal, record: &mut Record) -> Result<Option<String>, Rejection> {
    let (Some(lifetime), Some(user), None) = (case.runtime.refresh, principal.as_user(), principal.parent()) else {
        return Ok(None);
    };
    if !user.proof.binds_password() {
        return Ok(None);
    }
    let issued =
        case.runtime.issuer.issue_refresh(&case.registry.service, user, lifetime).map_err(|error| unsigned(&error))?;
    metrics::token_issued("refresh");
    record.issues_refresh(&issued.id);
    Ok(Some(issued.token))
}

/// At this endpoint unreadable credentials are wrong ones.
fn hide_scheme(error: NotAuthenticated) -> Rejection {
    refused(error, Rejection::WrongCredentials)
}

fn refused(error: NotAuthenticated, rejection: fn(Option<Box<Refusal>>) -> Rejection) -> Rejection {
    match error {
        NotAuthenticated::WrongCredentials(refusal) | NotAuthenticated::InvalidToken(refusal) => rejection(refusal),
        NotAuthenticated::Unavailable => Rejection::IdentityUnavailable,
        NotAuthenticated::Overloaded => Rejection::IdentityOverloaded,
        NotAuthenticated::Throttled { retry_after } => Rejection::Throttled { retry_after },
    }
}

fn unsigned(error: &KeyError) -> Rejection {
    tracing::error!(%error, "a token could not be signed");
    Rejection::Signing
}

/// The requested scopes as far as the policy allows them. The catalog is open to every accepted caller, who then
/// sees what it may pull.
fn granted(case: Case<'_>, principal: &Principal, wanted: &ScopeSet) -> ScopeSet {
    let asker = case.registry.asker(principal, case.head.client);
    let mut granted = ScopeSet::default();
    for scope in wanted.iter() {
        let actions = match &scope.resource {
            Resource::Catalog => Actions::ALL,
            Resource::Repository(name) => case.runtime.policy.grantable(asker, name).intersection(scope.actions),
        };
        if !actions.is_empty() {
            granted.add(Scope { resource: scope.resource.clone(), actions });
        }
    }
    granted
}
