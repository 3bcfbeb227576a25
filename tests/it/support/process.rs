//! A child process with a log.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read as _, Seek as _, SeekFrom},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// How long a process may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// Lines of log shown when a test fails.
const TAIL: usize = 60;

/// Ended when dropped; the end of its log is shown when the test failed.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    /// What tells it from any other process that comes to have the number of one that ended.
    command_line: Vec<u8>,
    /// The processes that took its place one after the other, which are nobody's children any more.
    successors: Mutex<Vec<u32>>,
}

impl Process {
    /// Starts it with standard output and error in one file.
    pub(crate) fn start(name: &str, command: &mut Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let child = loop {
            match command.spawn() {
                // A process that another test is starting holds the file which this test has just written.
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => thread::sleep(Duration::from_millis(10)),
                child => break child.unwrap_or_else(|error| missing(command, &error)),
            }
        };
        let command_line = [command.get_program()].into_iter().chain(command.get_args());
        let command_line = command_line.flat_map(|word| [word.as_bytes(), b"\0"].concat()).collect();
        Self { name: name.to_owned(), child, log: log.to_owned(), command_line, successors: Mutex::default() }
    }

    /// Its number, or that of the one which took its place.
    pub(crate) fn pid(&self) -> u32 {
        self.successor().unwrap_or_else(|| self.child.id())
    }

    fn successor(&self) -> Option<u32> {
        self.successors.lock().unwrap_or_else(PoisonError::into_inner).last().copied()
    }

    /// From now on another process, which it or its successor started, is the one that is meant.
    pub(crate) fn follow(&self, pid: u32) {
        self.successors.lock().unwrap_or_else(PoisonError::into_inner).push(pid);
    }

    /// Those of its processes that run, the first and its successors.
    pub(crate) fn running(&mut self) -> Vec<u32> {
        // Takes leave of the first where it ended.
        let _ = self.child.try_wait();
        let successors = self.successors.lock().unwrap_or_else(PoisonError::into_inner).clone();
        [self.child.id()].into_iter().chain(successors).filter(|pid| self.runs(*pid)).collect()
    }

    /// One that ended and whose status nobody asked for has no command line. A successor may have more arguments.
    fn runs(&self, pid: u32) -> bool {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(&self.command_line))
    }

    /// All that it wrote so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// What it wrote after so many bytes.
    pub(crate) fn log_after(&self, bytes: u64) -> String {
        let mut text = Vec::new();
        let mut file = File::open(&self.log).unwrap();
        file.seek(SeekFrom::Start(bytes)).unwrap();
        file.read_to_end(&mut text).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// How many bytes it wrote so far.
    pub(crate) fn log_size(&self) -> u64 {
        fs::metadata(&self.log).unwrap().len()
    }

    /// How it ended. Of a successor nobody can tell but itself, in its log.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let first = self.child.try_wait().unwrap();
        match self.successor() {
            None => first,
            Some(pid) if self.runs(pid) => None,
            Some(_) => Some(ExitStatus::default()),
        }
    }

    /// Sends a signal by its short name: `TERM`, `HUP`, `STOP`, `CONT`, `KILL`.
    pub(crate) fn signal(&self, name: &str) {
        assert!(signal(self.pid(), name), "cannot signal {}", self.name);
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        for pid in self.running() {
            let _ = signal(pid, "KILL");
        }
    }

    /// SIGTERM, then SIGKILL after a bound. `None` where it had to be killed.
    pub(crate) fn stop(&mut self) -> Option<ExitStatus> {
        if let Some(status) = self.ended() {
            return Some(status);
        }
        self.signal("CONT");
        self.signal("TERM");
        let end = Instant::now() + GRACE;
        while Instant::now() < end {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.kill();
        None
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            eprintln!("--- end of the log of {} (pid {})", self.name, self.pid());
            for line in &lines[lines.len().saturating_sub(TAIL)..] {
                eprintln!("{line}");
            }
            eprintln!("---");
            // No second panic while one is under way.
            let _ = self.child.kill();
            let _ = self.child.wait();
        } else {
            self.stop();
        }
        for pid in self.running() {
            let _ = signal(pid, "KILL");
        }
    }
}

/// False where there is no such process.
fn signal(pid: u32, name: &str) -> bool {
    Command::new("sh").args(["-c", "kill -\"$0\" \"$1\"", name, &pid.to_string()]).status().unwrap().success()
}

/// The end of a test whose component is not there.
pub(crate) fn missing(command: &Command, error: &std::io::Error) -> ! {
    let program = command.get_program().to_string_lossy();
    assert!(error.kind() != ErrorKind::NotFound, "{program} is not installed: run tests/run.sh");
    panic!("cannot start {program}: {error}");
}
