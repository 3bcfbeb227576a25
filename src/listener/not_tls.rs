//! The answer to a client that speaks plain HTTP to the TLS port.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time,
};

use super::{buffer::BufferedTcp, socket::linger};
use crate::registry::{ErrorBody, ErrorCode};

const LARGEST_HEAD: usize = 8 * 1024;
const LONGEST_WAIT: Duration = Duration::from_secs(2);
const MESSAGE: &str = "plain HTTP was sent to a port that speaks HTTPS: use https:// instead of http://";

/// TLS records begin with a byte below 0x20, SSLv2 with one above 0x7f; HTTP requests with the
/// method's first letter.
pub(super) fn looks_like_http(first: u8) -> bool {
    first.is_ascii_alphabetic()
}

/// Reads the request's head as far as it comes and answers 400 with a body that registry clients
/// print.
pub(super) async fn answer(mut stream: BufferedTcp) -> io::Result<()> {
    let mut head = Vec::new();
    // A head that does not come is answered all the same.
    let _ = time::timeout(LONGEST_WAIT, read_head(&mut stream, &mut head)).await;
    let tcp = stream.into_tcp();
    send(tcp, &response(head.starts_with(b"HEAD "))).await
}

async fn read_head(stream: &mut BufferedTcp, head: &mut Vec<u8>) -> io::Result<()> {
    while head.len() < LARGEST_HEAD && !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(head).await? == 0 {
            break;
        }
    }
    Ok(())
}

async fn send(mut tcp: TcpStream, response: &[u8]) -> io::Result<()> {
    time::timeout(LONGEST_WAIT, tcp.write_all(response)).await??;
    linger(&mut tcp).await;
    Ok(())
}

fn response(head_only: bool) -> Vec<u8> {
    let body = ErrorBody::new(ErrorCode::Unsupported, MESSAGE).to_json();
    let mut response = format!(
        "HTTP/1.1 400 Bad Request\r\n\
         Content-Type: application/json\r\n\
         Content-Length: {}\r\n\
         Docker-Distribution-Api-Version: registry/2.0\r\n\
         X-Content-Type-Options: nosniff\r\n\
         Connection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    if !head_only {
        response.extend_from_slice(&body);
    }
    response
}
