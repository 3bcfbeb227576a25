//! Clients that push an image, and push it again from the beginning when that failed.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use serde_json::json;
use tempfile::TempDir;

use crate::support::{ALICE, Curl, Dice, Image, Place, Portcullis, Response, Skopeo, digest, run_within};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// In seconds: an attempt without an answer for so long hangs.
const PATIENCE: u64 = 180;
/// Requests that carry one layer.
const PARTS: usize = 3;
/// What skopeo says where a connection ended without an answer.
const UNANSWERED: [&str; 6] = ["eof", "connection reset", "broken pipe", "connection refused", "timeout", "deadline"];

/// How a client goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Bodies of known length.
    Curl(&'static str),
    /// Bodies whose end is known when it comes.
    CurlInChunks(&'static str),
    Skopeo,
}

pub(super) const KINDS: [Kind; 5] = [
    Kind::Curl("--http1.1"),
    Kind::CurlInChunks("--http2"),
    Kind::Skopeo,
    Kind::CurlInChunks("--http1.1"),
    Kind::Curl("--http2"),
];

/// What must be in the registry for good.
pub(super) struct Pushed {
    pub(super) tag: String,
    pub(super) manifest: String,
    pub(super) blobs: Vec<String>,
}

/// How an attempt failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// With an error of the registry API: what was asked, and status and code.
    Clear(String),
    /// In another way.
    Unclear(String),
}

/// One client, whose repository holds what it pushed.
pub(super) struct Pusher<'a> {
    pub(super) gate: &'a Portcullis,
    pub(super) place: &'a Place,
    pub(super) repository: String,
    pub(super) kind: Kind,
    pub(super) size: usize,
    /// The most it sends in a second, in bytes.
    pub(super) rate: u64,
    pub(super) dice: Dice,
}

impl Pusher<'_> {
    /// Pushes an image that nobody has yet. The second says how each attempt before the successful one failed.
    pub(super) fn push(&mut self, number: usize) -> (Result<Pushed, String>, Vec<Failure>) {
        let image = Image::new(self.dice.roll() >> 8, &[self.size]);
        let tag = format!("n{number}");
        let mut failures = Vec::new();
        // More than any loop of faults can spoil.
        for _ in 0..60 {
            let outcome = match self.kind {
                Kind::Skopeo => self.by_skopeo(&image, &tag),
                Kind::Curl(_) | Kind::CurlInChunks(_) => self.by_curl(&image, &tag),
            };
            match outcome {
                Ok(()) => {
                    let blobs = vec![image.layer.clone(), image.config()];
                    return (Ok(Pushed { tag, manifest: image.digest, blobs }), failures);
                }
                Err(failure) => failures.push(failure),
            }
            std::thread::sleep(Duration::from_millis(self.dice.between(200, 800)));
        }
        (Err(format!("{:?}: {tag} was never taken: {failures:?}", self.kind)), failures)
    }

    fn by_skopeo(&self, image: &Image, tag: &str) -> Result<(), Failure> {
        let host = if self.place.is_here() { "localhost" } else { &self.place.address };
        let host = format!("{host}:{}", self.gate.port());
        let skopeo = Skopeo::new(self.gate.pki()).at(self.place);
        let login = skopeo.login(&host, ALICE);
        let to = format!("docker://{host}/{}:{tag}", self.repository);
        let done = if login.success {
            run_within(Duration::from_secs(PATIENCE), &mut skopeo.copying(&image.reference(), &to), "")
        } else {
            login
        };
        let said = done.stderr.to_lowercase();
        match done.success {
            true => Ok(()),
            // "504 Gateway Timeout" is an answer.
            false if !said.contains("http status") && UNANSWERED.iter().any(|words| said.contains(words)) => {
                Err(Failure::Unclear(done.stderr))
            }
            // Its words, without the names of this push.
            false => Err(Failure::Clear(format!("skopeo: {}", said.trim().rsplit(": ").next().unwrap_or_default()))),
        }
    }

    fn by_curl(&self, image: &Image, tag: &str) -> Result<(), Failure> {
        let dir = TempDir::new().unwrap();
        let location = self.opened()?;
        let location = self.parts(image, &dir).iter().try_fold(location, |location, part| {
            let curl = self.curl(&location).method("PATCH");
            let curl = match self.kind {
                Kind::CurlInChunks(_) => curl.chunked_file(part),
                Kind::Curl(_) | Kind::Skopeo => curl.body_file(part),
            };
            self.located("PATCH", &curl, 202)
        })?;
        let end = self.curl(&with_digest(&location, &image.layer)).method("PUT").header("Content-Length: 0");
        self.located("PUT", &end, 201)?;

        let location = self.opened()?;
        let config = image.config();
        let whole = self.curl(&with_digest(&location, &config)).method("PUT").body_file(&image.blob(&config));
        self.located("PUT", &whole, 201)?;

        let path = format!("/v2/{}/manifests/{tag}", self.repository);
        let manifest = self.curl(&path).method("PUT").header(&format!("Content-Type: {MANIFEST}"));
        let manifest = manifest.argument("--data-binary").argument(format!("@{}", image.manifest().display()));
        self.located("PUT manifest", &manifest, 201).map(drop)
    }

    fn opened(&self) -> Result<String, Failure> {
        let path = format!("/v2/{}/blobs/uploads/", self.repository);
        self.located("POST", &self.curl(&path).method("POST"), 202)
    }

    fn parts(&self, image: &Image, dir: &TempDir) -> Vec<PathBuf> {
        let bytes = fs::read(image.blob(&image.layer)).unwrap();
        let files = bytes.chunks(bytes.len().div_ceil(PARTS)).enumerate().map(|(number, part)| {
            let file = dir.path().join(number.to_string());
            fs::write(&file, part).unwrap();
            file
        });
        files.collect()
    }

    fn curl(&self, path: &str) -> Curl {
        let (Kind::Curl(version) | Kind::CurlInChunks(version)) = self.kind else { unreachable!("skopeo has its own") };
        let curl = self.gate.curl(path).at(self.place).user(ALICE).argument(version);
        let curl = curl.argument("--max-time").argument(PATIENCE.to_string());
        curl.argument("--limit-rate").argument(self.rate.to_string())
    }

    /// The path of the answer's address.
    fn located(&self, what: &str, curl: &Curl, wanted: u16) -> Result<String, Failure> {
        let answer = curl.attempt().map_err(|error| Failure::Unclear(format!("{:?} {what}: {error}", self.kind)))?;
        if answer.status != wanted {
            return Err(refusal(what, &answer));
        }
        Ok(answer.header("location").unwrap_or_default().replace(&self.gate.url(""), ""))
    }
}

fn refusal(what: &str, answer: &Response) -> Failure {
    let body = serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap_or(json!(null));
    match body["errors"][0]["code"].as_str() {
        Some(code) if !code.is_empty() && answer.status >= 400 => {
            Failure::Clear(format!("{what}: {} {code}", answer.status))
        }
        _ => Failure::Unclear(format!("{what}: {answer:?}")),
    }
}

fn with_digest(location: &str, digest: &str) -> String {
    format!("{location}{}digest={digest}", if location.contains('?') { '&' } else { '?' })
}

/// Clear failures by what they said, and all that were not clear.
pub(super) fn sorted(failures: &[Failure]) -> (BTreeMap<&str, usize>, Vec<&str>) {
    let (mut clear, mut unclear) = (BTreeMap::new(), Vec::new());
    for failure in failures {
        match failure {
            Failure::Clear(what) => *clear.entry(what.as_str()).or_default() += 1,
            Failure::Unclear(what) => unclear.push(what.as_str()),
        }
    }
    (clear, unclear)
}

/// True where bytes have this digest.
pub(super) fn is(bytes: &[u8], wanted: &str) -> bool {
    digest(bytes) == wanted
}
