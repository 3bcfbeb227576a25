//! SIGTERM under load: whoever was let in is served to the end, and then nobody is.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{acts::STEADY, crowd::Crowd, scene::Scene};
use crate::support::{Dice, Portcullis, Registry, dial, dialled, eventually};

#[test]
fn a_stop_breaks_nothing() {
    let clients = dialled("LIVE_CLIENTS", 64);
    let time = Duration::from_secs(dial("LIVE_STOP_SECONDS", 2));
    let think = dial("LIVE_THINK_MS", 60);
    let seed = dial("SEED", u64::from(std::process::id()));
    let (mut scene, mut dice) = (Scene::new(), Dice::new(seed));
    let crowd = Crowd::new();
    let begin = Instant::now();
    let took = thread::scope(|scope| {
        crowd.gather(scope, &scene, &STEADY, (clients, think), &mut dice);
        thread::sleep(time);
        crowd.stopping.store(true, Ordering::SeqCst);
        crowd.figures.changes_begin();
        let begin = Instant::now();
        scene.gate.until_it_says(r#""stopped""#, || scene.gate.signal("TERM"));
        // Each client ends with the first refusal.
        begin.elapsed()
    });
    eprintln!(
        "a stop within {took:.1?} after {:.1?}; {}  {}; seed {seed}",
        begin.elapsed(),
        crowd.figures,
        crowd.events.told()
    );
    assert_eq!(crowd.figures.failures(), Vec::<String>::new(), "seed {seed}");
    assert!(scene.gate.process().stop().expect("it has ended").success());
    let log = scene.gate.log();
    let last = log.lines().rfind(|line| line.contains(r#""stopped""#)).unwrap();
    assert!(last.contains(r#""cut":0"#), "{last}");
}

/// Those whom the kernel let in are answered too: a client that found somebody who listens is never cut off.
#[test]
fn whoever_connects_is_answered() {
    let registry = Registry::start();
    let mut gate = Portcullis::start(&registry);
    let answered = AtomicUsize::new(0);
    let cut: Vec<String> = thread::scope(|scope| {
        let callers: Vec<_> = (0..8).map(|_| scope.spawn(|| call(gate.port(), &answered))).collect();
        eventually("they are many", || answered.load(Ordering::SeqCst) > 500);
        gate.signal("TERM");
        callers.into_iter().filter_map(|caller| caller.join().unwrap().err()).collect()
    });
    eprintln!("{} were answered before nobody listened any more", answered.load(Ordering::SeqCst));
    assert_eq!(cut, Vec::<String>::new());
    assert!(gate.process().stop().expect("it has ended").success());
}

/// Connects until that is refused. Plain HTTP is answered at once, so that these are many.
fn call(port: u16, answered: &AtomicUsize) -> Result<(), String> {
    loop {
        let mut socket = match TcpStream::connect(("127.0.0.1", port)) {
            Ok(socket) => socket,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok(()),
            Err(error) => return Err(format!("no connection: {error}")),
        };
        let mut answer = Vec::new();
        let exchange = socket
            .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .and_then(|()| socket.read_to_end(&mut answer));
        if let Err(error) = exchange {
            return Err(format!("connected, and then {error}"));
        }
        if !answer.starts_with(b"HTTP/1.1 400") {
            return Err(format!("connected, and then {:?}", String::from_utf8_lossy(&answer)));
        }
        answered.fetch_add(1, Ordering::SeqCst);
    }
}
