//! Where object storage is: origins, compared as a whole (RFC 6454 §4).

use std::fmt;

use super::host::{self, Underscores};

/// Scheme, host and port of object storage. Two are equal where they name the same scheme, host and port; a port that was
/// left out is the scheme's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// `https`, else `http`.
    pub tls: bool,
    /// A DNS name in lower case or an IP address without brackets (`::ffff:a.b.c.d` as `a.b.c.d`).
    pub host: String,
    pub port: u16,
}

/// An absolute URL taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct SplitUrl<'a> {
    pub origin: Origin,
    /// Host and port as they are written, for a `Host` header.
    pub authority: &'a str,
    /// All that follows: empty, or from its `/`, `?` or `#` on.
    pub rest: &'a str,
}

impl Origin {
    /// Takes an absolute `http` or `https` URL apart. The text of the error quotes nothing of it: it may hold secrets.
    ///
    /// # Errors
    /// Another scheme, user information, a host or a port that [`super::Host`] would refuse (underscores are accepted).
    pub fn split(url: &str) -> Result<SplitUrl<'_>, &'static str> {
        const SCHEME: &str = "it does not begin with https:// or http://";
        const HOST: &str = "the host or the port cannot be read";
        let (scheme, after) = url.split_once("://").ok_or(SCHEME)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(SCHEME),
        };
        let end = after.find(['/', '?', '#']).unwrap_or(after.len());
        let (authority, rest) = after.split_at_checked(end).ok_or(HOST)?;
        if authority.contains('@') {
            return Err("a name or password stands before its host");
        }
        let (host, port) = host::split_port(authority).ok_or(HOST)?;
        let host = match host::parse_ip(host) {
            // Two colons without brackets would leave open where the port begins.
            Some(ip) if ip.is_ipv4() || host.starts_with('[') => ip.to_string(),
            Some(_) => return Err(HOST),
            None => host::parse_name(host, Underscores::Accepted).ok_or(HOST)?,
        };
        let port = port.unwrap_or(if tls { 443 } else { 80 });
        Ok(SplitUrl { origin: Self { tls, host, port }, authority, rest })
    }
}

impl fmt::Display for Origin {
    /// `https://host[:port]`, the port where it is not the scheme's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tls, host, port } = self;
        let (scheme, usual) = if *tls { ("https", 443) } else { ("http", 80) };
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]")?;
        } else {
            write!(f, "{scheme}://{host}")?;
        }
        if *port == usual { Ok(()) } else { write!(f, ":{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (url, origin, authority, rest) in [
            ("https://bucket.s3.example.com", "https://bucket.s3.example.com", "bucket.s3.example.com", ""),
            ("HTTPS://Bucket.Example.com:443/a?b=c", "https://bucket.example.com", "Bucket.Example.com:443", "/a?b=c"),
            ("http://my_bucket.minio:80?x", "http://my_bucket.minio", "my_bucket.minio:80", "?x"),
            ("https://minio.:9000/a#b", "https://minio:9000", "minio.:9000", "/a#b"),
            ("http://10.0.0.1:9000", "http://10.0.0.1:9000", "10.0.0.1:9000", ""),
            ("https://[2001:db8::1]:9000/", "https://[2001:db8::1]:9000", "[2001:db8::1]:9000", "/"),
            ("https://[::ffff:127.0.0.1]/", "https://127.0.0.1", "[::ffff:127.0.0.1]", "/"),
        ] {
            let split = Origin::split(url).unwrap();
            assert_eq!((split.origin.to_string().as_str(), split.authority, split.rest), (origin, authority, rest));
            assert_eq!(Origin::split(origin).unwrap().origin, split.origin, "{url}");
        }
    }

    #[test]
    fn what_is_no_http_url_is_refused() {
        for url in [
            "",
            "bucket.example.com",
            "//bucket.example.com/a",
            "/a",
            "ftp://bucket.example.com",
            "https:/bucket.example.com",
            "https:bucket.example.com",
            "javascript://bucket.example.com/%0aalert(1)",
            " https://bucket.example.com",
            "https://",
            "https:///a",
            "https://user@bucket.example.com",
            "https://user:secret@bucket.example.com",
            "https://bucket.example.com@evil.example.com",
            "https://bucket.example.com\\@evil.example.com",
            "https://bucket.example.com\\.evil.example.com",
            "https://bucket.example.com%2f.evil.example.com",
            "https://bucket.example.com:",
            "https://bucket.example.com:0",
            "https://bucket.example.com:0443",
            "https://bucket.example.com:65536",
            "https://bucket.example.com:44:43",
            "https://bucket example.com",
            "https://bücket.example.com",
            "https://2130706433",
            "https://0x7f.1",
            "https://127.1",
            "https://0177.0.0.1",
            "https://2001:db8::1",
            "https://[2001:db8::1",
            "https://[fe80::1%25eth0]",
            "https://[127.0.0.1]",
        ] {
            assert!(Origin::split(url).is_err(), "{url}");
        }
    }
}
