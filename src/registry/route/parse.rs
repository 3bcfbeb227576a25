//! From the request line to the route.

use std::borrow::Cow;

use http::Method;

use super::{BlobVerb, ManifestVerb, Page, Read, Route, RouteError, TokenVerb, UploadSession, UploadVerb};
use crate::registry::{
    Digest, DigestError, Gun, KeyRole, OwnHosts, QueryError, QueryPairs, Reference, RepositoryName, Surface, Tag,
    TrustFile, TrustVerb, UiPath, UploadId, UploadSeal, UploadState,
};

/// Longest `last` and `artifactType`, in bytes after decoding.
const MAX_TEXT: usize = 255;

pub(super) fn parse(
    method: &Method,
    path: &str,
    query: Option<&str>,
    surface: Surface<'_>,
) -> Result<Route, RouteError> {
    let request = Request { method, query: query.unwrap_or("") };
    if path == surface.token_path {
        return token(request).or_else(|error| preflight(error, request, surface, true));
    }
    if path == "/" && !surface.ui {
        return read(method).map(Route::Landing);
    }
    if !path.starts_with('/') {
        return Err(RouteError::BadRequest("the request target is not a path"));
    }
    let Some(rest) = path.strip_prefix("/v2").filter(|rest| rest.is_empty() || rest.starts_with('/')) else {
        return if surface.ui { ui(method, path, surface.token_path) } else { Err(RouteError::NotFound) };
    };
    check_path(path)?;
    let (rest, escaped) = unescape_colon(rest.strip_prefix('/').unwrap_or(rest))?;
    if let Some(own) = surface.trust
        && let Some((gun, item)) = rest.rsplit_once("/_trust/")
    {
        return if escaped { Err(ESCAPE) } else { trust(gun, item, own, request) };
    }
    match Shape::of(&rest) {
        Ok(shape) if !escaped || shape.ends_in_reference() => {
            shape.route(request).or_else(|error| preflight(error, request, surface, false))
        }
        Err(error) if !escaped => Err(error),
        _ => Err(ESCAPE),
    }
}

fn token(request: Request<'_>) -> Result<Route, RouteError> {
    let form = allowed(request.method, "GET, POST")? == "POST";
    Ok(Route::Token(if form { TokenVerb::Form } else { TokenVerb::Query }))
}

/// Where pages of other origins may ask, OPTIONS is what a browser asks first.
fn preflight(
    error: RouteError,
    request: Request<'_>,
    surface: Surface<'_>,
    token_endpoint: bool,
) -> Result<Route, RouteError> {
    if let RouteError::Method { allow } = error
        && surface.preflights
        && request.method == Method::OPTIONS
    {
        return Ok(Route::Preflight { allow, token_endpoint });
    }
    Err(error)
}

/// A UI is static, so it gets no query. The token endpoint has one spelling, and nothing lies below it.
fn ui(method: &Method, path: &str, token_path: &str) -> Result<Route, RouteError> {
    check_path(path)?;
    if path.contains('%') {
        return Err(ESCAPE);
    }
    let token = path.get(..token_path.len()).is_some_and(|start| start.eq_ignore_ascii_case(token_path));
    let below = path.get(token_path.len()..).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let path = UiPath::parse(path).filter(|_| !(token && below)).ok_or(RouteError::NotFound)?;
    Ok(Route::Ui { path, read: read(method)? })
}

/// What follows `/_trust/` for a collection. The last one counts, and a name can hold none, so there is only one.
fn trust(gun: &str, item: &str, own: &OwnHosts, request: Request<'_>) -> Result<Route, RouteError> {
    let file = item.strip_prefix("tuf/");
    let mut verb = if file == Some("") {
        let remove = allowed(request.method, "POST, DELETE")? == "DELETE";
        if remove { TrustVerb::Remove } else { TrustVerb::Publish }
    } else if let Some(role) = file.and_then(KeyRole::of_file) {
        let rotate = allowed(request.method, "GET, POST")? == "POST";
        if rotate { TrustVerb::Rotate { role } } else { TrustVerb::Key { role } }
    } else if let Some(file) = file {
        let file = TrustFile::parse(file).ok_or(RouteError::NotFound)?;
        TrustVerb::File { file, read: read(request.method)? }
    } else if item == "changefeed" {
        TrustVerb::Changes { read: read(request.method)?, from: None, records: None }
    } else {
        return Err(RouteError::NotFound);
    };
    let gun = Gun::parse(gun, own).map_err(|_| RouteError::InvalidName)?;
    let pairs = request.pairs()?;
    if let TrustVerb::Changes { from, records, .. } = &mut verb {
        *from = pairs.single("change_id")?.map(str::to_owned);
        *records = pairs.single("records")?.map(str::parse).transpose().map_err(|_| RouteError::InvalidPage)?;
    }
    if matches!(&verb, TrustVerb::Changes { from: Some(from), .. } if from.len() > MAX_TEXT) {
        return Err(RouteError::BadRequest("parameter too long"));
    }
    Ok(Route::Notary { gun, verb })
}

const ESCAPE: RouteError = RouteError::BadRequest("the path must not be escaped");

/// Refuses what servers on the way may read in another way, wherever it stands in the path.
fn check_path(path: &str) -> Result<(), RouteError> {
    if path.bytes().any(|b| !b.is_ascii_graphic() || matches!(b, b'\\' | b';' | b'#' | b'?')) {
        return Err(RouteError::BadRequest("the path holds a forbidden character"));
    }
    if path.contains("//") {
        return Err(RouteError::BadRequest("the path holds an empty segment"));
    }
    // Most paths have no segment that so much as begins with a dot.
    let dotted = path.starts_with('.') || path.contains("/.");
    if dotted && path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(RouteError::BadRequest("the path holds a dot segment"));
    }
    Ok(())
}

/// Reads the one escape that is allowed, `%3A` in the last segment, once; true where there was one.
fn unescape_colon(path: &str) -> Result<(Cow<'_, str>, bool), RouteError> {
    let Some((before, after)) = path.split_once('%') else { return Ok((path.into(), false)) };
    let after = after.strip_prefix("3A").or_else(|| after.strip_prefix("3a")).ok_or(ESCAPE)?;
    if after.contains(['%', '/']) {
        return Err(ESCAPE);
    }
    Ok((format!("{before}:{after}").into(), true))
}

/// The shape of what follows `/v2/`; nothing in it is checked yet, but no part is empty.
enum Shape<'a> {
    Base,
    Catalog,
    TagList { name: &'a str },
    Manifest { name: &'a str, reference: &'a str },
    Blob { name: &'a str, digest: &'a str },
    Referrers { name: &'a str, digest: &'a str },
    Uploads { name: &'a str },
    Session { name: &'a str, id: &'a str },
}

#[derive(Clone, Copy)]
struct Request<'a> {
    method: &'a Method,
    query: &'a str,
}

impl<'a> Shape<'a> {
    /// Reads from the right: the last keyword decides, and what stands before it is the name.
    fn of(path: &'a str) -> Result<Self, RouteError> {
        match path {
            "" => return Ok(Self::Base),
            "_catalog" => return Ok(Self::Catalog),
            _ => {}
        }
        if let Some(name) = path.strip_suffix("/blobs/uploads/").or_else(|| path.strip_suffix("/blobs/uploads")) {
            return Ok(Self::Uploads { name });
        }
        let mut segments = path.rsplitn(3, '/');
        let (Some(last), Some(keyword), Some(name)) = (segments.next(), segments.next(), segments.next()) else {
            return Err(RouteError::NotFound);
        };
        match (keyword, last) {
            (_, "") => Err(RouteError::NotFound),
            ("tags", "list") => Ok(Self::TagList { name }),
            ("manifests", reference) => Ok(Self::Manifest { name, reference }),
            ("blobs", digest) => Ok(Self::Blob { name, digest }),
            ("referrers", digest) => Ok(Self::Referrers { name, digest }),
            ("uploads", id) => {
                let name = name.strip_suffix("/blobs").ok_or(RouteError::NotFound)?;
                Ok(Self::Session { name, id })
            }
            _ => Err(RouteError::NotFound),
        }
    }

    fn ends_in_reference(&self) -> bool {
        match self {
            Self::Manifest { .. } | Self::Blob { .. } | Self::Referrers { .. } => true,
            Self::Base | Self::Catalog | Self::TagList { .. } | Self::Uploads { .. } | Self::Session { .. } => false,
        }
    }

    fn route(self, request: Request<'_>) -> Result<Route, RouteError> {
        match self {
            Self::Base => {
                let read = read(request.method)?;
                request.pairs()?;
                Ok(Route::Base(read))
            }
            Self::Catalog => {
                let read = read(request.method)?;
                Ok(Route::Catalog { read, page: page(&request.pairs()?)? })
            }
            Self::TagList { name } => {
                let read = read(request.method)?;
                let repository = repository(name)?;
                Ok(Route::TagList { repository, read, page: page(&request.pairs()?)? })
            }
            Self::Manifest { name, reference } => manifest(name, reference, request),
            Self::Blob { name, digest } => blob(name, digest, request),
            Self::Referrers { name, digest } => {
                let read = read(request.method)?;
                let repository = repository(name)?;
                let digest = Digest::parse(digest).map_err(|_| RouteError::InvalidDigest)?;
                let artifact_type = artifact_type(&request.pairs()?)?;
                Ok(Route::Referrers { repository, digest, read, artifact_type })
            }
            Self::Uploads { name } => {
                allowed(request.method, "POST")?;
                let repository = repository(name)?;
                Ok(Route::Upload { repository, verb: start(&request.pairs()?)? })
            }
            Self::Session { name, id } => session(name, id, request),
        }
    }
}

fn manifest(name: &str, reference: &str, request: Request<'_>) -> Result<Route, RouteError> {
    let method = allowed(request.method, "GET, HEAD, PUT, DELETE")?;
    let repository = repository(name)?;
    let reference = self::reference(reference)?;
    let pairs = request.pairs()?;
    let verb = match method {
        "HEAD" => ManifestVerb::Head,
        "PUT" => ManifestVerb::Put { tags: tags(&pairs)? },
        "DELETE" => ManifestVerb::Delete,
        _ => ManifestVerb::Get,
    };
    Ok(Route::Manifest { repository, reference, verb })
}

fn blob(name: &str, digest: &str, request: Request<'_>) -> Result<Route, RouteError> {
    let method = allowed(request.method, "GET, HEAD, DELETE")?;
    let repository = repository(name)?;
    let digest = Digest::parse(digest).map_err(|error| match error {
        DigestError::NotADigest => RouteError::NotFound,
        DigestError::Malformed => RouteError::InvalidDigest,
    })?;
    request.pairs()?;
    let verb = match method {
        "HEAD" => BlobVerb::Head,
        "DELETE" => BlobVerb::Delete,
        _ => BlobVerb::Get,
    };
    Ok(Route::Blob { repository, digest, verb })
}

fn session(name: &str, id: &str, request: Request<'_>) -> Result<Route, RouteError> {
    let method = allowed(request.method, "GET, HEAD, PATCH, PUT, DELETE")?;
    let repository = repository(name)?;
    let id = UploadId::parse(id).ok_or(RouteError::UnknownUpload)?;
    let pairs = request.pairs()?;
    let session = UploadSession { id, state: state(&pairs)?, seal: seal(&pairs)? };
    let digest = pairs.single("digest")?;
    let verb = match method {
        "PATCH" => UploadVerb::Chunk { session },
        "PUT" => UploadVerb::Finish { session, digest: parameter_digest(digest.unwrap_or(""))? },
        "DELETE" => UploadVerb::Cancel { session },
        "HEAD" => UploadVerb::Status { session, read: Read::Head },
        _ => UploadVerb::Status { session, read: Read::Get },
    };
    Ok(Route::Upload { repository, verb })
}

/// Without a readable source a mount is an ordinary upload: a registry left to find a source by itself might take one
/// that the caller cannot read.
fn start(pairs: &QueryPairs) -> Result<UploadVerb, RouteError> {
    let mount = pairs.single("mount")?;
    let from = pairs.single("from")?;
    let digest = pairs.single("digest")?;
    if let (Some(mount), Some(from)) = (mount, from) {
        let digest = parameter_digest(mount)?;
        if let Ok(from) = RepositoryName::parse(from) {
            return Ok(UploadVerb::Mount { digest, from });
        }
    }
    match digest {
        Some(digest) => Ok(UploadVerb::Monolithic { digest: parameter_digest(digest)? }),
        None => Ok(UploadVerb::Start),
    }
}

impl Request<'_> {
    fn pairs(&self) -> Result<QueryPairs, RouteError> {
        Ok(QueryPairs::parse(self.query)?)
    }
}

/// The method's name where it is in the list, which is the value of the `Allow` header.
fn allowed<'a>(method: &'a Method, allow: &'static str) -> Result<&'a str, RouteError> {
    let method = method.as_str();
    if allow.split(',').any(|known| known.trim_ascii_start() == method) {
        Ok(method)
    } else {
        Err(RouteError::Method { allow })
    }
}

fn read(method: &Method) -> Result<Read, RouteError> {
    Ok(if allowed(method, "GET, HEAD")? == "HEAD" { Read::Head } else { Read::Get })
}

fn repository(name: &str) -> Result<RepositoryName, RouteError> {
    RepositoryName::parse(name).map_err(|_| RouteError::InvalidName)
}

fn reference(reference: &str) -> Result<Reference, RouteError> {
    if let Some(tag) = Tag::parse(reference) {
        return Ok(Reference::Tag(tag));
    }
    match Digest::parse(reference) {
        Ok(digest) => Ok(Reference::Digest(digest)),
        Err(DigestError::Malformed) => Err(RouteError::InvalidDigest),
        Err(DigestError::NotADigest) => Err(RouteError::UnknownReference),
    }
}

fn parameter_digest(digest: &str) -> Result<Digest, RouteError> {
    Digest::parse(digest).map_err(|_| RouteError::InvalidDigest)
}

fn tags(pairs: &QueryPairs) -> Result<Vec<Tag>, RouteError> {
    pairs.all("tag").map(|tag| Tag::parse(tag).ok_or(RouteError::BadRequest("invalid tag parameter"))).collect()
}

fn state(pairs: &QueryPairs) -> Result<Option<UploadState>, RouteError> {
    let Some(state) = pairs.single("_state")? else { return Ok(None) };
    UploadState::parse(state).map(Some).ok_or(RouteError::BadRequest("invalid upload state"))
}

/// One that is none of ours is no seal: the session is then nobody's.
fn seal(pairs: &QueryPairs) -> Result<Option<UploadSeal>, RouteError> {
    Ok(pairs.single(UploadSeal::PARAMETER)?.and_then(UploadSeal::parse))
}

fn page(pairs: &QueryPairs) -> Result<Page, RouteError> {
    let n = pairs.single("n")?.map(page_size).transpose()?;
    let last = pairs.single("last")?.filter(|last| !last.is_empty());
    if last.is_some_and(|last| last.len() > MAX_TEXT) {
        return Err(RouteError::BadRequest("parameter too long"));
    }
    Ok(Page { n, last: last.map(str::to_owned) })
}

fn page_size(n: &str) -> Result<u32, RouteError> {
    // `parse` alone would take a leading '+'.
    if !n.bytes().all(|b| b.is_ascii_digit()) {
        return Err(RouteError::InvalidPage);
    }
    n.parse().map_err(|_| RouteError::InvalidPage)
}

fn artifact_type(pairs: &QueryPairs) -> Result<Option<String>, RouteError> {
    let Some(kind) = pairs.single("artifactType")?.filter(|kind| !kind.is_empty()) else { return Ok(None) };
    if kind.len() > MAX_TEXT || !kind.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
        return Err(RouteError::BadRequest("invalid artifact type"));
    }
    Ok(Some(kind.to_owned()))
}

impl From<QueryError> for RouteError {
    fn from(error: QueryError) -> Self {
        Self::BadRequest(match error {
            QueryError::TooLong | QueryError::TooMany => "the query is too long",
            QueryError::Semicolon => "the query holds a semicolon",
            QueryError::Character => "the query holds a character that must be escaped",
            QueryError::Escape => "the query holds an invalid escape",
            QueryError::Encoding => "a query parameter is not UTF-8",
            QueryError::Control => "a query parameter holds a control character",
            QueryError::Duplicate => "a query parameter is given twice",
        })
    }
}
