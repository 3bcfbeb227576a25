//! A folder in which files are made once and never overwritten.

use std::{
    fs::{self, DirBuilder, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::Context;

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// 0600: it holds a secret.
    Owner,
    /// 0644.
    Everyone,
}

impl Access {
    fn mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Everyone => 0o644,
        }
    }
}

/// The folder, by its absolute path.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Makes the folder, readable by its owner alone, where it does not exist.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let make = || {
            DirBuilder::new().recursive(true).mode(0o700).create(path)?;
            DirBuilder::new().recursive(true).mode(0o700).create(path.join("tls"))?;
            path.canonicalize()
        };
        make().map(Self).with_context(|| format!("cannot use the folder {}", path.display()))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// True where something of that name exists, be it a link to nowhere.
    pub(super) fn has(&self, name: &str) -> anyhow::Result<bool> {
        match fs::symlink_metadata(self.0.join(name)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).with_context(|| format!("cannot look at {}", self.0.join(name).display())),
        }
    }

    pub(super) fn read(&self, name: &str) -> anyhow::Result<String> {
        let path = self.0.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Says that a file is reused.
    pub(super) fn keep(&self, name: &str, out: &mut impl Write) -> anyhow::Result<()> {
        writeln!(out, "  kept  {name}")?;
        Ok(())
    }

    /// Makes the file with this content unless it is there, and says which of the two. True where it was made.
    pub(super) fn ensure(
        &self,
        name: &str,
        access: Access,
        out: &mut impl Write,
        content: impl FnOnce() -> anyhow::Result<String>,
    ) -> anyhow::Result<bool> {
        if self.has(name)? || !self.create(name, access, &content()?)? {
            self.keep(name, out)?;
            return Ok(false);
        }
        writeln!(out, "  made  {name}")?;
        Ok(true)
    }

    /// Writes a temporary file and links it into place, which fails rather than replaces: the file is whole or not
    /// there, and nobody's file is lost. False where another was first.
    fn create(&self, name: &str, access: Access, content: &str) -> anyhow::Result<bool> {
        let path = self.0.join(name);
        let draft = path.with_added_extension(format!("{}.tmp", std::process::id()));
        let linked = write_new(&draft, access, content).and_then(|()| fs::hard_link(&draft, &path));
        let removed = fs::remove_file(&draft);
        match linked {
            Ok(()) => removed.map(|()| true).with_context(|| format!("cannot remove {}", draft.display())),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error).with_context(|| format!("cannot make {}", path.display())),
        }
    }
}

fn write_new(path: &Path, access: Access, content: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content.as_bytes())?;
    // Not by the mode at creation, from which the umask takes away.
    file.set_permissions(Permissions::from_mode(access.mode()))?;
    file.sync_all()
}
