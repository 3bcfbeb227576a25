//! Two storages, three servers, and a gate in front of them.

use std::fs;

use bytes::Bytes;
use serde_json::{Value, json};

use super::variant::{LEAVES, Parts, SECOND, Variant, write_passwords};
use crate::support::{BOB, Image, Leaf, Portcullis, Registry, Skopeo, digest, eventually};

/// The layers of the image that is pulled.
const LAYERS: [usize; 3] = [8 << 10, 300 << 10, 3 << 20];

pub(super) struct Scene {
    /// The storage that is pushed to.
    pub(super) first: Registry,
    /// Another server on the same storage.
    pub(super) replica: Registry,
    elsewhere: Registry,
    pub(super) gate: Portcullis,
    pub(super) parts: Parts,
    /// What `team/app`, `shared/app` and `moved/app` hold.
    pub(super) image: Held,
    /// What `moved/app` holds in the other registry.
    pub(super) other: Held,
    /// Of bob's, for everything.
    pub(super) token: String,
}

/// How a gate comes to know of another configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    BySignal,
    /// It looks for itself.
    ByContent,
}

/// An image, for comparison.
pub(super) struct Held {
    pub(super) manifest: Bytes,
    /// Digest and bytes.
    pub(super) blobs: Vec<(String, Bytes)>,
}

impl Held {
    fn of(image: &Image) -> Self {
        let manifest = fs::read(image.manifest()).unwrap();
        let blobs = image.blobs().into_iter().map(|(hex, bytes)| (format!("sha256:{hex}"), Bytes::from(bytes)));
        let blobs = blobs.filter(|(digest, _)| *digest != image.digest).collect();
        Self { manifest: manifest.into(), blobs }
    }
}

impl Scene {
    pub(super) fn new() -> Self {
        let first = Registry::start();
        let replica = Registry::setup().storage(first.storage()).start();
        let elsewhere = Registry::start();
        let (image, other) = (Image::new(500, &LAYERS), Image::new(501, &LAYERS[..1]));
        put(&first, &image, &["team/app", "shared/app", "moved/app"]);
        put(&elsewhere, &other, &["moved/app"]);

        let setup = Portcullis::before(&first);
        let names = ["localhost", "127.0.0.1", "registry.test", SECOND];
        let leaves: Vec<Leaf> = (0..LEAVES).map(|_| setup.pki().issue(&names)).collect();
        let gate = setup
            .with(|config| {
                config["shutdown"]["drain"] = json!("60s");
                config["reload"]["interval"] = json!("100ms");
            })
            .with_own_binary()
            .start();
        write_passwords(gate.dir());
        let base: Value = serde_json::from_slice(&fs::read(gate.configuration()).unwrap()).unwrap();
        let [first_url, replica_url, elsewhere_url] = [&first, &replica, &elsewhere].map(|server| server.url.clone());
        let parts = Parts {
            base,
            leaves,
            first: first_url,
            replica: replica_url,
            elsewhere: elsewhere_url,
            token: String::new(),
        };
        let (image, other) = (Held::of(&image), Held::of(&other));
        let token = String::new();
        let mut scene = Self { first, replica, elsewhere, gate, parts, image, other, token };
        scene.begin();
        scene
    }

    /// Puts the first variant in force.
    fn begin(&mut self) {
        self.taken(&Variant::FIRST.configuration(&self.parts).to_string(), Heard::BySignal);
        let deploy = self.gate.deploy_token(BOB.name, &["**:pull"]);
        (self.parts.token, self.token) = (deploy.id, deploy.login.password.to_owned());
    }
}

impl Scene {
    /// Puts this configuration in the place of the one that is there; returns once it is in force.
    pub(super) fn taken(&self, text: &str, heard: Heard) {
        self.written(text, heard);
        let fingerprint = &digest(text.as_bytes())["sha256:".len()..][..12];
        eventually("it is in force", || self.configured()["fingerprint"] == fingerprint);
    }

    /// The same with one that cannot be used, after one that can; returns once that was found.
    pub(super) fn refused(&self, text: &str, heard: Heard) {
        let before = self.configured();
        self.written(text, heard);
        assert!(before["error"].is_null(), "{before}");
        eventually("it is found to be of no use", || !self.configured()["error"].is_null());
        assert_eq!(self.configured()["fingerprint"], before["fingerprint"]);
    }

    fn written(&self, text: &str, heard: Heard) {
        self.gate.write_configuration(text);
        if heard == Heard::BySignal {
            self.gate.signal("HUP");
        }
    }

    /// What is in force, and what was wrong with what is not.
    fn configured(&self) -> Value {
        self.gate.status()["configuration"].clone()
    }

    /// Waits until no client is connected.
    pub(super) fn abandoned(&self) {
        eventually("all clients have gone", || self.gate.counted("portcullis_connections", "") < 1.0);
    }

    /// The ports of all servers.
    pub(super) fn servers(&self) -> [u16; 3] {
        [&self.first, &self.replica, &self.elsewhere].map(Registry::port)
    }
}

fn put(registry: &Registry, image: &Image, repositories: &[&str]) {
    for repository in repositories {
        let to = format!("docker://127.0.0.1:{}/{repository}:v1", registry.port());
        Skopeo::local().copy_in_plain(&image.reference(), &to).succeeded();
    }
}
