//! `upstream.verify`: a whole blob or manifest is hashed on its way, and its last frame kept back until the digest is right.

use aws_lc_rs::digest::{Context, SHA256, SHA512};
use bytes::Bytes;
use http::{StatusCode, header, response::Parts};

use super::whole::extent;
use crate::registry::{BlobVerb, Digest, ManifestVerb, Reference, Route};

/// One body under examination.
pub(super) struct Check {
    expected: Digest,
    context: Context,
    held: Option<Bytes>,
}

impl Check {
    /// None where the answer is no whole content that its route names by a digest of a known algorithm.
    pub(super) fn of(route: &Route, head: &Parts) -> Option<Self> {
        let expected = match route {
            Route::Blob { digest, verb: BlobVerb::Get, .. }
            | Route::Manifest { reference: Reference::Digest(digest), verb: ManifestVerb::Get, .. } => digest,
            Route::Blob { .. }
            | Route::Manifest { .. }
            | Route::Landing(_)
            | Route::Base(_)
            | Route::Token(_)
            | Route::Catalog { .. }
            | Route::TagList { .. }
            | Route::Upload { .. }
            | Route::Referrers { .. }
            | Route::Notary { .. }
            | Route::Ui { .. }
            | Route::Preflight { .. } => return None,
        };
        // A range may be all there is.
        let all = head.status == StatusCode::OK || matches!(extent(head), Some((0, end, total)) if end == total);
        let whole = all && !head.headers.contains_key(header::CONTENT_ENCODING);
        let algorithm = match expected.as_str().split_once(':')?.0 {
            "sha256" => &SHA256,
            "sha512" => &SHA512,
            _ => return None,
        };
        whole.then(|| Self { expected: expected.clone(), context: Context::new(algorithm), held: None })
    }

    /// Takes a frame in and gives the one before it, which may go on.
    pub(super) fn exchange(&mut self, frame: Bytes) -> Option<Bytes> {
        self.context.update(&frame);
        self.held.replace(frame)
    }

    /// The last frame, where the whole is what it should be.
    ///
    /// # Errors
    /// The digest that it is not.
    pub(super) fn finish(self) -> Result<Option<Bytes>, Digest> {
        let digest = self.context.finish();
        let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let right = self.expected.as_str().split_once(':').is_some_and(|(_, expected)| expected == hex);
        if right { Ok(self.held) } else { Err(self.expected) }
    }
}

#[cfg(test)]
mod tests {
    use http::{Method, Response};

    use super::*;

    const HELLO: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    fn check(path: &str, status: u16) -> Option<Check> {
        let route = Route::parse(&Method::GET, path, None, "/token").unwrap();
        let head = Response::builder().status(status).body(()).unwrap().into_parts().0;
        Check::of(&route, &head)
    }

    #[test]
    fn the_last_frame_waits_for_the_digest() {
        let mut check = check(&format!("/v2/a/blobs/{HELLO}"), 200).unwrap();
        assert_eq!(check.exchange(Bytes::from_static(b"hel")), None);
        assert_eq!(check.exchange(Bytes::from_static(b"lo")), Some(Bytes::from_static(b"hel")));
        assert_eq!(check.finish().unwrap(), Some(Bytes::from_static(b"lo")));
    }

    #[test]
    fn what_is_not_the_digest_never_ends() {
        assert!(check(&format!("/v2/a/blobs/{HELLO}"), 200).unwrap().finish().is_err());
        let mut check = check(&format!("/v2/a/manifests/{HELLO}"), 200).unwrap();
        check.exchange(Bytes::from_static(b"hellO"));
        assert_eq!(check.finish().unwrap_err().as_str(), HELLO);
    }

    #[test]
    fn a_range_that_is_all_of_it_is_examined() {
        let range = |range: &str| {
            let route = Route::parse(&Method::GET, &format!("/v2/a/blobs/{HELLO}"), None, "/token").unwrap();
            let head = Response::builder().status(206).header("content-range", range);
            Check::of(&route, &head.body(()).unwrap().into_parts().0).is_some()
        };
        assert!(range("bytes 0-4/5"));
        assert!(!range("bytes 0-3/5") && !range("bytes 1-4/5"));
    }

    #[test]
    fn parts_and_tags_are_not_examined() {
        assert!(check(&format!("/v2/a/blobs/{HELLO}"), 206).is_none());
        assert!(check(&format!("/v2/a/blobs/{HELLO}"), 404).is_none());
        assert!(check("/v2/a/manifests/latest", 200).is_none());
        assert!(check("/v2/a/tags/list", 200).is_none());
    }
}
