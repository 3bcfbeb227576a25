//! Clients that pull an image once, without a second attempt at anything, and check every byte.

use std::{
    fs::{self, File},
    io::Read,
    process::Stdio,
    time::Duration,
};

use serde_json::Value;

use super::streams;
use crate::support::{ALICE, Dice, Hash, Image, Place, Portcullis, Skopeo, run_within};

/// A pull that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(900);
/// A body that stands still for so many seconds hangs.
const STILL: &str = "60";

/// What a pull has to bring.
pub(super) struct Wanted {
    pub(super) repository: &'static str,
    pub(super) manifest: String,
    /// Digest and size of the configuration and of each layer.
    pub(super) blobs: Vec<(String, u64)>,
}

impl Wanted {
    pub(super) fn of(image: &Image, repository: &'static str) -> Self {
        let manifest: Value = serde_json::from_slice(&fs::read(image.manifest()).unwrap()).unwrap();
        let descriptors = std::iter::once(&manifest["config"]).chain(manifest["layers"].as_array().unwrap());
        let blob = |found: &Value| (found["digest"].as_str().unwrap().to_owned(), found["size"].as_u64().unwrap());
        Self { repository, manifest: image.digest.clone(), blobs: descriptors.map(blob).collect() }
    }

    pub(super) fn size(&self) -> u64 {
        self.blobs.iter().map(|(_, size)| size).sum()
    }

    /// Where the tag's manifest is.
    pub(super) fn tag(&self) -> String {
        format!("/v2/{}/manifests/v1", self.repository)
    }

    pub(super) fn blob(&self, digest: &str) -> String {
        format!("/v2/{}/blobs/{digest}", self.repository)
    }
}

/// How a client goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A connection for each answer.
    Curl(&'static str),
    /// Each layer in ranges that together make it.
    CurlInRanges(&'static str),
    /// HTTP/1.1, all on one connection.
    KeptAlive,
    /// HTTP/2, all layers at a time on one connection.
    Streams,
    Skopeo,
}

/// Half of them over HTTP/2.
pub(super) const KINDS: [Kind; 8] = [
    Kind::Curl("--http1.1"),
    Kind::Streams,
    Kind::CurlInRanges("--http1.1"),
    Kind::Curl("--http2"),
    Kind::KeptAlive,
    Kind::CurlInRanges("--http2"),
    Kind::Skopeo,
    Kind::Streams,
];

/// The same for clients in another network namespace, where only processes can be.
pub(super) const KINDS_ELSEWHERE: [Kind; 6] = [
    Kind::Curl("--http1.1"),
    Kind::Curl("--http2"),
    Kind::CurlInRanges("--http1.1"),
    Kind::CurlInRanges("--http2"),
    Kind::Skopeo,
    Kind::Curl("--http2"),
];

/// One client.
pub(super) struct Puller<'a> {
    pub(super) gate: &'a Portcullis,
    pub(super) place: &'a Place,
    pub(super) wanted: &'a Wanted,
    pub(super) kind: Kind,
    /// The most it takes in a second, in bytes; 0: all it can.
    pub(super) rate: u64,
    pub(super) dice: Dice,
}

/// What curl says of an answer.
struct Head {
    status: u16,
    content_range: String,
}

impl Puller<'_> {
    /// The number of bytes that came, all of them right, or what went wrong first.
    pub(super) fn pull(&mut self) -> Result<u64, String> {
        match self.kind {
            Kind::Skopeo => return self.by_skopeo(),
            Kind::KeptAlive => return streams::kept_alive(self.gate, self.wanted, self.rate, &self.token()?),
            Kind::Streams => return streams::at_a_time(self.gate, self.wanted, self.rate, &self.token()?),
            Kind::Curl(_) | Kind::CurlInRanges(_) => {}
        }
        let token = self.token()?;
        let mut hash = Hash::default();
        let accept = ["--header", "Accept: application/vnd.oci.image.manifest.v1+json"];
        let head = self.fetch(&self.wanted.tag(), &token, &accept, &mut hash)?;
        matches("the manifest", head.status, 200, hash, &self.wanted.manifest)?;
        for (digest, size) in &self.wanted.blobs {
            let mut hash = Hash::default();
            let path = self.wanted.blob(digest);
            if matches!(self.kind, Kind::CurlInRanges(_)) && *size > 1000 {
                self.in_ranges(&path, &token, *size, &mut hash)?;
                matches(digest, 206, 206, hash, digest)?;
            } else {
                let head = self.fetch(&path, &token, &[], &mut hash)?;
                matches(digest, head.status, 200, hash, digest)?;
            }
        }
        Ok(self.wanted.size())
    }

    fn token(&self) -> Result<String, String> {
        let mut answer = Vec::new();
        let login = format!("{}:{}", ALICE.name, ALICE.password);
        let path = format!("/token?service=localhost&scope=repository:{}:pull", self.wanted.repository);
        let head = self.curl(&path, &["--user", &login], |piece| answer.extend_from_slice(piece))?;
        let parsed = serde_json::from_slice::<Value>(&answer).unwrap_or_default();
        let token = parsed["token"].as_str().map(str::to_owned);
        token.ok_or_else(|| format!("no token: {} {}", head.status, String::from_utf8_lossy(&answer)))
    }

    /// Closed ranges, an open one and a suffix.
    fn in_ranges(&mut self, path: &str, token: &str, size: u64, hash: &mut Hash) -> Result<(), String> {
        let (first, second) = (self.dice.between(1, size / 2), self.dice.between(size / 2, size - 1));
        let last = self.dice.one_of(&[format!("{second}-"), format!("-{}", size - second)]);
        let ranges = [
            (format!("0-{}", first - 1), 0, first - 1),
            (format!("{first}-{}", second - 1), first, second - 1),
            (last, second, size - 1),
        ];
        for (range, from, to) in ranges {
            let before = hash.bytes;
            let head = self.fetch(path, token, &["--range", &range], hash)?;
            let came = (head.status, head.content_range.as_str(), hash.bytes - before);
            if came != (206, &format!("bytes {from}-{to}/{size}"), to + 1 - from) {
                return Err(format!("{path}, range {range}: {came:?}"));
            }
        }
        Ok(())
    }

    fn fetch(&self, path: &str, token: &str, more: &[&str], hash: &mut Hash) -> Result<Head, String> {
        let bearer = format!("Authorization: Bearer {token}");
        self.curl(path, &[&["--header", &bearer], more].concat(), |piece| hash.add(piece))
    }

    /// One answer to its end. Where curl did not get all that was announced, that is an error.
    fn curl(&self, path: &str, more: &[&str], mut piece: impl FnMut(&[u8])) -> Result<Head, String> {
        let version = match self.kind {
            Kind::Curl(version) | Kind::CurlInRanges(version) => version,
            Kind::KeptAlive | Kind::Streams | Kind::Skopeo => "--http2",
        };
        let mut command = self.place.command("curl");
        command.args([
            "--silent",
            "--show-error",
            "--no-buffer",
            "--path-as-is",
            "--globoff",
            "--noproxy",
            "*",
            version,
        ]);
        command.arg("--connect-to").arg(format!("::{}:{}", self.place.address, self.gate.port()));
        command.args(["--connect-timeout", STILL, "--speed-limit", "1", "--speed-time", STILL]);
        command.arg("--cacert").arg(self.gate.pki().ca_file()).args(["--capath", "/nonexistent"]);
        if self.rate > 0 {
            command.arg("--limit-rate").arg(self.rate.to_string());
        }
        command.args(["--write-out", "%{stderr}%{http_code} %header{content-range}"]);
        command.args(more).arg(self.gate.url(path)).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("curl");
        let mut stdout = child.stdout.take().unwrap();
        let (mut buffer, mut count, mut begin) = (vec![0; 64 * 1024], 0, Vec::new());
        loop {
            let read = stdout.read(&mut buffer).expect("a pipe");
            if read == 0 {
                break;
            }
            count += read;
            if begin.len() < 300 {
                begin.extend_from_slice(&buffer[..read.min(300)]);
            }
            piece(&buffer[..read]);
        }
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let (status, content_range) = said.rsplit('\n').next().unwrap_or_default().split_once(' ').unwrap_or_default();
        let status = status.parse().unwrap_or(0);
        if !output.status.success() {
            return Err(format!("{path}: curl {version} {more:?} after {count} bytes: {said}"));
        }
        if !matches!(status, 200 | 206) {
            return Err(format!("{path}: {said}: {}", String::from_utf8_lossy(&begin)));
        }
        Ok(Head { status, content_range: content_range.to_owned() })
    }

    fn by_skopeo(&self) -> Result<u64, String> {
        let host = if self.place.is_here() {
            self.gate.host()
        } else {
            format!("{}:{}", self.place.address, self.gate.port())
        };
        let skopeo = Skopeo::new(self.gate.pki()).at(self.place);
        let login = skopeo.login(&host, ALICE);
        if !login.success {
            return Err(format!("login: {}", login.stderr));
        }
        let to = tempfile::tempdir().unwrap();
        let from = format!("docker://{host}/{}:v1", self.wanted.repository);
        let folder = to.path().join("pulled");
        let done = run_within(PATIENCE, &mut skopeo.copying(&from, &format!("dir:{}", folder.display())), "");
        if !done.success {
            return Err(done.stderr);
        }
        for (digest, _) in &self.wanted.blobs {
            let mut hash = Hash::default();
            let file = folder.join(digest.trim_start_matches("sha256:"));
            hash.add_all(File::open(file).map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
            matches(digest, 200, 200, hash, digest)?;
        }
        let mut hash = Hash::default();
        hash.add(&fs::read(folder.join("manifest.json")).map_err(|error| error.to_string())?);
        matches("the manifest", 200, 200, hash, &self.wanted.manifest)?;
        Ok(self.wanted.size())
    }
}

/// Status and digest are what they should be.
pub(super) fn matches(what: &str, status: u16, wanted: u16, hash: Hash, digest: &str) -> Result<(), String> {
    let bytes = hash.bytes;
    let found = hash.digest();
    if status == wanted && found == digest {
        return Ok(());
    }
    Err(format!("{what}: status {status}, {bytes} bytes with {found}"))
}
