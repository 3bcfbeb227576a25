//! Certificates of an ACME authority (RFC 8555).

mod account;
mod board;
mod challenge;
mod client;
mod error;
mod issued;
mod keeper;
mod manager;
mod moment;
mod order;
mod proof;
mod report;
mod schedule;
mod storage;
mod window;

pub use challenge::{ACME_TLS, Answer, AnswersBeside, Challenges, Digest, OpenAnswer, Token, challenged};
pub use manager::{Manager, Prepared, TrialError, stored, survey, try_out};
pub use moment::Moment;
pub use report::Report;
pub use storage::{
    Failure, Lock, Published, Slot, State, Storage, StorageError, StoredCertificate, StoredOrder, Window,
};
