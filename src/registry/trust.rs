//! Trust data as a Notary server keeps it (The Update Framework): whose it is, and what is asked of it.

use std::{fmt, sync::Arc};

use http::Method;

use super::{Action, NameError, OwnHosts, Read, RepositoryName};

/// The globally unique name of a trust collection, as its client writes it, and the repository it is about.
///
/// Signers begin it with the registry's host, `registry.example.com/team-a/app`: then the repository is what follows.
/// Any other name is the repository's own. To the trust server it is the collection's identity, so it is never changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gun {
    name: Arc<str>,
    repository: RepositoryName,
}

impl Gun {
    /// # Errors
    /// What is left without an own host is no repository name.
    pub fn parse(name: &str, own: &OwnHosts) -> Result<Self, NameError> {
        let repository = RepositoryName::parse(own.strip(name).unwrap_or(name))?;
        Ok(Self { name: name.into(), repository })
    }

    pub fn as_str(&self) -> &str {
        &self.name
    }

    pub fn repository(&self) -> &RepositoryName {
        &self.repository
    }
}

impl fmt::Display for Gun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// What is asked of a trust collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustVerb {
    /// POST `tuf/`: new versions of its files, in a form of several parts.
    Publish,
    /// DELETE `tuf/`: all of it.
    Remove,
    /// GET or HEAD `tuf/root.json` and the like.
    File { file: TrustFile, read: Read },
    /// GET `tuf/snapshot.key` or `tuf/timestamp.key`: the public half of a key that the server holds. It makes one where
    /// there is none, so that this, too, is for those who sign.
    Key { role: KeyRole },
    /// POST of the same: the server makes a new one.
    Rotate { role: KeyRole },
    /// GET or HEAD `changefeed`.
    Changes { read: Read, from: Option<String>, records: Option<i32> },
}

impl TrustVerb {
    /// What it does to the repository that the collection is about.
    pub fn action(&self) -> Action {
        match self {
            Self::Publish | Self::Key { .. } | Self::Rotate { .. } => Action::Push,
            Self::Remove => Action::Delete,
            Self::File { .. } | Self::Changes { .. } => Action::Pull,
        }
    }

    pub fn method(&self) -> Method {
        match self {
            Self::Publish | Self::Rotate { .. } => Method::POST,
            Self::Remove => Method::DELETE,
            Self::Key { .. } => Method::GET,
            Self::File { read, .. } | Self::Changes { read, .. } => read.method(),
        }
    }
}

/// The roles whose keys a server holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRole {
    Snapshot,
    Timestamp,
}

impl KeyRole {
    /// Reads `snapshot.key`, `timestamp.key`.
    pub fn of_file(file: &str) -> Option<Self> {
        [Self::Snapshot, Self::Timestamp].into_iter().find(|role| role.file() == file)
    }

    pub fn file(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot.key",
            Self::Timestamp => "timestamp.key",
        }
    }
}

/// The name of a metadata file: a role, before it a version or behind it a digest where one edition is meant:
/// `root.json`, `3.root.json`, `targets/releases.<hex of SHA-256, SHA-384 or SHA-512>.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustFile(Arc<str>);

impl TrustFile {
    const MAX_BYTES: usize = 512;

    pub fn parse(name: &str) -> Option<Self> {
        let stem = name.strip_suffix(".json").filter(|_| name.len() <= Self::MAX_BYTES)?;
        let edition = stem
            .split_once('.')
            .filter(|(version, _)| is_version(version))
            .map(|(_, role)| role)
            .or_else(|| stem.rsplit_once('.').filter(|(_, digest)| is_digest(digest)).map(|(role, _)| role));
        is_role(edition.unwrap_or(stem)).then(|| Self(name.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_version(text: &str) -> bool {
    text.len() <= 10 && (text == "0" || !text.starts_with('0')) && is_all(text, |byte| byte.is_ascii_digit())
}

fn is_digest(text: &str) -> bool {
    matches!(text.len(), 64 | 96 | 128) && is_all(text, |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// `root`, `snapshot`, `timestamp`, `targets`, and delegations of the last: `targets/releases`.
fn is_role(text: &str) -> bool {
    let mut segments = text.split('/');
    match segments.next() {
        Some("root" | "snapshot" | "timestamp") => segments.next().is_none(),
        Some("targets") => segments.all(is_delegation),
        Some(_) | None => false,
    }
}

/// The server reads the path from the right, so nothing in it may look like the place where the name ends.
fn is_delegation(segment: &str) -> bool {
    segment != "_trust" && is_all(segment, |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
}

fn is_all(text: &str, is: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(is)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> OwnHosts {
        OwnHosts::new([("registry.test".to_owned(), None)])
    }

    #[test]
    fn a_collection_is_about_the_repository_behind_its_host() {
        for (name, repository) in [
            ("registry.test/team-a/app", "team-a/app"),
            ("registry.test:5000/team-a/app", "team-a/app"),
            ("team-a/app", "team-a/app"),
            ("other.test/team-a/app", "other.test/team-a/app"),
            ("docker.io/library/alpine", "docker.io/library/alpine"),
            ("registry.test/registry.test/app", "registry.test/app"),
            ("app", "app"),
        ] {
            let gun = Gun::parse(name, &own()).unwrap();
            assert_eq!((gun.as_str(), gun.repository().as_str()), (name, repository));
        }
        for name in [
            "",
            "/",
            "registry.test/",
            "registry.test:5000",
            "other.test:5000/team-a/app",
            "registry.test/Team-A/app",
            "Registry.test/team-a/app",
            "registry.test//app",
            "registry.test/../app",
            "registry.test/a/_trust/tuf/x",
            "registry.test/a*",
            "[::1]/app",
        ] {
            assert!(Gun::parse(name, &own()).is_err(), "{name}");
        }
    }

    #[test]
    fn a_file_is_one_of_a_role() {
        let hex = "0a".repeat(32);
        for name in [
            "root.json",
            "snapshot.json",
            "timestamp.json",
            "targets.json",
            "targets/releases.json",
            "targets/a_b/c-d.json",
            "1.root.json",
            "0.root.json",
            "12.targets/releases.json",
        ] {
            assert_eq!(TrustFile::parse(name).as_ref().map(TrustFile::as_str), Some(name));
        }
        for bytes in [32, 48, 64] {
            let digest = "0a".repeat(bytes);
            assert!(TrustFile::parse(&format!("root.{digest}.json")).is_some());
            assert!(TrustFile::parse(&format!("targets/releases.{digest}.json")).is_some());
        }
        for name in [
            "",
            ".json",
            "root",
            "root.JSON",
            "Root.json",
            "mirrors.json",
            "root/x.json",
            "root.key",
            "targets/.json",
            "targets//a.json",
            "targets/..json",
            "targets/../root.json",
            "targets/A.json",
            "targets/_trust/tuf/root.json",
            "targets/a.b.json",
            "01.root.json",
            "-1.root.json",
            "1..json",
            "1.1.root.json",
            "12345678901.root.json",
            "root..json",
            "root.abc.json",
            &format!("root.{}.json", hex.to_uppercase()),
            &format!("1.root.{hex}.json"),
            &format!("root.{hex}.{hex}.json"),
            &format!("targets/{}.json", "a".repeat(600)),
        ] {
            assert_eq!(TrustFile::parse(name), None, "{name}");
        }
    }

    #[test]
    fn two_roles_have_keys() {
        assert_eq!(KeyRole::of_file("snapshot.key"), Some(KeyRole::Snapshot));
        assert_eq!(KeyRole::of_file("timestamp.key"), Some(KeyRole::Timestamp));
        assert_eq!(KeyRole::of_file("root.key"), None);
    }
}
