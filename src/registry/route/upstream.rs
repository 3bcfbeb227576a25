//! From the route to the request line for the registry, and to what a registry that verifies tokens wants for it.

use http::Method;

use super::{BlobVerb, ManifestVerb, Needs, Page, Route, UploadSession, UploadVerb};
use crate::registry::{
    Action, Actions, Gun, RepositoryName, Scope, ScopeSet, TrustVerb, UploadState, query::push_encoded,
};

pub(super) fn line(route: &Route) -> String {
    match route {
        Route::Landing(_) | Route::Preflight { .. } => "/".to_owned(),
        Route::Token(_) => "/token".to_owned(),
        Route::Base(_) => "/v2/".to_owned(),
        Route::Catalog { page, .. } => paged(Line::new("/v2/_catalog".to_owned()), page),
        Route::TagList { repository, page, .. } => paged(Line::new(format!("/v2/{repository}/tags/list")), page),
        Route::Manifest { repository, reference, verb } => {
            let line = Line::new(["/v2/", repository.as_str(), "/manifests/", reference.as_str()].concat());
            match verb {
                ManifestVerb::Put { tags } => tags.iter().fold(line, |line, tag| line.with("tag", tag.as_str())).text,
                ManifestVerb::Get | ManifestVerb::Head | ManifestVerb::Delete => line.text,
            }
        }
        Route::Blob { repository, digest, verb: BlobVerb::Get | BlobVerb::Head | BlobVerb::Delete } => {
            ["/v2/", repository.as_str(), "/blobs/", digest.as_str()].concat()
        }
        Route::Upload { repository, verb } => upload(repository, verb),
        Route::Referrers { repository, digest, artifact_type, .. } => {
            Line::new(format!("/v2/{repository}/referrers/{digest}"))
                .with_some("artifactType", artifact_type.as_deref())
                .text
        }
        Route::Notary { gun, verb } => trust(gun, verb),
        Route::Ui { path, .. } => path.to_string(),
    }
}

/// By method, as distribution's `appendAccessRecords` (`registry/handlers/app.go`) has it.
pub(super) fn scopes(route: &Route) -> ScopeSet {
    let mut scopes = ScopeSet::default();
    if matches!(route, Route::Catalog { .. }) {
        scopes.add(Scope::catalog());
    }
    if let Needs::Repository { repository, source, .. } = route.needs() {
        let actions = match route.method() {
            Method::GET | Method::HEAD => Action::Pull.into(),
            Method::DELETE => Action::Delete.into(),
            _ => Actions::from(Action::Pull).with(Action::Push),
        };
        scopes.add(Scope::repository(repository.clone(), actions));
        if let Some(source) = source {
            scopes.add(Scope::repository(source.clone(), Action::Pull.into()));
        }
    }
    scopes
}

fn paged(line: Line, page: &Page) -> String {
    let n = page.n.map(|n| n.to_string());
    line.with_some("n", n.as_deref()).with_some("last", page.last.as_deref()).text
}

fn upload(repository: &RepositoryName, verb: &UploadVerb) -> String {
    let collection = || Line::new(format!("/v2/{repository}/blobs/uploads/"));
    let open = |session: &UploadSession| {
        Line::new(format!("/v2/{repository}/blobs/uploads/{}", session.id.as_str()))
            .with_some("_state", session.state.as_ref().map(UploadState::as_str))
    };
    let line = match verb {
        UploadVerb::Start => collection(),
        UploadVerb::Monolithic { digest } => collection().with("digest", digest.as_str()),
        UploadVerb::Mount { digest, from } => collection().with("mount", digest.as_str()).with("from", from.as_str()),
        UploadVerb::Status { session, .. } | UploadVerb::Chunk { session } | UploadVerb::Cancel { session } => {
            open(session)
        }
        UploadVerb::Finish { session, digest } => open(session).with("digest", digest.as_str()),
    };
    line.text
}

fn trust(gun: &Gun, verb: &TrustVerb) -> String {
    let collection = format!("/v2/{gun}/_trust");
    match verb {
        TrustVerb::Publish | TrustVerb::Remove => format!("{collection}/tuf/"),
        TrustVerb::File { file, .. } => format!("{collection}/tuf/{}", file.as_str()),
        TrustVerb::Key { role } | TrustVerb::Rotate { role } => format!("{collection}/tuf/{}", role.file()),
        TrustVerb::Changes { from, records, .. } => {
            let records = records.map(|records| records.to_string());
            Line::new(format!("{collection}/changefeed"))
                .with_some("change_id", from.as_deref())
                .with_some("records", records.as_deref())
                .text
        }
    }
}

/// A path, and the parameters that were added to it.
struct Line {
    text: String,
    separator: char,
}

impl Line {
    fn new(path: String) -> Self {
        Self { text: path, separator: '?' }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.text.push(self.separator);
        self.text.push_str(name);
        self.text.push('=');
        push_encoded(&mut self.text, value);
        self.separator = '&';
        self
    }

    fn with_some(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }
}
