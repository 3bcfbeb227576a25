//! What may not be written to for a time, for instance while garbage is collected.

use crate::{
    config::{self, OpenUploads, ReadOnly},
    registry::{Change, RepositoryName, Route},
};

/// One registry's ceiling over all grants.
#[derive(Debug)]
pub(super) struct Frozen {
    what: ReadOnly,
    open_uploads: OpenUploads,
}

impl Frozen {
    /// None where everything may be written.
    pub(super) fn of(registry: &config::Registry) -> Option<Self> {
        let config::Registry { read_only, open_uploads, .. } = registry;
        (*read_only != ReadOnly::Nothing).then(|| Self { what: read_only.clone(), open_uploads: *open_uploads })
    }

    /// True for a route that would change what the registry holds of a repository that is read-only.
    pub(super) fn forbids(&self, route: &Route, repository: &RepositoryName) -> bool {
        let changes = match route.change() {
            Change::None => false,
            Change::Begins => true,
            Change::Continues => self.open_uploads == OpenUploads::Refuse,
        };
        changes && self.holds(repository)
    }

    /// True where the repository is read-only.
    pub(super) fn holds(&self, repository: &RepositoryName) -> bool {
        match &self.what {
            ReadOnly::Nothing => false,
            ReadOnly::Everything => true,
            ReadOnly::Repositories(patterns) => patterns.iter().any(|pattern| pattern.matches(repository, None)),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::registry::Pattern;

    #[test]
    fn what_changes_the_registry_is_forbidden_and_nothing_else() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (method, rest, begins, continues) in [
            ("GET", "manifests/v1", false, false),
            ("PUT", "manifests/v1", true, false),
            ("DELETE", "manifests/v1", true, false),
            ("HEAD", "blobs/D", false, false),
            ("DELETE", "blobs/D", true, false),
            ("GET", "tags/list", false, false),
            ("GET", "referrers/D", false, false),
            ("POST", "blobs/uploads/", true, false),
            ("POST", "blobs/uploads/?digest=D", true, false),
            ("POST", "blobs/uploads/?mount=D&from=b", true, false),
            ("GET", "blobs/uploads/u", false, false),
            ("DELETE", "blobs/uploads/u", false, false),
            ("PATCH", "blobs/uploads/u", false, true),
            ("PUT", "blobs/uploads/u?digest=D", false, true),
        ] {
            let target = format!("/v2/team-a/app/{}", rest.replace('D', &digest));
            let (path, query) =
                target.split_once('?').map_or((target.as_str(), None), |(path, query)| (path, Some(query)));
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let route = Route::parse(&method, path, query, "/token").unwrap();
            let repository = route.repository().unwrap();
            let forbids = |what: ReadOnly, open_uploads| Frozen { what, open_uploads }.forbids(&route, repository);
            assert_eq!(forbids(ReadOnly::Everything, OpenUploads::Finish), begins, "{method} {rest}");
            assert_eq!(forbids(ReadOnly::Everything, OpenUploads::Refuse), begins || continues, "{method} {rest}");
            let only = |pattern: &str| ReadOnly::Repositories(vec![Pattern::parse(pattern).unwrap()]);
            assert_eq!(forbids(only("team-a/*"), OpenUploads::Finish), begins);
            assert!(
                !forbids(only("team-b/**"), OpenUploads::Refuse) && !forbids(ReadOnly::Nothing, OpenUploads::Refuse)
            );
        }
    }
}
