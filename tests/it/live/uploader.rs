//! One upload that takes its time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;

use super::{
    client::{STILL, Way, due},
    http2::{Outcome, Streams},
};
use crate::support::{ALICE, Dice, Hash, Portcullis, Response, Tls, client_config};

const PIECE: usize = 64 << 10;

/// An upload under way.
pub(super) struct Uploader<'a> {
    pub(super) gate: &'a Portcullis,
    pub(super) way: Way,
    pub(super) size: u64,
    /// In bytes a second.
    pub(super) rate: u64,
    pub(super) sent: &'a AtomicU64,
}

impl Uploader<'_> {
    /// The path of a new session.
    pub(super) fn open(&self, repository: &str) -> String {
        let opened = self.gate.curl(&format!("/v2/{repository}/blobs/uploads/")).user(ALICE).method("POST").send();
        assert_eq!(opened.status, 202, "{}", opened.text());
        self.located(&opened)
    }

    /// Sends all of it in one request. Its digest and where to go on.
    pub(super) fn send(&self, path: &str, seed: u64) -> Result<(String, String), String> {
        let mut hash = Hash::default();
        let pieces = Pieces { block: Dice::new(seed).bytes(PIECE), left: self.size, number: 0 };
        let answer = match self.way {
            Way::Http2 => self.over_http2(path, pieces, &mut hash),
            Way::Kept | Way::Fresh => self.over_http1(path, pieces, &mut hash),
        }?;
        let range = format!("0-{}", self.size - 1);
        if (answer.status, answer.header("range")) != (202, Some(&range)) {
            return Err(format!("{:?}: {answer:?}", self.way));
        }
        Ok((hash.digest(), self.located(&answer)))
    }

    /// Ends the session.
    pub(super) fn finish(&self, path: &str, digest: &str) -> Response {
        let version = if self.way == Way::Http2 { "--http2" } else { "--http1.1" };
        let path = format!("{path}&digest={digest}");
        self.gate.curl(&path).user(ALICE).method("PUT").argument(version).header("Content-Length: 0").send()
    }

    fn located(&self, answer: &Response) -> String {
        answer.header("location").unwrap().replace(&self.gate.url(""), "")
    }

    fn login() -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", ALICE.name, ALICE.password)))
    }

    /// In chunks, as docker sends it.
    fn over_http1(&self, path: &str, pieces: Pieces, hash: &mut Hash) -> Result<Response, String> {
        let mut tls = Tls::connect(self.gate.pki(), self.gate.port(), "localhost");
        tls.patience(STILL);
        let broken =
            |error: std::io::Error| format!("broken after {} bytes: {error}", self.sent.load(Ordering::SeqCst));
        let (host, login) = (self.gate.host(), Self::login());
        let head = format!(
            "PATCH {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {login}\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        tls.try_send(head).map_err(broken)?;
        let begin = Instant::now();
        for piece in pieces {
            hash.add(&piece);
            let framed = [format!("{:x}\r\n", piece.len()).as_bytes(), &piece, b"\r\n"].concat();
            tls.try_send(framed).map_err(broken)?;
            thread::sleep(self.after(piece.len(), begin));
        }
        tls.try_send("0\r\n\r\n").map_err(broken)?;
        tls.answer(false).ok_or_else(|| "closed without an answer".to_owned())
    }

    fn over_http2(&self, path: &str, pieces: Pieces, hash: &mut Hash) -> Result<Response, String> {
        let config = client_config(self.gate.pki(), &["h2"]);
        let streams = Streams::connect(Arc::clone(&config), self.gate.port(), "localhost");
        let streams = streams.map_err(|broken| format!("{broken:?}"))?;
        let begin = Instant::now();
        let outcome = streams.upload(&self.gate.url(path), &Self::login(), pieces, |piece| {
            hash.add(piece);
            self.after(piece.len(), begin)
        });
        match outcome {
            Outcome::Answer(answer) => Ok(answer),
            Outcome::Untouched => Err("given back untouched".to_owned()),
            Outcome::Broken(error) => Err(format!("after {} bytes: {error}", self.sent.load(Ordering::SeqCst))),
        }
    }

    /// How long to wait after this many bytes more.
    fn after(&self, count: usize, begin: Instant) -> Duration {
        let sent = self.sent.fetch_add(count as u64, Ordering::SeqCst) + count as u64;
        due(usize::try_from(sent).unwrap(), self.rate).saturating_sub(begin.elapsed())
    }
}

/// A blob, none of whose pieces is like another.
pub(super) struct Pieces {
    block: Vec<u8>,
    left: u64,
    number: u64,
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let size = usize::try_from(self.left.min(PIECE as u64)).unwrap();
        self.left -= size as u64;
        self.number += 1;
        let mut piece = self.block[..size].to_vec();
        for (byte, count) in piece.iter_mut().zip(self.number.to_le_bytes()) {
            *byte ^= count;
        }
        (size > 0).then(|| piece.into())
    }
}
