//! Certificates of an ACME authority (RFC 8555).

mod account;
mod challenge;
mod client;
mod error;
mod issued;
mod moment;
mod order;
mod proof;
mod schedule;
mod storage;

pub use challenge::{ACME_TLS, Answer, AnswersBeside, Challenges, Digest, OpenAnswer, Token};
pub use moment::Moment;
pub use storage::{Failure, Lock, Published, Slot, State, Storage, StorageError, StoredCertificate, StoredOrder, Window};
