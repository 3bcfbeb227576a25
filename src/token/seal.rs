//! Who opened an upload session, when, and at which server: sealed into the session's address.
//!
//! Nothing is stored: the seal is a MAC under a key that is derived from each token key, so every instance with the same
//! keys reads it.

use std::sync::Arc;

use aws_lc_rs::{constant_time, hmac};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::Keys;
use crate::registry::{RepositoryName, UploadId, UploadSeal};

/// Goes into each MAC; another form of the seal needs another text.
const CONTEXT: &str = "portcullis upload session 2";

/// Bytes that tell which server holds the session; of a MAC, so that they say so only to who knows the servers and a key.
const TAG: usize = 8;

/// Seals upload sessions and reads the seals.
#[derive(Clone)]
pub struct Seals {
    keys: Arc<Keys>,
}

/// What a seal is for.
#[derive(Clone, Copy, Debug)]
pub struct Sealed<'a> {
    /// The registry's token service.
    pub service: &'a str,
    pub repository: &'a RepositoryName,
    pub id: &'a UploadId,
    /// Who opened the session; empty: nobody in particular.
    pub subject: &'a str,
}

impl Seals {
    pub fn new(keys: Arc<Keys>) -> Self {
        Self { keys }
    }

    /// The seal of a session that this server holds; `opened` is in seconds since 1970.
    pub fn seal(&self, sealed: Sealed<'_>, server: &str, opened: u64) -> Option<UploadSeal> {
        let key = self.keys.sealing();
        let tag = tag(key, sealed, server);
        let content = [opened.to_be_bytes().as_slice(), &tag].concat();
        let mac = mac(key, sealed, "session", &content);
        UploadSeal::parse(&URL_SAFE_NO_PAD.encode([&content, mac.as_ref()].concat()))
    }

    /// When the session was opened; None where somebody else did it, or the address was not made here.
    pub fn opened(&self, sealed: Sealed<'_>, seal: Option<&UploadSeal>) -> Option<u64> {
        self.read(sealed, seal).map(|(opened, _)| opened)
    }

    /// The one of these servers that holds the session; None as in [`Seals::opened`], or where it is none of them.
    pub fn server<'s>(
        &self,
        sealed: Sealed<'_>,
        seal: Option<&UploadSeal>,
        mut servers: impl Iterator<Item = &'s Arc<str>>,
    ) -> Option<&'s Arc<str>> {
        let (_, told) = self.read(sealed, seal)?;
        servers.find(|server| self.keys.unsealing().any(|key| tag(key, sealed, server) == told))
    }

    fn read(&self, sealed: Sealed<'_>, seal: Option<&UploadSeal>) -> Option<(u64, [u8; TAG])> {
        let bytes = URL_SAFE_NO_PAD.decode(seal?.as_str()).ok()?;
        let (content, told) = bytes.split_at_checked(TAG + size_of::<u64>())?;
        let fits = |key| {
            let mac = mac(key, sealed, "session", content);
            constant_time::verify_slices_are_equal(mac.as_ref(), told).is_ok()
        };
        if !self.keys.unsealing().any(fits) {
            return None;
        }
        let (opened, tag) = content.split_first_chunk()?;
        Some((u64::from_be_bytes(*opened), *tag.first_chunk()?))
    }
}

fn tag(key: &hmac::Key, sealed: Sealed<'_>, server: &str) -> [u8; TAG] {
    let mac = mac(key, sealed, "server", server.as_bytes());
    mac.as_ref().first_chunk().copied().unwrap_or_default()
}

fn mac(key: &hmac::Key, sealed: Sealed<'_>, purpose: &str, content: &[u8]) -> hmac::Tag {
    let Sealed { service, repository, id, subject } = sealed;
    let mut context = hmac::Context::with_key(key);
    let texts = [CONTEXT, purpose, service, repository.as_str(), id.as_str(), subject];
    for part in texts.map(str::as_bytes).into_iter().chain([content]) {
        // Lengths come first, so that no letter can move from one part to the next.
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context.sign()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{registry::UploadSession, token::fixtures::Forge};

    const SERVICE: &str = "registry.example.com";

    fn name(text: &str) -> RepositoryName {
        RepositoryName::parse(text).unwrap()
    }

    fn session(id: &str, seal: Option<UploadSeal>) -> UploadSession {
        UploadSession { id: UploadId::parse(id).unwrap(), state: None, seal }
    }

    fn sealed(seals: &Seals) -> UploadSession {
        let (repository, unsealed) = (name("team-a/app"), session("u-1", None));
        let sealed = Sealed { service: SERVICE, repository: &repository, id: &unsealed.id, subject: "alice" };
        session("u-1", seals.seal(sealed, "http://a:5000", 1_700_000_000))
    }

    fn opened(
        seals: &Seals,
        service: &str,
        repository: &str,
        session: &UploadSession,
        subject: &str,
    ) -> Option<(u64, Option<String>)> {
        let repository = name(repository);
        let sealed = Sealed { service, repository: &repository, id: &session.id, subject };
        let servers = ["http://b:5000", "http://a:5000"].map(Arc::<str>::from);
        let server = seals.server(sealed, session.seal.as_ref(), servers.iter());
        Some((seals.opened(sealed, session.seal.as_ref())?, server.map(|server| server.to_string())))
    }

    fn good() -> Option<(u64, Option<String>)> {
        Some((1_700_000_000, Some("http://a:5000".to_owned())))
    }

    #[test]
    fn a_seal_is_good_for_its_own_session_alone() {
        let seals = Seals::new(Forge::new().keys);
        let sealed = sealed(&seals);
        assert_eq!(opened(&seals, SERVICE, "team-a/app", &sealed, "alice"), good());
        assert_eq!(opened(&seals, "other.example.com", "team-a/app", &sealed, "alice"), None);
        assert_eq!(opened(&seals, SERVICE, "team-a/ap", &sealed, "alice"), None);
        assert_eq!(opened(&seals, SERVICE, "team-a/app", &sealed, "bob"), None);
        assert_eq!(opened(&seals, SERVICE, "team-a/app", &sealed, ""), None);
        assert_eq!(opened(&seals, SERVICE, "team-a/app", &session("u-1", None), "alice"), None);
        assert_eq!(opened(&seals, SERVICE, "team-a/app", &session("u-2", sealed.seal), "alice"), None);
    }

    #[test]
    fn a_seal_says_which_server_to_who_knows_it() {
        let seals = Seals::new(Forge::new().keys);
        let (repository, id) = (name("team-a/app"), UploadId::parse("u-1").unwrap());
        let sealed = Sealed { service: SERVICE, repository: &repository, id: &id, subject: "alice" };
        let seal = seals.seal(sealed, "http://gone:5000", 7).unwrap();
        let others = ["http://a:5000".into(), "http://gone:500".into()];
        assert_eq!(seals.server(sealed, Some(&seal), others.iter()), None);
        assert_eq!(seals.opened(sealed, Some(&seal)), Some(7));
    }

    #[test]
    fn a_changed_seal_is_none() {
        let seals = Seals::new(Forge::new().keys);
        let good = sealed(&seals).seal.unwrap();
        for position in 0..good.as_str().len() {
            let mut text = good.as_str().to_owned().into_bytes();
            text[position] = if text[position] == b'A' { b'B' } else { b'A' };
            let seal = UploadSeal::parse(std::str::from_utf8(&text).unwrap());
            assert_eq!(opened(&seals, SERVICE, "team-a/app", &session("u-1", seal), "alice"), None);
        }
        for text in ["A", "AAAAAAAAAAA", good.as_str().get(..40).unwrap(), &format!("{}AAAA", good.as_str())] {
            let seal = UploadSeal::parse(text);
            assert_eq!(opened(&seals, SERVICE, "team-a/app", &session("u-1", seal), "alice"), None, "{text}");
        }
    }

    #[test]
    fn another_key_reads_no_seal_and_a_former_one_does() {
        let (old, new) = (Forge::new(), Forge::new());
        let sealed = sealed(&Seals::new(old.keys.clone()));
        let opened = |seals: &Seals| opened(seals, SERVICE, "team-a/app", &sealed, "alice");
        assert_eq!(opened(&Seals::new(new.keys.clone())), None);
        let both = Keys::load_or_create(&[new.file(), old.file()]).unwrap();
        assert_eq!(opened(&Seals::new(Arc::new(both))), good());
    }
}
