//! `/v2/_catalog`: what the caller may pull of the upstream's catalog, paginated anew.

use std::net::IpAddr;

use http::{HeaderMap, StatusCode, header};

use super::{
    forward,
    head::RequestHead,
    respond::{Answer, Rejection},
};
use crate::{
    access::Permit,
    identity::Principal,
    registry::{Page, Read, RepositoryName, Route},
    runtime::{PublicRegistry, Runtime},
    upstream::{self, Found, Question},
};

/// Names a page holds where the client does not say.
const DEFAULT_PAGE: u32 = 100;
/// The most a client gets at a time.
const LARGEST_PAGE: u32 = 1000;

/// One page of what the caller may pull.
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
    let asker = registry.asker(principal, head.client);
    let question = Question {
        ranges: runtime.policy.ranges(asker),
        last: page.last.as_deref().filter(|last| !last.is_empty()),
        wanted: usize::try_from(wanted).unwrap_or(usize::MAX),
        caller: &caller(principal, head.client),
        permit,
        headers: forward::request_headers(&HeaderMap::new(), head, permit.route()),
    };
    let found = match wanted {
        0 => Found::default(),
        _ => {
            let shows = |name: &RepositoryName| runtime.policy.shows(asker, name);
            registry.catalogs.page(question, shows).await?
        }
    };
    let answer = Answer::json(StatusCode::OK, serde_json::json!({ "repositories": found.names }).to_string());
    Ok(match found.names.last() {
        Some(last) if found.more => answer.with(header::LINK, &next_link(last, page.n)),
        _ => answer,
    })
}

/// Whom an upstream request counts for: the user, or for callers without a name their address (of IPv6 the network).
fn caller(principal: &Principal, client: IpAddr) -> String {
    match (principal.name(), client.to_canonical()) {
        (Some(name), _) => format!("user:{name}"),
        (None, IpAddr::V4(address)) => address.to_string(),
        (None, IpAddr::V6(address)) => format!("{:x}/64", address.to_bits() >> 64),
    }
}

fn next_link(last: &str, n: Option<u32>) -> String {
    let page = Page { n: Some(n.unwrap_or(DEFAULT_PAGE)), last: Some(last.to_owned()) };
    let route = Route::Catalog { read: Read::Get, page };
    format!("<{}>; rel=\"next\"", route.to_upstream())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_without_a_name_are_told_apart_by_network() {
        let of = |address: &str| caller(&Principal::anonymous(), address.parse().unwrap());
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    }
}
