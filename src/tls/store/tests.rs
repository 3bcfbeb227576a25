use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256};

use super::*;
use crate::tls::{
    load,
    testing::{Folder, params},
};

const EVERY_SCHEME: &[SignatureScheme] =
    &[SignatureScheme::RSA_PSS_SHA256, SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519];

/// Makes a store; each certificate is known by its file's stem.
struct Shelf {
    folder: Folder,
    loaded: Vec<Loaded>,
}

impl Shelf {
    fn new() -> Self {
        Self { folder: Folder::new(), loaded: Vec::new() }
    }

    fn with(mut self, stem: &str, names: &[&str], kind: &'static rcgen::SignatureAlgorithm, default: bool) -> Self {
        let mut files = self.folder.signed(stem, &params(names), kind);
        files.default = default;
        self.loaded.push(load(&files).unwrap());
        self
    }

    fn store(self) -> Chooser {
        let leaves = self
            .loaded
            .iter()
            .map(|loaded| {
                let stem = loaded.info.file.file_stem().unwrap().to_str().unwrap();
                (stem.to_owned(), loaded.key.cert[0].to_vec())
            })
            .collect();
        Chooser { store: CertStore::new(self.loaded), leaves }
    }
}

struct Chooser {
    store: CertStore,
    leaves: Vec<(String, Vec<u8>)>,
}

impl Chooser {
    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> &str {
        let chosen = self.store.index.load().choose(name, schemes).unwrap();
        let leaf = chosen.cert[0].to_vec();
        &self.leaves.iter().find(|(_, der)| *der == leaf).unwrap().0
    }
}

#[test]
fn exact_then_wildcard_then_default() {
    let store = Shelf::new()
        .with("first", &["first.test"], &PKCS_ED25519, false)
        .with("exact", &["hub.example.com"], &PKCS_ED25519, false)
        .with("wild", &["*.example.com"], &PKCS_ED25519, false)
        .with("deep", &["*.eu.example.com"], &PKCS_ED25519, false)
        .with("default", &["192.0.2.7"], &PKCS_ED25519, true)
        .store();
    for (sni, expected) in [
        (Some("first.test"), "first"),
        (Some("hub.example.com"), "exact"),
        (Some("HUB.Example.COM"), "exact"),
        (Some("hub.example.com."), "exact"),
        (Some("www.example.com"), "wild"),
        (Some("WWW.EXAMPLE.COM"), "wild"),
        (Some("a.eu.example.com"), "deep"),
        // A wildcard is exactly one label.
        (Some("example.com"), "default"),
        (Some("a.b.example.com"), "default"),
        (Some(".example.com"), "default"),
        (Some("*.example.com"), "wild"),
        (Some("unknown.test"), "default"),
        (Some("com"), "default"),
        (Some(""), "default"),
        (None, "default"),
    ] {
        assert_eq!(store.choose(sni, EVERY_SCHEME), expected, "{sni:?}");
    }
}

#[test]
fn without_a_flag_the_first_is_the_default() {
    let store = Shelf::new()
        .with("first", &["first.test"], &PKCS_RSA_SHA256, false)
        .with("second", &["second.test"], &PKCS_ED25519, false)
        .store();
    assert_eq!(store.choose(None, EVERY_SCHEME), "first");
    assert_eq!(store.choose(Some("unknown.test"), EVERY_SCHEME), "first");
}

#[test]
fn among_several_the_cheapest_that_the_client_can_check() {
    let store = Shelf::new()
        .with("rsa", &["hub.test"], &PKCS_RSA_SHA256, true)
        .with("p256", &["hub.test"], &PKCS_ECDSA_P256_SHA256, true)
        .with("wild", &["*.test"], &PKCS_ED25519, false)
        .store();
    for (schemes, expected) in [
        (EVERY_SCHEME, "p256"),
        (&[SignatureScheme::RSA_PSS_SHA256], "rsa"),
        (&[SignatureScheme::RSA_PKCS1_SHA256], "rsa"),
        // Only the wildcard's key will do.
        (&[SignatureScheme::ED25519], "wild"),
        // None will: the handshake fails on the signature, not for want of a certificate.
        (&[SignatureScheme::ECDSA_NISTP521_SHA512], "p256"),
    ] {
        assert_eq!(store.choose(Some("hub.test"), schemes), expected, "{schemes:?}");
    }
    assert_eq!(store.choose(None, EVERY_SCHEME), "p256");
    assert_eq!(store.choose(None, &[SignatureScheme::RSA_PSS_SHA256]), "rsa");
}

#[test]
fn installing_replaces_everything() {
    let shelf = Shelf::new().with("old", &["old.test"], &PKCS_ED25519, false);
    let new = load(&shelf.folder.signed("new", &params(&["new.test"]), &PKCS_ED25519)).unwrap();
    let chooser = shelf.store();
    assert_eq!(chooser.store.infos()[0].names, ["old.test"]);
    let expected = new.key.cert[0].to_vec();
    chooser.store.install(vec![new]);
    assert_eq!(chooser.store.infos().len(), 1);
    assert_eq!(chooser.store.infos()[0].names, ["new.test"]);
    let chosen = chooser.store.index.load().choose(Some("old.test"), EVERY_SCHEME).unwrap();
    assert_eq!(chosen.cert[0].to_vec(), expected);
}

#[test]
fn a_pair_with_the_same_content_is_the_same_one() {
    let folder = Folder::new();
    let pair = |stem: &str| folder.signed(stem, &params(&[&format!("{stem}.test")]), &PKCS_ED25519);
    let files = [pair("one"), pair("two")];
    let store = CertStore::new(files.iter().map(|files| load(files).unwrap()).collect());
    let keys = |loaded: &[Loaded]| loaded.iter().map(|loaded| Arc::clone(&loaded.key)).collect::<Vec<_>>();
    let is = |one: &Arc<CertifiedKey>, other: &Arc<CertifiedKey>| Arc::ptr_eq(one, other);
    let before = keys(&store.index.load().certificates);
    let again = store.load(&files).unwrap();
    assert!(keys(&again).iter().zip(&before).all(|(one, other)| is(one, other)));

    // What the configuration says of it may change all the same.
    let elsewhere = CertificateFiles {
        certificate_file: folder.write("other.crt", &std::fs::read_to_string(&files[0].certificate_file).unwrap()),
        key_file: files[0].key_file.clone(),
        default: true,
    };
    let moved = store.load(&[files[1].clone(), elsewhere.clone()]).unwrap();
    assert!(is(&moved[1].key, &before[0]) && moved[1].default);
    assert_eq!(moved[1].info.file, elsewhere.certificate_file);

    let renewed = pair("two");
    let mixed = store.load(&files).unwrap();
    assert!(is(&mixed[0].key, &before[0]) && !is(&mixed[1].key, &before[1]), "the file was written anew");
    store.install(mixed);
    std::fs::write(&renewed.key_file, "garbage").unwrap();
    assert!(store.load(&files).is_err());
}

#[test]
fn what_looks_like_a_mistake_is_found_again_without_being_parsed_again() {
    let folder = Folder::new();
    let mut ending = params(&["one.test"]);
    ending.not_after = time::OffsetDateTime::now_utc() + time::Duration::days(3);
    let files = folder.self_signed("one", &ending, &PKCS_ED25519);
    let store = CertStore::new(vec![load(&files).unwrap()]);
    let first = load(&files).unwrap();
    assert!(first.warnings.len() > 1, "{:?}", first.warnings);
    assert_eq!(store.load(std::slice::from_ref(&files)).unwrap()[0].warnings, first.warnings);

    let hosts = [Host::parse("two.test").unwrap()];
    store.report(&hosts);
    let told = store.told.lock().unwrap().warnings.clone();
    assert_eq!(told.len(), first.warnings.len() + 1, "one for the host, too: {told:?}");
    store.report(&[]);
    assert_eq!(store.told.lock().unwrap().warnings.len(), first.warnings.len());
    assert_eq!(store.told.lock().unwrap().names, HashSet::from(["one.test".to_owned()]));
    store.install(Vec::new());
    store.report(&[]);
    assert!(store.told.lock().unwrap().names.is_empty());
}

#[test]
fn an_empty_store_has_nothing_to_show() {
    let store = CertStore::new(Vec::new());
    assert!(store.infos().is_empty());
    assert!(store.index.load().choose(None, EVERY_SCHEME).is_none());
}

#[test]
fn hosts_that_no_certificate_is_for_are_told() {
    let info = |names: &[&str]| CertificateInfo {
        names: names.iter().map(ToString::to_string).collect(),
        not_after: 0,
        file: PathBuf::new(),
    };
    let infos = [info(&["a.test", "*.b.test"]), info(&["192.0.2.1"])];
    let hosts = |names: &[&str]| names.iter().map(|name| Host::parse(name).unwrap()).collect::<Vec<_>>();
    assert_eq!(uncovered(&hosts(&["a.test", "x.b.test:8443", "192.0.2.1"]), &infos), Vec::<String>::new());
    for bare in ["b.test", "x.y.b.test", "x.a.test", "192.0.2.2"] {
        let told = uncovered(&hosts(&[bare]), &infos);
        assert!(matches!(told.as_slice(), [one] if one.contains(bare) && one.contains("*.b.test")), "{told:?}");
    }
}
