//! skopeo, between a folder and the gate.

use tempfile::TempDir;

use super::{Client, story};
use crate::support::{Done, Image, Login, Portcullis, Skopeo};

#[test]
fn skopeo_agrees() {
    story::<Copier>(200);
}

struct Copier {
    host: String,
    skopeo: Skopeo,
    /// Holds what was pulled last.
    pulled: TempDir,
    source: String,
}

impl Client for Copier {
    const WRONG_PASSWORD: &'static [&'static str] = &["invalid username/password"];
    const PUSH_DENIED: &'static [&'static str] = &["denied: push access to library/other is denied"];
    const ALL_DENIED: &'static [&'static str] = &["team-b/app: 403 (forbidden)"];
    const LOGIN_TO_PULL: &'static [&'static str] =
        &["unauthorized: authentication required for repository:team-a/app:pull"];
    const LOGIN_TO_PUSH: &'static [&'static str] = &["unauthorized", "requested access to the resource is denied"];

    fn new(gate: &Portcullis) -> Self {
        let pulled = tempfile::tempdir().unwrap();
        Self { host: gate.host(), skopeo: Skopeo::new(gate.pki()), pulled, source: String::new() }
    }

    fn take(&mut self, image: &Image) {
        self.source = image.reference();
    }

    fn login(&mut self, login: Login) -> Done {
        self.skopeo.login(&self.host, login)
    }

    fn push(&mut self, repository: &str) -> Done {
        self.skopeo.copy(&self.source, &format!("docker://{}/{repository}:v1", self.host))
    }

    fn pull(&mut self, repository: &str) -> Done {
        self.pulled = tempfile::tempdir().unwrap();
        let layout = self.pulled.path().join("layout");
        self.skopeo.copy(&format!("docker://{}/{repository}:v1", self.host), &format!("oci:{}:v1", layout.display()))
    }

    fn assert_holds(&self, image: &Image, _repository: &str) {
        image.assert_same(&self.pulled.path().join("layout"));
    }
}
