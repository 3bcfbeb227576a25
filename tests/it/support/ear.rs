//! A socket in the place of a registry that hears exactly what the gate sends, and answers what no registry would.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::Response;

const PATIENCE: Duration = Duration::from_secs(20);

/// Follows a script on every connection.
pub(crate) struct Ear {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    heard: Mutex<Vec<String>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    stop: AtomicBool,
}

impl Ear {
    /// Gives every request the same answer and closes.
    pub(crate) fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::following(move |caller| {
            if caller.request().is_some() {
                caller.say(&answer);
            }
        })
    }

    /// Runs `script` in a thread for each connection, and closes the connection when it returns.
    pub(crate) fn following(script: impl Fn(&mut Caller) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::<Shared>::default();
        let acceptor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared, &Arc::new(script))
        });
        Self { port, shared, acceptor: Some(acceptor) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The request lines and headers so far, as sent.
    pub(crate) fn heard(&self) -> Vec<String> {
        lock(&self.shared.heard).clone()
    }

    /// How many connections were made so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many of them are still open here.
    pub(crate) fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
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
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, script: &Arc<impl Fn(&mut Caller) + Send + Sync + 'static>) {
    for stream in listener.incoming().take_while(|_| !shared.stop.load(Ordering::SeqCst)) {
        let number = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
        shared.open.fetch_add(1, Ordering::SeqCst);
        let mut caller = Caller::new(stream.unwrap(), number, Arc::clone(shared));
        let script = Arc::clone(script);
        thread::spawn(move || script(&mut caller));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection of the gate.
pub(crate) struct Caller {
    stream: BufReader<TcpStream>,
    shared: Arc<Shared>,
    /// 1 for the first connection.
    pub(crate) number: usize,
}

/// A request's head.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    headers: BTreeMap<String, String>,
}

impl Request {
    /// By its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

impl Caller {
    fn new(stream: TcpStream, number: usize, shared: Arc<Shared>) -> Self {
        let _ = stream.set_nodelay(true);
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let _ = stream.set_write_timeout(Some(PATIENCE));
        Self { stream: BufReader::new(stream), shared, number }
    }

    /// The next request's head; none where the gate closed.
    pub(crate) fn request(&mut self) -> Option<Request> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if self.stream.read_until(b'\n', &mut head).ok()? == 0 {
                return None;
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        lock(&self.shared.heard).push(head.clone());
        let mut lines = head.lines();
        let mut words = lines.next()?.split(' ').map(str::to_owned);
        let headers = lines.filter_map(|line| line.split_once(':'));
        Some(Request {
            method: words.next()?,
            target: words.next()?,
            headers: headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect(),
        })
    }

    /// A request's whole body; none where it breaks off.
    pub(crate) fn body(&mut self, request: &Request) -> Option<Vec<u8>> {
        if request.header("transfer-encoding").is_none() {
            let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
            return self.exactly(length);
        }
        let mut whole = Vec::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).ok()?;
            let length = usize::from_str_radix(line.trim_end(), 16).ok()?;
            whole.append(&mut self.exactly(length)?);
            self.exactly(2)?;
            if length == 0 {
                return Some(whole);
            }
        }
    }

    /// So many bytes; none where the gate closes before.
    pub(crate) fn exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }

    /// All that comes until the gate closes; none where it does not.
    pub(crate) fn until_closed(&mut self) -> Option<Vec<u8>> {
        let (mut all, mut piece) = (Vec::new(), [0; 64 * 1024]);
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return Some(all),
                Ok(count) => all.extend_from_slice(&piece[..count]),
                Err(error) => return (error.kind() == std::io::ErrorKind::ConnectionReset).then_some(all),
            }
        }
    }

    /// False where the gate closed.
    pub(crate) fn say(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.get_mut().write_all(bytes.as_ref()).is_ok()
    }

    /// Closes with a reset instead of an end when the script returns.
    pub(crate) fn reset(&self) {
        let _ = socket2::SockRef::from(self.stream.get_ref()).set_linger(Some(Duration::ZERO));
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.shared.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Something that one thread does and another waits for.
#[derive(Clone, Default)]
pub(crate) struct Signal(Arc<(Mutex<usize>, Condvar)>);

impl Signal {
    pub(crate) fn raise(&self) {
        *lock(&self.0.0) += 1;
        self.0.1.notify_all();
    }

    /// Waits until it was raised as often as this; false where that does not happen.
    pub(crate) fn wait_for(&self, count: usize) -> bool {
        let raised = self.0.1.wait_timeout_while(lock(&self.0.0), PATIENCE, |raised| *raised < count);
        !raised.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    pub(crate) fn wait(&self) -> bool {
        self.wait_for(1)
    }
}
