//! What passes to and from the web UI and the Notary server. Neither ever sees a credential or a cookie, and neither
//! makes a browser keep one.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, response::Parts};

use super::forward;
use crate::{
    registry::{Route, Surface, TrustVerb},
    upstream::Error,
};

/// Request headers that the UI gets besides those of any route.
pub(super) const UI_REQUEST_HEADERS: [HeaderName; 2] = [header::ACCEPT_ENCODING, header::ACCEPT_LANGUAGE];

/// Response headers of the UI that are passed on as they are: what a file is, how long it keeps, and what protects it.
const UI_RESPONSE_HEADERS: [&str; 23] = [
    "accept-ranges",
    "age",
    "allow",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-range",
    "content-security-policy",
    "content-security-policy-report-only",
    "content-type",
    "cross-origin-embedder-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "etag",
    "expires",
    "last-modified",
    "permissions-policy",
    "referrer-policy",
    "retry-after",
    "vary",
    "x-frame-options",
];

const TRUST_RESPONSE_HEADERS: [&str; 8] =
    ["allow", "cache-control", "content-length", "content-type", "etag", "last-modified", "pragma", "retry-after"];

/// The type of a request to the Notary server: its own boundary parts the form that is published.
pub(super) fn trust_type(client: &HeaderMap, verb: &TrustVerb) -> Option<HeaderValue> {
    let form = |value: &&HeaderValue| {
        value.as_bytes().to_ascii_lowercase().trim_ascii_start().starts_with(b"multipart/form-data")
    };
    client.get(header::CONTENT_TYPE).filter(|_| *verb == TrustVerb::Publish).filter(form).cloned()
}

/// The head of an answer of the Notary server.
pub(super) fn trust_head(upstream: &Parts) -> Result<Parts, Error> {
    if upstream.status.is_redirection() && upstream.status != StatusCode::NOT_MODIFIED {
        return Err(Error::Unusable("a redirect of the Notary server"));
    }
    Ok(forward::passed(upstream, |name| TRUST_RESPONSE_HEADERS.contains(&name.as_str())))
}

/// The head of an answer of the UI. Where the UI does not say who may show it in a frame, no other site may: its buttons
/// act in the name of who clicks them.
pub(super) fn ui_head(upstream: &Parts, token_path: &str) -> Result<Parts, Error> {
    let mut head = forward::passed(upstream, |name| UI_RESPONSE_HEADERS.contains(&name.as_str()));
    if upstream.status.is_redirection() && upstream.status != StatusCode::NOT_MODIFIED {
        head.headers.insert(header::LOCATION, own_path(upstream, token_path)?);
    }
    if !upstream.headers.contains_key(header::X_FRAME_OPTIONS) && !names_frames(&upstream.headers) {
        head.headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
    }
    Ok(head)
}

fn names_frames(headers: &HeaderMap) -> bool {
    let policies = headers.get_all(header::CONTENT_SECURITY_POLICY).iter();
    policies.into_iter().any(|policy| {
        policy
            .as_bytes()
            .split(|byte| matches!(byte, b';' | b','))
            .any(|directive| directive.trim_ascii().to_ascii_lowercase().starts_with(b"frame-ancestors"))
    })
}

/// The path of a redirect, whatever host the UI believes itself to be. It must be one of its own.
fn own_path(upstream: &Parts, token_path: &str) -> Result<HeaderValue, Error> {
    const UNUSABLE: Error = Error::Unusable("a redirect of the UI to what is not its own");
    let location = upstream.headers.get(header::LOCATION).and_then(|location| location.to_str().ok());
    let uri: http::Uri = location.and_then(|location| location.parse().ok()).ok_or(UNUSABLE)?;
    let surface = Surface { ui: true, ..Surface::from(token_path) };
    match Route::parse(&Method::GET, uri.path(), None, surface) {
        Ok(Route::Ui { path, .. }) => HeaderValue::from_str(path.as_str()).map_err(|_| UNUSABLE),
        Ok(_) | Err(_) => Err(UNUSABLE),
    }
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    fn parts(status: u16, headers: &[(&str, &str)]) -> Parts {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        response.body(()).unwrap().into_parts().0
    }

    fn names(head: &Parts) -> Vec<&str> {
        let mut names: Vec<&str> = head.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    const CREDENTIALS: [(&str, &str); 12] = [
        ("set-cookie", "a=b"),
        ("www-authenticate", "Basic realm=x"),
        ("authentication-info", "x"),
        ("access-control-allow-origin", "*"),
        ("access-control-allow-credentials", "true"),
        ("clear-site-data", "\"*\""),
        ("strict-transport-security", "max-age=0"),
        ("alt-svc", "h3=\":443\""),
        ("refresh", "0;url=https://evil.test/"),
        ("service-worker-allowed", "/"),
        ("server", "nginx"),
        ("link", "</x>; rel=preload"),
    ];

    #[test]
    fn of_the_ui_its_files_and_what_protects_them_pass() {
        let mut headers = CREDENTIALS.to_vec();
        headers.extend([
            ("content-type", "text/html"),
            ("content-encoding", "gzip"),
            ("vary", "Accept-Encoding"),
            ("etag", "\"1\""),
            ("content-security-policy", "default-src 'self'"),
            ("referrer-policy", "same-origin"),
        ]);
        let head = ui_head(&parts(200, &headers), "/token").unwrap();
        assert_eq!(
            names(&head),
            [
                "content-encoding",
                "content-security-policy",
                "content-type",
                "etag",
                "referrer-policy",
                "vary",
                "x-frame-options"
            ]
        );
        assert_eq!(head.headers["x-frame-options"], "SAMEORIGIN");
        for (name, value) in [
            ("x-frame-options", "DENY"),
            ("content-security-policy", "default-src 'self'; Frame-Ancestors 'none'"),
            ("content-security-policy", "script-src 'self', frame-ancestors https://portal.test"),
        ] {
            let head = ui_head(&parts(200, &[(name, value)]), "/token").unwrap();
            assert_eq!(names(&head), [name], "what the UI says itself counts");
        }
    }

    #[test]
    fn a_ui_redirects_to_itself() {
        let redirect = |status, location| ui_head(&parts(status, &[("location", location)]), "/token");
        for (location, path) in [
            ("/ui/", "/ui/"),
            ("http://ui.internal:8080/ui/", "/ui/"),
            ("https://evil.test/ui/?next=//evil.test", "/ui/"),
            ("/", "/"),
        ] {
            for status in [301, 302, 303, 307, 308] {
                assert_eq!(redirect(status, location).unwrap().headers["location"], path, "{status} {location}");
            }
        }
        for location in [
            "/v2/a/manifests/v1",
            "/V2/",
            "/token",
            "/token/x",
            "//evil.test/ui",
            "ui/",
            "../ui",
            "/a/../v2/",
            "/%76 2",
            "/a%2fb",
            "javascript:alert(1)",
            "",
        ] {
            assert!(redirect(302, location).is_err(), "{location}");
        }
        assert!(ui_head(&parts(302, &[]), "/token").is_err());
        assert!(!ui_head(&parts(200, &[("location", "/ui/")]), "/token").unwrap().headers.contains_key("location"));
        assert_eq!(ui_head(&parts(304, &[("etag", "\"1\"")]), "/token").unwrap().status, 304);
    }

    #[test]
    fn of_trust_data_what_it_is_passes() {
        let mut headers = CREDENTIALS.to_vec();
        headers.extend([("content-type", "application/json"), ("cache-control", "no-cache"), ("pragma", "no-cache")]);
        let head = trust_head(&parts(200, &headers)).unwrap();
        assert_eq!(names(&head), ["cache-control", "content-type", "pragma"]);
        assert!(trust_head(&parts(302, &[("location", "/")])).is_err());
        let typed = |kind: &str, verb| {
            let headers: HeaderMap =
                [(header::CONTENT_TYPE, HeaderValue::from_str(kind).unwrap())].into_iter().collect();
            trust_type(&headers, &verb).map(|value| value.to_str().unwrap().to_owned())
        };
        let form = "multipart/form-data; boundary=x";
        assert_eq!(typed(form, TrustVerb::Publish).as_deref(), Some(form));
        assert_eq!(typed(form, TrustVerb::Remove), None);
        assert_eq!(typed("application/x-www-form-urlencoded", TrustVerb::Publish), None);
    }
}
