//! Bearer tokens: issued here, verified here.
//!
//! A token freezes who and at most what; every request is judged again by the live policy, so a token only narrows.

mod certificates;
mod claims;
mod create;
#[cfg(test)]
mod fixtures;
mod inspect;
mod issuer;
mod jwks;
mod keys;
mod passed;
mod refusal;
mod seal;
mod signing;
mod verified;
mod verifier;

pub use certificates::{Certificates, certificates};
pub use claims::{TokenKind, now};
pub use inspect::{Inspection, TokenState, date, inspect};
pub use issuer::{Issued, IssuedLong, Issuer};
pub use jwks::jwks;
pub use keys::{KeyError, Keys};
pub use passed::Minter;
pub use refusal::{Fault, Reason, Refusal};
pub use seal::{Sealed, Seals};
pub use verifier::{Verifier, VerifyError};
