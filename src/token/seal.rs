//! Who opened an upload session, and when: sealed into the session's address.
//!
//! Nothing is stored: the seal is a MAC under a key that is derived from each token key, so every instance with the same
//! keys reads it.

use std::sync::Arc;

use aws_lc_rs::{constant_time, hmac};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::Keys;
use crate::registry::{RepositoryName, UploadId, UploadSeal, UploadSession};

/// Goes into each MAC; another form of the seal needs another text.
const CONTEXT: &str = "portcullis upload session 1";

/// Seals upload sessions and reads the seals.
#[derive(Clone)]
pub struct Seals {
    keys: Arc<Keys>,
}

impl Seals {
    pub fn new(keys: Arc<Keys>) -> Self {
        Self { keys }
    }

    /// The seal of a session that `subject` (empty: nobody in particular) opened at a registry with this token service;
    /// `opened` is in seconds since 1970.
    pub fn seal(
        &self,
        service: &str,
        repository: &RepositoryName,
        id: &UploadId,
        subject: &str,
        opened: u64,
    ) -> Option<UploadSeal> {
        let mac = mac(self.keys.sealing(), service, repository, id, subject, opened);
        UploadSeal::parse(&URL_SAFE_NO_PAD.encode([&opened.to_be_bytes(), mac.as_ref()].concat()))
    }

    /// When `subject` opened the session; None where somebody else did, or the address was not made here.
    pub fn opened(
        &self,
        service: &str,
        repository: &RepositoryName,
        session: &UploadSession,
        subject: &str,
    ) -> Option<u64> {
        let bytes = URL_SAFE_NO_PAD.decode(session.seal.as_ref()?.as_str()).ok()?;
        let (opened, sealed) = bytes.split_first_chunk()?;
        let opened = u64::from_be_bytes(*opened);
        let fits = |key| {
            let mac = mac(key, service, repository, &session.id, subject, opened);
            constant_time::verify_slices_are_equal(mac.as_ref(), sealed).is_ok()
        };
        self.keys.unsealing().any(fits).then_some(opened)
    }
}

fn mac(
    key: &hmac::Key,
    service: &str,
    repository: &RepositoryName,
    id: &UploadId,
    subject: &str,
    opened: u64,
) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    for part in [CONTEXT, service, repository.as_str(), id.as_str(), subject] {
        // Lengths come first, so that no letter can move from one part to the next.
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    context.update(&opened.to_be_bytes());
    context.sign()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::fixtures::Forge;

    const SERVICE: &str = "registry.example.com";

    fn name(text: &str) -> RepositoryName {
        RepositoryName::parse(text).unwrap()
    }

    fn session(id: &str, seal: Option<UploadSeal>) -> UploadSession {
        UploadSession { id: UploadId::parse(id).unwrap(), state: None, seal }
    }

    fn sealed(seals: &Seals) -> UploadSession {
        let seal = seals.seal(SERVICE, &name("team-a/app"), &UploadId::parse("u-1").unwrap(), "alice", 1_700_000_000);
        session("u-1", seal)
    }

    #[test]
    fn a_seal_is_good_for_its_own_session_alone() {
        let seals = Seals::new(Forge::new().keys);
        let good = sealed(&seals);
        let opened = |service: &str, repository: &str, session: &UploadSession, subject: &str| {
            seals.opened(service, &name(repository), session, subject)
        };
        assert_eq!(opened(SERVICE, "team-a/app", &good, "alice"), Some(1_700_000_000));
        assert_eq!(opened("other.example.com", "team-a/app", &good, "alice"), None);
        assert_eq!(opened(SERVICE, "team-a/ap", &good, "alice"), None);
        assert_eq!(opened(SERVICE, "team-a/app", &good, "bob"), None);
        assert_eq!(opened(SERVICE, "team-a/app", &good, ""), None);
        assert_eq!(opened(SERVICE, "team-a/app", &session("u-1", None), "alice"), None);
        assert_eq!(opened(SERVICE, "team-a/app", &session("u-2", good.seal), "alice"), None);
    }

    #[test]
    fn a_changed_seal_is_none() {
        let seals = Seals::new(Forge::new().keys);
        let good = sealed(&seals).seal.unwrap();
        for position in 0..good.as_str().len() {
            let mut text = good.as_str().to_owned().into_bytes();
            text[position] = if text[position] == b'A' { b'B' } else { b'A' };
            let seal = UploadSeal::parse(std::str::from_utf8(&text).unwrap()).unwrap();
            assert_eq!(seals.opened(SERVICE, &name("team-a/app"), &session("u-1", Some(seal)), "alice"), None);
        }
        for text in ["A", "AAAAAAAAAAA", good.as_str().get(..40).unwrap(), &format!("{}AAAA", good.as_str())] {
            let seal = UploadSeal::parse(text);
            assert_eq!(seals.opened(SERVICE, &name("team-a/app"), &session("u-1", seal), "alice"), None, "{text}");
        }
    }

    #[test]
    fn another_key_reads_no_seal_and_a_former_one_does() {
        let (old, new) = (Forge::new(), Forge::new());
        let good = sealed(&Seals::new(old.keys.clone()));
        let opened = |seals: &Seals| seals.opened(SERVICE, &name("team-a/app"), &good, "alice");
        assert_eq!(opened(&Seals::new(new.keys.clone())), None);
        let both = Keys::load_or_create(&[new.file(), old.file()]).unwrap();
        assert_eq!(opened(&Seals::new(Arc::new(both))), Some(1_700_000_000));
    }
}
