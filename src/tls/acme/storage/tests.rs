use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;
use crate::{
    config::{AcmeChallenge, AcmeName},
    tls::acme::{Answer, AnswersBeside as _, Token},
};

fn acme(folder: &Path) -> Acme {
    Acme {
        directory: "https://ca.test:14000/dir".to_owned(),
        directory_ca_file: None,
        contact: Vec::new(),
        storage: folder.join("acme"),
        challenge: AcmeChallenge::Auto,
        profile: None,
        external_account: None,
        certificates: vec![of(&["b.test", "a.test"])],
    }
}

fn of(names: &[&str]) -> AcmeCertificate {
    AcmeCertificate { names: names.iter().map(|name| AcmeName::Dns((*name).to_owned())).collect() }
}

fn certificate() -> StoredCertificate {
    StoredCertificate {
        directory: "https://ca.test:14000/dir".to_owned(),
        chain: "a chain".to_owned(),
        key: Secret::new("a key".to_owned()),
        stored_at: Moment(7),
    }
}

#[test]
fn what_is_stored_is_found_again_and_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::new(&acme(folder.path()));
    storage.prepare().unwrap();
    let slot = storage.slot(&of(&["b.test", "a.test"]));
    let _lock = slot.lock().unwrap().unwrap();
    assert_eq!(slot.certificate().unwrap(), None);
    assert_eq!(slot.stamp(), None);

    slot.set_certificate(&certificate()).unwrap();
    assert_eq!(slot.certificate().unwrap(), Some(certificate()));
    let before = slot.stamp();
    slot.set_certificate(&certificate()).unwrap();
    assert_ne!(slot.stamp(), before);
    assert_eq!(storage.all(), [(slot.path(), certificate())]);

    let (url, key) = ("https://ca.test/order/1".to_owned(), Secret::new("a key".to_owned()));
    let order = StoredOrder { url, begun: Moment(7), key };
    slot.set_order(Some(&order)).unwrap();
    assert_eq!(slot.order().unwrap(), Some(order));
    slot.set_order(None).unwrap();
    assert_eq!(slot.order().unwrap(), None);

    let state = State { failures: 3, not_before: Some(Moment(9)), ..State::default() };
    slot.set_state(&state).unwrap();
    assert_eq!(slot.state(), state);

    let account = StoredAccount { credentials: Zeroizing::new("{\"id\":1}".to_owned()), contact: Vec::new() };
    storage.set_account(&account).unwrap();
    assert_eq!(*storage.account().unwrap().unwrap().credentials, "{\"id\":1}");

    let (mut open, mut left) = (Vec::new(), vec![folder.path().join("acme")]);
    while let Some(path) = left.pop() {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        open.extend((mode & 0o077 != 0).then(|| format!("{} {mode:o}", path.display())));
    }
    assert_eq!(open, Vec::<String>::new());
}

#[test]
fn a_folder_that_others_can_write_to_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::new(&acme(folder.path()));
    assert_eq!(storage.warning(), None, "it is not there");
    storage.prepare().unwrap();
    assert_eq!(storage.warning(), None);
    let root = folder.path().join("acme");
    for (path, mode, told) in [
        (root.clone(), 0o777, "every user of this machine"),
        (root.clone(), 0o770, "the group "),
        (root.join(CHALLENGES), 0o702, "every user of this machine"),
    ] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let warning = storage.warning().unwrap();
        assert!(warning.starts_with(&format!("{}: {told}", path.display())), "{warning}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    }
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(storage.warning(), None, "a service manager may have made it; all that is in it is closed");
}

/// Whatever a crash leaves, and whatever somebody puts there.
#[test]
fn half_a_file_is_no_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::new(&acme(folder.path()));
    let slot = storage.slot(&of(&["a.test"]));
    let _lock = slot.lock().unwrap().unwrap();
    slot.set_certificate(&certificate()).unwrap();
    let whole = fs::read(slot.path()).unwrap();
    fs::write(slot.folder.join("certificate.json.new"), &whole[..whole.len() / 2]).unwrap();
    assert_eq!(slot.certificate().unwrap(), Some(certificate()), "a write that was cut off");
    slot.set_certificate(&certificate()).unwrap();

    for broken in [&whole[..whole.len() / 2], b"", b"[]", b"\xff"] {
        fs::write(slot.path(), broken).unwrap();
        let error = slot.certificate().unwrap_err().to_string();
        assert!(error.ends_with("certificate.json: it is not what portcullis writes there"), "{error}");
        assert_eq!(storage.all(), []);
    }
    fs::write(slot.folder.join(STATE), "{").unwrap();
    assert_eq!(slot.state(), State::default());
}

#[test]
fn other_names_are_another_slot_and_their_order_means_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (mut acme, names) = (acme(folder.path()), ["b.test", "a.test"]);
    let storage = Storage::new(&acme);
    assert_eq!(storage.slot(&of(&names)), storage.slot(&of(&names)));
    assert_ne!(storage.slot(&of(&names)), storage.slot(&of(&names[..1])));
    acme.directory = "https://ca.test:14001/dir".to_owned();
    assert_ne!(storage.slot(&of(&names)), Storage::new(&acme).slot(&of(&names)));
    let name = folder_name("../..//etc/passwd", &[]);
    assert!(!name.contains('/') && !name.starts_with('.'), "{name}");
}

#[test]
fn a_lock_is_held_by_one_and_goes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::new(&acme(folder.path()));
    let (one, other) = (storage.slot(&of(&["a.test"])), storage.slot(&of(&["b.test"])));
    let held = one.lock().unwrap().unwrap();
    assert!(one.lock().unwrap().is_none());
    assert!(one.is_locked() && !other.is_locked());
    assert!(other.lock().unwrap().is_some());
    drop(held);
    assert!(!one.is_locked());
    assert!(one.lock().unwrap().is_some());
}

#[test]
fn others_find_an_answer_while_it_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::new(&acme(folder.path()));
    let (token, other) = (Token::parse("abc").unwrap(), Token::parse("abd").unwrap());
    let answer =
        Answer::Http { name: "a.test".to_owned(), token: token.clone(), key_authorization: "abc.x".to_owned() };
    assert_eq!(storage.http("a.test", &token), None);
    let published = storage.publish(&answer).unwrap();
    assert_eq!(storage.http("a.test", &token), Some("abc.x".to_owned()));
    assert_eq!(storage.http("a.test", &other), None);
    assert_eq!((storage.http("b.test", &token), storage.tls_alpn("a.test")), (None, None));
    drop(published);
    assert_eq!(storage.http("a.test", &token), None);

    let _published = storage.publish(&Answer::TlsAlpn { name: "2001:db8::1".to_owned(), digest: [7; 32] }).unwrap();
    assert_eq!(storage.tls_alpn("2001:db8::1"), Some([7; 32]));
    let path = storage.answer_file("2001:db8::1");
    let old = fs::read_to_string(&path).unwrap().replace("\"until\": 1", "\"until\": 0");
    fs::write(path, old.replace("\"until\": 0", "\"until\": -1")).unwrap();
    assert_eq!(storage.tls_alpn("2001:db8::1"), None, "its process died long ago");
}

#[test]
fn a_renewal_is_asked_for_by_a_mark() {
    let folder = tempfile::tempdir().unwrap();
    let slot = Storage::new(&acme(folder.path())).slot(&of(&["a.test"]));
    assert!(slot.ask_renewal().is_err(), "nobody looks after it");
    drop(slot.lock().unwrap());
    assert!(!slot.is_renewal_asked());
    slot.ask_renewal().unwrap();
    slot.ask_renewal().unwrap();
    assert!(slot.is_renewal_asked());
    slot.renewal_begins().unwrap();
    slot.renewal_begins().unwrap();
    assert!(!slot.is_renewal_asked());
}

#[test]
fn a_folder_that_cannot_be_used_is_told_before_anything_is_ordered() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::new(&acme(folder.path()));
    storage.check().unwrap();
    fs::write(folder.path().join("acme"), "a file").unwrap();
    assert!(storage.check().unwrap_err().reason.contains("not a folder"));
    assert!(storage.prepare().is_err());
    fs::remove_file(folder.path().join("acme")).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path().join("acme")).unwrap();
    let below = Storage::new(&acme(&folder.path().join("acme")));
    for storage in [storage, below] {
        let error = storage.check().unwrap_err();
        assert!(error.reason.starts_with("is not there and cannot be made: "), "{error}");
        assert!(storage.prepare().is_err());
    }
}
