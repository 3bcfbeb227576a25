//! The gate itself: a request's straight line from its head to the last byte of its answer.

mod asking;
mod audit;
mod beside;
mod catalog;
mod client;
mod connection;
mod failures;
mod familiar;
mod form;
mod forward;
mod gate;
mod head;
mod http2;
mod ids;
mod notice;
mod pages;
mod places;
mod pump;
mod quota;
mod record;
mod respond;
mod token_endpoint;
mod window;
mod writes;

pub use connection::Gate;
pub use forward::{Public, response_head};

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::Method;
use pingora_core::protocols::http::ServerSession;

use self::{
    asking::Sharing,
    client::{ClientGone, Common, Outlet},
    connection::Connection,
    gate::{Admitted, Verdict},
    head::RequestHead,
    notice::Notice,
    pump::{Stop, Terms},
    record::Record,
    respond::{Challenger, Rejection},
};
use crate::{
    registry::{RepositoryName, UploadId},
    runtime::{PublicRegistry, Runtime},
    token::{self, Sealed},
    upstream,
};

/// What a request is about, once its head is read and its registry known.
#[derive(Clone, Copy)]
struct Case<'a> {
    runtime: &'a Runtime,
    /// What is in force by now.
    latest: &'a ArcSwap<Runtime>,
    registry: &'a PublicRegistry,
    head: &'a RequestHead,
    outlet: Outlet<'a>,
}

impl<'a> Case<'a> {
    fn challenger(&self) -> Challenger<'a> {
        let Self { runtime, registry, head, .. } = *self;
        Challenger {
            origin: runtime.origin(&head.host, registry),
            token_path: &runtime.token_path,
            service: &registry.service,
            prompt: &runtime.prompt,
            scope: None,
            navigation: head.asking.navigates(),
            token_endpoint: false,
        }
    }

    fn common(&self) -> Common<'a> {
        Common {
            hsts: self.runtime.hsts_for(&self.head.host),
            sharing: Sharing::of(self.head, self.registry),
            request_id: self.head.id.as_str(),
        }
    }
}

/// One request, from its head to the last byte of its answer.
async fn serve(
    session: &mut ServerSession,
    connection: &Connection,
    outlet: Outlet<'_>,
    record: &mut Record,
) -> Result<(), ClientGone> {
    let latest = &*connection.runtime;
    let runtime = &*latest.load_full();
    let head = match RequestHead::read(session, connection, &runtime.trusted_proxies, &record.id) {
        Ok(head) => head,
        Err(rejection) => {
            // Where the next request begins may be as unclear as the rest of this one.
            session.set_keepalive(None);
            return reject(session, &rejection, None, Common::default(), outlet, record).await;
        }
    };
    record.hears(&head);
    let registry = match gate::registry(runtime, &head) {
        Ok(registry) => registry,
        Err(rejection) => {
            record.misses(&head.host);
            return reject(session, &rejection, None, Common::default(), outlet, record).await;
        }
    };
    record.counts = Some(Arc::clone(&registry.counts));
    let case = Case { runtime, latest, registry, head: &head, outlet };
    let mut challenger = case.challenger();
    match act(session, case, &mut challenger, record).await {
        Ok(()) => Ok(()),
        Err(Stop::Rejected(rejection)) => {
            if let Rejection::Upstream(error) = &rejection {
                failures::tell(error, "upstream failed", registry, record);
            }
            reject(session, &rejection, Some(&challenger), case.common(), outlet, record).await
        }
        Err(Stop::ClientGone) => {
            record.aborted = Some("client_gone");
            Err(ClientGone)
        }
        Err(Stop::UpstreamBroke(error)) => {
            let damaged = matches!(error, upstream::Error::Corrupt { .. });
            record.aborted = Some(if damaged { "damaged" } else { "upstream_broke" });
            failures::tell(&error, "answer cut short", registry, record);
            Err(ClientGone)
        }
    }
}

async fn act(
    session: &mut ServerSession,
    case: Case<'_>,
    challenger: &mut Challenger<'_>,
    record: &mut Record,
) -> Result<(), Stop> {
    let Case { runtime, registry, head, outlet, .. } = case;
    let answer = match gate::decide(runtime, registry, head, challenger, record).await? {
        Verdict::Answer(answer) => answer,
        Verdict::Token(verb) => Box::pin(token_endpoint::token(session, case, verb, record)).await?,
        Verdict::Catalog { permit, principal } => {
            tokio::select! {
                answer = Box::pin(catalog::catalog(runtime, registry, head, &permit, &principal)) => answer?,
                () = client::gone(session) => return Err(Stop::ClientGone),
            }
        }
        Verdict::Forward(admitted) => return forward(session, case, &admitted, record).await,
    };
    let held = places::for_page(session, case, &answer.body).await?;
    let outlet = Outlet { held: held.as_ref(), ..outlet };
    record.status = answer.status.as_u16();
    record.sends(client::write_answer(session, answer, &head.method, case.common(), outlet).await?);
    linger_where_needed(session, head.expects_continue).await;
    Ok(())
}

/// Sends a judged request to the registry and its answer to the client.
async fn forward(
    session: &mut ServerSession,
    case: Case<'_>,
    admitted: &Admitted,
    record: &mut Record,
) -> Result<(), Stop> {
    let Case { runtime, registry, head, outlet, .. } = case;
    let Admitted { permit, upload } = admitted;
    let pool = registry.pool(permit.route())?;
    let at = upload.server.as_deref();
    record.upstream = Some(at.map_or_else(|| pool.describe(permit.route()), Arc::from));
    let feeds = gate::takes_body(permit.route()) && !session.is_body_empty();
    let fed = if feeds { Some(places::for_upload(case, permit.route()).await?) } else { None };
    // Nothing is under way while memory for it is awaited.
    let write = writes::begin(case, permit)?;
    let mut notice = Notice::of(case, permit, record);
    let headers = forward::request_headers(&session.req_header().headers, head, permit.route());
    let exchange = if let Some((place, growth)) = fed {
        let limit = match gate::body_limit(runtime, permit.route()) {
            Some(limit) => Some(Box::pin(quota::remaining(pool, permit, head, at, limit)).await?),
            None => None,
        };
        let terms = Terms {
            place,
            length: head.content_length,
            limit,
            patience: runtime.limits.body_idle,
            expects_continue: head.expects_continue,
            growth,
        };
        Box::pin(pump::upload(session, pool, permit, &headers, at, terms, record)).await?
    } else {
        if !session.is_body_done() && !head.expects_continue {
            client::linger(session).await;
        }
        record.unanswered = true;
        pump::ask(session, pool, permit, &headers, at).await?
    };
    let origin = runtime.origin(&head.host, registry);
    let subject = permit.caller().unwrap_or_default();
    let server = Arc::clone(exchange.server());
    let seal = |repository: &RepositoryName, id: &UploadId| {
        let sealed = Sealed { service: &registry.service, repository, id, subject };
        runtime.seals.seal(sealed, &server, upload.opened.unwrap_or_else(token::now))
    };
    record.upstream = Some(Arc::clone(&server));
    record.receives(&exchange.head.headers);
    let public =
        Public { origin, token_path: &runtime.token_path, pass_redirects: pool.passes_redirects(), seal: &seal };
    let mut response = response_head(&exchange.head, permit.route(), public)?;
    record.unanswered = false;
    client::common_headers(&mut response.headers, case.common());
    writes::end(case, write, permit.route(), &response);
    if let Some(notice) = &mut notice {
        notice.answered(&session.req_header().headers, &response, record);
    }
    let held = places::for_answer(session, case, pool, permit.route(), &response).await?;
    let outlet = Outlet { held: held.as_ref(), ..outlet };
    if exchange.came_early() {
        Box::pin(pump::deliver_at_once(session, exchange, response, pool.timeouts.idle, outlet, record)).await?;
    } else {
        let mut download = pool.download(permit, headers, exchange);
        if let Some(held) = &held {
            download.in_frames_of(held.frame());
        }
        let ending = pump::deliver(session, &mut download, response, outlet, record).await?;
        download.finish();
        pump::end_delivery(session, ending, outlet, record).await?;
    }
    if let Some(notice) = notice {
        notice.delivered(record);
    }
    linger_where_needed(session, head.expects_continue && !feeds).await;
    Ok(())
}

async fn reject(
    session: &mut ServerSession,
    rejection: &Rejection,
    challenger: Option<&Challenger<'_>>,
    common: Common<'_>,
    outlet: Outlet<'_>,
    record: &mut Record,
) -> Result<(), ClientGone> {
    record.refuses(rejection);
    let answer = respond::answer(rejection, challenger, record.id.as_str());
    record.status = answer.status.as_u16();
    let method = if record.method == Some(Method::HEAD) { Method::HEAD } else { Method::GET };
    let id = record.id.clone();
    let common = Common { request_id: id.as_str(), ..common };
    record.sends(client::write_answer(session, answer, &method, common, outlet).await?);
    // Without a head there is no body to read; then the connection itself lingers.
    if !matches!(rejection, Rejection::UnreadableHead | Rejection::SlowHead) {
        linger_where_needed(session, false).await;
    }
    Ok(())
}

/// A client that still sends would meet a reset before it reads the answer; one that waits for `100 Continue` sends
/// nothing.
async fn linger_where_needed(session: &mut ServerSession, waits: bool) {
    if !waits && !session.is_body_done() {
        client::linger(session).await;
    }
}
