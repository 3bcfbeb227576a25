//! Certificates of an ACME authority (RFC 8555).

mod challenge;
mod proof;

pub use challenge::{ACME_TLS, Answer, AnswersBeside, Challenges, Digest, OpenAnswer, Token, challenged};
