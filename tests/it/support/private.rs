//! Programs with mounts of their own: what they keep at fixed places of the machine goes to a folder of the test.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Process, assert_installed, assert_root, eventually};

/// Mounts each pair's first (a file or folder) over the second, which is made where it is missing, then becomes the
/// command behind `--`.
const MOUNT_AND_RUN: &str = r#"
set -e
while [ "$1" != -- ]; do
  [ -e "$2" ] || mkdir -p "$2"
  mount --bind "$1" "$2"
  shift 2
done
shift
exec "$@"
"#;

/// What a program finds at a place of the machine: a file or folder of the test.
type Mounts<'a> = &'a [(PathBuf, &'static str)];

/// A command that sees `mounts`, in an environment of PATH alone.
pub(crate) fn private(mounts: Mounts<'_>, program: &str) -> Command {
    wrapped(&["--mount"], mounts, program)
}

/// A service that listens on a Unix socket. Killed with all that it started when dropped.
pub(crate) struct Daemon {
    process: Process,
}

impl Daemon {
    /// Waits until `ready` says yes.
    pub(crate) fn start(dir: &Path, mounts: Mounts<'_>, command: &[&str], mut ready: impl FnMut() -> bool) -> Self {
        // In a process namespace of its own, the death of the first process is the death of all.
        let options = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
        let mut wrapped = wrapped(&options, mounts, command[0]);
        wrapped.args(&command[1..]).env("HOME", dir).env("TMPDIR", dir);
        let mut daemon = Self { process: Process::start(command[0], &mut wrapped, &dir.join("daemon.log")) };
        eventually(&format!("{} is ready", command[0]), || {
            assert!(daemon.process.ended().is_none(), "{} ended:\n{}", command[0], daemon.process.log());
            ready()
        });
        daemon
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.process.ended().is_some() {
            return;
        }
        // unshare ends after its child, and the child, the first of its namespace, after all others there.
        let pid = self.process.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let _ = Command::new("sh").args(["-c", "kill -KILL $0", children.trim()]).status();
    }
}

fn wrapped(options: &[&str], mounts: Mounts<'_>, program: &str) -> Command {
    assert_installed(program);
    assert_root(program);
    let mut command = Command::new("unshare");
    command.env_clear().envs(env::var_os("PATH").map(|path| ("PATH", path)));
    command.args(options).args(["sh", "-c", MOUNT_AND_RUN, "sh"]);
    for (own, place) in mounts {
        assert!(fs::exists(own).unwrap(), "{} is missing", own.display());
        command.arg(own).arg(place);
    }
    command.arg("--").arg(program);
    command
}
