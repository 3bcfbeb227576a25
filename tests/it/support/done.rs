//! Commands of real clients: how they ended and what they said.

use std::{
    env, fs,
    io::{Read, Write},
    os::unix::fs::MetadataExt,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::process::missing;

/// A client that says nothing for so long hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert!(self.success, "the client failed: {}", self.stderr);
        self
    }

    /// Failed, and said one of these, written in lower case.
    #[track_caller]
    pub(crate) fn failed_with(self, reasons: &[&str]) -> Self {
        assert!(!self.success, "the client succeeded: {}", self.stdout);
        let said = self.stderr.to_lowercase();
        assert!(reasons.iter().any(|reason| said.contains(reason)), "failed for another reason: {}", self.stderr);
        self
    }
}

/// Runs a command to its end, with `input` on its standard input. Panics where it is not installed or does not end.
#[track_caller]
pub(crate) fn run(command: &mut Command, input: &str) -> Done {
    run_within(PATIENCE, command, input)
}

/// The same for a command that may take so long.
#[track_caller]
pub(crate) fn run_within(patience: Duration, command: &mut Command, input: &str) -> Done {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| missing(command, &error));
    // A command that does not read its input ends before all is written.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let readers = [thread::spawn(move || read(stdout)), thread::spawn(move || read(stderr))];
    let end = Instant::now() + patience;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if Instant::now() > end {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        thread::sleep(Duration::from_millis(5));
    };
    let [stdout, stderr] = readers.map(|reader| reader.join().unwrap());
    let status = status.unwrap_or_else(|| panic!("{command:?} did not end in {patience:?}: {stdout}{stderr}"));
    Done { success: status.success(), stdout, stderr }
}

fn read(mut stream: impl Read) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Panics where a program is not in PATH, which what starts it through another program would not tell.
pub(crate) fn assert_installed(program: &str) {
    let found = env::split_paths(&env::var_os("PATH").unwrap_or_default()).any(|folder| folder.join(program).is_file());
    assert!(found, "{program} is not installed: run tests/run.sh");
}

/// Panics where the tests do not run as root.
pub(crate) fn assert_root(program: &str) {
    let user = fs::metadata("/proc/self").unwrap().uid();
    assert_eq!(user, 0, "{program} needs root here, for mounts of its own: run the tests as root");
}
