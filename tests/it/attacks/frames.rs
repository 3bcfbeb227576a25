//! A bare HTTP/2 client: frames as they are told, whether or not anybody may send them (RFC 9113, RFC 7541).

use std::{io::Read, time::Duration};

use crate::support::{Portcullis, Tls};

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Status(u16),
    /// RST_STREAM with this code.
    Reset(u32),
    /// GOAWAY, or the connection's end.
    Closed,
}

pub(super) struct Http2 {
    tls: Tls,
    stream: u32,
}

impl Http2 {
    /// With the default settings.
    pub(super) fn connect(gate: &Portcullis) -> Self {
        Self::with_settings(gate, &[])
    }

    pub(super) fn with_settings(gate: &Portcullis, settings: &[(u16, u32)]) -> Self {
        let mut tls = Tls::offering(gate.pki(), gate.port(), "localhost", &["h2"]).unwrap();
        assert_eq!(tls.protocol().as_deref(), Some("h2"));
        tls.patience(Duration::from_secs(5));
        tls.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend_from_slice(&name.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        tls.send(frame(SETTINGS, 0, 0, &payload));
        // The first client stream is 1.
        Self { tls, stream: u32::MAX }
    }

    /// False where the server closed meanwhile.
    pub(super) fn send(&mut self, bytes: &[u8]) -> bool {
        self.tls.try_send(bytes).is_ok()
    }

    /// The number of a new stream.
    pub(super) fn next_stream(&mut self) -> u32 {
        self.stream = self.stream.wrapping_add(2);
        self.stream
    }

    /// Opens a stream with these fields.
    pub(super) fn open(&mut self, fields: &[(&str, &str)], flags: u8) -> u32 {
        let stream = self.next_stream();
        self.send(&frame(HEADERS, flags | END_HEADERS, stream, &block(fields)));
        stream
    }

    /// Reads until it is told how this stream ends, or the connection. Panics after 5 s of silence.
    pub(super) fn outcome(&mut self, stream: u32) -> Outcome {
        loop {
            let mut head = [0; 9];
            if !self.fill(&mut head) {
                return Outcome::Closed;
            }
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let mut payload = vec![0; length];
            if !self.fill(&mut payload) {
                return Outcome::Closed;
            }
            let of = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & (u32::MAX >> 1);
            match head[3] {
                SETTINGS if head[4] & 1 == 0 => {
                    self.send(&frame(SETTINGS, 1, 0, &[]));
                }
                GOAWAY => return Outcome::Closed,
                RST_STREAM if of == stream => {
                    return Outcome::Reset(u32::from_be_bytes(payload[..4].try_into().unwrap()));
                }
                HEADERS if of == stream => return Outcome::Status(status(&payload)),
                _ => {}
            }
        }
    }

    /// Reads all that is there to read, until the server is silent for `patience` or closes.
    pub(super) fn drain(&mut self, patience: Duration) {
        self.tls.patience(patience);
        let mut piece = [0; 16 * 1024];
        while matches!(self.tls.read(&mut piece), Ok(1..)) {}
        self.tls.patience(Duration::from_secs(5));
    }

    fn fill(&mut self, buffer: &mut [u8]) -> bool {
        match self.tls.read_exact(buffer) {
            Ok(()) => true,
            Err(error) => {
                let silent = matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
                assert!(!silent, "the server says nothing");
                false
            }
        }
    }
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A header block of literals that are not remembered (RFC 7541 §6.2.2); a character is one byte.
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        push_text(&mut block, name);
        push_text(&mut block, value);
    }
    block
}

/// One field that goes to the head of the dynamic table (RFC 7541 §6.2.1).
pub(super) fn remembered(name: &str, value: &str) -> Vec<u8> {
    let mut block = vec![0x40];
    push_text(&mut block, name);
    push_text(&mut block, value);
    block
}

fn push_text(block: &mut Vec<u8>, text: &str) {
    let bytes: Vec<u8> = text.chars().map(|letter| u8::try_from(u32::from(letter)).unwrap()).collect();
    match bytes.len() {
        short @ 0..127 => block.push(u8::try_from(short).unwrap()),
        long => {
            block.push(127);
            let mut rest = long - 127;
            while rest >= 128 {
                block.push(u8::try_from(rest % 128 + 128).unwrap());
                rest /= 128;
            }
            block.push(u8::try_from(rest).unwrap());
        }
    }
    block.extend_from_slice(&bytes);
}

/// The `:status` that begins an answer's header block.
fn status(block: &[u8]) -> u16 {
    match block[0] {
        0x88 => 200,
        0x89 => 204,
        0x8a => 206,
        0x8b => 304,
        0x8c => 400,
        0x8d => 404,
        0x8e => 500,
        // A literal with the name of entry 8.
        0x48 | 0x08 | 0x18 => digits(block[1] & 0x80 != 0, &block[2..2 + usize::from(block[1] & 0x7f)]),
        other => panic!("no status first: {other:#x}"),
    }
}

fn digits(huffman: bool, text: &[u8]) -> u16 {
    if !huffman {
        return std::str::from_utf8(text).unwrap().parse().unwrap();
    }
    // RFC 7541, appendix B: 0 to 2 have five bits, 3 to 9 have six.
    let bits: Vec<u16> = text.iter().flat_map(|byte| (0..8).rev().map(move |at| u16::from(byte >> at & 1))).collect();
    let read = |at: usize, count: usize| bits[at..at + count].iter().fold(0, |all, bit| all << 1 | bit);
    let (mut number, mut at) = (0, 0);
    for _ in 0..3 {
        let short = read(at, 5);
        if short < 3 {
            number = number * 10 + short;
            at += 5;
        } else {
            number = number * 10 + read(at, 6) - 0b01_1001 + 3;
            at += 6;
        }
    }
    number
}

#[test]
fn a_status_is_read_from_its_bits() {
    assert_eq!(status(&[0x88]), 200);
    assert_eq!(status(&[0x48, 3, b'4', b'2', b'1']), 421);
    // 4 = 011010, 0 = 00000, 3 = 011001: 01101000 00001100 1 and padding.
    assert_eq!(status(&[0x48, 0x83, 0b0110_1000, 0b0000_1100, 0b1111_1111]), 403);
    // 2 = 00010, 0 = 00000, 1 = 00001
    assert_eq!(status(&[0x08, 0x82, 0b0001_0000, 0b0000_0011]), 201);
}
