//! The configuration file, complete in one folder: `version: 1`, YAML, unknown keys refused.
//!
//! A [`Config`] that exists is valid as a whole. The contract is `conf/portcullis.yml`.

mod access;
mod advice;
mod beside;
mod host;
mod identity;
mod later;
mod limits;
mod listen;
mod load;
mod origin;
mod problem;
mod reader;
mod redirects;
mod registries;
mod telemetry;
mod tls;
mod tokens;
mod units;
mod upstream;
mod yaml;

#[cfg(test)]
mod tests;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

pub use access::{Access, Grant, Subject};
pub use beside::Beside;
pub use host::Host;
pub use identity::{Htpasswd, Identity, Provider};
pub use limits::Limits;
pub use listen::Listen;
pub use origin::{Origin, SplitUrl};
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
    pub log: Log,
    pub reload: Reload,
    pub shutdown: Shutdown,
    /// What is allowed but looks like a mistake, with file, line and column.
    pub warnings: Vec<Problem>,
}

impl Config {
    /// Reads and checks the file; every problem found is reported, not only the first.
    pub fn load(path: &Path) -> Result<Self, Problems> {
        load::load(path)
    }

    /// `listen.admin` alone, `None` where it is off. Whatever else is wrong with the file does not matter: a process
    /// may be running with what the file said before.
    pub fn admin_address(path: &Path) -> Result<Option<SocketAddr>, Problems> {
        load::admin_address(path)
    }
}
