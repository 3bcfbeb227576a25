//! Clients that push and delete the same few images again and again, so that one's garbage is another's layer.

use std::{
    fs,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::support::{ADMIN, ALICE, Curl, Dice, Image, Portcullis, Response, Skopeo};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// How a client pushes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Curl(&'static str),
    Skopeo,
}

pub(super) const KINDS: [Kind; 5] =
    [Kind::Curl("--http1.1"), Kind::Skopeo, Kind::Curl("--http2"), Kind::Curl("--http1.1"), Kind::Curl("--http2")];

/// What must be there until it is deleted.
#[derive(Clone, Debug)]
pub(super) struct Pushed {
    repository: String,
    tag: String,
    /// Which of the images.
    image: usize,
}

/// What came of a client's work.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) pushes: usize,
    pub(super) deletions: usize,
    /// Other than for being read-only.
    pub(super) failures: Vec<String>,
}

/// One client with a repository of its own.
pub(super) struct Pusher<'a> {
    gate: &'a Portcullis,
    images: &'a [Image],
    repository: String,
    kind: Kind,
    /// Of all pushers.
    kept: &'a Mutex<Vec<Pushed>>,
    dice: Dice,
    tally: Tally,
}

impl Tally {
    pub(super) fn with(mut self, other: Self) -> Self {
        self.pushes += other.pushes;
        self.deletions += other.deletions;
        self.failures.extend(other.failures);
        self
    }
}

impl Pushed {
    /// Where the manifest is, by tag and by digest, and all blobs, each with its digest.
    pub(super) fn paths(&self, images: &[Image]) -> Vec<(String, String)> {
        let Self { repository, tag, image } = self;
        let image = &images[*image];
        let manifests = [tag, &image.digest].map(|reference| (format!("manifests/{reference}"), image.digest.clone()));
        let blobs = blobs(image).into_iter().map(|digest| (format!("blobs/{digest}"), digest));
        manifests.into_iter().chain(blobs).map(|(path, digest)| (format!("/v2/{repository}/{path}"), digest)).collect()
    }
}

/// Layers and configuration.
fn blobs(image: &Image) -> Vec<String> {
    let manifest: Value = serde_json::from_slice(&fs::read(image.manifest()).unwrap()).unwrap();
    let layers = manifest["layers"].as_array().unwrap().iter().chain([&manifest["config"]]);
    layers.map(|descriptor| descriptor["digest"].as_str().unwrap().to_owned()).collect()
}

impl<'a> Pusher<'a> {
    pub(super) fn new(
        gate: &'a Portcullis,
        images: &'a [Image],
        repository: String,
        kind: Kind,
        kept: &'a Mutex<Vec<Pushed>>,
        dice: Dice,
    ) -> Self {
        Self { gate, images, repository, kind, kept, dice, tally: Tally::default() }
    }

    /// Pushes, and mostly deletes what it pushed before, until it is told to stop.
    pub(super) fn run(mut self, stop: &AtomicBool, refused: &AtomicUsize) -> Tally {
        let mut number = 0;
        while !stop.load(Ordering::SeqCst) {
            number += 1;
            let image = usize::try_from(self.dice.between(0, self.images.len() as u64)).unwrap();
            let tag = format!("n{number}");
            let pushed = match self.kind {
                Kind::Curl(version) => self.by_curl(version, &self.images[image], &tag),
                Kind::Skopeo => self.by_skopeo(&self.images[image], &tag),
            };
            match pushed {
                Ok(()) => {
                    self.tally.pushes += 1;
                    self.kept.lock().unwrap().push(Pushed { repository: self.repository.clone(), tag, image });
                }
                Err(said) if said.contains("read-only at the moment") => {
                    refused.fetch_add(1, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(100));
                    continue;
                }
                Err(said) => self.tally.failures.push(said),
            }
            if self.dice.between(0, 4) > 0 {
                self.delete_one();
            }
        }
        self.tally
    }

    /// A manifest that is deleted takes all its tags with it.
    fn delete_one(&mut self) {
        let mut kept = self.kept.lock().unwrap();
        let Some(image) = kept.iter().find(|pushed| pushed.repository == self.repository).map(|pushed| pushed.image)
        else {
            return;
        };
        let this = |pushed: &mut Pushed| pushed.repository == self.repository && pushed.image == image;
        let gone: Vec<Pushed> = kept.extract_if(.., this).collect();
        drop(kept);
        let path = format!("/v2/{}/manifests/{}", self.repository, self.images[image].digest);
        match self.gate.curl(&path).user(ADMIN).method("DELETE").attempt() {
            Ok(answer) if answer.status == 202 => self.tally.deletions += 1,
            Ok(answer) if answer.status == 403 => self.kept.lock().unwrap().extend(gone),
            // It may be gone, and it may be there.
            other => self.tally.failures.push(format!("DELETE: {other:?}")),
        }
    }

    fn by_skopeo(&self, image: &Image, tag: &str) -> Result<(), String> {
        let skopeo = Skopeo::new(self.gate.pki());
        let login = skopeo.login(&self.gate.host(), ALICE);
        if !login.success {
            return Err(login.stderr);
        }
        let to = format!("docker://{}/{}:{tag}", self.gate.host(), self.repository);
        let done = skopeo.copy(&image.reference(), &to);
        if done.success { Ok(()) } else { Err(done.stderr) }
    }

    fn by_curl(&self, version: &str, image: &Image, tag: &str) -> Result<(), String> {
        for digest in blobs(image) {
            let known =
                self.curl(version, &format!("/v2/{}/blobs/{digest}", self.repository)).method("HEAD").attempt()?;
            if known.status != 200 {
                self.upload(version, image, &digest)?;
            }
        }
        let path = format!("/v2/{}/manifests/{tag}", self.repository);
        let manifest = self.curl(version, &path).method("PUT").header(&format!("Content-Type: {MANIFEST}"));
        let file = format!("@{}", image.manifest().display());
        wanted(201, &manifest.argument("--data-binary").argument(file).attempt()?)
    }

    fn upload(&self, version: &str, image: &Image, digest: &str) -> Result<(), String> {
        let path = format!("/v2/{}/blobs/uploads/", self.repository);
        let opened = self.curl(version, &path).method("POST").attempt()?;
        wanted(202, &opened)?;
        // Slow enough that one is under way most of the time.
        let chunk = self.curl(version, &self.path(&opened)).method("PATCH").argument("--limit-rate").argument("400K");
        let sent = chunk.chunked_file(&image.blob(digest)).attempt()?;
        wanted(202, &sent)?;
        let end = format!("{}&digest={digest}", self.path(&sent));
        wanted(201, &self.curl(version, &end).method("PUT").header("Content-Length: 0").attempt()?)
    }

    fn curl(&self, version: &str, path: &str) -> Curl {
        self.gate.curl(path).user(ALICE).argument(version)
    }

    fn path(&self, answer: &Response) -> String {
        answer.header("location").unwrap_or_default().replace(&self.gate.url(""), "")
    }
}

fn wanted(status: u16, answer: &Response) -> Result<(), String> {
    if answer.status == status { Ok(()) } else { Err(format!("{} {}", answer.status, answer.text())) }
}
