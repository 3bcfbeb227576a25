//! Who asks the admin address, as far as that can be told, and in which form they want the answer.
//!
//! The address has no login: whoever reaches it may read. It is on loopback, or in a network of its own; so what must be
//! kept out is a web page that a person's browser shows, on a machine from which the address is reachable. Such a page can
//! read nothing of another origin as long as that says nothing of CORS, and nothing here does. What is left:
//!
//! - A page may make its own name resolve to this address once it is loaded (DNS rebinding); for the browser it is the
//!   same origin then. What tells is `Host`, which is the page's name. Nobody else has the DNS of an address, of
//!   `localhost`, of a name without a dot (compose, Kubernetes, a hosts file), of a name that the public DNS cannot have,
//!   or of the registries' own hosts. Programs are often configured with any other name
//!   (`gate-1.example.com:9090` in Prometheus), and have no page to be led astray by; a browser shows itself by
//!   `Accept-Language`, which a page can change but not leave out. So another name is refused to browsers alone.
//! - A page may embed what is here as a script, an image or a frame, which tells it little; `Sec-Fetch-Site` says so, and
//!   the answers forbid it. A link that a person follows is welcome.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, header, uri::Authority};

/// Ends of names that nobody can have in the public DNS: RFC 6761, RFC 6762, RFC 8375, ICANN's `internal`, and what
/// clusters call themselves.
const PRIVATE: [&str; 7] = ["localhost", "local", "internal", "home.arpa", "svc", "test", "invalid"];

/// What browsers add, and a page cannot take away.
const BROWSERS: [HeaderName; 4] =
    [header::ACCEPT_LANGUAGE, header::ORIGIN, header::REFERER, HeaderName::from_static("sec-fetch-site")];

/// Why nothing is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stranger {
    /// A page of another site has the browser ask.
    Page,
    /// A browser asks by a name that may be anybody's.
    Name,
}

/// `is_ours` says whether a name is one of the registries' hosts.
pub(super) fn judge(headers: &HeaderMap, is_ours: impl Fn(&str) -> bool) -> Result<(), Stranger> {
    let said = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let navigates =
        said("sec-fetch-mode") == Some("navigate") && matches!(said("sec-fetch-dest"), None | Some("document"));
    if said("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none")) && !navigates {
        return Err(Stranger::Page);
    }
    let browser = BROWSERS.iter().any(|name| headers.contains_key(name));
    let known = |host: &str| names_nobody_else(host) || is_ours(host);
    let all_known =
        headers.get_all(header::HOST).iter().all(|host| hostname(host.as_bytes()).is_some_and(|host| known(&host)));
    if browser && !all_known { Err(Stranger::Name) } else { Ok(()) }
}

/// The name in lower case, without port, brackets and final dot.
fn hostname(host: &[u8]) -> Option<String> {
    let authority = Authority::try_from(host).ok().filter(|authority| !authority.as_str().contains('@'))?;
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    Some(name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase())
}

fn names_nobody_else(host: &str) -> bool {
    let ends = |end: &&str| host.strip_suffix(*end).is_some_and(|rest| rest.ends_with('.'));
    host.parse::<IpAddr>().is_ok() || !host.contains('.') || PRIVATE.iter().any(ends)
}

/// True where a page is wanted rather than JSON: by `?format=html` or `json`, else by `Accept`.
pub(super) fn wants_page(query: Option<&str>, headers: &HeaderMap) -> bool {
    match parameter(query, "format") {
        Some("html") => true,
        Some("json") => false,
        _ => {
            let accepted: Vec<&str> =
                headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
            let accepted = accepted.join(",");
            weight(&accepted, "text", "html") > weight(&accepted, "application", "json")
        }
    }
}

/// How many points of the history are asked for.
pub(super) fn points(query: Option<&str>) -> Option<usize> {
    parameter(query, "history")?.parse().ok()
}

fn parameter<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    let mut pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// The weight of a media type (RFC 9110, section 12.5.1), in thousandths: what is more specific counts.
fn weight(accepted: &str, kind: &str, subtype: &str) -> u32 {
    let ranges = accepted.split(',').filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let (first, second) = parts.next()?.split_once('/')?;
        let specific = match (first, second) {
            ("*", "*") => 0,
            (first, "*") if first.eq_ignore_ascii_case(kind) => 1,
            (first, second) if first.eq_ignore_ascii_case(kind) && second.eq_ignore_ascii_case(subtype) => 2,
            _ => return None,
        };
        let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(1000, thousandths);
        Some((specific, quality))
    });
    ranges.max().map_or(0, |(_, quality)| quality)
}

fn thousandths(quality: &str) -> u32 {
    let quality = quality.parse::<f32>().unwrap_or(0.0).clamp(0.0, 1.0);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 1000")]
    {
        (quality * 1000.0) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn judged(lines: &[(&'static str, &str)]) -> Result<(), Stranger> {
        judge(&headers(lines), |host| host == "hub.example.com")
    }

    #[test]
    fn a_browser_is_told_nothing_by_a_name_that_may_be_anybodys() {
        for host in
            ["evil.example", "evil.example:9090", "127.0.0.1.evil.example", "evil.example.", "u@localhost", "a b", ""]
        {
            for sign in ["accept-language", "origin", "referer"] {
                assert_eq!(judged(&[("host", host), (sign, "de")]), Err(Stranger::Name), "{host}");
            }
            assert_eq!(judged(&[("host", host)]), Ok(()), "a program: {host}");
        }
        assert_eq!(
            judged(&[("host", "localhost"), ("host", "evil.example"), ("accept-language", "de")]),
            Err(Stranger::Name)
        );
        for host in [
            "127.0.0.1:9090",
            "[::1]:9090",
            "10.1.2.3",
            "localhost:9090",
            "LOCALHOST.",
            "a.localhost",
            "gate:9090",
            "portcullis.registry.svc:9090",
            "portcullis.registry.svc.cluster.local",
            "gate.internal",
            "hub.example.com:9090",
        ] {
            assert_eq!(judged(&[("host", host), ("accept-language", "de")]), Ok(()), "{host}");
        }
        assert_eq!(judged(&[("accept-language", "de")]), Ok(()), "HTTP/1.0");
    }

    #[test]
    fn a_page_of_another_site_has_nothing_to_ask_and_a_person_who_follows_a_link_has() {
        let site = |site, mode, dest| {
            judged(&[
                ("host", "localhost"),
                ("sec-fetch-site", site),
                ("sec-fetch-mode", mode),
                ("sec-fetch-dest", dest),
            ])
        };
        for other in ["cross-site", "same-site", "nonsense"] {
            assert_eq!(site(other, "cors", "empty"), Err(Stranger::Page));
            assert_eq!(site(other, "no-cors", "script"), Err(Stranger::Page));
            assert_eq!(site(other, "navigate", "iframe"), Err(Stranger::Page));
            assert_eq!(site(other, "navigate", "document"), Ok(()));
        }
        for own in ["same-origin", "none"] {
            assert_eq!(site(own, "cors", "empty"), Ok(()));
        }
    }

    #[test]
    fn browsers_get_a_page_and_programs_get_json() {
        for (accept, page) in [
            ("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8", true),
            ("text/html", true),
            ("TEXT/HTML;q=0.1", true),
            ("text/*", true),
            ("*/*", false),
            ("application/json", false),
            ("application/json, text/html;q=0.9", false),
            ("application/json;q=0.5, text/html;level=1;q=0.9", true),
            ("text/html;q=0, */*", false),
            ("text/html, application/json", false),
            ("", false),
            ("nonsense;q=x", false),
        ] {
            assert_eq!(wants_page(None, &headers(&[("accept", accept)])), page, "{accept}");
            assert!(wants_page(Some("a=b&format=html"), &headers(&[("accept", accept)])));
            assert!(!wants_page(Some("format=json"), &headers(&[("accept", accept)])));
        }
        assert!(!wants_page(None, &HeaderMap::new()));
        assert_eq!(
            [Some("history=3"), Some("history="), Some("history=-1"), None].map(points),
            [Some(3), None, None, None]
        );
    }
}
