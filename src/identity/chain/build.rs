//! A chain out of a configuration, and what becomes of it when the configuration or a file changes.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Chain, member::Member};
use crate::{
    config::{self, FailedLogins, Problem},
    identity::{
        Barred, DirectoryProblem, DirectoryState, Htpasswd,
        admission::Admission,
        cache::Successes,
        ldap::{self, Ldap},
        spelling,
        workers::Workers,
    },
    telemetry::metrics,
    tls::FileFault,
};

/// The chain could not be built.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct ChainError {
    /// The file that is at fault.
    pub file: Option<PathBuf>,
    pub reason: String,
}

impl Chain {
    /// Reads what the providers need. The error says which file cannot be read and what to do.
    pub fn build(config: &config::Identity) -> Result<Self, ChainError> {
        let without = |_| ChainError { file: None, reason: "the system gives no random numbers".to_owned() };
        let successes = Successes::new().map_err(without)?;
        Self::assemble(config, Arc::new(successes), Arc::new(Workers::new()), None)
    }

    /// A chain for a changed configuration. It goes on with the remembered logins of this one, as far as their proofs
    /// still hold, so that a reload does not have everybody verified anew. A password file that it had before and that
    /// cannot be read now keeps its last content: that must not stand in the way of a ban. One whose content did not change is not
    /// parsed again, and a directory that is configured as before keeps its connections and what it said. What failed of late
    /// still counts.
    pub fn rebuild(&self, config: &config::Identity) -> Result<Self, ChainError> {
        let next = Self::assemble(config, Arc::clone(&self.successes), Arc::clone(&self.workers), Some(self))?;
        Ok(Self { admission: self.admission.goes_on(), ..next })
    }

    /// The chain with a limit on failed logins; without one it has none.
    #[must_use]
    pub fn limited(self, failed_logins: Option<FailedLogins>) -> Self {
        Self { admission: self.admission.limited(failed_logins), ..self }
    }

    fn assemble(
        config: &config::Identity,
        successes: Arc<Successes>,
        workers: Arc<Workers>,
        before: Option<&Self>,
    ) -> Result<Self, ChainError> {
        let mut members = Vec::new();
        let (mut files, mut directories) = (Vec::new(), Vec::new());
        let known = before.map_or(&[][..], |before| &before.files);
        let known_directories = before.map_or(&[][..], |before| &before.directories);
        let former = before.map_or(&[][..], |before| &before.members);
        for provider in &config.providers {
            match provider {
                config::Provider::Htpasswd(htpasswd) => {
                    let name = numbered("htpasswd", files.len() + 1);
                    let open = || Htpasswd::open_as(Arc::clone(&name), htpasswd.file.clone(), Arc::clone(&workers));
                    let file = match known.iter().find(|file| file.is(&name, &htpasswd.file)) {
                        Some(known) => Arc::clone(known),
                        None => Arc::new(open().map_err(|error| unreadable(&htpasswd.file, &error))?),
                    };
                    files.push(Arc::clone(&file));
                    members.push(Member::new(name, file).following(former));
                }
                config::Provider::Ldap(settings) => {
                    let name = numbered("ldap", directories.len() + 1);
                    let lifetime = config.cache;
                    let namesake = known_directories.iter().find(|known| known.has_name(&name));
                    let open = || Ldap::new(Arc::clone(&name), settings, lifetime, namesake.map(|known| &**known));
                    let same = |known: &&Arc<Ldap>| known.is(&name, settings, lifetime);
                    let directory = match known_directories.iter().find(same) {
                        Some(known) => Arc::clone(known),
                        None => Arc::new(open().map_err(|error| untrusted(&error))?),
                    };
                    directories.push(Arc::clone(&directory));
                    members.push(Member::new(name, directory).following(former));
                }
            }
        }
        let chain = Self {
            members,
            files,
            directories,
            groups: groups_by_user(config),
            disabled: config.disabled_users.iter().cloned().collect(),
            disabled_folded: config.disabled_users.iter().map(|name| spelling::folded(name)).collect(),
            lifetime: config.cache,
            successes,
            admission: Admission::new(),
            workers,
        };
        // What is new was read just now, the rest is looked at.
        if before.is_none_or(|before| before.files.is_empty()) {
            metrics::htpasswd_readable(true);
        } else {
            chain.refresh();
        }
        Ok(chain)
    }

    /// Reads what the providers need and keeps nothing of it: the lines that will never match, and each file that cannot
    /// be read.
    pub fn check(config: &config::Identity) -> (Vec<Problem>, Vec<ChainError>) {
        let (mut problems, mut errors) = (Vec::new(), Vec::new());
        for provider in &config.providers {
            match provider {
                config::Provider::Htpasswd(htpasswd) => match Htpasswd::check_file(&htpasswd.file) {
                    Ok(found) => problems.extend(found),
                    Err(error) => errors.push(unreadable(&htpasswd.file, &error)),
                },
                config::Provider::Ldap(settings) => {
                    errors.extend(ldap::check(settings).err().map(|error| untrusted(&error)));
                }
            }
        }
        (problems, errors)
    }

    /// The names that the password files hold, also on lines that let nobody in; None where a directory may hold more, or
    /// a file cannot be read.
    pub fn names(config: &config::Identity) -> Option<HashSet<Arc<str>>> {
        let mut names = HashSet::new();
        for provider in &config.providers {
            match provider {
                config::Provider::Htpasswd(htpasswd) => names.extend(Htpasswd::names(&htpasswd.file).ok()?),
                config::Provider::Ldap(_) => return None,
            }
        }
        Some(names)
    }

    /// Asks every server of every directory once, and says what stands in the way of each. Must not be called where a
    /// directory's roots cannot be used: [`Chain::check`] finds that.
    pub async fn try_out(config: &config::Identity) -> Vec<(&config::Ldap, DirectoryProblem)> {
        let mut found = Vec::new();
        for provider in &config.providers {
            let config::Provider::Ldap(settings) = provider else { continue };
            let problems = ldap::try_out(settings).await.unwrap_or_default();
            found.extend(problems.into_iter().map(|problem| (&**settings, problem)));
        }
        found
    }

    /// Begins to probe the servers of directories that are not probed yet, and to show the providers in metrics. To be called
    /// within a tokio runtime.
    pub fn watch(&self) {
        self.members.iter().for_each(|member| member.counts.show());
        self.directories.iter().for_each(|directory| directory.watch());
    }

    /// Ends the probes of directories that are no longer asked, and takes their servers out of the metrics.
    pub fn retires(&self, before: &Self) {
        let stays = |known: &Arc<Ldap>| self.directories.iter().any(|directory| Arc::ptr_eq(directory, known));
        before.directories.iter().filter(|known| !stays(known)).for_each(|known| known.rest());
        let servers = |chain: &Self| -> HashSet<(String, String)> {
            let all = chain.directories.iter().flat_map(|directory| directory.servers());
            all.map(|(provider, server)| (provider.to_owned(), server.to_owned())).collect()
        };
        for (provider, server) in servers(before).difference(&servers(self)) {
            metrics::ldap_gone(provider, server);
        }
    }

    /// The files that cannot be read now, and why; what they said last is in force.
    pub fn unreadable(&self) -> impl Iterator<Item = (&Path, String)> {
        self.files.iter().filter_map(|file| Some((file.path(), file.trouble()?)))
    }

    /// How the servers of its directories are.
    pub fn directory_states(&self) -> impl Iterator<Item = DirectoryState> {
        self.directories.iter().flat_map(|directory| directory.states())
    }

    /// How many names and networks have too many failed logins at the moment.
    pub fn barred(&self) -> Barred {
        self.admission.barred()
    }

    /// Looks at changed files once; called at `reload.interval`. Blocks while the files are read.
    pub fn refresh(&self) {
        if self.files.is_empty() {
            return;
        }
        let unreadable = self.files.iter().filter(|file| !file.reread()).count();
        metrics::htpasswd_readable(unreadable == 0);
    }
}

/// `htpasswd`, `htpasswd-2`, …: tokens say by it who proved the name.
fn numbered(kind: &str, number: usize) -> Arc<str> {
    if number == 1 { Arc::from(kind) } else { Arc::from(format!("{kind}-{number}")) }
}

fn unreadable(file: &Path, error: &std::io::Error) -> ChainError {
    let reason = format!(
        "cannot read the password file {}: {error}; make it with `portcullis hash USER`, and let the user that portcullis runs as read it",
        file.display()
    );
    ChainError { file: Some(file.to_owned()), reason }
}

fn untrusted(error: &FileFault) -> ChainError {
    let file = error.file.clone();
    let reason = file.as_ref().map_or_else(|| error.reason.clone(), |file| format!("{}: {error}", file.display()));
    ChainError { file, reason }
}

fn groups_by_user(config: &config::Identity) -> HashMap<String, Vec<Arc<str>>> {
    let mut groups: HashMap<String, Vec<Arc<str>>> = HashMap::new();
    for (group, users) in &config.groups {
        let group: Arc<str> = Arc::from(group.as_str());
        for user in users {
            let of_user = groups.entry(user.clone()).or_default();
            if !of_user.contains(&group) {
                of_user.push(Arc::clone(&group));
            }
        }
    }
    groups
}
