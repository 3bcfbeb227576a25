use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// Takes a write each time that it is told to, and keeps them.
struct Slow {
    go: Receiver<()>,
    kept: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.go.recv();
        self.kept.lock().unwrap().push(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

type Kept = Arc<Mutex<Vec<Vec<u8>>>>;

fn slow(room: usize) -> (Writer, Sender<()>, Kept) {
    let (sender, go) = channel();
    let kept = Kept::default();
    (Writer::start(Slow { go, kept: Arc::clone(&kept) }, room, PIECE).unwrap(), sender, kept)
}

fn text(kept: &Kept) -> String {
    String::from_utf8(kept.lock().unwrap().concat()).unwrap()
}

fn eventually(holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_reader_that_is_stuck_holds_nobody_up_and_what_is_missing_is_said_where_it_is_missing() {
    let (writer, go, kept) = slow(1000);
    writer.push(b"first\n", 1);
    eventually(|| writer.0.waiting().lines.is_empty());
    for number in 0..500 {
        writer.push(format!("line {number}\n").as_bytes(), 1);
    }
    let begun = Instant::now();
    writer.flush(Duration::from_millis(50));
    assert!(begun.elapsed() < PATIENCE);
    drop(go);
    writer.flush(PATIENCE);
    writer.push(b"last\n", 1);
    writer.flush(PATIENCE);
    let said = text(&kept);
    let lines: Vec<&str> = said.lines().collect();
    let fit = lines.iter().filter(|line| line.starts_with("line ")).count();
    assert!(fit > 50 && fit < 200, "{said}");
    let expected: Vec<String> = (0..fit).map(|number| format!("line {number}")).collect();
    assert_eq!(lines[0], "first");
    assert_eq!(lines[1..=fit], expected);
    let told: serde_json::Value = serde_json::from_str(lines[fit + 1]).unwrap();
    assert_eq!((&told["dropped"], &told["level"]), (&(500 - fit).into(), &"WARN".into()));
    assert_eq!(lines[fit + 2..], ["last"]);
}

#[test]
fn what_comes_together_is_written_together_and_no_line_is_torn() {
    let (writer, go, kept) = slow(ROOM);
    writer.push(b"first\n", 1);
    eventually(|| writer.0.waiting().lines.is_empty());
    let long = "x".repeat(3 * PIECE) + "\n";
    for number in 0..1000 {
        writer.push(format!("line {number}\n").as_bytes(), 1);
    }
    writer.push(long.as_bytes(), 1);
    writer.push(b"last\n", 1);
    drop(go);
    writer.flush(PATIENCE);
    let pieces = kept.lock().unwrap().clone();
    assert!(pieces.len() < 10, "{}", pieces.len());
    assert!(pieces.iter().all(|piece| piece.ends_with(b"\n")));
    assert!(pieces.iter().all(|piece| piece.len() <= PIECE || piece == long.as_bytes()));
    let said = text(&kept);
    assert_eq!(said.lines().count(), 1003);
    assert!(said.starts_with("first\nline 0\nline 1\n") && said.ends_with("x\nlast\n"));
}

/// A file that takes a few bytes at a time, says now and then that it would have to wait, and fails once.
struct Moody {
    calls: usize,
    kept: Kept,
}

impl Write for Moody {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.calls += 1;
        match self.calls {
            2 => return Err(ErrorKind::WouldBlock.into()),
            3 => return Err(ErrorKind::Interrupted.into()),
            7 => return Err(ErrorKind::BrokenPipe.into()),
            _ => {}
        }
        let some = bytes.get(..5).unwrap_or(bytes);
        self.kept.lock().unwrap().push(some.to_vec());
        Ok(some.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_cannot_be_written_is_counted() {
    let kept = Kept::default();
    let writer = Writer::start(Moody { calls: 0, kept: Arc::clone(&kept) }, ROOM, PIECE).unwrap();
    writer.push(b"one line of many\n", 1);
    writer.flush(PATIENCE);
    assert_eq!(text(&kept), "one line of many\n", "in pieces");
    writer.push(b"lost\n", 1);
    writer.push(b"lost\n", 1);
    writer.flush(PATIENCE);
    let said = text(&kept);
    let told: serde_json::Value = serde_json::from_str(said.lines().nth(1).unwrap()).unwrap();
    assert_ne!(told["dropped"], 0);
    writer.push(b"there again\n", 1);
    writer.flush(PATIENCE);
    assert!(text(&kept).ends_with("\nthere again\n"));
}

#[test]
fn lines_of_many_threads_are_whole_and_each_threads_are_in_order() {
    let (writer, go, kept) = slow(ROOM);
    drop(go);
    thread::scope(|scope| {
        for name in 0..8 {
            let writer = &writer;
            scope.spawn(move || (0..500).for_each(|number| writer.push(format!("{name} {number}\n").as_bytes(), 1)));
        }
    });
    writer.flush(PATIENCE);
    let said = text(&kept);
    for name in 0..8 {
        let numbers = said.lines().filter_map(|line| line.strip_prefix(&format!("{name} ")));
        assert!(numbers.eq((0..500).map(|number| number.to_string())), "{name}");
    }
}

/// Each write brings another line, as long as the place is taken.
struct Endless(Arc<Mutex<Option<Writer>>>);

impl Write for Endless {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().iter().for_each(|writer| writer.push(b"another one\n", 1));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whoever waits for the last line must not wait for those that others write meanwhile.
#[test]
fn a_flush_ends_though_lines_keep_coming() {
    let others = Arc::default();
    let writer = Writer::start(Endless(Arc::clone(&others)), ROOM, PIECE).unwrap();
    *others.lock().unwrap() = Some(Writer(Arc::clone(&writer.0)));
    writer.push(b"first\n", 1);
    let begun = Instant::now();
    writer.flush(PATIENCE);
    *others.lock().unwrap() = None;
    assert!(begun.elapsed() < PATIENCE);
}

/// Takes so many bytes, then nothing once, then all.
struct Full(Vec<usize>, Kept);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.0.pop().unwrap_or(bytes.len()).min(bytes.len());
        if taken == 0 {
            return Err(ErrorKind::StorageFull.into());
        }
        self.1.lock().unwrap().push(bytes[..taken].to_vec());
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_line_that_broke_off_is_a_line_of_its_own() {
    let kept = Kept::default();
    let writer = Writer::start(Full(vec![0, 3], Arc::clone(&kept)), ROOM, PIECE).unwrap();
    writer.push(b"first\n", 1);
    writer.flush(PATIENCE);
    writer.push(b"last\n", 1);
    writer.flush(PATIENCE);
    let said = text(&kept);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((lines.len(), lines[0], lines[2]), (3, "fir", "last"), "{said}");
    assert!(lines[1].contains("lines are missing here"), "{said}");
}
