//! What operators see on the admin address.

mod answers;
mod page;
mod shown;

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use crate::support::{Portcullis, Response, exchange};

/// What a browser sends where a person opens an address.
const BROWSER: &str = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en";

/// Asks the admin address with these lines besides the request line.
fn ask(gate: &Portcullis, line: &str, headers: &str) -> Response {
    let request = format!("{line} HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n");
    let answer = exchange(gate.admin_port(), request);
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
    Response { body: body.as_bytes().to_vec(), ..Response::parse_head(head) }
}

/// An admin connection that asks nothing yet.
fn silent(gate: &Portcullis) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", gate.admin_port())).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// The status line that comes for a question over a connection that stands.
fn status_line(stream: &mut TcpStream, path: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
    let mut line = [0; 15];
    stream.read_exact(&mut line).unwrap();
    String::from_utf8_lossy(&line).into_owned()
}
