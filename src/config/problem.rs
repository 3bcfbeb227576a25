//! What is wrong with a file: one line each, `file:line:column: error: message`.

use std::{
    cell::RefCell,
    fmt,
    path::{Path, PathBuf},
};

use super::named::{NamedFile, Names};

/// How bad a [`Problem`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is accepted; what it says is probably not what was meant.
    Warning,
}

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub severity: Severity,
    pub file: PathBuf,
    /// 1-based; 0 where the problem has no place (a missing file).
    pub line: usize,
    /// 1-based, counted in characters; 0 where the problem has no place.
    pub column: usize,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        for number in [self.line, self.column] {
            if number != 0 {
                write!(f, ":{number}")?;
            }
        }
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, ": {severity}: {}", self.message)
    }
}

/// One or more problems; Display prints one a line.
#[derive(Clone, Debug, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

/// A place in the file, 1-based; zeros where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// Collects the problems of one file while it is read, and what it names.
pub(super) struct Report<'a> {
    file: &'a Path,
    problems: RefCell<Vec<Problem>>,
    names: RefCell<Names>,
}

impl<'a> Report<'a> {
    pub(super) fn new(file: &'a Path) -> Self {
        Self { file, problems: RefCell::default(), names: RefCell::default() }
    }

    pub(super) fn file(&self) -> &'a Path {
        self.file
    }

    /// The folder that relative paths start from.
    pub(super) fn folder(&self) -> &'a Path {
        self.file.parent().unwrap_or_else(|| Path::new(""))
    }

    pub(super) fn error(&self, place: Place, message: impl fmt::Display) {
        self.push(Severity::Error, place, message.to_string());
    }

    pub(super) fn warning(&self, place: Place, message: impl fmt::Display) {
        self.push(Severity::Warning, place, message.to_string());
    }

    /// A file is named, which may turn out to be unusable.
    pub(super) fn name_file(&self, file: NamedFile) {
        self.names.borrow_mut().files.push(file);
    }

    /// Something else is named that may turn out to be unusable.
    pub(super) fn name(&self, key: &str, place: Place) {
        self.names.borrow_mut().others.push((key.to_owned(), place));
    }

    /// What was named until now.
    pub(super) fn names(&self) -> Names {
        self.names.borrow().clone()
    }

    /// True while no error was collected.
    pub(super) fn is_clean(&self) -> bool {
        self.problems.borrow().iter().all(|problem| problem.severity == Severity::Warning)
    }

    /// Everything collected, in the order of the file.
    pub(super) fn finish(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| (problem.line, problem.column));
        problems
    }

    fn push(&self, severity: Severity, place: Place, message: String) {
        let Place { line, column } = place;
        self.problems.borrow_mut().push(Problem { severity, file: self.file.to_owned(), line, column, message });
    }
}
