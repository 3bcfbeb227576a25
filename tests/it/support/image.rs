//! Images made offline: OCI layouts whose bytes depend on a seed alone.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use tempfile::TempDir;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// An OCI layout with one image, tagged `v1`.
pub(crate) struct Image {
    dir: TempDir,
    /// Of the manifest or index that the tag names.
    pub(crate) digest: String,
    /// Of the first layer.
    pub(crate) layer: String,
}

impl Image {
    /// One platform, a layer of random bytes for each size.
    pub(crate) fn new(seed: u64, sizes: &[usize]) -> Self {
        let mut layout = Layout::new();
        let (manifest, layer) = layout.platform(seed, "amd64", sizes);
        layout.finish(&manifest, layer)
    }

    /// An index of two platforms.
    pub(crate) fn multi_arch(seed: u64, sizes: &[usize]) -> Self {
        let mut layout = Layout::new();
        let (amd64, layer) = layout.platform(seed, "amd64", sizes);
        let (arm64, _) = layout.platform(seed + 1, "arm64", sizes);
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [amd64, arm64] });
        let index = layout.put_json(INDEX, &index);
        layout.finish(&index, layer)
    }

    /// As skopeo names it.
    pub(crate) fn reference(&self) -> String {
        format!("oci:{}:v1", self.dir.path().display())
    }

    /// The folder.
    pub(crate) fn layout(&self) -> &Path {
        self.dir.path()
    }

    /// Where a blob's bytes are.
    pub(crate) fn blob(&self, digest: &str) -> PathBuf {
        self.dir.path().join("blobs").join(digest.replace(':', "/"))
    }

    /// Where the manifest's (or index's) bytes are.
    pub(crate) fn manifest(&self) -> PathBuf {
        self.blob(&self.digest)
    }

    /// The digest of its configuration, which many clients call the image's id. For one platform.
    pub(crate) fn config(&self) -> String {
        json_of(&self.manifest())["config"]["digest"].as_str().unwrap().to_owned()
    }

    /// The digests of its layers as they are unpacked, as clients compute them for themselves. For one platform.
    pub(crate) fn unpacked(&self) -> Value {
        json_of(&self.blob(&self.config()))["rootfs"]["diff_ids"].clone()
    }

    /// All manifests, configurations and layers, by digest.
    pub(crate) fn blobs(&self) -> BTreeMap<String, Vec<u8>> {
        blobs_of(self.dir.path())
    }

    /// Panics unless the layout at `path` holds the same image, bit for bit.
    #[track_caller]
    pub(crate) fn assert_same(&self, path: &Path) {
        let index = json_of(&path.join("index.json"));
        assert_eq!(index["manifests"][0]["digest"], self.digest.as_str());
        let (mine, theirs) = (self.blobs(), blobs_of(path));
        assert_eq!(mine.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
        assert!(mine == theirs, "a blob differs");
    }
}

fn json_of(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

struct Layout(TempDir);

impl Layout {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
        fs::write(dir.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self(dir)
    }

    /// The descriptor of its manifest, and the digest of its first layer.
    fn platform(&mut self, seed: u64, architecture: &str, sizes: &[usize]) -> (Value, String) {
        let mut layers = Vec::new();
        let mut diff_ids = Vec::new();
        for (position, size) in (0..).zip(sizes) {
            let tar = tar(&format!("data/{architecture}-{position}"), Random((seed << 8) | position), *size);
            diff_ids.push(digest(&tar));
            let mut gzip = GzEncoder::new(Vec::new(), Compression::none());
            gzip.write_all(&tar).unwrap();
            layers.push(self.put(LAYER, &gzip.finish().unwrap()));
        }
        let config = json!({
            "architecture": architecture, "os": "linux", "config": {},
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = self.put_json(CONFIG, &config);
        let first = layers[0]["digest"].as_str().unwrap().to_owned();
        let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
        let mut descriptor = self.put_json(MANIFEST, &manifest);
        descriptor["platform"] = json!({ "architecture": architecture, "os": "linux" });
        (descriptor, first)
    }

    fn put_json(&mut self, media_type: &str, value: &Value) -> Value {
        self.put(media_type, value.to_string().as_bytes())
    }

    fn put(&mut self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = digest(bytes);
        fs::write(self.0.path().join("blobs").join(digest.replace(':', "/")), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }

    fn finish(self, top: &Value, layer: String) -> Image {
        let mut named = top.clone();
        named["annotations"] = json!({ "org.opencontainers.image.ref.name": "v1" });
        let index = json!({ "schemaVersion": 2, "manifests": [named] });
        fs::write(self.0.path().join("index.json"), index.to_string()).unwrap();
        Image { dir: self.0, digest: top["digest"].as_str().unwrap().to_owned(), layer }
    }
}

fn tar(name: &str, content: impl Read, size: usize) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_size(u64::try_from(size).unwrap());
    header.set_mode(0o644);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, name, content.take(u64::try_from(size).unwrap())).unwrap();
    archive.into_inner().unwrap()
}

/// `sha256:…`
pub(crate) fn digest(bytes: &[u8]) -> String {
    let mut hash = Hash::default();
    hash.add(bytes);
    hash.digest()
}

/// A digest of bytes that come in pieces, and their number.
pub(crate) struct Hash {
    context: aws_lc_rs::digest::Context,
    pub(crate) bytes: u64,
}

impl Default for Hash {
    fn default() -> Self {
        Self { context: aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256), bytes: 0 }
    }
}

impl Hash {
    pub(crate) fn add(&mut self, piece: &[u8]) {
        self.context.update(piece);
        self.bytes += piece.len() as u64;
    }

    /// All that is there to be read.
    pub(crate) fn add_all(&mut self, mut from: impl Read) -> io::Result<()> {
        let mut piece = vec![0; 64 * 1024];
        loop {
            match from.read(&mut piece)? {
                0 => return Ok(()),
                count => self.add(&piece[..count]),
            }
        }
    }

    /// `sha256:…`
    pub(crate) fn digest(self) -> String {
        let hash = self.context.finish();
        let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{hex}")
    }
}

fn blobs_of(layout: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(layout.join("blobs/sha256")).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

/// splitmix64: bytes that do not compress, the same for the same seed.
struct Random(u64);

impl Read for Random {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        for bytes in buffer.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.0;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let word = (mixed ^ (mixed >> 31)).to_le_bytes();
            bytes.copy_from_slice(&word[..bytes.len()]);
        }
        Ok(buffer.len())
    }
}
