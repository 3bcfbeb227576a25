//! Requests of browsers: whose page asks, and what a page of another origin may.
//!
//! A browser shows a person's credentials to a registry whatever page makes it ask. So it is asked whose page it was:
//! `Sec-Fetch-Site` says so and cannot be set by a page; older browsers say `Origin` with whatever changes something.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::{
    head::RequestHead,
    respond::{Answer, Rejection},
};
use crate::{
    config::Host,
    registry::{Route, RouteError},
    runtime::PublicRegistry,
};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// What pages of an allowed origin may do: look, and delete. Pushing is for clients.
const METHODS: [Method; 3] = [Method::GET, Method::HEAD, Method::DELETE];
const REGISTRY_METHODS: &str = "HEAD, GET, OPTIONS, DELETE";
const TOKEN_METHODS: &str = "GET, POST, OPTIONS";
const REQUEST_HEADERS: &str = "Authorization, Accept, Cache-Control, Content-Type";
const RESPONSE_HEADERS: &str = "Docker-Content-Digest, Docker-Distribution-Api-Version, Link, WWW-Authenticate, \
                                Content-Length, Content-Range, ETag, OCI-Filters-Applied, Retry-After, Warning";
/// How long a browser remembers what it was told it may ask, in seconds.
const MAX_AGE: &str = "3600";

/// What a browser says of the page that has it ask.
#[derive(Debug, Default)]
pub(super) struct Asking {
    site: Site,
    origin: Option<HeaderValue>,
    /// A browser opens an address (`Sec-Fetch-Mode: navigate`).
    navigates: bool,
    /// A person is to see the answer as a page of its own, not in a frame of another.
    opens: bool,
    asks_first: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Site {
    /// By no browser, or an old one.
    #[default]
    Unsaid,
    /// A page of this origin, or the person.
    Own,
    /// Any other page, of the same site too.
    Foreign,
}

impl Asking {
    pub(super) fn read(headers: &HeaderMap) -> Self {
        if !headers.keys().any(is_of_browsers) {
            return Self::default();
        }
        let says = |name: HeaderName, word: &str| headers.get(name).is_some_and(|value| value == word);
        let site = match headers.get(FETCH_SITE) {
            None => Site::Unsaid,
            Some(value) if value == "same-origin" || value == "none" => Site::Own,
            Some(_) => Site::Foreign,
        };
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let origin = match (origins.next(), origins.next()) {
            (origin, None) => origin.cloned(),
            // Two are nobody's.
            (_, Some(_)) => Some(HeaderValue::from_static("null")),
        };
        let navigates = says(FETCH_MODE, "navigate");
        Self {
            site,
            origin,
            navigates,
            opens: navigates && says(FETCH_DEST, "document"),
            asks_first: headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD),
        }
    }

    /// True where a browser opens an address.
    pub(super) fn navigates(&self) -> bool {
        self.navigates
    }

    /// True where a browser asks that can prompt for a login.
    pub(super) fn is_of_a_browser(&self) -> bool {
        self.site != Site::Unsaid
    }

    fn allowed<'a>(&'a self, registry: &PublicRegistry) -> Option<&'a HeaderValue> {
        self.origin.as_ref().filter(|origin| registry.shares_with(origin.as_bytes()))
    }
}

/// True for the headers that this is read from, and others like them.
fn is_of_browsers(name: &HeaderName) -> bool {
    matches!(*name, header::ORIGIN | header::ACCESS_CONTROL_REQUEST_METHOD) || name.as_str().starts_with("sec-fetch-")
}

/// Refuses what a page of another origin has a browser ask, unless its origin is allowed. A link to a page that a person
/// then looks at is no such thing.
pub(super) fn admit(head: &RequestHead, route: &Route, registry: &PublicRegistry) -> Result<(), Rejection> {
    let asking = &head.asking;
    let reads = head.method == Method::GET || head.method == Method::HEAD;
    let foreign = match asking.site {
        Site::Own => false,
        Site::Foreign => true,
        Site::Unsaid => !reads && asking.origin.as_ref().is_some_and(|origin| !is_own(origin, &head.host)),
    };
    let follows_a_link =
        asking.opens && reads && matches!(route, Route::Ui { .. } | Route::Landing(_) | Route::Base(_));
    // Answered without a look at anything.
    let asks_first = matches!(route, Route::Preflight { .. });
    let known = METHODS.contains(&head.method) || matches!(route, Route::Token(_));
    if !foreign || follows_a_link || asks_first || (known && asking.allowed(registry).is_some()) {
        Ok(())
    } else {
        Err(Rejection::CrossSite)
    }
}

fn is_own(origin: &HeaderValue, dialled: &Host) -> bool {
    let host = Host { name: dialled.name.clone(), port: dialled.port.filter(|port| *port != 443) };
    origin.as_bytes() == format!("https://{host}").as_bytes()
}

/// The answer to a browser that asks first. Without an allowed origin OPTIONS is a method that nothing knows.
pub(super) fn preflight(
    head: &RequestHead,
    registry: &PublicRegistry,
    allow: &'static str,
    token_endpoint: bool,
) -> Result<Answer, Rejection> {
    if !head.asking.asks_first || head.asking.allowed(registry).is_none() {
        return Err(RouteError::Method { allow }.into());
    }
    let methods = if token_endpoint { TOKEN_METHODS } else { REGISTRY_METHODS };
    Ok(Answer::empty(StatusCode::NO_CONTENT)
        .with(header::ACCESS_CONTROL_ALLOW_METHODS, methods)
        .with(header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS)
        .with(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE))
}

/// Which page may read an answer besides the registry's own.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Sharing<'a> {
    /// None ever may.
    #[default]
    Never,
    /// None may read this one; with another `Origin` it would be another answer.
    Withheld,
    /// A page of this origin, which is an allowed one.
    With(&'a HeaderValue),
}

impl<'a> Sharing<'a> {
    pub(super) fn of(head: &'a RequestHead, registry: &PublicRegistry) -> Self {
        match head.asking.allowed(registry) {
            Some(origin) => Self::With(origin),
            None if registry.shares() => Self::Withheld,
            None => Self::Never,
        }
    }

    /// The headers that say so.
    pub(super) fn headers(self) -> Vec<(HeaderName, HeaderValue)> {
        let vary = (header::VARY, HeaderValue::from_static("Origin"));
        match self {
            Self::Never => Vec::new(),
            Self::Withheld => vec![vary],
            Self::With(origin) => vec![
                vary,
                (header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()),
                (header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")),
                (header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(RESPONSE_HEADERS)),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_a_browsers_headers_counts_by_itself() {
        let read = |of: &[(HeaderName, &'static str)]| {
            let of = of.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
            Asking::read(&of.chain([(header::ACCEPT, HeaderValue::from_static("*/*"))]).collect())
        };
        let nothing = read(&[]);
        assert!(!nothing.navigates && !nothing.opens && !nothing.asks_first && nothing.origin.is_none());
        assert_eq!(nothing.site, Site::Unsaid);
        for (word, site) in [("same-origin", Site::Own), ("none", Site::Own), ("cross-site", Site::Foreign)] {
            assert_eq!(read(&[(FETCH_SITE, word)]).site, site);
        }
        let navigates = read(&[(FETCH_MODE, "navigate")]);
        assert!(navigates.navigates && !navigates.opens);
        assert!(!read(&[(FETCH_MODE, "cors"), (FETCH_DEST, "document")]).opens);
        assert!(read(&[(FETCH_MODE, "navigate"), (FETCH_DEST, "document")]).opens);
        assert_eq!(read(&[(header::ORIGIN, "https://a")]).origin.unwrap(), "https://a");
        assert!(read(&[(header::ACCESS_CONTROL_REQUEST_METHOD, "GET")]).asks_first);
    }
}
