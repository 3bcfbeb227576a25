//! Bearer tokens: issued here, verified here.
//!
//! A token freezes who and at most what; every request is judged again by the live policy, so a token only narrows.

mod claims;
mod create;
#[cfg(test)]
mod fixtures;
mod inspect;
mod issuer;
mod keys;
mod seal;
mod verified;
mod verifier;

pub use claims::{TokenKind, now};
pub use inspect::{Inspection, TokenState, date, inspect};
pub use issuer::{Issued, IssuedLong, Issuer};
pub use keys::{KeyError, Keys};
pub use seal::Seals;
pub use verifier::{Verifier, VerifyError};
