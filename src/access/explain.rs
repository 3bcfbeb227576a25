//! The same walk, kept as a report.

use std::{fmt, path::Path, ptr, sync::Arc};

use super::{
    Asker, Policy,
    grant::{Grant, Obstacle},
};
use crate::registry::{Action, RepositoryName};

/// Why a question is answered the way it is. Displays as lines for a human, `ALLOW …` or `DENY …` first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub action: Action,
    pub repository: RepositoryName,
    /// The grant that allows it; None: denied.
    pub grant: Option<GrantPlace>,
    /// Grants for the repository that do not apply, in the order of the file.
    pub near_misses: Vec<NearMiss>,
}

/// A grant and the line of the configuration file (1-based) where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantPlace {
    pub name: Arc<str>,
    pub line: usize,
}

/// A grant whose patterns match the repository and which does not allow the action to this caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearMiss {
    pub grant: GrantPlace,
    /// At least one.
    pub obstacles: Vec<Obstacle>,
}

impl Policy {
    /// Answers what [`Policy::authorize`] would find in the grants, before any token limit, and says why.
    pub fn explain(&self, asker: Asker<'_>, action: Action, repository: &RepositoryName) -> Explanation {
        let mut near: Vec<&Grant> =
            self.candidates(repository).filter(|grant| grant.covers(asker, repository)).collect();
        near.sort_by_key(|grant| grant.line);
        near.dedup_by(|a, b| ptr::eq(*a, *b));
        Explanation {
            action,
            repository: repository.clone(),
            grant: self.deciding(asker, repository, action).map(GrantPlace::of),
            near_misses: near.into_iter().filter_map(|grant| near_miss(grant, asker, action, repository)).collect(),
        }
    }
}

fn near_miss(grant: &Grant, asker: Asker<'_>, action: Action, repository: &RepositoryName) -> Option<NearMiss> {
    let other_action = (!grant.actions.contains(action)).then_some(Obstacle::Action(grant.actions));
    let obstacles: Vec<Obstacle> = grant.obstacles(asker, repository).chain(other_action).collect();
    (!obstacles.is_empty()).then(|| NearMiss { grant: GrantPlace::of(grant), obstacles })
}

impl Explanation {
    pub fn allowed(&self) -> bool {
        self.grant.is_some()
    }

    /// The report with every grant placed as `file:line`.
    pub fn located<'a>(&'a self, file: &'a Path) -> impl fmt::Display + 'a {
        Located { explanation: self, file: Some(file) }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Located { explanation: self, file: None }.fmt(f)
    }
}

impl GrantPlace {
    pub(super) fn of(grant: &Grant) -> Self {
        Self { name: Arc::clone(&grant.name), line: grant.line }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, file: Option<&Path>) -> fmt::Result {
        match file {
            Some(file) => write!(f, "{:?} ({}:{})", self.name, file.display(), self.line),
            None => write!(f, "{:?} (line {})", self.name, self.line),
        }
    }
}

struct Located<'a> {
    explanation: &'a Explanation,
    file: Option<&'a Path>,
}

impl fmt::Display for Located<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Explanation { action, repository, grant, near_misses } = self.explanation;
        match grant {
            Some(grant) => {
                write!(f, "ALLOW  {action} {repository}  by grant ")?;
                grant.write(f, self.file)?;
            }
            None => write!(f, "DENY   {action} {repository}  no grant allows it")?,
        }
        for miss in near_misses {
            f.write_str("\n  near miss: grant ")?;
            miss.grant.write(f, self.file)?;
            for (position, obstacle) in miss.obstacles.iter().enumerate() {
                write!(f, "{} {obstacle}", if position == 0 { ":" } else { ";" })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
