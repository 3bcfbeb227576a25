//! Whether a secret is kept from others.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

/// True where others than those who need the file may read it. One that another account provides, as Kubernetes mounts a
/// secret and root writes a configuration, can be read through the group alone.
pub fn others_may_read(file: &Path) -> bool {
    let Ok(metadata) = fs::metadata(file) else { return false };
    let own = fs::metadata("/proc/self").map_or(metadata.uid(), |own| own.uid());
    is_shared(metadata.mode(), metadata.uid(), own)
}

fn is_shared(mode: u32, owner: u32, own: u32) -> bool {
    /// It looks at what others are to read.
    const ROOT: u32 = 0;
    mode & 0o007 != 0 || mode & 0o070 != 0 && owner == own && own != ROOT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_can_read_a_secret() {
        for (mode, owner, own, shared) in [
            (0o600, 1, 1, false),
            (0o640, 1, 1, true),
            (0o644, 1, 1, true),
            (0o440, 0, 1, false),
            (0o444, 0, 1, true),
            (0o640, 0, 0, false),
            (0o644, 0, 0, true),
        ] {
            assert_eq!(is_shared(mode, owner, own), shared, "{mode:o} of {owner} for {own}");
        }
    }
}
