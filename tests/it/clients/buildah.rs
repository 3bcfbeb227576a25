//! buildah.

use super::{Client, containers::Containers, story};
use crate::support::{Done, Image, Login, Portcullis};

#[test]
fn buildah_agrees() {
    story::<Buildah>(202);
}

struct Buildah(Containers);

impl Client for Buildah {
    const WRONG_PASSWORD: &'static [&'static str] = &["invalid username/password"];
    const PUSH_DENIED: &'static [&'static str] = &["denied: push access to library/other is denied"];
    const ALL_DENIED: &'static [&'static str] = &["team-b/app: 403 (forbidden)"];
    const LOGIN_TO_PULL: &'static [&'static str] =
        &["unauthorized: authentication required for repository:team-a/app:pull"];
    const LOGIN_TO_PUSH: &'static [&'static str] = &["unauthorized", "requested access to the resource is denied"];

    fn new(gate: &Portcullis) -> Self {
        Self(Containers::new(gate, "buildah"))
    }

    fn take(&mut self, image: &Image) {
        self.0.take(image);
    }

    fn login(&mut self, login: Login) -> Done {
        self.0.login(login)
    }

    fn push(&mut self, repository: &str) -> Done {
        self.0.push(repository)
    }

    fn pull(&mut self, repository: &str) -> Done {
        self.0.pull(repository)
    }

    fn assert_holds(&self, image: &Image, _repository: &str) {
        let held = self.0.inspect(&["inspect", "--type", "image"]);
        assert_eq!(held["FromImageID"], image.config().trim_start_matches("sha256:"));
        assert_eq!(held["OCIv1"]["rootfs"]["diff_ids"], image.unpacked());
    }
}
