//! The thread that writes: whoever logs hands it a line and goes on, however slow the reader of standard error is.

use std::{
    fs::File,
    io::{self, ErrorKind, Write},
    os::fd::AsFd as _,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tracing::Level;

use super::line::{Head, at_desk};
use crate::telemetry::metrics;

/// Bytes that wait to be written, those being written apart.
const ROOM: usize = 4 * 1024 * 1024;
/// What a buffer keeps once it is written.
const KEPT: usize = 512 * 1024;
/// Lines that come this soon after others are written with those that follow.
const GATHER: Duration = Duration::from_millis(20);
/// So many bytes are written without waiting for more.
const ENOUGH: usize = 256 * 1024;
/// What a pipe takes as a whole (`PIPE_BUF`, pipe(7)): the lines of two processes that share one, as at the exchange of the
/// binary, stay lines.
const PIECE: usize = 4096;
/// Whoever shares a file writes at its end, or at a place that is shared too: a piece stays whole however long it is.
const PIECE_OF_FILE: usize = 256 * 1024;
/// Where the reader is slow and the file does not wait for it.
const RETRY: Duration = Duration::from_millis(10);

pub(super) struct Writer(Arc<Desk>);

struct Desk {
    room: usize,
    waiting: Mutex<Waiting>,
    /// There is something to write.
    more: Condvar,
    /// All is written.
    done: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Lines that found no room since the last that did.
    dropped: u64,
    /// Lines that came, whether or not they found room.
    came: u64,
    /// Of those, the ones that the thread has taken, and those that it is done with.
    taken: u64,
    done: u64,
    /// The thread waits for something to write.
    idle: bool,
    /// Somebody waits until all is written.
    urgent: bool,
}

impl Writer {
    pub(super) fn of_standard_error() -> io::Result<Self> {
        // Not behind std's lock: whoever complains there must not wait for a reader either.
        let file = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        let piece = if file.metadata()?.is_file() { PIECE_OF_FILE } else { PIECE };
        Self::start(file, ROOM, piece)
    }

    fn start(sink: impl Write + Send + 'static, room: usize, piece: usize) -> io::Result<Self> {
        let desk = Arc::new(Desk { room, waiting: Mutex::default(), more: Condvar::new(), done: Condvar::new() });
        let own = Arc::clone(&desk);
        thread::Builder::new().name("log".to_owned()).spawn(move || own.work(sink, piece))?;
        Ok(Self(desk))
    }

    /// Takes so many whole lines, or counts them where there is no room.
    pub(super) fn push(&self, lines: &[u8], count: u64) {
        let mut waiting = self.0.waiting();
        waiting.came += count;
        let before = waiting.lines.len();
        let length = before + lines.len();
        if length <= self.0.room {
            waiting.lines.extend_from_slice(lines);
        } else {
            waiting.dropped += count;
            metrics::log_lines_dropped(count);
        }
        let is_enough = before < ENOUGH && length >= ENOUGH;
        if std::mem::take(&mut waiting.idle) || is_enough {
            drop(waiting);
            self.0.more.notify_all();
        }
    }

    /// Returns once all is written that was pushed before, or this time has passed.
    pub(super) fn flush(&self, patience: Duration) {
        let begun = Instant::now();
        let mut waiting = self.0.waiting();
        // What comes meanwhile is not waited for: under load there is no end to that.
        let last = waiting.came;
        while waiting.done < last {
            let left = patience.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return;
            }
            waiting.urgent = true;
            self.0.more.notify_all();
            waiting = self.0.done.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Desk {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, mut sink: impl Write, piece: usize) {
        let mut lines = Vec::new();
        loop {
            let dropped = self.next(&mut lines);
            let lost = write_lines(&mut sink, &lines, piece);
            if lost > 0 {
                metrics::log_lines_dropped(lost);
            }
            lines.clear();
            lines.shrink_to(KEPT);
            // Behind what was there first, before what comes now.
            if dropped + lost > 0 {
                write_lines(&mut sink, &told(dropped + lost), piece);
            }
            self.gather();
        }
    }

    /// Waits for lines, and takes them; how many found no room behind them.
    fn next(&self, lines: &mut Vec<u8>) -> u64 {
        let mut waiting = self.waiting();
        waiting.done = waiting.taken;
        waiting.urgent = false;
        self.done.notify_all();
        while waiting.lines.is_empty() && waiting.dropped == 0 {
            waiting.idle = true;
            waiting = self.more.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.idle = false;
        waiting.taken = waiting.came;
        std::mem::swap(&mut waiting.lines, lines);
        std::mem::take(&mut waiting.dropped)
    }

    /// Lets lines come together, unless somebody waits or there are many already.
    fn gather(&self) {
        let waiting = self.waiting();
        let goes_on = |waiting: &mut Waiting| !waiting.urgent && waiting.lines.len() < ENOUGH;
        let _ = self.more.wait_timeout_while(waiting, GATHER, goes_on);
    }
}

/// Writes whole lines, some at a time; how many could not be written.
fn write_lines(sink: &mut impl Write, lines: &[u8], most: usize) -> u64 {
    let mut lost = 0;
    let mut rest = lines;
    while !rest.is_empty() {
        let (piece, behind) = split(rest, most);
        if let Err(written) = write_all(sink, piece) {
            lost += count(piece);
            // What follows is no part of a line that broke off.
            if written > 0 {
                let _ = write_all(sink, b"\n");
            }
        }
        rest = behind;
    }
    lost
}

/// The first lines, as many as go together, and the rest.
fn split(lines: &[u8], most: usize) -> (&[u8], &[u8]) {
    let ends = |within: &[u8]| within.iter().rposition(|byte| *byte == b'\n');
    let end = match lines.get(..most) {
        None => None,
        Some(first) => ends(first).or_else(|| lines.iter().position(|byte| *byte == b'\n')),
    };
    end.and_then(|end| lines.split_at_checked(end + 1)).unwrap_or((lines, &[]))
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().map(|byte| u64::from(*byte == b'\n')).sum()
}

/// Where it fails: how many bytes were written.
fn write_all(sink: &mut impl Write, bytes: &[u8]) -> Result<(), usize> {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match sink.write(rest) {
            Ok(0) => return Err(written),
            Ok(more) => written += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Somebody who has the same file made it so.
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY),
            Err(_) => return Err(written),
        }
    }
    Ok(())
}

/// The line that says so.
fn told(dropped: u64) -> Vec<u8> {
    const WHAT: &str = "the log could not be written for a while: lines are missing here";
    let head = Head { level: &Level::WARN, target: module_path!(), message: Some(WHAT) };
    let told = std::cell::RefCell::new(Vec::new());
    at_desk(|desk, format| {
        let line = desk.line(format, &head, |fields| fields.bare("dropped", dropped));
        told.borrow_mut().extend_from_slice(line);
    });
    told.into_inner()
}

#[cfg(test)]
mod tests;
