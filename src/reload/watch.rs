//! Reload by content: looks at the files again and again.

use std::{path::PathBuf, sync::Arc};

use super::{Cause, Fault, Reloader};
use crate::config::Provider;

/// Reads the configuration again when its content, or that of a file it names, changed, for as long as it runs.
/// `reload.watch` and `reload.interval` are those of the configuration in force. `told` hears each time whether what was
/// read can be used.
pub async fn watch(reloader: Arc<Reloader>, told: fn(bool)) {
    loop {
        let settings = reloader.config().reload.clone();
        tokio::select! {
            () = tokio::time::sleep(settings.interval) => {}
            () = reloader.replaced.notified() => continue,
        }
        if settings.watch {
            let reloader = Arc::clone(&reloader);
            // Reading large files and parsing them must not hold up the requests of this worker.
            if let Ok(Some(usable)) = tokio::task::spawn_blocking(move || reloader.look()).await {
                told(usable);
            }
        }
    }
}

impl Reloader {
    /// Looks once, and acts on what changed. Where that was to read the configuration again: whether it can be used.
    /// Blocks.
    fn look(&self) -> Option<bool> {
        let known = self.looks().latest.clone();
        let mut now = known.again();
        if !now.differences(&known).is_empty() {
            now = now.settled();
        }
        let _turn = self.turn();
        // A signal may have been faster.
        let changed = now.differences(&self.looks().latest);
        let users = self.password_files();
        if changed.iter().any(|path| users.contains(path)) || self.runtime.load().chain.unreadable().next().is_some() {
            // They act whatever becomes of the configuration: that is how people are banned.
            self.runtime.load().chain.refresh();
        }
        let failure = self.looks().failure;
        let only_users = failure.is_none() && changed.iter().all(|path| users.contains(path));
        if changed.is_empty() && failure != Some(Fault::Elsewhere) || only_users {
            let mut looks = self.looks();
            looks.latest.learn(&now, &changed);
            looks.in_force.learn(&now, &changed);
            None
        } else {
            // The log says what was wrong.
            Some(self.read_again(Cause::Change).is_ok())
        }
    }

    /// The files whose users change without the configuration: named by the one in force, and for nothing else.
    fn password_files(&self) -> Vec<PathBuf> {
        let config = self.config();
        let only_users = |path: &PathBuf| {
            let mut named = config.files().iter().filter(|file| file.path == *path);
            named.all(|file| file.key.ends_with(".htpasswd.file"))
        };
        let file_of = |provider: &Provider| match provider {
            Provider::Htpasswd(htpasswd) => Some(htpasswd.file.clone()),
            Provider::Ldap(_) => None,
        };
        config.identity.providers.iter().filter_map(file_of).filter(only_users).collect()
    }
}
