//! One request line parsed once into one enum; the upstream line is rebuilt from it.

mod parse;
mod upstream;

use http::Method;

use super::{
    Action, Actions, Digest, Gun, Reference, RepositoryName, Scope, ScopeSet, Surface, Tag, TrustVerb, UiPath,
    UploadId, UploadSeal, UploadState,
};

/// Pagination of `tags/list`, `_catalog`: `n` and `last`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub n: Option<u32>,
    /// Not empty, at most 255 bytes, no control characters; otherwise any text.
    pub last: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    Get,
    Head,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestVerb {
    Get,
    Head,
    /// `tags` are the further tags asked for with `?tag=`, in order.
    Put {
        tags: Vec<Tag>,
    },
    Delete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobVerb {
    Get,
    Head,
    Delete,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadVerb {
    /// POST without parameters (also: a mount that was degraded, `mount` without a readable `from`).
    Start,
    /// POST `?digest=`: the whole blob in one request.
    Monolithic { digest: Digest },
    /// POST `?mount=&from=`.
    Mount { digest: Digest, from: RepositoryName },
    /// GET or HEAD of the session.
    Status { session: UploadSession, read: Read },
    /// PATCH of the session.
    Chunk { session: UploadSession },
    /// PUT of the session, with `?digest=`.
    Finish { session: UploadSession, digest: Digest },
    /// DELETE of the session.
    Cancel { session: UploadSession },
}

/// An open upload, as its address says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadSession {
    pub id: UploadId,
    /// The registry's own `_state`.
    pub state: Option<UploadState>,
    /// Ours: who opened it, and when. Never leaves towards the registry.
    pub seal: Option<UploadSeal>,
}

/// How the token endpoint is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenVerb {
    /// GET: parameters in the query, credentials in the header.
    Query,
    /// POST: everything in a form (OAuth2).
    Form,
}

/// Everything that can be asked of the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/` where there is no web UI.
    Landing(Read),
    /// `/v2/` (and `/v2`)
    Base(Read),
    /// The token endpoint, at the configured path. Query and form are read by the endpoint itself.
    Token(TokenVerb),
    /// `/v2/_catalog`
    Catalog {
        read: Read,
        page: Page,
    },
    TagList {
        repository: RepositoryName,
        read: Read,
        page: Page,
    },
    Manifest {
        repository: RepositoryName,
        reference: Reference,
        verb: ManifestVerb,
    },
    Blob {
        repository: RepositoryName,
        digest: Digest,
        verb: BlobVerb,
    },
    Upload {
        repository: RepositoryName,
        verb: UploadVerb,
    },
    /// `artifact_type` is printable ASCII, at most 255 bytes.
    Referrers {
        repository: RepositoryName,
        digest: Digest,
        read: Read,
        artifact_type: Option<String>,
    },
    /// `/v2/<GUN>/_trust/…`: trust data of a repository, for the Notary server.
    Notary {
        gun: Gun,
        verb: TrustVerb,
    },
    /// What is neither the registry's nor the token endpoint's, for the web UI.
    Ui {
        path: UiPath,
        read: Read,
    },
    /// OPTIONS of a path that is the registry's or the token endpoint's: a browser asks what a page of another origin may
    /// do. `allow` are the methods that the path knows.
    Preflight {
        allow: &'static str,
        token_endpoint: bool,
    },
}

/// Why a request line is none of ours; mapped to status and code by `proxy::respond` alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Unknown path shape, or something in a blob's place that is no digest.
    #[error("unknown path")]
    NotFound,
    #[error("invalid repository name")]
    InvalidName,
    /// A reference that is neither tag nor digest, or a tag over 128.
    #[error("no such reference")]
    UnknownReference,
    #[error("invalid digest")]
    InvalidDigest,
    #[error("unknown upload session")]
    UnknownUpload,
    #[error("invalid page size")]
    InvalidPage,
    /// Escapes, dot segments, empty segments, duplicate or malformed parameters.
    #[error("{0}")]
    BadRequest(&'static str),
    /// The path is ours, the method is not; `allow` is the value of the `Allow` header.
    #[error("method not allowed")]
    Method { allow: &'static str },
}

/// What a route does to what the registry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing is added, replaced or removed. Giving up an upload removes only what is nothing yet.
    None,
    Begins,
    /// It goes on with an upload that is open already.
    Continues,
}

/// The one table route → access. `source` is the repository a mount reads from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs<'a> {
    /// Open to everybody: landing page, token endpoint, preflight.
    Nothing,
    /// Open to everybody who gets something without a login; else to any accepted caller: the web UI.
    Visit,
    /// Any accepted caller: `/v2/`, catalog.
    Caller,
    Repository {
        repository: &'a RepositoryName,
        action: Action,
        source: Option<&'a RepositoryName>,
    },
}

impl Route {
    /// Parses method, raw path and raw query, once. `surface` says what there is besides the registry; the path of the
    /// token endpoint alone (`"/token"`) stands for a registry with nothing else.
    ///
    /// The suffix decides and the rest is the name, as in distribution's router: `/v2/a/tags/list/manifests/v1` is a
    /// manifest of `a/tags/list`. The path is compared byte by byte; no escape is read but `%3A` for a digest's colon.
    /// Of several faults the first is told, in this order: forbidden bytes and segments, path shape, method, repository,
    /// reference or digest, query. Unknown parameters are dropped.
    pub fn parse<'s>(
        method: &Method,
        path: &str,
        query: Option<&str>,
        surface: impl Into<Surface<'s>>,
    ) -> Result<Self, RouteError> {
        parse::parse(method, path, query, surface.into())
    }

    /// The canonical path and query for the registry; parsing it again gives the same route (without
    /// the seal of an upload session).
    ///
    /// The path holds no escape. `Landing`, `Preflight` and `Token`, which never leave, give `/`, `/` and `/token`.
    pub fn to_upstream(&self) -> String {
        upstream::line(self)
    }

    /// The method of the upstream request.
    pub fn method(&self) -> Method {
        match self {
            Self::Token(TokenVerb::Query) => Method::GET,
            Self::Token(TokenVerb::Form) => Method::POST,
            Self::Landing(read)
            | Self::Base(read)
            | Self::Catalog { read, .. }
            | Self::TagList { read, .. }
            | Self::Referrers { read, .. }
            | Self::Ui { read, .. } => read.method(),
            Self::Preflight { .. } => Method::OPTIONS,
            Self::Notary { verb, .. } => verb.method(),
            Self::Manifest { verb, .. } => match verb {
                ManifestVerb::Get => Method::GET,
                ManifestVerb::Head => Method::HEAD,
                ManifestVerb::Put { .. } => Method::PUT,
                ManifestVerb::Delete => Method::DELETE,
            },
            Self::Blob { verb, .. } => match verb {
                BlobVerb::Get => Method::GET,
                BlobVerb::Head => Method::HEAD,
                BlobVerb::Delete => Method::DELETE,
            },
            Self::Upload { verb, .. } => match verb {
                UploadVerb::Start | UploadVerb::Monolithic { .. } | UploadVerb::Mount { .. } => Method::POST,
                UploadVerb::Status { read, .. } => read.method(),
                UploadVerb::Chunk { .. } => Method::PATCH,
                UploadVerb::Finish { .. } => Method::PUT,
                UploadVerb::Cancel { .. } => Method::DELETE,
            },
        }
    }

    /// What a caller must be allowed to do. Everything about an upload is push: who may start one may ask for its
    /// state and cancel it.
    pub fn needs(&self) -> Needs<'_> {
        let on = |repository, action| Needs::Repository { repository, action, source: None };
        match self {
            Self::Landing(_) | Self::Token(_) | Self::Preflight { .. } => Needs::Nothing,
            Self::Ui { .. } => Needs::Visit,
            Self::Base(_) | Self::Catalog { .. } => Needs::Caller,
            Self::TagList { repository, .. } | Self::Referrers { repository, .. } => on(repository, Action::Pull),
            Self::Manifest { repository, verb, .. } => match verb {
                ManifestVerb::Get | ManifestVerb::Head => on(repository, Action::Pull),
                ManifestVerb::Put { .. } => on(repository, Action::Push),
                ManifestVerb::Delete => on(repository, Action::Delete),
            },
            Self::Blob { repository, verb, .. } => match verb {
                BlobVerb::Get | BlobVerb::Head => on(repository, Action::Pull),
                BlobVerb::Delete => on(repository, Action::Delete),
            },
            Self::Upload { repository, verb } => {
                Needs::Repository { repository, action: Action::Push, source: verb.source() }
            }
            Self::Notary { gun, verb } => on(gun.repository(), verb.action()),
        }
    }

    /// The scope a challenge names, e.g. `repository:a/b:pull,push repository:c/d:pull`, `registry:catalog:*`; None for `/v2/`.
    ///
    /// A push asks for `pull,push`, as distribution's challenge does: clients take the scope for the whole of their push
    /// from the first challenge.
    pub fn challenge_scope(&self) -> Option<String> {
        if matches!(self, Self::Catalog { .. }) {
            return Some(Scope::catalog().to_string());
        }
        let Needs::Repository { repository, action, source } = self.needs() else { return None };
        let actions = match action {
            Action::Pull | Action::Delete => Actions::from(action),
            Action::Push => Actions::from(Action::Pull).with(Action::Push),
        };
        let target = Scope::repository(repository.clone(), actions);
        let Some(source) = source else { return Some(target.to_string()) };
        let mut scopes = ScopeSet::default();
        scopes.add(target);
        scopes.add(Scope::repository(source.clone(), Action::Pull.into()));
        Some(scopes.to_string())
    }

    /// What distribution's own token authentication wants a token to carry for this request, exactly. It is not what
    /// [`Route::needs`] says: there an upload's status is a pull and its cancellation a delete. Nothing for `/v2/`.
    pub fn upstream_scopes(&self) -> ScopeSet {
        upstream::scopes(self)
    }

    /// What the route does to what the registry holds.
    pub fn change(&self) -> Change {
        match self {
            Self::Landing(_)
            | Self::Base(_)
            | Self::Token(_)
            | Self::Catalog { .. }
            | Self::TagList { .. }
            | Self::Referrers { .. }
            | Self::Ui { .. }
            | Self::Preflight { .. } => Change::None,
            Self::Notary { verb, .. } => match verb.action() {
                Action::Pull => Change::None,
                Action::Push | Action::Delete => Change::Begins,
            },
            Self::Manifest { verb, .. } => match verb {
                ManifestVerb::Get | ManifestVerb::Head => Change::None,
                ManifestVerb::Put { .. } | ManifestVerb::Delete => Change::Begins,
            },
            Self::Blob { verb, .. } => match verb {
                BlobVerb::Get | BlobVerb::Head => Change::None,
                BlobVerb::Delete => Change::Begins,
            },
            Self::Upload { verb, .. } => match verb {
                UploadVerb::Start | UploadVerb::Monolithic { .. } | UploadVerb::Mount { .. } => Change::Begins,
                UploadVerb::Chunk { .. } | UploadVerb::Finish { .. } => Change::Continues,
                UploadVerb::Status { .. } | UploadVerb::Cancel { .. } => Change::None,
            },
        }
    }

    /// A mount becomes an ordinary upload start; every other route stays what it is.
    #[must_use]
    pub fn degraded(mut self) -> Self {
        if let Self::Upload { verb: verb @ UploadVerb::Mount { .. }, .. } = &mut self {
            *verb = UploadVerb::Start;
        }
        self
    }

    pub fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::Landing(_)
            | Self::Base(_)
            | Self::Token(_)
            | Self::Catalog { .. }
            | Self::Ui { .. }
            | Self::Preflight { .. } => None,
            Self::Notary { gun, .. } => Some(gun.repository()),
            Self::TagList { repository, .. }
            | Self::Manifest { repository, .. }
            | Self::Blob { repository, .. }
            | Self::Upload { repository, .. }
            | Self::Referrers { repository, .. } => Some(repository),
        }
    }

    /// The repository that a blob is mounted into, and the one that it comes from.
    pub fn mount(&self) -> Option<(&RepositoryName, &RepositoryName)> {
        let Self::Upload { repository, verb } = self else { return None };
        Some((repository, verb.source()?))
    }

    /// The repository and the open upload that the route goes on with.
    pub fn upload_session(&self) -> Option<(&RepositoryName, &UploadSession)> {
        let Self::Upload { repository, verb } = self else { return None };
        match verb {
            UploadVerb::Status { session, .. }
            | UploadVerb::Chunk { session }
            | UploadVerb::Finish { session, .. }
            | UploadVerb::Cancel { session } => Some((repository, session)),
            UploadVerb::Start | UploadVerb::Monolithic { .. } | UploadVerb::Mount { .. } => None,
        }
    }

    /// A fixed word for metrics and logs: landing, base, token, catalog, tags, manifest, blob, upload, referrers, notary,
    /// ui, preflight.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Landing(_) => "landing",
            Self::Base(_) => "base",
            Self::Token(_) => "token",
            Self::Catalog { .. } => "catalog",
            Self::TagList { .. } => "tags",
            Self::Manifest { .. } => "manifest",
            Self::Blob { .. } => "blob",
            Self::Upload { .. } => "upload",
            Self::Referrers { .. } => "referrers",
            Self::Notary { .. } => "notary",
            Self::Ui { .. } => "ui",
            Self::Preflight { .. } => "preflight",
        }
    }
}

impl Read {
    pub fn method(self) -> Method {
        match self {
            Self::Get => Method::GET,
            Self::Head => Method::HEAD,
        }
    }
}

impl UploadVerb {
    fn source(&self) -> Option<&RepositoryName> {
        match self {
            Self::Mount { from, .. } => Some(from),
            Self::Start
            | Self::Monolithic { .. }
            | Self::Status { .. }
            | Self::Chunk { .. }
            | Self::Finish { .. }
            | Self::Cancel { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod properties;
