//! What a request's head says: host, client, credentials. Read once; nothing later looks at raw headers to decide.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::{HeaderMap, HeaderValue, Method, Version, header, uri::PathAndQuery};
use ipnet::IpNet;
use pingora_core::protocols::http::ServerSession;

use super::{
    asking::Asking,
    connection::Connection,
    familiar::Dialled,
    ids::{RequestId, Trace},
    respond::Rejection,
};
use crate::{
    config::Host,
    identity::{BasicCredentials, Credentials},
    listener::ConnectionInfo,
};

/// A request's head, as far as decisions need it.
#[derive(Debug)]
pub(super) struct RequestHead {
    pub id: RequestId,
    pub trace: Option<Trace>,
    pub method: Method,
    /// Path and query.
    pub target: PathAndQuery,
    /// The host that was asked, with the port as the client wrote it.
    pub host: Host,
    pub host_header: HeaderValue,
    /// Lower case, from the TLS handshake.
    pub sni: Option<Arc<str>>,
    pub client: IpAddr,
    pub client_header: Option<HeaderValue>,
    pub credentials: Credentials,
    pub asking: Asking,
    pub expects_continue: bool,
    pub content_length: Option<u64>,
    /// Of any bytes.
    pub user_agent: Option<HeaderValue>,
    pub protocol: &'static str,
}

impl RequestHead {
    pub(super) fn read(
        session: &ServerSession,
        connection: &Connection,
        trusted_proxies: &[IpNet],
        own: &RequestId,
    ) -> Result<Self, Rejection> {
        let request = session.req_header();
        let headers = &request.headers;
        let Connection { info: ConnectionInfo { peer, sni, .. }, familiar, .. } = connection;
        let peer = peer.ip();
        let target = target(session)?;
        let Dialled { host, header: host_header } =
            familiar.dialled(authority(session)?).ok_or(Rejection::BadRequest("unreadable Host"))?;
        let expects_continue = expectation(headers)?;
        // The engine has taken the length away where there is a coding, so that only the raw head tells.
        if is_coded(headers)?
            && session.as_http1().is_some_and(|http1| has_two_framings(&http1.get_headers_raw_bytes()))
        {
            return Err(Rejection::BadRequest("both Transfer-Encoding and Content-Length"));
        }
        let client = client_address(peer, headers, trusted_proxies)?;
        Ok(Self {
            id: request_id(peer, headers, trusted_proxies).unwrap_or_else(|| own.clone()),
            trace: Trace::of(headers),
            method: request.method.clone(),
            target,
            host,
            host_header,
            sni: sni.clone(),
            client,
            client_header: familiar.client(client),
            credentials: credentials(headers),
            asking: Asking::read(headers),
            expects_continue,
            content_length: content_length(headers)?,
            user_agent: headers.get(header::USER_AGENT).cloned(),
            protocol: protocol(request.version),
        })
    }
}

/// Path and query of the target. The absolute form counts by its path; other forms are none of ours.
fn target(session: &ServerSession) -> Result<PathAndQuery, Rejection> {
    let request = session.req_header();
    if !request.raw_path_is_utf8() {
        return Err(Rejection::BadRequest("the request target must be ASCII"));
    }
    if session.as_http1().is_some_and(|http1| !is_plain_target(&http1.get_headers_raw_bytes())) {
        return Err(Rejection::BadRequest("the request target must be a path without a fragment"));
    }
    let Some(target) = request.uri.path_and_query() else {
        return Err(Rejection::BadRequest("the request target must be a path"));
    };
    if !target.path().starts_with('/') {
        return Err(Rejection::BadRequest("the request target must be a path"));
    }
    Ok(target.clone())
}

/// The URI type drops fragments silently and shows other forms as `/`, so the request line itself is asked: it must
/// hold a path or an absolute address.
fn is_plain_target(head: &[u8]) -> bool {
    let target = head.split(|byte| byte.is_ascii_whitespace()).nth(1).unwrap_or_default();
    let absolute = |scheme: &[u8]| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    (target.starts_with(b"/") || absolute(b"http://") || absolute(b"https://")) && !target.contains(&b'#')
}

/// `:authority`, the authority of an absolute target, or `Host`. The engine has already refused two that differ.
fn authority(session: &ServerSession) -> Result<&str, Rejection> {
    let request = session.req_header();
    let authority = match request.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => match request.headers.get(header::HOST) {
            Some(value) => Some(value.to_str().map_err(|_| Rejection::BadRequest("unreadable Host"))?),
            None => None,
        },
    };
    authority.ok_or(Rejection::BadRequest("a request needs a Host"))
}

fn credentials(headers: &HeaderMap) -> Credentials {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (None, _) => Credentials::None,
        (Some(value), None) => single_credentials(value),
        (Some(_), Some(_)) => Credentials::Malformed,
    }
}

fn single_credentials(value: &HeaderValue) -> Credentials {
    let Ok(value) = str::from_utf8(value.as_bytes()) else { return Credentials::Malformed };
    let Some((scheme, rest)) = value.split_once(' ') else { return Credentials::Malformed };
    if scheme.eq_ignore_ascii_case("basic") {
        BasicCredentials::decode(rest).map_or(Credentials::Malformed, Credentials::Basic)
    } else if scheme.eq_ignore_ascii_case("bearer") && !rest.is_empty() && is_one_word(rest.as_bytes()) {
        Credentials::Bearer(rest.to_owned())
    } else {
        Credentials::Malformed
    }
}

/// Visible ASCII without a comma. A token is long: all of it is looked at, since that goes many bytes at a time.
fn is_one_word(text: &[u8]) -> bool {
    text.iter().fold(true, |well, byte| well & (b'!'..=b'~').contains(byte) & (*byte != b','))
}

fn expectation(headers: &HeaderMap) -> Result<bool, Rejection> {
    match headers.get(header::EXPECT) {
        None => Ok(false),
        Some(value) if value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Ok(true),
        Some(_) => Err(Rejection::ExpectationFailed),
    }
}

/// True where it comes in chunks. Chunks or nothing: the engine looks at the last coding alone and takes off one, so a body
/// in any other would go on coded and without its name (RFC 9112 §6.1).
fn is_coded(headers: &HeaderMap) -> Result<bool, Rejection> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(false),
        (Some(coding), None) if coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => Ok(true),
        (Some(_), _) => Err(Rejection::BadRequest("a transfer coding other than chunked")),
    }
}

/// The engine lets chunks win and drops the length before anybody sees it (as RFC 9112 §6.3 allows), but no client
/// sends both: whoever does hopes that two readers of the same bytes disagree.
fn has_two_framings(head: &[u8]) -> bool {
    let named = |name: &[u8]| {
        head.split(|byte| *byte == b'\n')
            .skip(1)
            .any(|line| line.split(|byte| *byte == b':').next().is_some_and(|word| word.eq_ignore_ascii_case(name)))
    };
    named(b"transfer-encoding") && named(b"content-length")
}

/// One number. The engine has already refused lengths that differ or cannot be read, and merged equal ones.
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Rejection> {
    let Some(value) = headers.get(header::CONTENT_LENGTH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let first = text.split(',').next().unwrap_or_default().trim();
    first.parse().map(Some).map_err(|_| Rejection::BadRequest("unreadable Content-Length"))
}

/// The id that a trusted proxy gave the request. Anybody else could have lines in two logs look like those of another's.
fn request_id(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Option<RequestId> {
    let peer = peer.to_canonical();
    if trusted.iter().any(|network| network.contains(&peer)) { RequestId::given(headers) } else { None }
}

/// The socket's peer; where that is a trusted proxy, the right-most address of `X-Forwarded-For` that is not one.
///
/// A hop that cannot be read, next to trusted ones, leaves the client unknown: then nobody is let in by an address.
fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Result<IpAddr, Rejection> {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    let mut client = peer.to_canonical();
    if !is_trusted(client) {
        return Ok(client);
    }
    let fields: Vec<&[u8]> = headers.get_all("x-forwarded-for").iter().map(HeaderValue::as_bytes).collect();
    let mut hops = fields.iter().rev().flat_map(|field| field.rsplit(|byte| *byte == b','));
    while is_trusted(client) {
        let Some(hop) = hops.next() else { break };
        client = hop_address(hop).ok_or(Rejection::BadRequest("unreadable X-Forwarded-For"))?;
    }
    Ok(client)
}

/// An address as proxies write it: bare, or with a port.
fn hop_address(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address| address.to_canonical())
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        headers
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn client(peer: &str, values: &[&str]) -> Option<IpAddr> {
        client_address(address(peer), &forwarded(values), &["10.0.0.0/8".parse().unwrap()]).ok()
    }

    #[test]
    fn a_request_id_counts_only_from_trusted_peers() {
        let id = |peer: &str, value: &'static str| {
            let headers = [(http::HeaderName::from_static("x-request-id"), HeaderValue::from_static(value))];
            let id = request_id(address(peer), &headers.into_iter().collect(), &["10.0.0.0/8".parse().unwrap()]);
            id.map(|id| id.as_str().to_owned())
        };
        assert_eq!(id("10.0.0.1", "abc").as_deref(), Some("abc"));
        assert_eq!(id("::ffff:10.0.0.1", "abc").as_deref(), Some("abc"));
        assert_eq!(id("10.0.0.1", "a b"), None);
        assert_eq!(id("192.0.2.1", "abc"), None);
    }

    #[test]
    fn forwarded_addresses_count_only_from_trusted_peers() {
        let values = ["1.1.1.1, 2.2.2.2", "10.0.0.9"];
        assert_eq!(client("192.0.2.1", &values), Some(address("192.0.2.1")));
        assert_eq!(client("192.0.2.1", &["nonsense"]), Some(address("192.0.2.1")));
        assert_eq!(client("10.0.0.1", &values), Some(address("2.2.2.2")));
        assert_eq!(client("::ffff:10.0.0.1", &values), Some(address("2.2.2.2")));
        assert_eq!(client("10.0.0.1", &[]), Some(address("10.0.0.1")));
        assert_eq!(client("10.0.0.1", &["2.2.2.2:4711"]), Some(address("2.2.2.2")));
        assert_eq!(client("10.0.0.1", &["[2001:db8::1]:4711"]), Some(address("2001:db8::1")));
        assert_eq!(client("10.0.0.1", &["[2001:db8::1]"]), Some(address("2001:db8::1")));
    }

    #[test]
    fn what_a_client_made_up_is_left_of_what_its_proxy_added() {
        for forged in ["nonsense", "10.0.0.7", "unknown", "1.2.3.4.5"] {
            let line = format!("{forged}, 2.2.2.2");
            assert_eq!(client("10.0.0.1", &[&line]), Some(address("2.2.2.2")), "{forged}");
        }
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", HeaderValue::from_bytes(b"\xff, 2.2.2.2").unwrap());
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        assert_eq!(client_address(address("10.0.0.1"), &headers, &trusted).ok(), Some(address("2.2.2.2")));
    }

    #[test]
    fn a_hop_that_cannot_be_read_leaves_no_address() {
        for unreadable in ["nonsense", "unknown", "", "2.2.2.2, ", "2.2.2.2, x", "2.2.2.2:x"] {
            assert_eq!(client("10.0.0.1", &[unreadable]), None, "{unreadable}");
        }
    }

    #[test]
    fn bodies_come_in_chunks_or_as_they_are() {
        let check = |codings: &[&str]| {
            let mut headers = HeaderMap::new();
            for coding in codings {
                headers.append(header::TRANSFER_ENCODING, coding.parse().unwrap());
            }
            is_coded(&headers).is_ok()
        };
        assert!(check(&[]) && check(&["chunked"]) && check(&["Chunked "]));
        for bad in ["", "gzip", "gzip, chunked", "chunked, chunked", "chunked,", "identity", "xchunked"] {
            assert!(!check(&[bad]), "S3 {bad:?}");
        }
        assert!(!check(&["chunked", "chunked"]) && !check(&["gzip", "chunked"]), "S3");
    }

    #[test]
    fn a_body_is_framed_in_one_way() {
        let head = |lines: &str| format!("PUT / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        let both =
            ["Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", "transfer-encoding: x\ncontent-length: 1\r\n"];
        assert!(both.iter().all(|lines| has_two_framings(head(lines).as_bytes())));
        let one =
            ["Content-Length: 6\r\n", "Transfer-Encoding: chunked\r\n", "X: Content-Length: Transfer-Encoding\r\n"];
        assert!(!one.iter().any(|lines| has_two_framings(head(lines).as_bytes())));
    }

    #[test]
    fn targets_are_paths_or_absolute_addresses() {
        for good in ["/", "/v2/", "/v2/a?b=c", "http://h/v2/", "HTTPS://h:1/v2/"] {
            assert!(is_plain_target(format!("GET {good} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()), "{good}");
        }
        for bad in ["*", "v2/", "h:443", "?x", "/v2/#x", "/v2/a?b#c", "ftp://h/", ""] {
            assert!(!is_plain_target(format!("GET {bad} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()), "{bad}");
        }
    }

    #[test]
    fn credentials_are_none_one_or_malformed() {
        let read = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().unwrap());
            }
            credentials(&headers)
        };
        assert!(matches!(read(&[]), Credentials::None));
        assert!(matches!(read(&["Basic YTpi"]), Credentials::Basic(_)));
        assert!(matches!(read(&["bEARER abc"]), Credentials::Bearer(token) if token == "abc"));
        for bad in [
            "",
            "Basic",
            "Bearer",
            "Bearer ",
            "Bearer  x",
            "Bearer a,b",
            "Bearer\tx",
            "Digest x",
            "Basic ???",
            "Bearer a\u{e4}",
        ] {
            assert!(matches!(read(&[bad]), Credentials::Malformed), "{bad:?}");
        }
        assert!(matches!(read(&["Basic YTpi", "Bearer x"]), Credentials::Malformed));
        assert!(matches!(read(&["Bearer x", "Bearer x"]), Credentials::Malformed));
    }
}
