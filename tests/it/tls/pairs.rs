//! A pair of files that is replaced: what cannot be used never takes the place of what can.

use std::{fs, os::unix::fs::symlink, path::PathBuf, process::Command};

use serde_json::{Value, json};

use crate::support::{Leaf, Pki, Portcullis, Registry, Tls, eventually, portcullis};

struct Scene {
    gate: Portcullis,
    _registry: Registry,
    first: Leaf,
    standing: Tls,
}

impl Scene {
    fn new() -> Self {
        let registry = Registry::start();
        let setup = Portcullis::before(&registry);
        let first = setup.pki().issue(&["localhost"]);
        let pair = json!([{ "certificate_file": first.certificate, "key_file": first.key }]);
        let gate = setup.with(move |config| config["tls"]["certificates"] = pair.clone()).start();
        let standing = Tls::connect(gate.pki(), gate.port(), "localhost");
        Self { gate, _registry: registry, first, standing }
    }

    fn shown(&self) -> Vec<u8> {
        Tls::connect(self.gate.pki(), self.gate.port(), "localhost").certificate()
    }

    fn error(&self) -> Value {
        self.gate.status()["configuration"]["error"].clone()
    }

    /// Does something to the files, after which these words are told once, and the first certificate is shown on.
    fn refused(&mut self, what: &str, words: &[&str], act: impl FnOnce(&Pki, &Leaf)) {
        let since = self.gate.log().len();
        let before = self.error();
        act(self.gate.pki(), &self.first);
        eventually(what, || self.error() != before && words.iter().all(|word| self.error().to_string().contains(word)));
        assert!(self.shown() == self.first.der, "{what}: another certificate is shown");
        self.standing.send(format!("GET /v2/ HTTP/1.1\r\nHost: {}\r\n\r\n", self.gate.host()));
        assert_eq!(self.standing.answer(false).expect("the connection stands").status, 401, "{what}");
        let log = self.gate.log().split_off(since);
        let told: Vec<&str> = log.lines().filter(|line| line.contains("ERROR")).collect();
        assert!(told.len() == 1 && words.iter().all(|word| told[0].contains(word)), "{what}: {told:?}");
    }

    /// Puts a good pair in place, which is shown from then on.
    fn mended(&mut self) {
        let leaf = self.gate.pki().issue(&["localhost"]);
        put(&leaf.certificate, &self.first.certificate);
        put(&leaf.key, &self.first.key);
        eventually("the good one is shown", || self.shown() == leaf.der);
        eventually("nothing is wrong any more", || self.error() == Value::Null);
        self.first.der = leaf.der;
    }
}

/// Whole at any moment.
fn put(from: &PathBuf, to: &PathBuf) {
    let beside = to.with_extension("new");
    fs::copy(from, &beside).unwrap();
    fs::rename(beside, to).unwrap();
}

/// A pair that the authority signed and that has ended.
fn expired(pki: &Pki, files: &Leaf) {
    let openssl = |arguments: &[&str]| {
        let done = Command::new("openssl").args(arguments).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    let folder = pki.cert_dir();
    let at = |name: &str| folder.with_file_name(name).display().to_string();
    let (key, request, leaf) = (at("ended.key"), at("ended.csr"), at("ended.crt"));
    openssl(&[
        "req",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        &key,
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
        "-out",
        &request,
    ]);
    openssl(&[
        "x509",
        "-req",
        "-in",
        &request,
        "-signkey",
        &key,
        "-days",
        "-1",
        "-copy_extensions",
        "copyall",
        "-out",
        &leaf,
    ]);
    put(&key.into(), &files.key);
    put(&leaf.into(), &files.certificate);
}

#[test]
fn what_cannot_be_used_is_told_once_and_replaces_nothing() {
    let mut scene = Scene::new();
    scene.refused("another key", &["key_file: ", "does not belong to the certificate"], |pki, files| {
        put(&pki.issue(&["localhost"]).key, &files.key);
    });
    scene.mended();
    scene.refused("half of a file", &["certificate_file: ", "cut short"], |pki, files| {
        let text = fs::read(pki.issue(&["localhost"]).certificate).unwrap();
        fs::write(&files.certificate, &text[..text.len() / 2]).unwrap();
    });
    scene.mended();
    scene.refused("half of a key", &["key_file: ", "cut short"], |pki, files| {
        let text = fs::read(pki.issue(&["localhost"]).key).unwrap();
        fs::write(&files.key, &text[..text.len() / 2]).unwrap();
    });
    scene.mended();
    scene.refused("nothing", &["certificate_file: ", "no such file"], |_, files| {
        fs::remove_file(&files.certificate).unwrap();
    });
    scene.mended();
    scene.refused("an empty file", &["key_file: ", "no private key in it"], |_, files| {
        fs::write(&files.key, "").unwrap();
    });
    scene.mended();
    // Also for root, who may read every file.
    scene.refused("what nobody can read", &["certificate_file: ", "a directory"], |_, files| {
        fs::remove_file(&files.certificate).unwrap();
        fs::create_dir(&files.certificate).unwrap();
    });
    fs::remove_dir(&scene.first.certificate).unwrap();
    scene.mended();
    scene.refused("one that has ended", &["certificate_file: ", "expired on"], expired);
    let check = portcullis().arg("check").arg("-c").arg(scene.gate.configuration()).output().unwrap();
    let told = String::from_utf8_lossy(&check.stderr);
    assert!(check.status.success(), "{told}");
    for words in ["expired on ", "a reload refuses it", "a start serves it"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    scene.mended();
}

/// A folder of Kubernetes in which certificate and key are not from the same hand.
#[test]
fn a_folder_that_is_exchanged_for_a_bad_one_is_not_used() {
    let mut scene = Scene::new();
    let folder = scene.gate.dir().to_owned();
    let version = |name: &str, certificate: &PathBuf, key: &PathBuf| {
        fs::create_dir(folder.join(name)).unwrap();
        fs::copy(certificate, folder.join(name).join("tls.crt")).unwrap();
        fs::copy(key, folder.join(name).join("tls.key")).unwrap();
        symlink(name, folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    };
    let [one, two, three] = [(); 3].map(|()| scene.gate.pki().issue(&["localhost"]));
    version("..v1", &one.certificate, &one.key);
    for (name, path) in [("tls.crt", &scene.first.certificate), ("tls.key", &scene.first.key)] {
        symlink(folder.join("..data").join(name), folder.join("link")).unwrap();
        fs::rename(folder.join("link"), path).unwrap();
    }
    eventually("the folder is used", || scene.shown() == one.der);
    scene.first.der = one.der;
    scene.refused("a mixed folder", &["does not belong to the certificate"], |_, _| {
        version("..v2", &two.certificate, &one.key);
    });
    version("..v3", &three.certificate, &three.key);
    eventually("the good one is shown", || scene.shown() == three.der);
}
