//! May they: a union of grants; no order, nothing denies.
//!
//! Access is denied unless a grant allows it. A grant allows its actions on repositories that match its
//! `repositories` and not its own `except`, to any subject in `to`. Grants add up; order means nothing.
//!
//! Synchronous and free of I/O. Nothing outside this module can make a [`Permit`] (see there), and nothing
//! outside the crate can make the [`Principal`](crate::identity::Principal) that it is made for.

mod explain;
#[cfg(test)]
mod fixtures;
mod frozen;
mod given;
mod grant;
mod policy;

pub use explain::{Explanation, GrantPlace, NearMiss};
pub use given::{Given, Holders, Holding, Whence};
pub use grant::Obstacle;
pub use policy::{Asker, Denial, Permit, Policy};
