//! Bearer tokens: issued here, verified here.
//!
//! A token freezes who and at most what; every request is judged again by the live policy, so a token only narrows.

mod claims;
mod create;
#[cfg(test)]
mod fixtures;
mod issuer;
mod keys;
mod verifier;

pub use issuer::{Issued, Issuer};
pub use keys::{KeyError, Keys};
pub use verifier::{Verifier, VerifyError};
