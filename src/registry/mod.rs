//! The vocabulary of the OCI distribution spec: names, references, routes, scopes, patterns.
//!
//! Pure: no I/O, no configuration, no async. Everything that decides about access speaks in these types.

mod action;
mod error;
mod name;
mod pattern;
mod query;
mod ranges;
mod reference;
mod route;
mod scope;
mod scope_pattern;
mod surface;
mod trust;
mod ui_path;

pub use action::{Action, Actions};
pub use error::{ErrorBody, ErrorCode};
pub use name::{NameError, RepositoryName};
pub use pattern::{Pattern, PatternError};
pub use query::{QueryError, QueryPairs};
pub use ranges::{Ranges, Span, precedes, segment_order};
pub use reference::{Digest, DigestError, Reference, Tag, UploadId, UploadSeal, UploadState};
pub use route::{
    BlobVerb, Change, ManifestVerb, Needs, Page, Read, Route, RouteError, TokenVerb, UploadSession, UploadVerb,
};
pub use scope::{Resource, Scope, ScopeSet};
pub use scope_pattern::{ScopePattern, ScopePatternError, ScopePatterns};
pub use surface::{OwnHosts, Surface};
pub use trust::{Gun, KeyRole, TrustFile, TrustVerb};
pub use ui_path::UiPath;
