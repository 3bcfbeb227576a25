//! Bearer tokens: issued here, verified here.
//!
//! A token freezes who and at most what; every request is judged again by the live policy, so a token only narrows.

mod certificates;
mod claims;
mod create;
#[cfg(test)]
mod fixtures;
mod issuer;
mod jwks;
mod keys;
mod passed;
mod verifier;

pub use certificates::{Certificates, certificates};
pub use issuer::{Issued, Issuer};
pub use jwks::jwks;
pub use keys::{KeyError, Keys};
pub use passed::Minter;
pub use verifier::{Verifier, VerifyError};
