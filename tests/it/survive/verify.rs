//! `upstream.verify`: bytes that are not what their digest says never reach a client as a whole answer.

use std::{fs, path::PathBuf};

use serde_json::json;

use crate::support::{ALICE, Curl, Image, Portcullis, Registry, Skopeo};

/// More than a gate or a socket holds at a time.
const SIZE: usize = 3 << 20;

/// Every way to ask that ends well or not.
const VERSIONS: [&str; 2] = ["--http1.1", "--http2"];

/// What became of a stored layer.
#[derive(Clone, Copy, Debug)]
enum Damage {
    LastByte,
    FirstByte,
    Middle,
}

struct Scene {
    registries: Vec<Registry>,
    image: Image,
}

impl Scene {
    /// Servers with storage of their own that hold the same image.
    fn new(seed: u64, servers: usize) -> Self {
        let image = Image::new(seed, &[SIZE]);
        let registries: Vec<_> = (0..servers).map(|_| Registry::start()).collect();
        for registry in &registries {
            let to = format!("docker://127.0.0.1:{}/team-a/app:v1", registry.port());
            Skopeo::local().copy_in_plain(&image.reference(), &to).succeeded();
        }
        Self { registries, image }
    }

    fn gate(&self, verify: bool) -> Portcullis {
        let servers: Vec<_> = self.registries.iter().map(|registry| json!({ "url": registry.url })).collect();
        let setup = Portcullis::before(&self.registries[0]).with_upstream(|upstream| {
            upstream["servers"] = json!(servers);
            upstream["balance"] = json!("round_robin");
            upstream["verify"] = json!(verify);
            upstream["timeouts"] = json!({ "idle": "1s" });
        });
        setup.start()
    }

    /// Changes the layer where the first server keeps it.
    fn damage(&self, damage: Damage) {
        let file = self.stored();
        let mut bytes = fs::read(self.image.blob(&self.image.layer)).unwrap();
        let last = bytes.len() - 1;
        match damage {
            Damage::LastByte => bytes[last] ^= 1,
            Damage::FirstByte => bytes[0] ^= 1,
            Damage::Middle => bytes[last / 2] ^= 1,
        }
        fs::write(file, bytes).unwrap();
    }

    fn stored(&self) -> PathBuf {
        let hex = self.image.layer.trim_start_matches("sha256:");
        let storage = self.registries[0].storage();
        storage.path().join("docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data")
    }

    fn pull(&self, gate: &Portcullis, version: &str) -> Curl {
        gate.curl(&format!("/v2/team-a/app/blobs/{}", self.image.layer)).user(ALICE).argument(version)
    }

    fn skopeo(&self, gate: &Portcullis) -> bool {
        let dir = tempfile::tempdir().unwrap();
        let layout = dir.path().join("pulled");
        let skopeo = Skopeo::logged_in(gate.pki(), &gate.host(), ALICE);
        let done = skopeo.copy(&gate.image("team-a/app"), &format!("oci:{}:v1", layout.display()));
        if done.success {
            self.image.assert_same(&layout);
        }
        done.success
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.image.blob(&self.image.layer)).unwrap()
    }
}

#[test]
fn a_damaged_blob_is_never_a_whole_answer() {
    let scene = Scene::new(165, 1);
    let (verified, unverified) = (scene.gate(true), scene.gate(false));
    for version in VERSIONS {
        assert!(scene.pull(&verified, version).send().body == scene.bytes(), "{version}");
    }
    assert!(scene.skopeo(&verified));
    for damage in [Damage::LastByte, Damage::FirstByte, Damage::Middle] {
        scene.damage(damage);
        for version in VERSIONS {
            let passed = scene.pull(&unverified, version).send();
            assert!(passed.status == 200 && passed.body != scene.bytes(), "the damage is real: {damage:?}");
            let outcome = scene.pull(&verified, version).attempt();
            let whole = outcome.is_ok_and(|answer| answer.status == 200);
            assert!(!whole, "{damage:?}, {version}: the client believes that it has it all");
        }
        assert!(!scene.skopeo(&verified), "{damage:?}");
    }
}

/// The registry announces the length it remembers. The rest is asked for again, and the answer ends where nobody has it.
#[test]
fn a_blob_cut_short_is_never_a_whole_answer() {
    let scene = Scene::new(167, 1);
    let gates = [scene.gate(false), scene.gate(true)];
    assert!(scene.pull(&gates[0], "--http2").send().body == scene.bytes());
    let whole = scene.bytes();
    fs::write(scene.stored(), &whole[..whole.len() - 1]).unwrap();
    for gate in &gates {
        for version in VERSIONS {
            let cut = scene.pull(gate, version).attempt().unwrap_err();
            assert!(!cut.contains("timed out"), "{version}: {cut}");
        }
        let attempts = gate.counted("portcullis_upstream_resumes_total", "");
        assert!(attempts < 100.0, "asked for the rest {attempts} times");
    }
}

#[test]
fn one_damaged_copy_of_three_is_never_passed_on_as_whole() {
    let scene = Scene::new(166, 3);
    let gate = scene.gate(true);
    for damage in [Damage::LastByte, Damage::Middle] {
        scene.damage(damage);
        let mut whole = 0;
        for number in 0..12 {
            let version = VERSIONS[number % 2];
            if let Ok(answer) = scene.pull(&gate, version).attempt() {
                assert_eq!(answer.status, 200, "{}", answer.text());
                assert!(answer.body == scene.bytes(), "{damage:?}, {version}");
                whole += 1;
            }
        }
        assert!(whole > 0, "the others have it");
    }
}
