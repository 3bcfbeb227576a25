//! Where a program runs.

use std::{env, process::Command};

/// Here, or in a network namespace behind a link that somebody made before (`tests/lossy.sh`).
#[derive(Clone, Debug)]
pub(crate) struct Place {
    namespace: Option<String>,
    /// Where servers there listen, and what clients there dial.
    pub(crate) address: String,
}

impl Default for Place {
    fn default() -> Self {
        Self::here()
    }
}

impl Place {
    pub(crate) fn here() -> Self {
        Self { namespace: None, address: "127.0.0.1".to_owned() }
    }

    /// What a variable of the environment names as `NAMESPACE,ADDRESS`; here where it is not set.
    pub(crate) fn named_by(variable: &str) -> Self {
        let Ok(value) = env::var(variable) else { return Self::here() };
        let (namespace, address) = value.split_once(',').unwrap_or_else(|| panic!("{variable}: NAMESPACE,ADDRESS"));
        Self { namespace: Some(namespace.to_owned()), address: address.to_owned() }
    }

    pub(crate) fn is_here(&self) -> bool {
        self.namespace.is_none()
    }

    /// A program in an environment of PATH alone.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = match &self.namespace {
            None => Command::new(program),
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace, program]);
                command
            }
        };
        command.env_clear().envs(env::var_os("PATH").map(|path| ("PATH", path)));
        command
    }
}
