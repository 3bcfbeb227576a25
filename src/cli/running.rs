//! What a running portcullis says on its admin address.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::config::{Config, parse_duration};

/// Where `serve` has its admin address unless the configuration says otherwise.
const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);

/// More of an answer than there is.
const LONGEST_ANSWER: usize = 1024 * 1024;

/// An answer as it came.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// Asks the admin address that is given, or the one of a configuration.
///
/// # Errors
/// Where nobody answers within the time; the text says who was asked.
pub(super) async fn ask(
    file: &Path,
    address: Option<&Address>,
    path: &str,
    timeout: Duration,
) -> anyhow::Result<Answer> {
    let (addresses, doubt) = match address {
        Some(address) => (vec![address.clone()], None),
        None => configured(file)?,
    };
    let asked = tokio::time::timeout(timeout, ask_in_turn(&addresses, path)).await;
    let answer = asked.unwrap_or_else(|_| Err(anyhow!("{path}: no answer within {timeout:?}")));
    // Why the address was guessed matters only where the guess led nowhere.
    match (answer, doubt) {
        (Err(error), Some(doubt)) => Err(error.context(doubt)),
        (answer, _) => answer,
    }
}

/// The admin address of the configuration, in the order to try; and why it is only a guess, where it is one.
fn configured(file: &Path) -> anyhow::Result<(Vec<Address>, Option<String>)> {
    let shown = file.display();
    match Config::admin_address(file) {
        Ok(None) => bail!("{shown} has listen.admin switched off: give it an address, such as \"127.0.0.1:9090\""),
        Ok(Some(address)) if address.port() == 0 => {
            bail!("{shown} has no fixed port in listen.admin: name one, or give the address with --url")
        }
        Ok(Some(address)) => Ok((reachable(address), None)),
        Err(problems) => {
            Ok((reachable(DEFAULT_ADMIN), Some(format!("{problems}\nportcullis: so the default address was asked"))))
        }
    }
}

/// Where a process of the same machine reaches a bound address.
fn reachable(bound: SocketAddr) -> Vec<Address> {
    let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
    let hosts = match bound.ip() {
        ip if !ip.is_unspecified() => vec![ip],
        IpAddr::V4(_) => vec![v4],
        // It takes IPv4 as well, which may be all there is in a container.
        IpAddr::V6(_) => vec![v6, v4],
    };
    hosts.into_iter().map(|ip| Address(SocketAddr::new(ip, bound.port()).to_string())).collect()
}

/// Asks the first address that can be connected to.
async fn ask_in_turn(addresses: &[Address], path: &str) -> anyhow::Result<Answer> {
    let mut refused = anyhow!("no address to ask");
    for address in addresses {
        match TcpStream::connect(&address.0).await {
            Ok(stream) => return ask_over(stream, &address.0, path).await.with_context(|| address.url(path)),
            Err(error) => {
                refused = anyhow!(error).context("cannot connect; is portcullis running?").context(address.url(path));
            }
        }
    }
    Err(refused)
}

async fn ask_over(stream: TcpStream, host: &str, path: &str) -> anyhow::Result<Answer> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path).header(header::HOST, host).body(Empty::<Bytes>::new())?;
    let answer = async {
        let response = sender.send_request(request).await?;
        Ok(Answer { status: response.status(), body: read(response.into_body()).await })
    };
    // The connection works while the answer is waited for, and ends with it.
    tokio::select! {
        answer = answer => answer,
        Err(error) = connection => Err(error.into()),
    }
}

async fn read(body: Incoming) -> Bytes {
    Limited::new(body, LONGEST_ANSWER).collect().await.map(|body| body.to_bytes()).unwrap_or_default()
}

/// `HOST:PORT`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address(String);

impl Address {
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.0)
    }
}

pub(super) fn parse_url(text: &str) -> anyhow::Result<Address> {
    const EXPECTED: &str = "http://HOST:PORT is needed, of the admin address";
    let url: Uri = text.parse().context(EXPECTED)?;
    let authority = url.authority().context(EXPECTED)?;
    let bare = matches!(url.path(), "" | "/") && url.query().is_none() && !authority.as_str().contains('@');
    if url.scheme_str() != Some("http") || !bare {
        bail!(EXPECTED);
    }
    Ok(Address(format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80))))
}

pub(super) fn parse_timeout(text: &str) -> anyhow::Result<Duration> {
    let timeout = parse_duration(text).context("a time such as 3s is needed")?;
    if timeout.is_zero() {
        bail!("a time above 0 is needed");
    }
    Ok(timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_bound_is_asked_on_this_machine() {
        for (bound, asked) in [
            ("127.0.0.1:9090", &["127.0.0.1:9090"][..]),
            ("0.0.0.0:1", &["127.0.0.1:1"]),
            ("[::]:9090", &["[::1]:9090", "127.0.0.1:9090"]),
            ("[2001:db8::1]:9090", &["[2001:db8::1]:9090"]),
        ] {
            let addresses = reachable(bound.parse().unwrap());
            assert_eq!(addresses.iter().map(|address| &*address.0).collect::<Vec<_>>(), asked, "{bound}");
        }
    }

    #[test]
    fn urls() {
        for (url, address) in [
            ("http://localhost:9090", "localhost:9090"),
            ("http://127.0.0.1:1/", "127.0.0.1:1"),
            ("http://[::1]:9090", "[::1]:9090"),
            ("http://gate", "gate:80"),
        ] {
            assert_eq!(parse_url(url).unwrap().0, address);
        }
        for url in
            ["", "localhost:9090", "https://localhost:9090", "http://a:1/readyz", "http://u:p@a:1", "http://a:1?b"]
        {
            assert!(parse_url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn timeouts() {
        assert_eq!(parse_timeout("250ms").unwrap(), Duration::from_millis(250));
        for text in ["0s", "3", "soon"] {
            assert!(parse_timeout(text).is_err(), "{text}");
        }
    }
}
