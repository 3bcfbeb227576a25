//! `/v2/_catalog`: the upstream's catalog walked, what the caller may pull kept, paginated anew.

use http::{StatusCode, header};
use serde::Deserialize;

use super::{
    forward,
    head::RequestHead,
    respond::{Answer, Rejection},
};
use crate::{
    access::Permit,
    identity::Principal,
    registry::{Page, RepositoryName, Route},
    runtime::{PublicRegistry, Runtime},
    upstream::{self, Exchange},
};

/// Names a page holds where the client does not say.
const DEFAULT_PAGE: u32 = 100;
/// Names asked of the upstream at a time, and the most a client gets at a time.
const LARGEST_PAGE: u32 = 1000;
/// Names asked at a time of a registry that is set up for smaller pages (`catalog.maxentries`).
const SMALLER_PAGE: u32 = 100;
/// A thousand names of 255 bytes with room to spare.
const LARGEST_BODY: usize = 1024 * 1024;

#[derive(Deserialize)]
struct Names {
    #[serde(default)]
    repositories: Vec<String>,
}

/// One page of what the caller may pull, in the upstream's order.
pub(super) async fn catalog(
    runtime: &Runtime,
    registry: &PublicRegistry,
    head: &RequestHead,
    permit: &Permit,
    principal: &Principal,
) -> Result<Answer, Rejection> {
    let Route::Catalog { page, .. } = permit.route() else {
        return Err(upstream::Error::Unusable("a catalog permit for another route").into());
    };
    let wanted = page.n.unwrap_or(DEFAULT_PAGE).min(LARGEST_PAGE);
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    let asker = registry.asker(principal, head.client);
    // The semaphore is never closed, and a walk without a place would be no harm.
    let _place = registry.walks.acquire().await;
    let mut walk = Walk { registry, head, permit, size: LARGEST_PAGE, last: page.last.clone(), ended: false };
    let mut shown: Vec<String> = Vec::new();
    // One name more than wanted tells whether another page follows.
    while shown.len() <= wanted && wanted > 0 {
        let Some(names) = walk.next().await? else { break };
        let visible = names
            .into_iter()
            .filter(|name| RepositoryName::parse(name).is_ok_and(|name| runtime.policy.shows(asker, &name)));
        shown.extend(visible);
    }
    let more = shown.len() > wanted;
    shown.truncate(wanted);
    let body = serde_json::json!({ "repositories": shown }).to_string();
    let answer = Answer::json(StatusCode::OK, body);
    Ok(match shown.last() {
        Some(last) if more => answer.with(header::LINK, &next_link(last, page.n)),
        _ => answer,
    })
}

fn next_link(last: &str, n: Option<u32>) -> String {
    let page = Page { n: Some(n.unwrap_or(DEFAULT_PAGE)), last: Some(last.to_owned()) };
    let route = Route::Catalog { read: crate::registry::Read::Get, page };
    format!("<{}>; rel=\"next\"", route.to_upstream())
}

/// The upstream's pages, one after the other.
struct Walk<'a> {
    registry: &'a PublicRegistry,
    head: &'a RequestHead,
    permit: &'a Permit,
    size: u32,
    last: Option<String>,
    ended: bool,
}

impl Walk<'_> {
    async fn next(&mut self) -> Result<Option<Vec<String>>, Rejection> {
        if self.ended {
            return Ok(None);
        }
        let mut exchange = self.ask().await?;
        if exchange.head.status == StatusCode::BAD_REQUEST && self.size > SMALLER_PAGE {
            self.size = SMALLER_PAGE;
            exchange = self.ask().await?;
        }
        if exchange.head.status != StatusCode::OK {
            return Err(upstream::Error::Unusable("its catalog cannot be read").into());
        }
        let body = exchange.collect(LARGEST_BODY).await?;
        let follows = exchange.head.headers.contains_key(header::LINK);
        exchange.finish();
        let names: Names =
            serde_json::from_slice(&body).map_err(|_| upstream::Error::Unusable("its catalog is not JSON"))?;
        let last = names.repositories.last().cloned();
        // A page that does not move on would be asked for ever.
        self.ended = !follows || last.is_none() || last == self.last;
        self.last = last;
        Ok(Some(names.repositories))
    }

    async fn ask(&self) -> Result<Exchange, Rejection> {
        let page = Page { n: Some(self.size), last: self.last.clone() };
        let permit = self.permit.catalog_page(page).ok_or(upstream::Error::Unusable("no catalog permit"))?;
        let headers = forward::request_headers(&http::HeaderMap::new(), self.head, permit.route());
        Ok(self.registry.pool.fetch(&permit, headers).await?)
    }
}
