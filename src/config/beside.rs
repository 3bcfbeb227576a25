//! What is served beside a registry under its hosts: a web UI, trust data, answers for pages of other origins.

use super::{
    Origin, ServerUrl, Upstream, host,
    reader::{Field, Section},
    upstream::read_url,
};

#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// Serves what is neither the registry's nor the token endpoint's.
    pub ui: Option<ServerUrl>,
    /// Serves `/v2/<name>/_trust/…`.
    pub notary: Option<ServerUrl>,
    /// Pages of these may ask with a person's credentials. As text they are what browsers write (RFC 6454 §6.1).
    pub origins: Vec<Origin>,
}

impl Beside {
    /// `upstreams` are all those of the registry.
    pub(super) fn read(registry: &Section<'_>, upstreams: &[&Upstream]) -> Self {
        let server = |key| registry.nullable(key).and_then(|field| read_server(&field, upstreams));
        let (ui, notary) = (server("ui"), server("notary"));
        let cors = registry.section("cors");
        let origins = cors.list("origins").iter().filter_map(read_origin).collect();
        cors.finish();
        Self { ui, notary, origins }
    }
}

fn parse_origin(text: &str) -> Option<Origin> {
    Origin::split(text).ok().filter(|url| url.rest.is_empty()).map(|url| url.origin)
}

/// True where nobody on the way can put words into its pages: TLS, or this machine itself.
fn is_safe(origin: &Origin) -> bool {
    let loopback = host::parse_ip(&origin.host).is_some_and(|ip| ip.is_loopback());
    origin.tls || loopback || origin.host == "localhost" || origin.host.ends_with(".localhost")
}

/// A registry in the place of its own UI would be a registry without a gate.
fn read_server(field: &Field<'_>, upstreams: &[&Upstream]) -> Option<ServerUrl> {
    let server = read_url(field)?;
    if upstreams.iter().flat_map(|upstream| &upstream.servers).any(|other| other.url == server) {
        field.error("is the registry itself: write the address of another server");
    }
    Some(server)
}

fn read_origin(field: &Field<'_>) -> Option<Origin> {
    let text = field.text()?;
    if text.contains('*') {
        field.error("must name each origin: with a * any page could act in the name of whoever opens it");
        return None;
    }
    let Some(origin) = parse_origin(text) else {
        field.error(format_args!(
            "{text:?} is not an origin: write scheme and host, like \"https://ui.example.com\", and :port where it has one"
        ));
        return None;
    };
    if !is_safe(&origin) {
        field.warning("is not https: whoever is between a person and that page acts in the person's name");
    }
    Some(origin)
}

#[cfg(test)]
mod tests {
    use super::{is_safe, parse_origin};

    #[test]
    fn an_origin_is_written_as_browsers_write_it() {
        for (text, origin) in [
            ("https://ui.example.com", "https://ui.example.com"),
            ("https://UI.Example.com", "https://ui.example.com"),
            ("https://ui.example.com:443", "https://ui.example.com"),
            ("https://ui.example.com:8443", "https://ui.example.com:8443"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://localhost:80", "http://localhost"),
            ("http://localhost:443", "http://localhost:443"),
            ("https://[::1]:8443", "https://[::1]:8443"),
            ("https://192.0.2.7", "https://192.0.2.7"),
        ] {
            assert_eq!(parse_origin(text).map(|parsed| parsed.to_string()), Some(origin.to_owned()), "{text}");
        }
        for text in [
            "",
            "*",
            "null",
            "ui.example.com",
            "//ui.example.com",
            "https://",
            "https:///",
            "https://ui.example.com/",
            "https://ui.example.com/ui",
            "https://ui.example.com?x",
            "https://a@ui.example.com",
            "https://ui.example.com:0",
            "https://ui.example.com:",
            "ftp://ui.example.com",
            "https://ui.example.com https://b",
            "https://ui.example.com,https://b",
            "https://bücher.example",
        ] {
            assert_eq!(parse_origin(text), None, "{text}");
        }
    }

    #[test]
    fn only_what_is_local_may_do_without_tls() {
        for text in
            ["https://a.example", "http://localhost:3000", "http://ui.localhost", "http://127.0.0.1", "http://[::1]:80"]
        {
            assert!(is_safe(&parse_origin(text).unwrap()), "{text}");
        }
        for text in ["http://ui.example.com", "http://localhost.example.com", "http://192.0.2.7:8080"] {
            assert!(!is_safe(&parse_origin(text).unwrap()), "{text}");
        }
    }
}
