//! Whether a file was written to since, by what the file system says of it.

use std::{
    fs::Metadata,
    os::unix::fs::MetadataExt as _,
    time::{Duration, Instant},
};

/// File systems know the time of a write to two seconds at worst. What has looked the same for longer than this was not
/// written to once more within the same tick of their clock.
const SETTLED: Duration = Duration::from_secs(3);

/// What the file system says of an open file. The time of the last change of the inode is part of it, which nobody can set
/// back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

/// How a file was found by its stamp, and whether that can be relied upon.
///
/// A write within the same tick as one before leaves no trace in a stamp. So the content counts that was read when the stamp
/// had been the same for a while, by this machine's clock alone: that of a file server may differ.
#[derive(Debug, Default)]
pub(super) struct Watched {
    seen: Option<(Stamp, Instant)>,
    /// The content was read while the stamp had settled.
    reliable: bool,
}

impl Watched {
    /// True where the content that was read last is still the file's. The metadata must be that of an open file, since a
    /// network file system asks its server at each opening, and of a path only now and then.
    pub(super) fn is_unchanged(&self, now: &Metadata) -> bool {
        self.reliable && self.seen.is_some_and(|(stamp, _)| stamp == Stamp::of(now))
    }

    /// Notes how the file was found before its content was read.
    pub(super) fn note(&mut self, before: &Metadata) {
        let stamp = Stamp::of(before);
        match self.seen {
            Some((known, since)) if known == stamp => self.reliable = since.elapsed() > SETTLED,
            Some(_) | None => *self = Self { seen: Some((stamp, Instant::now())), reliable: false },
        }
    }

    /// Nothing is known any more.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// As if the file had been seen like this for a while.
    #[cfg(test)]
    pub(super) fn settle(&mut self) {
        if let Some((_, since)) = &mut self.seen {
            *since = since.checked_sub(SETTLED * 2).unwrap();
        }
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            written: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}
