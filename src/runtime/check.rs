//! What is wrong with what a configuration names, all of it and where it is named.

use std::{fmt, path::Path};

use super::{PublicRegistry, Runtime};
use crate::{
    config::{self, Config, Host, Problem, Problems, Severity, Subject},
    events,
    identity::{Chain, ChainError},
    tls::{self, CertificateError, FileFault, acme},
    token::{KeyError, Keys},
    upstream::SetupError,
};

/// A check cannot know what is in force.
const AT_A_RELOAD: &str = "since it has ended, a reload refuses it, with all else that changed, unless it is the one in force; a start serves it";

/// What [`Runtime::check`] found.
#[derive(Debug, Default)]
pub struct Check {
    pub errors: Vec<Problem>,
    pub warnings: Vec<Problem>,
}

/// The configuration is well formed, but what it names cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("a registry without a host")]
    NoHost,
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("tls.acme: {0}")]
    Acme(#[from] FileFault),
    #[error("events: {0}")]
    Events(FileFault),
    #[error(transparent)]
    Identity(#[from] ChainError),
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(transparent)]
    Upstream(#[from] SetupError),
}

impl BuildError {
    /// True where no file is at fault, so that another try may find things mended though no file changed.
    pub fn is_elsewhere(&self) -> bool {
        match self {
            Self::NoHost
            | Self::Certificate(_)
            | Self::Keys(KeyError::Unusable { .. } | KeyError::NoneForRegistries) => false,
            // A folder is looked at when it is to be written to.
            Self::Acme(_) | Self::Events(_) => true,
            Self::Identity(ChainError { file, .. }) | Self::Upstream(SetupError { file, .. }) => file.is_none(),
            Self::Keys(KeyError::None | KeyError::Signing | KeyError::Publishing) => true,
        }
    }

    /// Everything that is wrong with a configuration which could not be used for this reason, in the order of the file.
    pub fn with_all_others(&self, config: &Config) -> Problems {
        let mut problems = Runtime::check(config).errors;
        let reason = self.problem(config, "");
        let is_same = |known: &Problem| {
            (known.line, known.column) == (reason.line, reason.column)
                && (known.line != 0 || known.message == reason.message)
        };
        if !problems.iter().any(is_same) {
            problems.push(reason);
        }
        problems.sort_by_key(|problem| (problem.line, problem.column));
        Problems(problems)
    }

    /// The error where the configuration names what is at fault, in this section of it at best.
    fn problem(&self, config: &Config, section: &str) -> Problem {
        let with = |file: &Path, reason: &dyn fmt::Display| {
            config.error_with(section, file, format_args!("{}: {reason}", file.display()))
        };
        match self {
            Self::Certificate(CertificateError { file, reason })
            | Self::Keys(KeyError::Unusable { path: file, reason })
            | Self::Upstream(SetupError { file: Some(file), reason, .. }) => with(file, reason),
            Self::Identity(ChainError { file: Some(file), reason }) => config.error_with(section, file, reason),
            Self::Acme(FileFault { file: Some(file), reason })
                if config.files().iter().any(|named| named.path == *file) =>
            {
                with(file, reason)
            }
            Self::Acme(FileFault { file: Some(file), reason }) => {
                config.error_at("tls.acme.storage", format_args!("{}: {reason}", file.display()))
            }
            Self::Acme(FileFault { file: None, reason }) => config.error_at("tls.acme", reason),
            Self::Events(FileFault { file: Some(file), reason })
                if config.files().iter().any(|named| named.path == *file) =>
            {
                with(file, reason)
            }
            Self::Events(FileFault { file: Some(file), reason }) => {
                config.error_at("events.storage", format_args!("{}: {reason}", file.display()))
            }
            Self::Events(FileFault { file: None, reason }) => config.error_at("events.endpoints", reason),
            Self::Identity(ChainError { file: None, .. }) => config.error_at("identity", self),
            Self::Upstream(SetupError { file: None, .. }) | Self::NoHost => {
                config.error_at(if section.is_empty() { "registries" } else { section }, self)
            }
            Self::Keys(KeyError::None | KeyError::NoneForRegistries | KeyError::Signing | KeyError::Publishing) => {
                let first = config.files().iter().find(|file| file.key.starts_with("tokens.keys"));
                config.error_at(first.map_or("tokens.keys", |file| &file.key), self)
            }
        }
    }
}

impl Runtime {
    /// Loads all that the server would, without making anything (a missing token key stays missing).
    pub fn check(config: &Config) -> Check {
        let mut check = Check::default();
        check.certificates(config);
        match config.tls.acme.as_ref().map(acme::Prepared::check).transpose() {
            Ok(told) => {
                let place = |text| config.error_at("tls.acme.storage", text);
                let told = told.flatten().map(place);
                check.warnings.extend(told.map(|problem| Problem { severity: Severity::Warning, ..problem }));
            }
            Err(error) => check.errors(config, "tls.acme", [error]),
        }
        match events::Prepared::check(&config.events) {
            Ok(told) => {
                let told = told.map(|text| config.error_at("events.storage", text));
                check.warnings.extend(told.map(|problem| Problem { severity: Severity::Warning, ..problem }));
            }
            Err(error) => check.errors(config, "events", [BuildError::Events(error)]),
        }
        check.registries(config);
        check.keys(config);
        let (problems, errors) = Chain::check(&config.identity);
        check.warnings.extend(problems);
        check.passwords(config);
        check.strangers(config);
        check.errors(config, "identity.providers", errors);
        check.errors.sort_by_key(|problem| (problem.line, problem.column));
        check.errors.dedup();
        check
    }
}

impl Check {
    fn certificates(&mut self, config: &Config) {
        let mut infos = Vec::new();
        for (index, files) in config.tls.certificates.iter().enumerate() {
            match tls::load(files) {
                Ok(loaded) => {
                    let refused = loaded.has_ended().then(|| AT_A_RELOAD.to_owned());
                    let told = loaded.warnings.into_iter().chain(refused);
                    self.warnings.extend(told.map(|text| warning(&files.certificate_file, text)));
                    infos.push(loaded.info);
                }
                Err(error) => self.errors(config, &format!("tls.certificates[{index}]"), [error]),
            }
        }
        // Where one could not be loaded, that is what has to be mended first.
        if self.errors.is_empty() {
            let issued: Vec<String> =
                config.tls.acme.iter().flat_map(|acme| acme.names()).map(ToString::to_string).collect();
            let hosts = config.registries.iter().flat_map(|registry| registry.hosts.clone());
            let hosts: Vec<Host> = hosts.filter(|host| !issued.iter().any(|name| **name == *host.name)).collect();
            let uncovered = tls::uncovered(&hosts, &infos);
            self.warnings.extend(uncovered.into_iter().map(|text| warning(&config.path, text)));
        }
    }

    fn registries(&mut self, config: &Config) {
        for (index, registry) in config.registries.iter().enumerate() {
            let made = PublicRegistry::new(registry, &config.tokens, None, None).map(drop);
            self.errors(config, &format!("registries[{index}]"), made.err());
        }
    }

    fn keys(&mut self, config: &Config) {
        let passes = config.registries.iter().any(|registry| {
            let routed = registry.routes.iter().map(|routed| &routed.upstream);
            routed.chain([&registry.upstream]).any(|upstream| upstream.pass_token)
        });
        let errors = match Keys::check(&config.tokens.keys) {
            Ok(can_pass) if can_pass || !passes => Vec::new(),
            Ok(_) => vec![KeyError::NoneForRegistries],
            Err(errors) => errors,
        };
        self.errors(config, "tokens.keys", errors);
    }

    fn passwords(&mut self, config: &Config) {
        for provider in &config.identity.providers {
            let config::Provider::Ldap(directory) = provider else { continue };
            let file = directory.service.as_ref().map(|service| &service.password_file);
            if let Some(file) = file.filter(|file| config::others_may_read(file)) {
                let key = format!("{}.bind_password_file", directory.key);
                let message = format_args!("{} can be read by others than its owner; chmod 600 it", file.display());
                self.warnings.push(Problem { severity: Severity::Warning, ..config.error_at(&key, message) });
            }
        }
    }

    /// Users in grants whom no provider holds.
    fn strangers(&mut self, config: &Config) {
        let Some(names) = Chain::names(&config.identity) else { return };
        for grant in &config.access.grants {
            for subject in &grant.to {
                if let Subject::User(user) = subject
                    && !names.contains(&**user)
                {
                    let message = format!(
                        "{:?} is for {user:?}, who is in no password file: add the user, or take it out of `to`",
                        grant.name
                    );
                    self.warnings.push(Problem { line: grant.line, ..warning(&config.path, message) });
                }
            }
        }
    }

    fn errors<E: Into<BuildError>>(&mut self, config: &Config, section: &str, errors: impl IntoIterator<Item = E>) {
        let told = errors.into_iter().map(|error| error.into().problem(config, section));
        self.errors.extend(told);
    }
}

fn warning(file: &Path, message: String) -> Problem {
    Problem { severity: Severity::Warning, file: file.to_owned(), line: 0, column: 0, message }
}
