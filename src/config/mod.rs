//! The configuration file, complete in one folder: `version: 1`, YAML, unknown keys refused.
//!
//! A [`Config`] that exists is valid as a whole. The contract is `conf/portcullis.yml`.

mod access;
mod acme;
mod advice;
mod beside;
mod dangers;
mod events;
mod expectations;
mod fingerprint;
mod host;
mod identity;
mod ldap;
mod limits;
mod listen;
mod load;
mod named;
mod origin;
mod private;
mod problem;
mod reader;
mod redirects;
mod registries;
mod sections;
mod telemetry;
mod tls;
mod tokens;
mod units;
mod upstream;
mod yaml;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

pub use access::{Access, Grant, Subject};
pub use acme::{Acme, AcmeCertificate, AcmeChallenge, AcmeName, ExternalAccount};
pub use beside::Beside;
pub use events::{Endpoint, EndpointUrl, EventAction, EventActions, Events};
pub use expectations::{Expectation, Expectations};
pub use fingerprint::{Fingerprint, open_regular};
pub use host::Host;
pub use identity::{Htpasswd, Identity, Provider};
pub use ldap::{
    Dn, GroupKey, Ldap, LdapFind, LdapGroupSource, LdapGroups, LdapServer, LdapService, LdapUsers, Template,
};
pub use limits::{FailedLogins, Limits};
pub use listen::Listen;
pub use named::NamedFile;
pub use origin::{Origin, SplitUrl};
pub use private::others_may_read;
pub use problem::{Problem, Problems, Severity};
pub use redirects::{RedirectHost, Redirects};
pub use registries::{OpenUploads, ReadOnly, Registry, Routed};
pub use telemetry::{Log, LogFormat, Reload, Shutdown};
pub use tls::{CertificateFiles, MinVersion, Tls};
pub use tokens::Tokens;
pub use units::{Secret, parse_duration};
pub use upstream::{Balance, Health, Role, Server, ServerUrl, Timeouts, Upstream, UpstreamCredentials, UpstreamTls};

/// The whole file, checked. Relative paths are already joined to the file's folder.
#[derive(Clone, Debug)]
pub struct Config {
    pub path: PathBuf,
    pub listen: Listen,
    pub tls: Tls,
    pub registries: Vec<Registry>,
    pub identity: Identity,
    pub tokens: Tokens,
    pub access: Access,
    pub limits: Limits,
    pub events: Events,
    pub log: Log,
    pub reload: Reload,
    pub shutdown: Shutdown,
    /// What is allowed but looks like a mistake, with file, line and column.
    pub warnings: Vec<Problem>,
    /// The file as it was found right before it was read.
    pub seen: Fingerprint,
    /// The SHA-256 of the content that was read.
    pub hash: [u8; 32],
    names: named::Names,
    sections: sections::Sections,
}

/// What came of reading a configuration.
#[derive(Debug)]
pub struct Reading {
    pub outcome: Result<Config, Problems>,
    /// The file as it was found right before it was read.
    pub seen: Fingerprint,
    /// The files that it names, as far as it could be read.
    pub files: Vec<NamedFile>,
}

impl Config {
    /// Reads and checks the file; every problem found is reported, not only the first.
    pub fn load(path: &Path) -> Result<Self, Problems> {
        Self::read(path).outcome
    }

    /// The same, and what can be said of a file that is not a configuration.
    pub fn read(path: &Path) -> Reading {
        load::load(path)
    }

    /// Every file that is named, those of defaults too.
    pub fn files(&self) -> &[NamedFile] {
        &self.names.files
    }

    /// An error at a key, with its place where that is one of `listen` or names a file.
    pub fn error_at(&self, key: &str, message: impl fmt::Display) -> Problem {
        self.names.error_at(&self.path, key, message)
    }

    /// An error that has to do with a file, at the place where the file is named: best in this section (the start of a
    /// key, as in `tls.certificates[0]`), else where it is named first.
    pub fn error_with(&self, section: &str, file: &Path, message: impl fmt::Display) -> Problem {
        self.names.error_with(&self.path, section, file, message)
    }

    /// The top-level keys whose values differ; comments and order do not count.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        self.sections.differences(&other.sections)
    }

    /// `listen.admin` alone, `None` where it is off. Whatever else is wrong with the file does not matter: a process
    /// may be running with what the file said before.
    pub fn admin_address(path: &Path) -> Result<Option<SocketAddr>, Problems> {
        load::admin_address(path)
    }
}
