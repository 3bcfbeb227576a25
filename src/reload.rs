//! A changed configuration while the gate runs: built whole, then put in force as one snapshot, or not at all.

use std::{path::Path, sync::Arc};

use arc_swap::ArcSwap;
use tracing::{error, info, warn};

use crate::{
    config::{Config, Problems},
    runtime::{BuildError, Runtime},
    telemetry::metrics,
    token::{KeyError, Keys},
};

/// Why the configuration in force stays.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error("{0}")]
    Config(#[from] Problems),
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// Reads the configuration again and puts it in force: registries, identity, tokens, grants and limits of requests.
/// Requests under way end under the snapshot they began with. Blocks while files are read.
///
/// What holds for the whole process stays as it was at the start: `listen`, `tls`, `log`, `reload`, `shutdown` and the
/// limits of connections.
///
/// # Errors
/// Whatever keeps the file or what it names from being used; then nothing has changed.
pub fn reload(path: &Path, runtime: &ArcSwap<Runtime>) -> Result<(), ReloadError> {
    let outcome = rebuilt(path, &runtime.load());
    metrics::reloaded(outcome.is_ok());
    match outcome {
        Ok(changed) => {
            runtime.store(Arc::new(changed));
            info!(file = %path.display(), "the configuration was read again and is in force");
            Ok(())
        }
        Err(error) => {
            error!(file = %path.display(), "the configuration cannot be used, the one in force stays: {error}");
            Err(error)
        }
    }
}

fn rebuilt(path: &Path, current: &Runtime) -> Result<Runtime, ReloadError> {
    let config = Config::load(path)?;
    for warning in &config.warnings {
        warn!("{warning}");
    }
    let keys = Arc::new(Keys::load_or_create(&config.tokens.keys)?);
    Ok(current.rebuild(&config, keys)?)
}
