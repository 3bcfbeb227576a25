use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256};
use rustls::SignatureScheme;

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
                let stem = loaded.info.file.as_ref().unwrap().file_stem().unwrap().to_str().unwrap();
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
        let chosen = self.store.index.load().choose(name, schemes, unix_now()).unwrap();
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
    let chosen = chooser.store.index.load().choose(Some("old.test"), EVERY_SCHEME, 0).unwrap();
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
    assert_eq!(moved[1].info.file.as_ref(), Some(&elsewhere.certificate_file));

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
    assert!(store.index.load().choose(None, EVERY_SCHEME, 0).is_none());
}

#[test]
fn hosts_that_no_certificate_is_for_are_told() {
    let info = |names: &[&str]| CertificateInfo {
        names: names.iter().map(ToString::to_string).collect(),
        not_before: 0,
        not_after: 0,
        source: Source::Files,
        file: None,
    };
    let infos = [info(&["a.test", "*.b.test"]), info(&["192.0.2.1"])];
    let hosts = |names: &[&str]| names.iter().map(|name| Host::parse(name).unwrap()).collect::<Vec<_>>();
    assert_eq!(uncovered(&hosts(&["a.test", "x.b.test:8443", "192.0.2.1"]), &infos), Vec::<String>::new());
    for bare in ["b.test", "x.y.b.test", "x.a.test", "192.0.2.2"] {
        let told = uncovered(&hosts(&[bare]), &infos);
        assert!(matches!(told.as_slice(), [one] if one.contains(bare) && one.contains("*.b.test")), "{told:?}");
    }
}

fn issued(folder: &Folder, stem: &str, names: &[&str]) -> Loaded {
    let files = folder.signed(stem, &params(names), &PKCS_ECDSA_P256_SHA256);
    let read = |file: &PathBuf| std::fs::read_to_string(file).unwrap();
    Pair::issued(&files.certificate_file, &read(&files.certificate_file), &read(&files.key_file)).load().unwrap()
}

fn wanted(groups: &[&[&str]]) -> Vec<Vec<String>> {
    groups.iter().map(|names| names.iter().map(ToString::to_string).collect()).collect()
}

fn sources(store: &CertStore) -> Vec<(Source, Vec<String>)> {
    store.infos().into_iter().map(|info| (info.source, info.names)).collect()
}

fn shown(store: &CertStore, name: Option<&str>) -> Vec<u8> {
    store.index.load().choose(name, EVERY_SCHEME, unix_now()).unwrap().cert[0].to_vec()
}

#[test]
fn each_source_is_replaced_without_the_other() {
    let folder = Folder::new();
    let file = |stem: &str| load(&folder.signed(stem, &params(&[&format!("{stem}.test")]), &PKCS_ED25519)).unwrap();
    let store = CertStore::new(vec![file("one")]);
    store.install_acme(wanted(&[&["acme.test"]]), vec![issued(&folder, "acme", &["acme.test"])]);
    assert_eq!(sources(&store).iter().map(|(source, _)| *source).collect::<Vec<_>>(), [Source::Files, Source::Acme]);
    let kept = shown(&store, Some("acme.test"));
    store.install(vec![file("two")]);
    assert_eq!(shown(&store, Some("acme.test")), kept);
    let kept = shown(&store, Some("two.test"));
    assert_eq!(shown(&store, Some("one.test")), kept, "the default");
    store.install_acme(wanted(&[&["acme.test"]]), vec![issued(&folder, "again", &["acme.test"])]);
    assert_eq!(shown(&store, Some("two.test")), kept);
    store.install_acme(Vec::new(), Vec::new());
    assert_eq!(sources(&store).len(), 1);
}

#[test]
fn names_without_a_certificate_get_a_temporary_one() {
    let folder = Folder::new();
    let wild = load(&folder.signed("wild", &params(&["*.wild.test"]), &PKCS_ED25519)).unwrap();
    let store = CertStore::new(vec![wild]);
    let groups = wanted(&[&["a.test", "b.test"], &["192.0.2.1", "x.wild.test"], &["y.wild.test"]]);
    store.install_acme(groups.clone(), Vec::new());
    let temporary = |names: &[&str]| (Source::Temporary, names.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(sources(&store)[1..], [temporary(&["a.test", "b.test"]), temporary(&["192.0.2.1"])]);
    assert_eq!(store.missing(), ["192.0.2.1", "a.test", "b.test"]);
    assert!(store.is_missing("a.test") && !store.is_missing("x.wild.test") && !store.is_missing("other.test"));

    let before = shown(&store, Some("192.0.2.1"));
    store.install_acme(groups.clone(), vec![issued(&folder, "ab", &["a.test", "b.test"])]);
    assert_eq!(store.missing(), ["192.0.2.1"]);
    assert_eq!(shown(&store, Some("192.0.2.1")), before, "the same as long as it lasts");
    store.report(&[]);
    assert!(store.told().warnings.iter().any(|(file, text)| file.is_none() && text.contains("192.0.2.1")));
    assert!(store.told().names.contains("192.0.2.1"), "that it has none is shown too");
    store.install_acme(
        groups,
        vec![issued(&folder, "ab", &["a.test", "b.test"]), issued(&folder, "ip", &["192.0.2.1"])],
    );
    assert_eq!((store.missing(), store.is_missing("192.0.2.1")), (Vec::<String>::new(), false));
    assert!(!store.told().warnings.iter().any(|(_, text)| text.contains("192.0.2.1")), "told anew after an install");
    store.install(Vec::new());
    assert_eq!(store.missing(), ["x.wild.test", "y.wild.test"]);
}

#[test]
fn an_end_is_told_once_and_of_names_that_are_left_without() {
    let folder = Folder::new();
    let end = |store: &CertStore| store.infos()[0].not_after;
    let store = CertStore::new(Vec::new());
    store.install_acme(wanted(&[&["a.test"]]), vec![issued(&folder, "a", &["a.test"])]);
    let at = end(&store);
    assert_eq!(store.tell_ended(at - 9..at), Vec::<String>::new(), "it lasts until then");
    assert_eq!(store.tell_ended(at..at + 1), ["a.test"]);
    assert_eq!(store.tell_ended(at + 1..at + 9), Vec::<String>::new());
    let mut longer = params(&["*.test"]);
    longer.not_after += time::Duration::DAY;
    store.install(vec![load(&folder.signed("wild", &longer, &PKCS_ED25519)).unwrap()]);
    assert_eq!(store.tell_ended(at..at + 1), Vec::<String>::new(), "another one serves it");
}

#[test]
fn who_dials_an_address_is_shown_a_certificate_for_one() {
    let folder = Folder::new();
    let store = CertStore::new(Vec::new());
    let groups = wanted(&[&["a.test"], &["192.0.2.1"]]);
    store.install_acme(groups.clone(), Vec::new());
    assert_eq!(shown(&store, None), shown(&store, Some("192.0.2.1")));
    let named = issued(&folder, "a", &["a.test"]);
    store.install_acme(groups.clone(), vec![named.clone()]);
    assert_eq!(shown(&store, None), shown(&store, Some("192.0.2.1")));
    store.install_acme(groups, vec![named, issued(&folder, "ip", &["192.0.2.1"])]);
    assert_eq!(shown(&store, None), shown(&store, Some("192.0.2.1")));
    store.install(vec![load(&folder.signed("file", &params(&["file.test"]), &PKCS_ED25519)).unwrap()]);
    assert_eq!(shown(&store, None), shown(&store, Some("file.test")), "files come first");
}

#[test]
fn what_has_not_ended_comes_before_what_has() {
    let folder = Folder::new();
    let now = time::OffsetDateTime::now_utc();
    let ending = |stem: &str, names: &[&str], days: i64, kind| {
        let mut params = params(names);
        params.not_after = now + time::Duration::days(days);
        load(&folder.signed(stem, &params, kind)).unwrap()
    };
    let ended = ending("ended", &["hub.test"], -1, &PKCS_ED25519);
    let rsa = ending("rsa", &["hub.test"], 10, &PKCS_RSA_SHA256);
    let leaf = |loaded: &Loaded| loaded.key.cert[0].to_vec();
    let store = CertStore::new(vec![ended.clone(), rsa.clone()]);
    assert_eq!(shown(&store, Some("hub.test")), leaf(&rsa));
    let choose = |schemes: &[SignatureScheme]| {
        store.index.load().choose(Some("hub.test"), schemes, unix_now()).unwrap().cert[0].to_vec()
    };
    assert_eq!(choose(&[SignatureScheme::ED25519]), leaf(&ended), "what the client can check comes first");
    let wild = ending("wild", &["*.test"], 10, &PKCS_ED25519);
    store.install(vec![ended.clone(), wild.clone()]);
    assert_eq!(shown(&store, Some("hub.test")), leaf(&wild));
    store.install(vec![ended.clone()]);
    store.install_acme(wanted(&[&["hub.test"]]), Vec::new());
    assert_eq!(shown(&store, Some("hub.test")), leaf(&ended), "better than a temporary one");
    store.install_acme(wanted(&[&["hub.test"]]), vec![issued(&folder, "acme", &["hub.test"])]);
    assert_ne!(shown(&store, Some("hub.test")), leaf(&ended));
    // As if a second had passed since its end.
    let last = ending("last", &["hub.test"], 1, &PKCS_ED25519);
    store.install(vec![last.clone()]);
    let at = |now: i64| store.index.load().choose(Some("hub.test"), EVERY_SCHEME, now).unwrap().cert[0].to_vec();
    assert_eq!(at(last.info.not_after), leaf(&last));
    assert_ne!(at(last.info.not_after + 1), leaf(&last));
}

#[test]
fn what_an_authority_issued_is_not_warned_of_before_it_ends() {
    let folder = Folder::new();
    let of = |days: i64| {
        let mut params = params(&["hub.test"]);
        params.not_after = time::OffsetDateTime::now_utc() + time::Duration::days(days);
        let files = folder.signed("hub", &params, &PKCS_ED25519);
        let read = |file: &PathBuf| std::fs::read_to_string(file).unwrap();
        let issued = Pair::issued(&files.certificate_file, &read(&files.certificate_file), &read(&files.key_file));
        (load(&files).unwrap().warnings.len(), issued.load().unwrap().warnings.len())
    };
    assert_eq!([of(3), of(30), of(-1)], [(1, 0), (0, 0), (1, 1)]);
}
