//! A socket in the place of a registry that hears exactly what the gate sends, and answers what no registry would.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::Response;

/// Gives every request the same answer and closes.
pub(crate) struct Ear {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ear {
    pub(crate) fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (heard, stop, answer) = (Arc::default(), Arc::new(AtomicBool::new(false)), answer.into());
        let thread = thread::spawn({
            let (heard, stop) = (Arc::clone(&heard), Arc::clone(&stop));
            move || {
                for stream in listener.incoming().take_while(|_| !stop.load(Ordering::SeqCst)) {
                    converse(stream.unwrap(), &heard, &answer);
                }
            }
        });
        Self { port, heard, stop, thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The request lines and headers so far, as sent.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The only request so far: its request line, and its headers.
    pub(crate) fn only_request(&self) -> (String, Response) {
        let heard = self.heard();
        assert_eq!(heard.len(), 1, "{heard:?}");
        let (line, headers) = heard[0].split_once("\r\n").unwrap();
        (line.to_owned(), Response::parse_head(&format!("HTTP/1.1 0 request\r\n{headers}")))
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn converse(mut stream: TcpStream, heard: &Mutex<Vec<String>>, answer: &[u8]) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    heard.lock().unwrap_or_else(PoisonError::into_inner).push(head);
    let _ = stream.write_all(answer);
}
